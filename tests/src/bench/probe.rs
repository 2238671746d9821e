//! What the operating system says of a process.

use anyhow::Context;

/// Time on a processor that a process has used so far, in seconds.
///
/// # Errors
/// If the process is gone.
pub fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // Where the kernel does not count so finely, or the thread has just ended.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            return cpu_seconds_by_ticks(process);
        };
        let on_processor = text.split_whitespace().next();
        nanoseconds += on_processor.context("a thread's time")?.parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}

fn cpu_seconds_by_ticks(process: u32) -> anyhow::Result<f64> {
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

/// Resident memory of a process, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it.
    pub resident: f64,
    /// The most it ever was.
    pub peak: f64,
    /// What is its own: heap and stacks.
    pub own: f64,
    /// Pages of the program and its libraries, which replicas on one machine share.
    pub program: f64,
}

/// Resident memory of a process.
///
/// # Errors
/// If the process is gone.
pub fn memory(process: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find(|l| l.starts_with(name));
        let kib = line
            .and_then(|l| l.split_whitespace().nth(1))
            .context("a process's memory")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok(Memory {
        resident: field("VmRSS:")?,
        peak: field("VmHWM:")?,
        own: field("RssAnon:")?,
        program: field("RssFile:")?,
    })
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
