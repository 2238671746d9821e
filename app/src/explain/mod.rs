//! `explain`: why one pod has, or has not, the identity that it should have.

#[cfg(test)]
mod crd_tests;
mod findings;
mod seen;
mod show;
#[cfg(test)]
mod tests;

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use registrar_core::sync::Verdict;

use crate::{
    cli::ExplainArgs,
    collect::policy_of,
    command::{configuration, exit_code, finish},
    render::Paint,
};
use seen::Pod;

/// Explains a pod.
///
/// # Errors
/// If the pod does not exist, or something cannot be read.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let (namespace, name) = pod_name(&args.kind, &args.name)?;
    let (policy, common) = policy_of(configuration(&args.config)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let pod = Pod { namespace, name };
    let seen = runtime.block_on(seen::see(policy, &common, args.kubeconfig.as_ref(), &pod))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64);
    let findings = findings::findings(&seen, now);
    let mut out = BufWriter::new(io::stdout());
    let printed = show::show(&mut out, Paint::of_standard_output(), &seen, &findings);
    finish(printed.and_then(|()| out.flush()))?;
    Ok(exit_code(matches!(seen.own.verdict, Verdict::Held(_))))
}

fn pod_name<'a>(kind: &str, name: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    if !matches!(kind, "pod" | "pods" | "po") {
        bail!("{kind:?} cannot be explained; `explain pod NAMESPACE/NAME` can");
    }
    let (namespace, name) = name
        .split_once('/')
        .with_context(|| format!("{name:?} names no pod: write NAMESPACE/NAME"))?;
    let legal = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    if !legal(namespace) || !legal(name) {
        bail!(
            "{namespace:?}/{name:?} names no pod: names have lowercase letters, digits, hyphens and dots"
        );
    }
    Ok((namespace, name))
}
