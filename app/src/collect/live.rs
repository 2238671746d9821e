//! From the live cluster and the live server: one list of each kind, one of the entries. Nothing is written.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use registrar_adapters::{
    config::Common,
    kubernetes::{self, Watched},
    spire::SpireServer,
};
use registrar_core::{
    cluster::Kind,
    entry::RegisteredEntry,
    policy::Policy,
    ports::{Failure, FailureClass, SpireCall},
    sync::{Event, NotReady, Reconciler},
};
use tokio::sync::mpsc;

use super::{Collected, Warning, definition_in_force, keep_others};
use crate::{parts::kube_settings, progress::Progress, server::server};

/// Watch events on their way.
const WATCH_QUEUE: usize = 1024;
/// How long the API server may be silent in the middle of a list.
const SILENCE: Duration = Duration::from_secs(60);

/// Reads everything that a plan needs, and `keep`s of the server's entries what else is asked for.
///
/// # Errors
/// If the cluster or the server cannot be read: which, why, and which right is missing if that is why.
pub async fn live(
    policy: Policy,
    common: &Common,
    kubeconfig: Option<&PathBuf>,
    keep: &dyn Fn(&RegisteredEntry) -> bool,
) -> anyhow::Result<Collected> {
    // Nothing may begin that writes.
    let server: Arc<dyn SpireServer> = server(common, Arc::new(|| false));
    check_trust_domain(&*server, &policy).await?;
    let (client, _) = kubernetes::connect(&kube_settings(common, kubeconfig)).await?;
    let (sender, mut watched) = mpsc::channel(WATCH_QUEUE);
    let wanted = Arc::new(policy.wanted_metadata());
    let mut missing: BTreeSet<Kind> = Reconciler::kinds(&policy).into_iter().collect();
    let mut watches = tokio::task::JoinSet::new();
    for kind in missing.clone() {
        let watch = kubernetes::watch(client.clone(), kind, wanted.clone(), sender.clone());
        watches.spawn(watch);
    }
    let mut machine = Reconciler::new(policy.clone(), 0);
    let mut others = Vec::new();
    let mut warnings = Vec::new();
    let mut objects = 0;
    let mut progress = Progress::new(None);
    let mut events = Vec::new();
    let mut calls = Vec::new();
    loop {
        let step = machine.step(Duration::ZERO, std::mem::take(&mut events));
        events.extend(definition_in_force(step.kube_calls));
        calls.extend(step.calls);
        // Whose an entry is SpiffeIDs tell, so they are listed first.
        let now = match missing.is_empty() {
            true => std::mem::take(&mut calls),
            false => Vec::new(),
        };
        for (id, call) in now {
            let listing_bundles = matches!(call, SpireCall::ListBundles);
            let reply = server.perform(call).await;
            match &reply {
                Ok(answer) => keep_others(keep, answer, &mut others),
                Err(failure) if listing_bundles && failure.class == FailureClass::Denied => {
                    let message = format!(
                        "the server's bundles cannot be listed, so federation is as the pods ask: {}",
                        failure.message
                    );
                    warnings.push(Warning::new("BundlesUnknown", message));
                }
                Err(failure) => return Err(server_failed(failure)),
            }
            events.push(Event::Replied(id, reply));
        }
        if !events.is_empty() {
            continue;
        }
        let read = |n: &NotReady| !matches!(n, NotReady::EntriesNotRead | NotReady::BundlesNotRead);
        if missing.is_empty() && machine.not_ready().iter().all(read) {
            break;
        }
        let next = tokio::time::timeout(SILENCE, watched.recv()).await;
        match next.context("the Kubernetes API does not answer")? {
            Some(Watched::Event(event)) => {
                match &event {
                    Event::RelistDone(kind) => drop(missing.remove(kind)),
                    Event::Listed(_) => objects += 1,
                    _ => {}
                }
                events.push(event);
                progress.at(objects, || format!("{objects} objects listed"));
            }
            Some(Watched::Failed { kind, status, why }) => {
                return Err(list_failed(kind, status, &why));
            }
            None => bail!("the watch ended"),
        }
    }
    Ok(Collected {
        machine,
        others,
        compared: true,
        bundles_known: true,
        warnings,
        troubles: Vec::new(),
    })
}

/// A list that failed, and the right that is missing if that is why.
pub fn list_failed(kind: Kind, status: Option<u16>, why: &str) -> anyhow::Error {
    let plural = match kind {
        Kind::Pod => "pods",
        Kind::Node => "nodes",
        Kind::EndpointSlice => "endpointslices of discovery.k8s.io",
        Kind::SpiffeId => "spiffeids of spiffeid.spiffe.io",
    };
    let remedy = match status {
        Some(403) => format!(
            "; the right to list {plural} in all namespaces is missing: `kubectl auth can-i list {}` tells for whom",
            plural.replace(" of ", ".")
        ),
        Some(404) if kind == Kind::SpiffeId => {
            "; their definition is not installed: `k8s-workload-registrar crd | kubectl apply -f -`"
                .to_owned()
        }
        Some(401) => "; the API server does not know us: see the kubeconfig's user".to_owned(),
        _ => "; is this the right cluster? See kubeconfig and kube_context".to_owned(),
    };
    anyhow::anyhow!("{} objects cannot be listed: {why}{remedy}", kind.name())
}

/// A call of the server that failed.
pub fn server_failed(failure: &Failure) -> anyhow::Error {
    // The adapter's message names the server, the reason, and the remedy or the right that is missing.
    anyhow::anyhow!("{}", failure.message)
}

/// Compares the configured trust domain with the server's.
///
/// # Errors
/// If they differ, or the server does not answer.
pub async fn check_trust_domain(server: &dyn SpireServer, policy: &Policy) -> anyhow::Result<()> {
    match server.trust_domain().await {
        Ok(theirs) if theirs == policy.trust_domain => Ok(()),
        Ok(theirs) => bail!(
            "trust_domain is {:?}, but the SPIRE Server's is {:?}: write the server's into the configuration, \
             or name another server",
            policy.trust_domain.as_str(),
            theirs.as_str()
        ),
        // It serves us, but not this.
        Err(failure) if failure.class == FailureClass::Denied => Ok(()),
        Err(failure) => Err(server_failed(&failure)),
    }
}
