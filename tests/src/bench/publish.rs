//! `bench publish`: from the files of several runs to the tables and charts of docs/benchmark.md.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde::Serialize;

use super::report::{Report, Row};

/// A table of the page, and which rows it has.
type Section = (&'static str, fn(&str) -> bool);

/// The first that has a row takes it.
const SECTIONS: [Section; 5] = [
    ("stress", |what| {
        what.starts_with("storm") || what.starts_with("hostile neighbour")
    }),
    ("crd", |what| what.starts_with("crd mode: ")),
    ("webhook", |what| {
        [
            "webhook mode: ",
            "a review",
            "reviews a second",
            "new certificates",
        ]
        .iter()
        .any(|begin| what.starts_with(begin))
    }),
    ("others", |what| {
        ["p99 of a new pod while", "a standby's", "plan of a dump"]
            .iter()
            .any(|begin| what.starts_with(begin))
    }),
    ("reconcile", |_| true),
];

/// What a table is replaced between.
fn marks(name: &str) -> (String, String) {
    (
        format!("<!-- figures: {name} -->\n"),
        format!("<!-- end: {name} -->"),
    )
}

/// What is kept of a publication beside the page.
#[derive(Serialize)]
struct Published<'a> {
    machine: &'a str,
    rows: &'a [Row],
}

/// The files of runs that are in this folder, the oldest first.
///
/// # Errors
/// If it cannot be read, or holds none.
pub fn runs_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let none = || {
        format!(
            "{} has no runs: measure with make bench first",
            folder.display()
        )
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(none)?
        .map(|entry| anyhow::Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|e| e == "json"));
    found.sort();
    ensure!(!found.is_empty(), none());
    Ok(found)
}

/// Puts the figures of these runs together into `docs/benchmark.md`, `benchmark.json` and the charts beside it.
///
/// # Errors
/// If a run cannot be read or was not built for release, or the page lacks a place for a table.
pub fn publish(runs: &[PathBuf], docs: &Path) -> anyhow::Result<()> {
    let mut whole = Report::default();
    let mut machines: Vec<String> = Vec::new();
    for path in runs {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let run: Report =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(
            run.release,
            "{} was not measured on a release build",
            path.display()
        );
        machines.push(run.machine.clone());
        whole.extend(run);
    }
    whole.machine = each_once(&machines);
    let rows = whole.rows();
    let page = docs.join("benchmark.md");
    let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let text = filled(&text, &whole.machine, &rows)?;
    Report::draw(&rows, docs)?;
    let published = Published {
        machine: &whole.machine,
        rows: &rows,
    };
    let mut json = serde_json::to_string_pretty(&published)?;
    json.push('\n');
    std::fs::write(docs.join("benchmark.json"), json)?;
    std::fs::write(page, text)?;
    Ok(())
}

/// Each machine once, with all that was measured there: each text ends with `; 3 run(s) in 15 minutes.`
fn each_once(machines: &[String]) -> String {
    let mut found: Vec<(&str, [usize; 2])> = Vec::new();
    for text in machines {
        let (machine, lasted) = text.rsplit_once("; ").unwrap_or((text, ""));
        let numbers = lasted.split(' ').filter_map(|word| word.parse().ok());
        let numbers: Vec<usize> = numbers.collect();
        if !found.iter().any(|(m, _)| *m == machine) {
            found.push((machine, [0; 2]));
        }
        for (_, sum) in found.iter_mut().filter(|(m, _)| *m == machine) {
            sum.iter_mut().zip(&numbers).for_each(|(sum, n)| *sum += n);
        }
    }
    let lines = found.iter().map(|(machine, [runs, minutes])| {
        format!("{machine}; {runs} run(s) in {minutes} minutes.")
    });
    lines.collect::<Vec<_>>().join("\n\n")
}

/// The page with these figures in the places of the former ones.
fn filled(page: &str, machine: &str, rows: &[Row]) -> anyhow::Result<String> {
    let mut text = replaced(page, "machine", &format!("{machine}\n"))?;
    for (name, _) in SECTIONS {
        let of = |what: &str| SECTIONS.iter().find(|(_, has)| has(what)).map(|(n, _)| *n);
        let mine: Vec<Row> = rows
            .iter()
            .filter(|row| of(&row.what) == Some(name))
            .cloned()
            .collect();
        let table = match mine.is_empty() {
            true => "Not measured in these runs.\n".to_owned(),
            false => Report::table(&mine),
        };
        text = replaced(&text, name, &table)?;
    }
    let mut unmet = String::new();
    for row in rows.iter().filter(|row| !row.met) {
        let _ = writeln!(
            unmet,
            "* {}, {} pods: {:.2} {}, target {}.",
            row.what, row.pods, row.median, row.unit, row.target
        );
    }
    if unmet.is_empty() {
        unmet = "None.\n".into();
    }
    replaced(&text, "unmet", &unmet)
}

fn replaced(text: &str, name: &str, with: &str) -> anyhow::Result<String> {
    let (begin, end) = marks(name);
    let missing = || format!("the page has no place for {name}: {begin}...{end}");
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    // A blank line on both sides, else a table is no table.
    Ok(format!("{before}{begin}\n{with}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::report::Figure;
    use super::*;

    fn run(dir: &Path, name: &str, values: &[(&str, f64)], release: bool) -> PathBuf {
        let mut report = Report::new(release);
        report.machine = "a machine".into();
        for (what, value) in values {
            report.add(Figure {
                what: (*what).into(),
                pods: 1000,
                unit: "ms".into(),
                value: *value,
                beside: "bare".into(),
                target: "<= 2 ms".into(),
                met: *value <= 2.0,
            });
        }
        let path = dir.join(name);
        report.write(dir, &path).expect("written");
        path
    }

    fn our_page(dir: &Path) -> PathBuf {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmark.md");
        let copy = dir.join("benchmark.md");
        std::fs::copy(page, &copy).expect("the page is there");
        copy
    }

    #[test]
    fn runs_are_put_together_on_our_page_and_again_without_a_trace_of_the_former() {
        let dir = tempfile::tempdir().expect("a folder");
        let page = our_page(dir.path());
        let first = [("crd mode: memory", 7.125), ("storm, memory", 8.0)];
        let first = run(dir.path(), "1.json", &first, true);
        publish(&[first], dir.path()).expect("published");
        let text = std::fs::read_to_string(&page).expect("there");
        assert!(
            text.contains("| crd mode: memory | 1000 | 7.12 ms"),
            "{text}"
        );
        let latency = "one pod alone, beyond bare RPC and watch, p50";
        let runs = [(1.0, "2.json"), (2.0, "3.json")]
            .map(|(value, name)| run(dir.path(), name, &[(latency, value)], true));
        publish(&runs, dir.path()).expect("published");
        let text = std::fs::read_to_string(&page).expect("there");
        assert!(!text.contains("crd mode: memory"), "{text}");
        assert!(text.contains("| 1.50 ms | 1.00 to 2.00 | 2 |"), "{text}");
        assert!(dir.path().join("benchmark-latency.svg").exists());
        assert!(dir.path().join("benchmark.json").exists());
    }

    #[test]
    fn each_machine_is_told_once_with_the_sum_of_its_runs() {
        let on = |machine: &str, runs: usize, minutes: usize| {
            format!("{machine}, 2 cores; {runs} run(s) in {minutes} minutes.")
        };
        assert_eq!(
            each_once(&[on("A", 3, 15), on("B", 1, 2), on("A", 1, 6)]),
            format!("{}\n\n{}", on("A", 4, 21), on("B", 1, 2))
        );
    }

    #[test]
    fn what_was_not_built_for_release_is_not_published() {
        let dir = tempfile::tempdir().expect("a folder");
        our_page(dir.path());
        let dev = run(dir.path(), "1.json", &[("a row", 1.0)], false);
        let why = publish(&[dev], dir.path()).expect_err("refused");
        assert!(why.to_string().contains("release"), "{why}");
    }

    #[test]
    fn without_a_run_the_way_to_one_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let why = runs_in(dir.path()).expect_err("none");
        assert!(why.to_string().contains("make bench"), "{why}");
    }
}
