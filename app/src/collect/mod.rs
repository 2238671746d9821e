//! Feeds a machine that never leads with all that it must know, from files or from the live cluster and server.

mod live;
mod offline;

pub use live::{check_trust_domain, list_failed, live, server_failed};
pub use offline::{entries_of, offline};

use anyhow::Context;
use registrar_adapters::config::{Common, Config, Mode};
use registrar_core::{
    entry::RegisteredEntry,
    model::ModelApi,
    policy::Policy,
    ports::{KubeAnswer, KubeCall, SpireAnswer},
    rules::{Ownership, classify},
    sync::{CallId, Event, Plan, Reconciler},
};

/// A machine that knows the cluster and the server, and what else was seen on the way.
#[derive(Debug)]
pub struct Collected {
    /// To be asked for its plan.
    pub machine: Reconciler,
    /// Entries of the server that were asked for besides ours.
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
/// If its mode cannot be planned, or what it needs to know is not in the file.
pub fn policy_of(config: Config) -> anyhow::Result<(Policy, Common)> {
    match config.mode {
        Mode::Reconcile(reconcile) => Ok((reconcile.policy, config.common)),
        Mode::Crd(crd) => {
            let own = std::env::var("MY_POD_NAMESPACE").ok();
            let namespace = config.common.namespace.clone().or(own).context(
                "the registrar's own namespace is not known: write namespace = \"...\" into the configuration, \
                 or set MY_POD_NAMESPACE",
            )?;
            Ok((crd.policy(&config.common, &namespace)?, config.common))
        }
        Mode::Webhook(webhook) => Ok((webhook.policy, config.common)),
    }
}

/// What of the server's entries a plan needs beside ours: what may stand in the way of them, and in crd mode, where what is
/// whose is only found out by doing, all.
pub fn for_a_plan(policy: &Policy) -> impl Fn(&RegisteredEntry) -> bool + '_ {
    let in_the_way = in_the_way(policy);
    move |e| policy.spiffe_ids.is_some() || in_the_way(e)
}

/// Answers what is asked of the Kubernetes API: SpiffeIDs were listed, so their definition is in force. Nothing else is
/// asked by a machine that does not lead.
pub fn definition_in_force(calls: Vec<(CallId, KubeCall)>) -> impl Iterator<Item = Event> {
    calls.into_iter().map(|(id, _)| {
        let definition = KubeAnswer::Definition(Some(ModelApi::definition()));
        Event::KubeReplied(id, Ok(definition))
    })
}

impl Collected {
    /// The plan, of all that was collected.
    pub fn plan(self) -> Plan {
        if self.compared && self.machine.policy().spiffe_ids.is_some() {
            self.machine.rehearse(self.others)
        } else {
            self.machine.plan(&self.others)
        }
    }
}

/// Whether an entry is not ours but hangs where our entries do, so that it may stand in the way of one.
pub fn in_the_way(policy: &Policy) -> impl Fn(&RegisteredEntry) -> bool + '_ {
    let psat = format!("/spire/agent/k8s_psat/{}/", policy.cluster);
    move |e| {
        let near = e.parent_id.is_under(&policy.root)
            || e.parent_id.path().starts_with(&psat)
            || e.spiffe_id.is_under(&policy.root);
        near && matches!(classify(policy, e), Ownership::Foreign(_))
    }
}

/// Keeps of a page what is asked for.
pub fn keep_others(
    keep: &dyn Fn(&RegisteredEntry) -> bool,
    answer: &SpireAnswer,
    others: &mut Vec<RegisteredEntry>,
) {
    if let SpireAnswer::Page { entries, .. } = answer {
        others.extend(entries.iter().filter(|e| keep(e)).cloned());
    }
}
