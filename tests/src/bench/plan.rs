//! `plan` of a dump, beside parsing the same dump.

use std::{
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::ensure;

use super::{
    report::{Figure, Report},
    simulate::pod_text,
};
use crate::{control_plane::TRUST_DOMAIN, registrar::program};

/// Plans a dump of `pods` pods that is written to `dir`.
///
/// # Errors
/// If the program fails.
pub fn plan(pods: usize, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let (dump, config) = (dir.join("dump.json"), dir.join("plan.conf"));
    let mut out = BufWriter::new(std::fs::File::create(&dump)?);
    out.write_all(br#"{"apiVersion":"v1","kind":"List","items":["#)?;
    for n in 0..pods {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}{}", pod_text(n))?;
    }
    out.write_all(b"]}")?;
    out.flush()?;
    drop(out);
    std::fs::write(
        &config,
        format!(
            "mode = \"reconcile\"\ntrust_domain = \"{TRUST_DOMAIN}\"\ncluster = \"bench\"\n\
                 server_socket_path = \"/nowhere\"\n"
        ),
    )?;
    let size = std::fs::metadata(&dump)?.len() as f64 / f64::from(1 << 20);
    // Once to have the file in memory, as both will.
    let parsed = |_| -> anyhow::Result<f64> {
        let begun = Instant::now();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&dump)?)?;
        ensure!(
            value["items"].as_array().map_or(0, Vec::len) == pods,
            "the dump is whole"
        );
        Ok(begun.elapsed().as_secs_f64())
    };
    let parsing = (0..2).map(parsed).collect::<anyhow::Result<Vec<_>>>()?;
    let parsing = parsing.into_iter().fold(f64::MAX, f64::min);
    let begun = Instant::now();
    let done = Command::new(program()?)
        .args(["plan", "--config"])
        .arg(&config)
        .args(["-o", "json"])
        .arg(&dump)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let ours = begun.elapsed().as_secs_f64();
    std::fs::remove_file(&dump)?;
    // 3: something is held.
    ensure!(
        matches!(done.status.code(), Some(0 | 3)),
        "plan failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    report.add(Figure {
        what: "plan of a dump, beside parsing it".into(),
        pods,
        unit: "times".into(),
        value: ours / parsing,
        beside: format!("plan {ours:.2} s, parsing {parsing:.2} s, {size:.0} MiB"),
        target: "<= 1.5 times".into(),
        met: ours <= 1.5 * parsing,
    });
    Ok(())
}
