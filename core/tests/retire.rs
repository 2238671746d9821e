//! What may go of another root's entries: exactly the generated forms, and nothing while a living pod needs it.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{IdentitySource, Policy},
    ports::{SpireAnswer, SpireCall},
    rules::{FormerRoot, FormerRootError, SkipReason},
    spiffe::SpiffeId,
    sync::{Event, Reconciler, Retirement, WhyNot},
    testing::bound_pod,
};

const OWN: &str = "/registrar/demo/node";
const WEBHOOK: &str = "/k8s-workload-registrar/demo/node";

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn pod(name: &str) -> PodSnapshot {
    let mut pod = bound_pod("apps", name, &format!("uid-{name}"), "node-1", "sa");
    pod.annotations.insert("id".into(), name.into());
    pod
}

fn entry(id: &str, path: &str, parent: &str, selectors: &[&str]) -> RegisteredEntry {
    let spiffe_id =
        |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("legal");
    let selectors = selectors.iter().map(|s| {
        let (kind, value) = s.split_once(':').expect("a selector");
        Selector::new(kind, value)
    });
    let entry = Entry::new(
        spiffe_id(path),
        spiffe_id(parent),
        Selectors::new(selectors),
    );
    RegisteredEntry::created(EntryId::stored(id), &entry)
}

/// The entries that a reconciler of our own root made for node-1 and these pods.
fn own(pods: &[&str]) -> Vec<RegisteredEntry> {
    let node = format!("{OWN}/node-1");
    let selectors = ["k8s_psat:agent_node_name:node-1", "k8s_psat:cluster:demo"];
    let mut entries = vec![entry("own-node", &node, "/spire/server", &selectors)];
    for pod in pods {
        let selectors = ["k8s:ns:apps", &format!("k8s:pod-name:{pod}")];
        entries.push(entry(
            &format!("own-{pod}"),
            &format!("/{pod}"),
            &node,
            &selectors,
        ));
    }
    entries
}

/// What webhook mode leaves behind.
fn webhook(pods: &[&str]) -> Vec<RegisteredEntry> {
    let mut entries = vec![entry(
        "w-node",
        WEBHOOK,
        "/spire/server",
        &["k8s_psat:cluster:demo"],
    )];
    for pod in pods {
        let selectors = ["k8s:ns:apps", &format!("k8s:pod-name:{pod}")];
        entries.push(entry(
            &format!("w-{pod}"),
            &format!("/{pod}"),
            WEBHOOK,
            &selectors,
        ));
    }
    entries
}

fn retire(
    policy: Policy,
    pods: Vec<PodSnapshot>,
    entries: Vec<RegisteredEntry>,
    more: Vec<Event>,
    root: &str,
) -> Retirement {
    let former = FormerRoot::parse(&policy, root).expect("a root");
    let others: Vec<RegisteredEntry> = entries
        .iter()
        .filter(|e| former.covers(e))
        .cloned()
        .collect();
    let mut machine = Reconciler::new(policy, 0);
    let kinds = [Kind::Node, Kind::Pod];
    let node = NodeSnapshot {
        name: "node-1".into(),
        uid: Uid::new("uid-node-1"),
        annotations: Default::default(),
    };
    let mut events: Vec<Event> = kinds.map(Event::RelistBegan).to_vec();
    events.push(Event::Listed(Object::Node(node)));
    events.extend(pods.into_iter().map(|p| Event::Listed(Object::Pod(p))));
    events.extend(more);
    events.extend(kinds.map(Event::RelistDone));
    loop {
        let calls = machine
            .step(Duration::ZERO, std::mem::take(&mut events))
            .calls;
        if calls.is_empty() {
            return machine.retirement(&former, &others);
        }
        for (id, call) in calls {
            let answer = match call {
                SpireCall::List { .. } => SpireAnswer::Page {
                    entries: entries.clone(),
                    unreadable: 0,
                    next: None,
                },
                _ => SpireAnswer::Bundles(Default::default()),
            };
            events.push(Event::Replied(id, Ok(answer)));
        }
    }
}

fn ids(retirement: &Retirement) -> Vec<&str> {
    retirement
        .remove
        .iter()
        .map(|(_, e)| e.id.as_str())
        .collect()
}

#[test]
fn what_webhook_mode_left_goes_when_every_living_pod_has_its_own() {
    let entries = [own(&["a"]), webhook(&["a", "gone"])].concat();
    let retirement = retire(policy(), vec![pod("a")], entries, vec![], WEBHOOK);
    assert_eq!(
        ids(&retirement),
        ["w-a", "w-gone", "w-node"],
        "pods first, then the node"
    );
    assert!(
        retirement.uncovered.is_empty() && retirement.others.is_empty(),
        "{retirement:#?}"
    );
}

#[test]
fn a_living_pod_without_its_own_entry_stops_everything_and_the_reason_is_told() {
    let held = PodSnapshot {
        annotations: [("id".into(), "a//b".into())].into(),
        ..pod("held")
    };
    let skipped = PodSnapshot {
        annotations: Default::default(),
        ..pod("skipped")
    };
    let unscheduled = PodSnapshot {
        node_name: None,
        ..pod("unscheduled")
    };
    let nodeless = PodSnapshot {
        node_name: Some("node-2".into()),
        ..pod("nodeless")
    };
    let pods = vec![
        pod("a"),
        pod("new"),
        held,
        skipped,
        unscheduled,
        nodeless,
        pod("differs"),
    ];
    let mut entries = own(&["a", "differs"]);
    entries.push(entry(
        "own-nodeless",
        "/nodeless",
        &format!("{OWN}/node-2"),
        &["k8s:ns:apps", "k8s:pod-name:nodeless"],
    ));
    entries[2].spiffe_id = SpiffeId::parse("spiffe://example.org/other").expect("legal");
    let names = [
        "a",
        "new",
        "held",
        "skipped",
        "unscheduled",
        "nodeless",
        "differs",
        "gone",
    ];
    entries.extend(webhook(&names));
    let retirement = retire(policy(), pods, entries, vec![], WEBHOOK);
    let told: Vec<String> = retirement
        .uncovered
        .iter()
        .map(|u| {
            let why = match &u.why {
                WhyNot::NotRegistered => "not registered",
                WhyNot::NodeNotRegistered(_) => "node",
                WhyNot::Skipped(_) => "skipped",
                WhyNot::Held(_) => "held",
                WhyNot::Unknown => "unknown",
            };
            format!("{}: {why}", u.object.name)
        })
        .collect();
    assert_eq!(
        told,
        [
            "differs: not registered",
            "held: held",
            "new: not registered",
            "nodeless: node",
            "skipped: skipped"
        ]
    );
}

/// Under our root it keeps what it had, also while it is invalid.
#[test]
fn a_held_pod_that_has_its_own_entry_loses_nothing() {
    let mut held = pod("held");
    held.annotations.insert("id".into(), "a//b".into());
    let entries = [own(&["held"]), webhook(&["held"])].concat();
    let retirement = retire(policy(), vec![held], entries, vec![], WEBHOOK);
    assert_eq!(retirement.uncovered, []);
    assert_eq!(ids(&retirement), ["w-held", "w-node"]);
}

#[test]
fn every_reason_says_what_is_missing() {
    for (why, says) in [
        (WhyNot::NotRegistered, "plan -live"),
        (WhyNot::NodeNotRegistered("node-7".into()), "node-7"),
        (
            WhyNot::Skipped(SkipReason::Finished),
            "would lose its identity",
        ),
        (WhyNot::Held("a//b is no path".into()), "a//b is no path"),
        (WhyNot::Unknown, "not known"),
    ] {
        assert!(why.to_string().contains(says), "{why}");
    }
}

#[test]
fn a_pod_that_cannot_be_read_is_not_taken_for_gone() {
    let unreadable = |key: Option<ObjectKey>, uid: Option<Uid>| Event::Undecodable {
        kind: Kind::Pod,
        key,
        uid,
        why: "garbled".into(),
    };
    let key = ObjectKey::new(Kind::Pod, "apps", "x");
    let entries = webhook(&["x"]);
    let known = unreadable(Some(key), Some(Uid::new("u")));
    let retirement = retire(policy(), vec![], entries.clone(), vec![known], WEBHOOK);
    let why = retirement.uncovered.first().map(|u| &u.why);
    assert!(matches!(why, Some(WhyNot::Held(_))), "{retirement:#?}");
    let retirement = retire(
        policy(),
        vec![],
        entries,
        vec![unreadable(None, None)],
        WEBHOOK,
    );
    assert_eq!(retirement.uncovered[0].why, WhyNot::Unknown);
}

#[test]
fn only_generated_forms_under_exactly_this_root_go() {
    let crd =
        |id: &str, selectors: &[&str]| entry(id, "/x", &format!("{WEBHOOK}/node-1"), selectors);
    let node =
        |id: &str, path: &str, selectors: &[&str]| entry(id, path, "/spire/server", selectors);
    let crd_pod = ["k8s:pod-uid:u", "k8s:ns:apps", "k8s:node-name:node-1"];
    let mut privileged = crd("admin", &crd_pod);
    privileged.admin = true;
    let crd_node = format!("{WEBHOOK}/node-1");
    let node_selectors = ["k8s_psat:cluster:demo", "k8s_psat:agent_node_uid:u"];
    let entries = vec![
        crd("go-1", &crd_pod),
        node("go-2", &format!("{WEBHOOK}/node-2"), &node_selectors),
        // From here on, everything stays.
        node("needed", &crd_node, &node_selectors),
        crd("by-hand", &["k8s:ns:apps", "k8s:container-name:x"]),
        crd("only-ns", &["k8s:ns:apps"]),
        privileged,
        node("two-deep", &format!("{WEBHOOK}/node-1/x"), &node_selectors),
        node(
            "other-cluster",
            &format!("{WEBHOOK}/n3"),
            &["k8s_psat:cluster:other", "k8s_psat:agent_node_uid:u"],
        ),
        node("all", &format!("{WEBHOOK}/n4"), &["k8s_psat:cluster:demo"]),
        entry("beside", "/x", &format!("{WEBHOOK}s/node-1"), &crd_pod),
        entry(
            "elsewhere",
            "/x",
            "/k8s-workload-registrar/other/node",
            &crd_pod,
        ),
    ];
    let retirement = retire(
        policy(),
        vec![],
        [own(&[]), entries].concat(),
        vec![],
        WEBHOOK,
    );
    assert_eq!(ids(&retirement), ["go-1", "go-2"]);
    let needed: Vec<&str> = retirement.needed.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(needed, ["needed"], "an operator's entry hangs under it");
    let others: Vec<&str> = retirement.others.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(
        others,
        [
            "by-hand",
            "only-ns",
            "admin",
            "two-deep",
            "other-cluster",
            "all"
        ]
    );
}

#[test]
fn our_own_entries_are_never_retired() {
    let retirement = retire(policy(), vec![pod("a")], own(&["a", "gone"]), vec![], OWN);
    assert!(
        retirement.remove.is_empty() && retirement.others.is_empty(),
        "{retirement:#?}"
    );
}

#[test]
fn entries_directly_under_agents_go_too_and_our_own_among_them_stay() {
    let policy = policy();
    let agent = "/spire/agent/k8s_psat/demo/uid-node-1";
    let prefixed = format!("{}1", policy.entry_ids.as_str());
    let entries = [
        own(&["a"]),
        vec![
            entry("scm.1", "/a", agent, &["k8s:pod-uid:uid-a"]),
            entry("scm.2", "/b", agent, &["k8s:pod-uid:uid-gone"]),
            entry(&prefixed, "/b", agent, &["k8s:pod-uid:uid-b"]),
        ],
    ]
    .concat();
    let root = "/spire/agent/k8s_psat/demo";
    let retirement = retire(policy, vec![pod("a")], entries, vec![], root);
    assert_eq!(ids(&retirement), ["scm.1", "scm.2"]);
    assert!(retirement.uncovered.is_empty(), "{retirement:#?}");
}

#[test]
fn only_roots_of_this_cluster_are_taken() {
    let policy = policy();
    for root in [
        WEBHOOK,
        "spiffe://example.org/x/demo/node",
        "/spire/agent/k8s_psat/demo",
    ] {
        assert!(FormerRoot::parse(&policy, root).is_ok(), "{root}");
    }
    for root in [
        "",
        "/",
        "x/demo/node",
        "/x/other/node",
        "/x/demo/nodes",
        "/x/demo",
        "/demo/node",
        "/x/demo/node/y",
        "/spire/demo/node",
        "/spire/agent/k8s_psat/other",
        "/spire/agent",
        "/spire/server",
        "/x/../node",
    ] {
        assert!(FormerRoot::parse(&policy, root).is_err(), "{root}");
    }
    let other = FormerRoot::parse(&policy, "spiffe://other.test/x/demo/node");
    assert!(matches!(other, Err(FormerRootError::OtherTrustDomain(..))));
}
