//! Feeds a machine that never leads with all that it must know, from files or from the live cluster and server.

mod live;
mod offline;

pub use live::live;
pub use offline::{entries_of, offline};

use registrar_adapters::config::{Common, Config, Mode};
use registrar_core::{
    entry::RegisteredEntry,
    policy::Policy,
    ports::SpireAnswer,
    rules::{Ownership, classify},
    sync::Reconciler,
};

/// A machine that knows the cluster and the server, and what else was seen on the way.
#[derive(Debug)]
pub struct Collected {
    /// To be asked for its plan.
    pub machine: Reconciler,
    /// Entries of the server that are not ours and may stand in the way of ours.
    pub others: Vec<RegisteredEntry>,
    /// Whether the server's entries are known.
    pub compared: bool,
    /// Whether it is known which trust domains the server has a bundle of.
    pub bundles_known: bool,
    /// What the reader must know of the input.
    pub warnings: Vec<Warning>,
    /// What could not be read, so that the plan is not whole.
    pub troubles: Vec<String>,
}

/// Something about the input as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// A short stable word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Warning {
    /// A warning.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// The policy of a configuration, and the keys of every mode.
///
/// # Errors
/// If its mode cannot be planned.
pub fn policy_of(config: Config) -> anyhow::Result<(Policy, Common)> {
    match config.mode {
        Mode::Reconcile(reconcile) => Ok((reconcile.policy, config.common)),
        Mode::Webhook(_) | Mode::Crd(_) => anyhow::bail!(
            "mode {:?} cannot be planned yet; mode = \"reconcile\" can",
            config.mode.name()
        ),
    }
}

/// Keeps of a page what is not ours but hangs where our entries do.
fn keep_others(policy: &Policy, answer: &SpireAnswer, others: &mut Vec<RegisteredEntry>) {
    let SpireAnswer::Page { entries, .. } = answer else {
        return;
    };
    let psat = format!("/spire/agent/k8s_psat/{}/", policy.cluster);
    let near = |e: &&RegisteredEntry| {
        e.parent_id.is_under(&policy.root)
            || e.parent_id.path().starts_with(&psat)
            || e.spiffe_id.is_under(&policy.root)
    };
    let foreign = |e: &&RegisteredEntry| matches!(classify(policy, e), Ownership::Foreign(_));
    others.extend(entries.iter().filter(near).filter(foreign).cloned());
}
