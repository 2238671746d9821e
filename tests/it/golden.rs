//! Golden files are what the programs that made them make today.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// What is expected of templates is what Go makes of them, not what we wish that Go made.
#[test]
fn the_golden_templates_are_go_s_own_results() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/template");
    let golden = dir.join("golden.tsv");
    let input = std::fs::File::open(&golden).expect("the golden file");
    let made = Command::new("go")
        .args(["run", "."])
        .current_dir(&dir)
        .stdin(input)
        .stderr(Stdio::inherit())
        .output()
        .expect("go runs: it is needed for the control plane too");
    assert!(made.status.success());
    let expected = std::fs::read_to_string(golden).expect("the golden file");
    let made = String::from_utf8(made.stdout).expect("UTF-8");
    let changed: Vec<(&str, &str)> = expected
        .lines()
        .zip(made.lines())
        .filter(|(a, b)| a != b)
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!(expected.len(), made.len());
}
