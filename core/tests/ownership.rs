//! Whose a stored entry is, by table, for each kind of node entry; and whom entries under other roots are about.

use registrar_core::{
    cluster::{PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{NodePolicy, PodSelector, Policy},
    rules::{Foreign, FormerRoot, FormerRootError, Ownership, Subject, classify, subject_of_pod},
    spiffe::SpiffeId,
};

const ROOT: &str = "/k8s-workload-registrar/demo/node";
const SERVER: &str = "/spire/server";
const BY_NAME: [&str; 2] = ["k8s:ns:apps", "k8s:pod-name:db"];

fn entry(path: &str, parent: &str, selectors: &[&str]) -> RegisteredEntry {
    let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("legal");
    let selectors = selectors.iter().map(|s| {
        let (kind, value) = s.split_once(':').expect("a selector");
        Selector::new(kind, value)
    });
    let entry = Entry::new(id(path), id(parent), Selectors::new(selectors));
    RegisteredEntry::created(EntryId::stored("x"), &entry)
}

fn node(name: &str) -> Subject {
    Subject::Node(name.into())
}

fn pod() -> Subject {
    Subject::Pod("apps".into(), "db".into())
}

/// The subject if it is ours.
fn ours(policy: &Policy, entry: &RegisteredEntry) -> Result<Subject, Foreign> {
    match classify(policy, entry) {
        Ownership::Ours(subject) => Ok(subject),
        Ownership::Foreign(foreign) => Err(foreign),
    }
}

#[test]
fn with_one_entry_for_all_nodes_exactly_that_one_is_ours_and_what_hangs_exactly_under_root() {
    let policy = Policy::webhook("example.org", "demo").expect("legal names");
    let below = format!("{ROOT}/n1");
    let made = policy.entry_ids.issue(1, 1);
    for (entry, expected) in [
        (
            entry(ROOT, SERVER, &["k8s_psat:cluster:demo"]),
            Ok(node("")),
        ),
        (
            entry(ROOT, SERVER, &["k8s_psat:cluster:other"]),
            Err(Foreign::UnderRoot),
        ),
        (
            entry(ROOT, SERVER, &["k8s:cluster:demo"]),
            Err(Foreign::UnderRoot),
        ),
        (
            entry(&below, SERVER, &["k8s_psat:cluster:demo"]),
            Err(Foreign::UnderRoot),
        ),
        (
            entry(
                ROOT,
                SERVER,
                &["k8s_psat:cluster:demo", "k8s_psat:agent_node_name:n1"],
            ),
            Err(Foreign::UnderRoot),
        ),
        (
            entry("/x", SERVER, &["k8s_psat:cluster:demo"]),
            Err(Foreign::Elsewhere),
        ),
        (entry("/x", ROOT, &BY_NAME), Ok(pod())),
        (entry("/x", &below, &BY_NAME), Err(Foreign::Elsewhere)),
        (entry("/x", ROOT, &["k8s:sa:blog"]), Err(Foreign::UnderRoot)),
        (entry("/x", SERVER, &BY_NAME), Err(Foreign::Elsewhere)),
    ] {
        assert_eq!(ours(&policy, &entry), expected, "{entry:#?}");
        // Another mode of the same root may have made it: here the ID says nothing.
        let prefixed = RegisteredEntry {
            id: made.clone(),
            ..entry
        };
        assert_eq!(ours(&policy, &prefixed), expected, "{prefixed:#?}");
    }
}

#[test]
fn with_nodes_by_uid_the_entries_of_whichever_mode_was_before_are_ours() {
    let policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    let n1 = format!("{ROOT}/n1");
    for (selectors, expected) in [
        (
            &["k8s_psat:cluster:demo", "k8s_psat:agent_node_uid:u"][..],
            Ok(node("")),
        ),
        (
            &["k8s_psat:cluster:demo", "k8s_psat:agent_node_name:n1"],
            Ok(node("n1")),
        ),
        (&["k8s_psat:cluster:demo"], Ok(node(""))),
        (&["k8s_psat:agent_node_uid:u"], Err(Foreign::UnderRoot)),
        (
            &[
                "k8s_psat:cluster:demo",
                "k8s_psat:agent_node_uid:u",
                "k8s_psat:agent_node_uid:v",
            ],
            Err(Foreign::UnderRoot),
        ),
        (
            &[
                "k8s_psat:cluster:demo",
                "k8s_psat:agent_node_name:a",
                "k8s_psat:agent_node_name:b",
            ],
            Err(Foreign::UnderRoot),
        ),
        (
            &["k8s_psat:cluster:demo", "k8s_psat:agent_node_ip:1"],
            Err(Foreign::UnderRoot),
        ),
        (&["k8s_psat:cluster"], Err(Foreign::UnderRoot)),
    ] {
        assert_eq!(
            ours(&policy, &entry(&n1, SERVER, selectors)),
            expected,
            "{selectors:?}"
        );
    }
}

#[test]
fn a_node_entry_without_a_name_is_nobodys_where_nodes_go_by_name() {
    let mut policy =
        Policy::reconcile("example.org", "demo", "k8s-workload-registrar").expect("legal");
    let n1 = format!("{ROOT}/n1");
    for nodes in [NodePolicy::ByName, NodePolicy::None] {
        policy.nodes = nodes;
        for (selectors, expected) in [
            (
                &["k8s_psat:cluster:demo", "k8s_psat:agent_node_name:n1"][..],
                Ok(node("n1")),
            ),
            (&["k8s_psat:cluster:demo"], Err(Foreign::UnderRoot)),
            (&["k8s_psat:agent_node_name:n1"], Err(Foreign::UnderRoot)),
            (
                &["k8s_psat:cluster:demo", "k8s_psat:agent_node_uid:u"],
                Err(Foreign::UnderRoot),
            ),
        ] {
            assert_eq!(
                ours(&policy, &entry(&n1, SERVER, selectors)),
                expected,
                "{selectors:?}"
            );
        }
    }
}

#[test]
fn an_entry_that_carries_our_prefix_is_ours_wherever_it_hangs_if_its_selectors_tell_of_whom_it_is()
{
    let policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    let by_hand = |entry: RegisteredEntry| RegisteredEntry {
        id: policy.entry_ids.issue(1, 1),
        ..entry
    };
    let of_node = ["k8s_psat:cluster:demo", "k8s_psat:agent_node_name:n1"];
    for (entry, expected, if_ours) in [
        (
            entry("/x", "/elsewhere", &BY_NAME),
            Foreign::Elsewhere,
            Some(pod()),
        ),
        (
            entry("/x", SERVER, &of_node),
            Foreign::Elsewhere,
            Some(node("n1")),
        ),
        (
            entry("/x", "/elsewhere", &["k8s:ns:apps"]),
            Foreign::Elsewhere,
            None,
        ),
        (
            entry("/x", SERVER, &["k8s_psat:cluster:demo"]),
            Foreign::Elsewhere,
            None,
        ),
    ] {
        assert_eq!(ours(&policy, &entry), Err(expected), "{entry:#?}");
        let entry = by_hand(entry);
        assert_eq!(ours(&policy, &entry), if_ours.ok_or(expected), "{entry:#?}");
    }
}

#[test]
fn the_selectors_of_a_pods_entry_name_one_pod_and_say_nothing_twice() {
    let policy = Policy::reconcile("example.org", "demo", "k8s-workload-registrar").expect("legal");
    let n1 = format!("{ROOT}/n1");
    let by_uid = || Ok(Subject::PodUid(Uid::new("u")));
    let foreign = || Err(Foreign::UnderRoot);
    for (selectors, expected) in [
        (&["k8s:pod-uid:u"][..], by_uid()),
        (
            &[
                "k8s:pod-uid:u",
                "k8s:ns:apps",
                "k8s:node-name:n1",
                "k8s:sa:blog",
            ],
            by_uid(),
        ),
        (&["k8s:pod-uid:u", "k8s:pod-name:db"], by_uid()),
        (
            &["k8s:pod-uid:u", "k8s:ns:apps", "k8s:pod-name:db"],
            Ok(pod()),
        ),
        (
            &["k8s:ns:apps", "k8s:pod-name:db", "k8s:sa:blog"],
            Ok(pod()),
        ),
        (
            &["k8s:ns:apps", "k8s:ns:other", "k8s:pod-name:db"],
            foreign(),
        ),
        (&["k8s:pod-name:db"], foreign()),
        (&["k8s:ns:apps", "k8s:sa:blog"], foreign()),
        (&["k8s:pod-uid:u", "k8s:pod-label:a:b"], foreign()),
        (&["k8s:pod-uid:u", "unix:uid:0"], foreign()),
        (&["k8s:pod-uid"], foreign()),
        (&[], foreign()),
    ] {
        assert_eq!(
            ours(&policy, &entry("/x", &n1, selectors)),
            expected,
            "{selectors:?}"
        );
    }
}

#[test]
fn a_pod_goes_by_its_name_only_where_both_namespace_and_name_are_selected() {
    use PodSelector::{Namespace, PodName, PodUid};
    let snapshot = PodSnapshot {
        namespace: "apps".into(),
        name: "db".into(),
        uid: Uid::new("u"),
        node_name: None,
        service_account: None,
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    };
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    for (selectors, by_name) in [
        (&[Namespace, PodName][..], true),
        (&[PodUid, Namespace, PodName], true),
        (&[PodUid, Namespace], false),
        (&[PodUid, PodName], false),
        (&[PodUid], false),
    ] {
        policy.pods.selectors = selectors.into();
        let expected = match by_name {
            true => pod(),
            false => Subject::PodUid(Uid::new("u")),
        };
        assert_eq!(
            subject_of_pod(&policy, &snapshot),
            expected,
            "{selectors:?}"
        );
    }
}

fn of_another(root: &str) -> (Policy, FormerRoot) {
    let policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    let root = FormerRoot::parse(&policy, root).expect("a root of this cluster");
    (policy, root)
}

#[test]
fn an_entry_under_another_root_is_about_a_pod_or_a_node_or_it_stays() {
    let (policy, root) = of_another(ROOT);
    let n1 = format!("{ROOT}/n1");
    let node_of = |path: &str, selectors: &[&str]| entry(path, SERVER, selectors);
    let cluster = "k8s_psat:cluster:demo";
    let (name, uid) = ("k8s_psat:agent_node_name:n1", "k8s_psat:agent_node_uid:u");
    for (entry, expected) in [
        (entry("/x", &n1, &BY_NAME), Some(pod())),
        (entry("/x", ROOT, &BY_NAME), Some(pod())),
        (entry("/x", "/elsewhere", &BY_NAME), None),
        (entry(&format!("{ROOT}/x"), "/elsewhere", &BY_NAME), None),
        (entry("/x", &n1, &["k8s:ns:apps"]), None),
        (node_of(ROOT, &[cluster]), Some(node(""))),
        (node_of(ROOT, &[cluster, name]), None),
        (node_of(ROOT, &[cluster, uid]), None),
        (node_of(&n1, &[cluster, name]), Some(node("n1"))),
        (node_of(&n1, &[name, cluster]), Some(node("n1"))),
        (node_of(&n1, &[cluster, uid]), Some(node("n1"))),
        (node_of(&n1, &[cluster]), None),
        (node_of(&n1, &[name]), None),
        (node_of(&n1, &[uid]), None),
        (node_of(&n1, &[cluster, name, uid]), None),
        (node_of(&n1, &[cluster, "k8s_psat:cluster:demo "]), None),
        (node_of(&n1, &["k8s:cluster:demo", name]), None),
        (node_of(&n1, &[cluster, "k8s:agent_node_name:n1"]), None),
        (
            node_of(&n1, &[cluster, "k8s_psat:agent_node_name:n2"]),
            None,
        ),
        (node_of(&n1, &["k8s_psat:cluster:other", name]), None),
        (node_of(&n1, &[cluster, "k8s_psat:agent_node_ip:1"]), None),
        (node_of(&format!("{n1}/x"), &[cluster, uid]), None),
        (node_of("/x", &[cluster, uid]), None),
    ] {
        assert_eq!(root.subject(&policy, &entry), expected, "{entry:#?}");
        type Change = fn(&mut RegisteredEntry);
        let privileges: [Change; 3] = [
            |e| e.admin = true,
            |e| e.downstream = true,
            |e| e.store_svid = true,
        ];
        for change in privileges {
            let mut privileged = entry.clone();
            change(&mut privileged);
            assert_eq!(root.subject(&policy, &privileged), None, "{privileged:#?}");
        }
    }
    // What is ours by another rule is not a former registrar's.
    let made = RegisteredEntry {
        id: policy.entry_ids.issue(1, 1),
        ..entry("/x", &n1, &BY_NAME)
    };
    assert_eq!(root.subject(&policy, &made), None);
}

#[test]
fn under_the_agents_themselves_there_are_no_node_entries() {
    let (policy, root) = of_another("/spire/agent/k8s_psat/demo");
    let agent = "/spire/agent/k8s_psat/demo/uid-1";
    let pods = entry("/x", agent, &BY_NAME);
    assert_eq!(
        (root.covers(&pods), root.subject(&policy, &pods)),
        (true, Some(pod()))
    );
    let agents = entry(
        agent,
        SERVER,
        &["k8s_psat:cluster:demo", "k8s_psat:agent_node_uid:uid-1"],
    );
    assert_eq!(
        (root.covers(&agents), root.subject(&policy, &agents)),
        (false, None)
    );
    let beside = entry("/x", "/spire/agent/k8s_psat/demo2/uid-1", &BY_NAME);
    assert!(!root.covers(&beside));
    let (_, root) = of_another(ROOT);
    let nodes = entry(&format!("{ROOT}/n1"), SERVER, &[]);
    assert!(root.covers(&nodes) && !root.covers(&agents) && root.covers(&entry("/x", ROOT, &[])));
    assert_eq!(root.to_string(), ROOT);
}

#[test]
fn what_is_no_root_of_this_cluster_is_refused_with_what_one_looks_like() {
    let policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    for (text, part) in [
        ("x/demo/node", "is not a path"),
        ("spiffe://example.org/x y", "is not a path"),
        ("/x/other/node", "/<controller_name>/demo/node"),
        ("/spire/demo/node", "/spire/agent/k8s_psat/demo"),
        (
            "/spire/agent/k8s_psat/other",
            "is not a root of this cluster",
        ),
        (
            "spiffe://other.test/x/demo/node",
            "is not of trust domain example.org",
        ),
    ] {
        let error: FormerRootError = FormerRoot::parse(&policy, text).expect_err(text);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}
