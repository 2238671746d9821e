//! What the operating system says of a process.

use anyhow::Context;

/// User and system time a process has used so far, in seconds.
///
/// # Errors
/// If the process is gone.
pub fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold spaces; the times are the 12th and 13th field after it.
    let (_, after) = stat.rsplit_once(')').context("a process's stat")?;
    let ticks: Vec<f64> = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // Linux reports in hundredths of a second on every platform we run on (USER_HZ).
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// Resident memory and its peak, in MiB.
///
/// # Errors
/// If the process is gone.
pub fn memory_mib(process: u32) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find(|l| l.starts_with(name));
        let kib = line
            .and_then(|l| l.split_whitespace().nth(1))
            .context("a process's memory")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Memory that is free for us, in GiB.
///
/// # Errors
/// If the system does not say.
pub fn available_gib() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"));
    let kib = line
        .and_then(|l| l.split_whitespace().nth(1))
        .context("the machine's free memory")?;
    Ok(kib.parse::<f64>()? / (1024.0 * 1024.0))
}
