//! The figures of a run, the rows that they make, and the files they are kept in.

use std::{borrow::Cow, fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};

use super::{chart::chart, numbers::Samples};

/// One figure of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// The row: what is measured.
    pub what: String,
    /// How many pods there are.
    pub pods: usize,
    /// The unit of the value.
    pub unit: Cow<'static, str>,
    /// Ours.
    pub value: f64,
    /// The raw limit in the same run, in words.
    pub beside: String,
    /// What it should be, in words.
    pub target: Cow<'static, str>,
    /// Whether it is.
    pub met: bool,
}

/// All figures of all runs.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What they were measured on and how.
    pub machine: String,
    /// Whether the registrar was built for release.
    pub release: bool,
    figures: Vec<Figure>,
}

/// The figures of one row over all runs.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// How many pods there are.
    pub pods: usize,
    /// Of the values.
    pub unit: String,
    /// The middle one; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// How many.
    pub runs: usize,
    /// The raw limit in the run next to the median.
    pub beside: String,
    /// What it should be.
    pub target: String,
    /// Whether it is, in the middle run or in both of the middle two.
    pub met: bool,
}

/// The charts: a row, the file it goes to, and what is aimed at with so many pods.
type Chart = (&'static str, &'static str, fn(f64) -> f64);

/// What there are charts of.
pub const CHARTS: [Chart; 2] = [
    (
        "one pod alone, beyond bare RPC and watch, p50",
        "benchmark-latency.svg",
        |_| 2.0,
    ),
    (
        "resident memory at rest",
        "benchmark-memory.svg",
        allowed_mib,
    ),
];

/// Memory that so many pods may take at rest.
pub fn allowed_mib(pods: f64) -> f64 {
    15.0 + pods / 1024.0
}

impl Report {
    /// One without figures, of a registrar that was built for release or not.
    pub fn new(release: bool) -> Self {
        Self {
            release,
            ..Self::default()
        }
    }

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

    /// Takes in the figures of further runs.
    pub fn extend(&mut self, other: Report) {
        self.figures.extend(other.figures);
    }

    /// One row for what was measured with one number of pods: by the number of pods, then in the order of the runs.
    pub fn rows(&self) -> Vec<Row> {
        let mut grouped: Vec<Vec<&Figure>> = Vec::new();
        for figure in &self.figures {
            let same = |g: &&mut Vec<&Figure>| g[0].what == figure.what && g[0].pods == figure.pods;
            match grouped.iter_mut().find(same) {
                Some(group) => group.push(figure),
                None => grouped.push(vec![figure]),
            }
        }
        grouped.sort_by_key(|group| group[0].pods);
        grouped.into_iter().map(row).collect()
    }

    /// The rows as a table in Markdown.
    pub fn table(rows: &[Row]) -> String {
        let mut text = String::from(
            "| what | pods | median | min to max | runs | beside, in the same run | target | met |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for row in rows {
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

    /// Writes the charts of these rows to `dir`; their file names.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn draw(rows: &[Row], dir: &Path) -> anyhow::Result<Vec<&'static str>> {
        let mut drawn = Vec::new();
        for (what, file, target) in CHARTS {
            let of: Vec<&Row> = rows.iter().filter(|r| r.what == what).collect();
            let points: Vec<(f64, f64)> = of.iter().map(|r| (r.pods as f64, r.median)).collect();
            if let Some(first) = of.first() {
                std::fs::write(dir.join(file), chart(what, &first.unit, &points, target))?;
                drawn.push(file);
            }
        }
        Ok(drawn)
    }

    /// Writes `REPORT.md`, the charts, and the figures as `run`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, dir: &Path, run: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir)?;
        if let Some(folder) = run.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let rows = self.rows();
        let mut text = format!("# Benchmark\n\n{}\n\n{}", self.machine, Self::table(&rows));
        for file in Self::draw(&rows, dir)? {
            let _ = write!(text, "\n![{file}]({file})\n");
        }
        std::fs::write(dir.join("REPORT.md"), text)?;
        std::fs::write(run, serde_json::to_string_pretty(self)?)?;
        Ok(())
    }
}

fn row(mut figures: Vec<&Figure>) -> Row {
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    let values: Samples = figures.iter().map(|f| f.value).collect();
    let (least, most) = values.spread();
    let (lower, upper) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
    Row {
        what: lower.what.clone(),
        pods: lower.pods,
        unit: lower.unit.to_string(),
        median: values.median(),
        least,
        most,
        runs: figures.len(),
        beside: lower.beside.clone(),
        target: lower.target.to_string(),
        met: lower.met && upper.met,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64) -> Figure {
        Figure {
            what: "a row".into(),
            pods: 10,
            unit: "ms".into(),
            value,
            beside: format!("beside {value}"),
            target: "<= 2 ms".into(),
            met: value <= 2.0,
        }
    }

    fn of(values: &[f64]) -> Row {
        let mut report = Report::default();
        values.iter().for_each(|v| report.add(figure(*v)));
        report.rows().remove(0)
    }

    #[test]
    fn of_two_runs_the_mean_is_shown_and_both_must_be_good() {
        let row = of(&[3.0, 1.0]);
        assert_eq!((row.median, row.least, row.most), (2.0, 1.0, 3.0));
        assert!(!row.met);
        assert!(of(&[1.0, 2.0]).met);
    }

    #[test]
    fn of_three_runs_the_middle_one_counts() {
        let row = of(&[9.0, 1.0, 2.0]);
        assert_eq!((row.median, row.runs, row.met), (2.0, 3, true));
        assert_eq!(row.beside, "beside 2");
    }

    #[test]
    fn what_is_written_can_be_read_and_counted_together() {
        let dir = tempfile::tempdir().expect("a folder");
        let run = dir.path().join("runs/1.json");
        let mut report = Report::default();
        report.add(figure(1.0));
        report.write(dir.path(), &run).expect("written");
        let text = std::fs::read_to_string(run).expect("there");
        report.extend(serde_json::from_str(&text).expect("readable"));
        assert_eq!(report.rows()[0].runs, 2);
    }
}
