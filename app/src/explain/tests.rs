//! Every case that `explain` knows, each with its remedy.

use std::{collections::BTreeSet, time::Duration};

use registrar_adapters::spire::AttestedAgent;
use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{FEDERATES_WITH, IdentitySource, NamespaceRules, ParentForm, Policy},
    ports::{SpireAnswer, SpireCall},
    rules::{Bundles, Decision, Note, PodLookups, decide_node, decide_pod},
    spiffe::SpiffeId,
    sync::{Event, Reconciler},
};

use super::{
    findings::{Finding, Weight, findings},
    pod_name,
    seen::{Agent, Found, Seen, assemble},
    show,
};
use crate::render::Paint;

const NOW: i64 = 1_000_000;

/// A cluster of one pod and one node, and a server that is as it should be, until a test changes something.
struct Case {
    policy: Policy,
    pod: PodSnapshot,
    node: Option<NodeSnapshot>,
    entries: Vec<RegisteredEntry>,
    agent: Agent,
    refusals: Vec<String>,
}

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

pub(super) fn pod() -> PodSnapshot {
    PodSnapshot {
        namespace: "apps".into(),
        name: "web".into(),
        uid: Uid::new("uid-1"),
        node_name: Some("node-1".into()),
        service_account: Some("sa".into()),
        hostname: None,
        labels: Default::default(),
        annotations: [("id".into(), "team/web".into())].into(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn wanted(decision: Decision) -> Option<std::sync::Arc<Entry>> {
    match decision {
        Decision::Register { entries, .. } => entries.into_iter().next(),
        _ => None,
    }
}

impl Case {
    fn new() -> Self {
        Self::of(policy(), pod())
    }

    /// With the entries that this pod and its node should have.
    fn of(policy: Policy, pod: PodSnapshot) -> Self {
        let node = NodeSnapshot {
            name: "node-1".into(),
            uid: Uid::new("node-uid"),
            annotations: Default::default(),
        };
        let bundles = Bundles {
            known: Some(BTreeSet::new()),
            ..Bundles::default()
        };
        let lookups = PodLookups {
            node: Some(&node),
            slices: &[],
            bundles: &bundles,
        };
        let of_pod = wanted(decide_pod(&policy, &pod, lookups)).map(|e| ("of-pod", e));
        let of_node = wanted(decide_node(&policy, &node, &bundles)).map(|e| ("of-node", e));
        let entries = of_pod
            .into_iter()
            .chain(of_node)
            .map(|(id, e)| RegisteredEntry::created(EntryId::stored(id), &e))
            .collect();
        Self {
            policy,
            pod,
            node: Some(node),
            entries,
            agent: Agent::Attested(AttestedAgent {
                banned: false,
                expires_at: NOW + 3600,
            }),
            refusals: Vec::new(),
        }
    }

    fn seen(self) -> Seen {
        let keep = crate::collect::in_the_way(&self.policy);
        let others: Vec<RegisteredEntry> =
            self.entries.iter().filter(|e| keep(e)).cloned().collect();
        let agent_id = "spiffe://example.org/spire/agent/k8s_psat/demo/node-uid";
        let found = Found {
            name: format!("{}/{}", self.pod.namespace, self.pod.name),
            pod: Some(self.pod.clone()),
            node_exists: self.node.is_some(),
            agent: Some((SpiffeId::parse(agent_id).expect("legal"), self.agent)),
            refusals: self.refusals,
        };
        let mut machine = Reconciler::new(self.policy.clone(), 0);
        let kinds = [Kind::Node, Kind::Pod];
        let mut events: Vec<Event> = kinds.map(Event::RelistBegan).to_vec();
        events.push(Event::Listed(Object::Pod(self.pod)));
        events.extend(self.node.map(|n| Event::Listed(Object::Node(n))));
        events.extend(kinds.map(Event::RelistDone));
        loop {
            let calls = machine
                .step(Duration::ZERO, std::mem::take(&mut events))
                .calls;
            if calls.is_empty() {
                return assemble(machine, &others, found);
            }
            for (id, call) in calls {
                let answer = match call {
                    SpireCall::List { .. } => SpireAnswer::Page {
                        entries: self.entries.clone(),
                        unreadable: 0,
                        next: None,
                    },
                    _ => SpireAnswer::Bundles(BTreeSet::new()),
                };
                events.push(Event::Replied(id, Ok(answer)));
            }
        }
    }

    fn findings(self) -> Vec<Finding> {
        findings(&self.seen(), NOW)
    }

    /// The first fault: its text and its remedy.
    fn fault(self) -> (String, String) {
        let found = self.findings();
        let first = found.first().cloned().expect("a finding");
        assert_eq!(first.weight, Weight::Fault, "{found:#?}");
        (first.text, first.remedy.expect("a remedy"))
    }
}

#[track_caller]
fn says((text, remedy): (String, String), in_text: &str, in_remedy: &str) {
    assert!(text.contains(in_text), "{text}");
    assert!(remedy.contains(in_remedy), "{remedy}");
}

#[test]
fn fine() {
    let found = Case::new().findings();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].weight, Weight::Well);
}

#[test]
fn a_disabled_namespace() {
    let mut case = Case::new();
    case.policy.disabled_namespaces = NamespaceRules::parse(["apps"]).expect("legal");
    says(
        case.fault(),
        "its namespace is disabled",
        "take \"apps\" out of disabled_namespaces",
    );
}

#[test]
fn no_annotation_and_no_label() {
    let mut case = Case::new();
    case.pod.annotations = Default::default();
    says(
        case.fault(),
        "no annotation",
        "kubectl annotate pod -n apps web id=VALUE",
    );
    let mut case = Case::new();
    case.policy.pods.identity = IdentitySource::Label("l".into());
    says(
        case.fault(),
        "no label",
        "kubectl label pod -n apps web l=VALUE",
    );
}

#[test]
fn an_invalid_value_and_a_reserved_one() {
    let with = |value: &str| {
        let mut case = Case::new();
        case.pod.annotations.insert("id".into(), value.into());
        case
    };
    says(
        with("a//b").fault(),
        "the one it has stays as it is",
        "single slashes",
    );
    says(
        with("spire/agent").fault(),
        "reserved",
        "choose another path",
    );
    let mut without = with("a//b");
    without.entries.clear();
    says(
        without.fault(),
        "there is none, and none is made",
        "single slashes",
    );
}

#[test]
fn no_node_yet() {
    let mut case = Case::new();
    case.pod.node_name = None;
    says(
        case.fault(),
        "not bound to a node yet",
        "kubectl describe pod -n apps web",
    );
    let mut case = Case::new();
    case.node = None;
    says(
        case.fault(),
        "names a node that does not exist",
        "kubectl get nodes",
    );
    let mut case = Case::new();
    case.policy.pods.parent = ParentForm::Agent;
    case.node = None;
    says(case.fault(), "is not known", "kubectl get nodes");
}

#[test]
fn the_node_has_no_entry_or_another() {
    let mut case = Case::new();
    case.entries.retain(|e| e.id.as_str() != "of-node");
    says(case.fault(), "the node has no entry", "/readyz");
}

#[test]
fn the_server_refuses_the_entry() {
    let mut case = Case::new();
    case.entries.retain(|e| e.id.as_str() != "of-pod");
    case.refusals
        .push("the SPIRE Server refuses its entry: too long".into());
    says(case.fault(), "too long", "mend what the server objects to");
    // Without a report, it is just not there.
    let mut case = Case::new();
    case.entries.retain(|e| e.id.as_str() != "of-pod");
    says(case.fault(), "not on the server", "leads");
}

#[test]
fn another_ones_entry_is_in_the_way() {
    let mut policy = policy();
    policy.pods.parent = ParentForm::Agent;
    let case = Case::of(policy, pod());
    says(
        case.fault(),
        "entry of-pod has the same SPIFFE ID",
        "entry delete -entryID of-pod",
    );
}

#[test]
fn the_entry_differs() {
    let mut case = Case::new();
    let other = SpiffeId::parse("spiffe://example.org/other").expect("legal");
    case.entries[0].spiffe_id = other;
    says(case.fault(), "differs in spiffe_id", "repaired in place");
}

#[test]
fn a_bundle_is_missing() {
    let mut pod = pod();
    pod.annotations
        .insert(FEDERATES_WITH.into(), "other.test".into());
    let found = Case::of(policy(), pod).findings();
    let notice = &found[0];
    assert_eq!(
        notice.weight,
        Weight::Notice,
        "the identity itself is fine: {found:#?}"
    );
    let remedy = notice.remedy.clone().expect("a remedy");
    says(
        (notice.text.clone(), remedy),
        "other.test",
        "bundle set -id spiffe://other.test",
    );
}

#[test]
fn a_terminating_pod_keeps_its_identity() {
    let mut case = Case::new();
    case.pod.terminating = true;
    let found = case.findings();
    assert!(
        found.iter().any(|f| f.text.contains("being deleted")),
        "{found:#?}"
    );
    assert!(
        found.iter().all(|f| f.weight != Weight::Fault),
        "{found:#?}"
    );
}

#[test]
fn a_mirror_pod() {
    let mut case = Case::new();
    case.pod.mirror = true;
    let found = case.findings();
    assert!(
        found.iter().any(|f| f.text.contains("static pod")),
        "{found:#?}"
    );
    let mut case = Case::new();
    case.policy.pods.identity = IdentitySource::ServiceAccount;
    (case.pod.mirror, case.pod.service_account) = (true, None);
    says(
        case.fault(),
        "mirror pod without a service account",
        "pod_annotation",
    );
}

#[test]
fn a_finished_pod_that_is_released() {
    let mut case = Case::new();
    (case.policy.pods.release_finished, case.pod.finished) = (true, true);
    let found = case.findings();
    assert_eq!(found[0].weight, Weight::Notice, "{found:#?}");
}

#[test]
fn a_duplicate_entry() {
    let mut case = Case::new();
    let mut copy = case.entries[0].clone();
    copy.id = EntryId::stored("z-copy");
    copy.spiffe_id = SpiffeId::parse("spiffe://example.org/copy").expect("legal");
    case.entries.push(copy);
    let found = case.findings();
    let notice = found
        .iter()
        .find(|f| f.text.contains("one too many"))
        .expect("named");
    assert!(notice.text.contains("z-copy"), "{notice:?}");
    assert!(
        notice
            .remedy
            .as_deref()
            .is_some_and(|r| r.contains("removes it")),
        "{notice:?}"
    );
}

#[test]
fn an_agent_that_is_not_attested_or_banned_or_silent() {
    let with = |agent| {
        let mut case = Case::new();
        case.agent = agent;
        case
    };
    let attested = |banned, expires_at| Agent::Attested(AttestedAgent { banned, expires_at });
    says(
        with(Agent::None).fault(),
        "no agent was attested",
        "spire-agent runs on that node",
    );
    says(
        with(attested(true, NOW + 1)).fault(),
        "banned",
        "agent evict",
    );
    says(
        with(attested(false, NOW - 1)).fault(),
        "has expired",
        "log of spire-agent",
    );
    let found = with(Agent::Unknown("denied".into())).findings();
    assert_eq!(found[0].weight, Weight::Notice, "{found:#?}");
}

#[test]
fn every_note_about_federation_has_a_remedy() {
    let mut policy = policy();
    policy.federation_allow = Some(BTreeSet::new());
    let mut pod = pod();
    let named = "BAD,example.org,not-allowed.test";
    pod.annotations.insert(FEDERATES_WITH.into(), named.into());
    let seen = Case::of(policy, pod).seen();
    let notes = match &seen.own.verdict {
        registrar_core::sync::Verdict::Registered(_, notes) => notes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        notes
            .iter()
            .filter(|n| matches!(n, Note::TrustDomain(_)))
            .count(),
        3
    );
    let found = findings(&seen, NOW);
    let without = found
        .iter()
        .filter(|f| f.weight == Weight::Notice && f.remedy.is_none());
    assert_eq!(without.count(), 0, "{found:#?}");
}

#[test]
fn what_is_shown_fits_100_columns_and_holds_no_control_characters() {
    let mut case = Case::new();
    let hostile = "\u{1b}[31m".to_owned() + &"x".repeat(300);
    case.pod.annotations.insert("id".into(), hostile.into());
    let foreign = Selectors::new([
        Selector::new("k8s", "ns:apps"),
        Selector::new("k8s", "pod-name:web"),
    ]);
    case.entries[0].selectors = foreign;
    let seen = case.seen();
    let mut out = Vec::new();
    let found = findings(&seen, NOW);
    show::show(&mut out, Paint::none(), &seen, &found).expect("shown");
    let shown = String::from_utf8(out).expect("text");
    assert!(shown.lines().all(|l| l.chars().count() <= 100), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert!(shown.contains("remedy:"), "{shown}");
}

#[test]
fn only_names_of_pods_are_taken() {
    assert_eq!(pod_name("pod", "a/b-1.c").ok(), Some(("a", "b-1.c")));
    for (kind, name) in [
        ("node", "a/b"),
        ("pod", "b"),
        ("pod", "a/"),
        ("pod", "/b"),
        ("pod", "a/b/c"),
        ("pod", "a/../nodes"),
        ("pod", "a/B"),
        ("pod", "a/b?x=1"),
    ] {
        assert!(pod_name(kind, name).is_err(), "{kind} {name}");
    }
}

/// What the README shows is what is printed.
#[test]
fn the_readme_shows_these_findings() {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("spiffe.io/spiffe-id".into());
    let seen = Case::of(policy, pod()).seen();
    let mut out = Vec::new();
    show::show(&mut out, Paint::none(), &seen, &findings(&seen, NOW)).expect("shown");
    let shown = String::from_utf8(out).expect("text");
    let findings = shown.split_once("\nfindings\n").expect("findings").1;
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(&format!("findings\n{findings}")),
        "{findings}"
    );
}
