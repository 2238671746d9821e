//! From files: manifests, dumps, and what `spire-server entry show` printed.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, bail};
use registrar_adapters::{
    manifests::{self, Reading, Source},
    spire::shown::{self, Shown},
};
use registrar_core::{
    cluster::Kind,
    entry::RegisteredEntry,
    policy::Policy,
    ports::{Failure, FailureClass, SpireAnswer, SpireCall, SpireReply},
    sync::{Event, Reconciler},
};

use super::{Collected, Warning, definition_in_force, for_a_plan, keep_others};
use crate::progress::Progress;

/// Events in one step.
const BATCH: usize = 1024;
/// Names of objects in one warning.
const NAMED: usize = 3;

/// The entries of a file that `spire-server entry show -output json` printed.
///
/// # Errors
/// If it cannot be read.
pub fn entries_of(path: &Path) -> anyhow::Result<Shown> {
    let source = match path.as_os_str() == "-" {
        true => Source::StandardInput,
        false => Source::File(path.to_owned()),
    };
    let input = manifests::open(&source).with_context(|| format!("-entries {source}"))?;
    shown::read(input)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("-entries {source}"))
}

/// Reads manifests and, where they are given, the server's entries. Of the server's bundles nothing is known.
///
/// # Errors
/// If the entries cannot be compared with what is in the files.
pub fn offline(
    policy: Policy,
    sources: &[Source],
    entries: Option<Shown>,
) -> anyhow::Result<Collected> {
    let kinds = Reconciler::kinds(&policy);
    let wanted = policy.wanted_metadata();
    let mut compared = entries.is_some();
    let of_spiffe_ids = entries.as_ref().map_or(0, |shown| {
        let made = |e: &&RegisteredEntry| policy.entry_ids.owner_part(&e.id).is_some();
        shown.entries.iter().filter(made).count()
    });
    let mut server = Server {
        entries: entries.unwrap_or_default(),
        others: Vec::new(),
    };
    let mut machine = Reconciler::new(policy.clone(), 0);
    let mut progress = Progress::new(size_of(sources));
    let begin: Vec<Event> = kinds.iter().copied().map(Event::RelistBegan).collect();
    server.feed(&mut machine, begin);
    let mut batch = Vec::with_capacity(BATCH);
    let mut objects = 0;
    let reading = manifests::read(sources, &wanted, &mut |event, bytes| {
        objects += 1;
        progress.at(bytes, || format!("{objects} objects"));
        batch.push(event);
        if batch.len() == BATCH {
            server.feed(&mut machine, std::mem::take(&mut batch));
        }
    });
    // What was not in the input at all, or not read to its end, is not known to be absent.
    let whole = reading.troubles.is_empty();
    let with_spiffe_ids = policy.spiffe_ids.is_some();
    if compared && with_spiffe_ids {
        has_all_it_needs(&kinds, &reading, of_spiffe_ids)?;
        compared = whole;
    }
    let done = kinds
        .iter()
        .filter(|k| whole && (with_spiffe_ids && compared || reading.objects.contains_key(k)))
        .map(|k| Event::RelistDone(*k));
    batch.extend(done);
    server.feed(&mut machine, batch);
    Ok(Collected {
        warnings: warnings(&kinds, &reading, compared, server.entries.unreadable),
        troubles: reading.troubles.iter().map(ToString::to_string).collect(),
        others: server.others,
        machine,
        compared,
        bundles_known: false,
    })
}

/// What is whose is only found out by doing, and nothing is done before every kind is known.
fn has_all_it_needs(kinds: &[Kind], reading: &Reading, of_spiffe_ids: usize) -> anyhow::Result<()> {
    let lacks = |kind: &Kind| kinds.contains(kind) && !reading.objects.contains_key(kind);
    let dump = "kubectl get nodes,pods,endpointslices,spiffeids -A -o json";
    if let Some(kind) = [Kind::Node, Kind::Pod].iter().find(|k| lacks(k)) {
        bail!(
            "there are no {} objects in the input, and in crd mode entries are compared by those of the whole cluster: {dump}",
            kind.name()
        );
    }
    if of_spiffe_ids > 0 && lacks(&Kind::SpiffeId) {
        bail!(
            "{of_spiffe_ids} entries were made for SpiffeIDs, and there is no SpiffeID in the input: {dump}"
        );
    }
    Ok(())
}

fn size_of(sources: &[Source]) -> Option<u64> {
    sources
        .iter()
        .map(|source| match source {
            Source::StandardInput => None,
            Source::File(path) => std::fs::metadata(path).ok().map(|m| m.len()),
        })
        .sum()
}

/// A server made of a file.
struct Server {
    entries: Shown,
    others: Vec<RegisteredEntry>,
}

impl Server {
    /// Steps with events, and with the answers to what the machine asks.
    fn feed(&mut self, machine: &mut Reconciler, events: Vec<Event>) {
        let mut events = events;
        loop {
            let step = machine.step(Duration::ZERO, events);
            let answered = |(id, call): (_, SpireCall)| {
                Event::Replied(id, self.answer(machine.policy(), &call))
            };
            events = step.calls.into_iter().map(answered).collect();
            events.extend(definition_in_force(step.kube_calls));
            if events.is_empty() {
                return;
            }
        }
    }

    fn answer(&mut self, policy: &Policy, call: &SpireCall) -> SpireReply {
        let unavailable = |why: &str| Err(Failure::new(FailureClass::Denied, why));
        match call {
            SpireCall::List { .. } => {
                let answer = SpireAnswer::Page {
                    entries: std::mem::take(&mut self.entries.entries),
                    unreadable: self.entries.unreadable as u32,
                    next: None,
                };
                keep_others(&for_a_plan(policy), &answer, &mut self.others);
                Ok(answer)
            }
            SpireCall::ListBundles => unavailable("no bundles are known offline"),
            _ => unavailable("nothing is written offline"),
        }
    }
}

fn counted(kinds: &BTreeMap<String, usize>) -> String {
    let counts: Vec<String> = kinds.iter().map(|(k, n)| format!("{n} {k}")).collect();
    counts.join(", ")
}

fn warnings(kinds: &[Kind], reading: &Reading, compared: bool, unreadable: usize) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |reason, message: String| warnings.push(Warning::new(reason, message));
    for kind in kinds.iter().filter(|k| !reading.objects.contains_key(k)) {
        let (name, consequence) = match kind {
            Kind::Pod => (
                "Pod",
                "entries of pods are neither planned nor taken for orphans",
            ),
            Kind::Node => (
                "Node",
                "entries of nodes are neither planned nor taken for orphans",
            ),
            Kind::SpiffeId => ("SpiffeID", "those written by hand are not planned"),
            Kind::EndpointSlice => (
                "EndpointSlice",
                "DNS names through Services are missing here",
            ),
        };
        warn(
            "KindMissing",
            format!("no {name} objects in the input: {consequence}"),
        );
    }
    if !reading.pod_makers.is_empty() {
        warn(
            "PodMakers",
            format!(
                "{}: the pods that they make are not invented here; plan those of \
                 `kubectl get pods -A -o json`",
                counted(&reading.pod_makers)
            ),
        );
    }
    if !reading.ignored.is_empty() {
        let kinds = counted(&reading.ignored);
        warn("KindsIgnored", format!("no rule reads {kinds}"));
    }
    if !reading.without_uid.is_empty() {
        let count = reading.without_uid.len();
        let names: Vec<String> = reading
            .without_uid
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        let more = if count > NAMED { ", ..." } else { "" };
        warn(
            "NoUid",
            format!(
                "{count} objects have no UID yet ({}{more}): uid-of-<namespace>.<name> stands in for it",
                names.join(", ")
            ),
        );
    }
    if unreadable > 0 {
        let message =
            format!("{unreadable} entries of the server cannot be read; they are not ours");
        warn("EntriesUnreadable", message);
    }
    if compared && !reading.troubles.is_empty() {
        warn(
            "InputIncomplete",
            "the input could not be read to its end: no entry is taken for an orphan".into(),
        );
    }
    warnings
}
