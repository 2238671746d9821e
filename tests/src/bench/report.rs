//! The table, the JSON file and the charts.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::Serialize;

use super::numbers::Samples;

/// One figure of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The row: what is measured.
    pub what: String,
    /// How many pods there are.
    pub pods: usize,
    /// The unit of the value.
    pub unit: &'static str,
    /// Ours.
    pub value: f64,
    /// The raw limit in the same run, in words.
    pub beside: String,
    /// What it should be, in words.
    pub target: &'static str,
    /// Whether it is.
    pub met: bool,
}

/// All figures of all runs.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

/// The figures of one row over all runs.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    pods: usize,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
    runs: usize,
    beside: String,
    target: &'static str,
    met: bool,
}

impl Report {
    /// Adds a figure and prints it.
    pub fn add(&mut self, figure: Figure) {
        println!(
            "   {}: {:.2} {} | beside: {} | target: {}{}",
            figure.what,
            figure.value,
            figure.unit,
            figure.beside,
            figure.target,
            if figure.met { "" } else { "  NOT MET" }
        );
        self.figures.push(figure);
    }

    fn rows(&self) -> Vec<Row> {
        let mut grouped: BTreeMap<(usize, usize), Vec<&Figure>> = BTreeMap::new();
        for figure in &self.figures {
            let order = self.figures.iter().position(|f| f.what == figure.what);
            let key = (figure.pods, order.unwrap_or_default());
            grouped.entry(key).or_default().push(figure);
        }
        grouped
            .into_values()
            .map(|figures| {
                let values: Samples = figures.iter().map(|f| f.value).collect();
                let (least, most) = values.spread();
                let middle = figures
                    .iter()
                    .find(|f| f.value == values.median())
                    .unwrap_or(&figures[0]);
                Row {
                    what: middle.what.clone(),
                    pods: middle.pods,
                    unit: middle.unit,
                    median: middle.value,
                    least,
                    most,
                    runs: figures.len(),
                    beside: middle.beside.clone(),
                    target: middle.target,
                    met: middle.met,
                }
            })
            .collect()
    }

    /// The table in Markdown.
    pub fn table(&self, machine: &str) -> String {
        let mut text = format!("# Benchmark\n\n{machine}\n\n");
        text += "| what | pods | median | min to max | runs | beside, in the same run | target | met |\n";
        text += "|---|---|---|---|---|---|---|---|\n";
        for row in self.rows() {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} {} | {:.2} to {:.2} | {} | {} | {} | {} |",
                row.what,
                row.pods,
                row.median,
                row.unit,
                row.least,
                row.most,
                row.runs,
                row.beside,
                row.target,
                if row.met { "yes" } else { "no" }
            );
        }
        text
    }

    /// Writes `REPORT.md`, `report.json` and a chart of each row whose name is in `charts`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, dir: &Path, machine: &str, charts: &[&str]) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut text = self.table(machine);
        let rows = self.rows();
        for (n, what) in charts.iter().enumerate() {
            let points: Vec<(f64, f64)> = rows
                .iter()
                .filter(|r| r.what == *what)
                .map(|r| (r.pods as f64, r.median))
                .collect();
            let unit = rows.iter().find(|r| r.what == *what).map_or("", |r| r.unit);
            let name = format!("chart-{n}.svg");
            std::fs::write(dir.join(&name), chart(what, unit, &points))?;
            let _ = write!(text, "\n![{what}]({name})\n");
        }
        std::fs::write(dir.join("REPORT.md"), text)?;
        std::fs::write(
            dir.join("report.json"),
            serde_json::to_string_pretty(&rows)?,
        )?;
        Ok(())
    }
}

/// A line through the points; pods grow to the right, by powers of ten.
fn chart(title: &str, unit: &str, points: &[(f64, f64)]) -> String {
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 240.0;
    const MARGIN: f64 = 48.0;
    let logs: Vec<f64> = points.iter().map(|(x, _)| x.max(1.0).log10()).collect();
    let (left, right) = logs
        .iter()
        .fold((f64::MAX, f64::MIN), |(l, r), x| (l.min(*x), r.max(*x)));
    let top = points.iter().fold(0.0_f64, |most, (_, y)| most.max(*y)) * 1.15;
    let place = |(x, y): (f64, f64)| {
        let width = (right - left).max(1e-9);
        (
            MARGIN + (x - left) / width * (WIDTH - 2.0 * MARGIN),
            HEIGHT - MARGIN - y / top.max(1e-9) * (HEIGHT - 2.0 * MARGIN),
        )
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"20\" text-anchor=\"middle\">{title} ({unit})</text>\n",
        WIDTH / 2.0
    );
    let mut line = String::new();
    for (log, (pods, value)) in logs.iter().zip(points) {
        let (x, y) = place((*log, *value));
        let _ = write!(line, "{x:.1},{y:.1} ");
        let _ = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#2060a0\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.1}</text>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{pods} pods</text>\n",
            y - 8.0,
            HEIGHT - MARGIN + 18.0
        );
    }
    let _ = write!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#2060a0\" stroke-width=\"2\"/>\n</svg>\n",
        line.trim()
    );
    svg
}
