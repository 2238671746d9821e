//! From pods and nodes to SpiffeIDs, and from SpiffeIDs to entries.

use std::sync::Arc;

use registrar_core::{
    cluster::{Metadata, NodeSnapshot, SpiffeIdSnapshot, SpiffeIdSpec, SpiffeIdStatus, Uid},
    entry::{Entry, Selector, Selectors},
    policy::Policy,
    rules::{
        Bundles, Decision, DroppedName, Note, Tuple, decide_node, decide_spiffe_id, spec_of,
        tuple_of,
    },
    spiffe::SpiffeId,
};

fn policy() -> Policy {
    Policy::crd("example.org", "demo", "spire").expect("legal names")
}

fn resource(spec: SpiffeIdSpec) -> SpiffeIdSnapshot {
    // Only there may agents be selected.
    let agents = spec.selector.cluster.is_some();
    SpiffeIdSnapshot {
        namespace: if agents { "spire" } else { "apps" }.into(),
        name: "blog".into(),
        uid: Uid::new("u1"),
        resource_version: "1".into(),
        generation: 1,
        created: "2026-01-02T03:04:05Z".into(),
        deleting: false,
        finalizers: Arc::new([]),
        controller: None,
        labels: Metadata::new(),
        applied: None,
        service_names: Default::default(),
        spec: Ok(Arc::new(spec)),
        status: SpiffeIdStatus::default(),
    }
}

fn registered(decision: Decision) -> (Arc<Entry>, Vec<Note>) {
    match decision {
        Decision::Register { mut entries, notes } => (entries.remove(0), notes),
        other => panic!("{other:?}"),
    }
}

fn problem(spec: SpiffeIdSpec) -> &'static str {
    match decide_spiffe_id(&policy(), &resource(spec), &Bundles::default()) {
        Decision::Invalid(problem) => problem.word(),
        other => panic!("{other:?}"),
    }
}

fn plain() -> SpiffeIdSpec {
    SpiffeIdSpec {
        parent_id: "spiffe://example.org/nodes/demo".into(),
        spiffe_id: "spiffe://example.org/blog".into(),
        selector: registrar_core::cluster::SpiffeIdSelector {
            namespace: Some("apps".into()),
            ..Default::default()
        },
        ..Default::default()
    }
}

#[test]
fn a_nodes_spiffe_id_asks_for_the_nodes_entry() {
    let node = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("node-uid"),
        annotations: Metadata::new(),
    };
    let (wanted, _) = registered(decide_node(&policy(), &node, &Bundles::default()));
    let selectors: Vec<String> = wanted.selectors.iter().map(|s| s.to_string()).collect();
    assert_eq!(
        selectors,
        ["k8s_psat:cluster:demo", "k8s_psat:agent_node_uid:node-uid"],
        "the original's, in its order"
    );
    let asked = resource(spec_of(&wanted));
    let (entry, notes) = registered(decide_spiffe_id(&policy(), &asked, &Bundles::default()));
    assert!(notes.is_empty());
    assert_eq!(
        Entry {
            downstream: None,
            ..(*entry).clone()
        },
        *wanted
    );
}

#[test]
fn selectors_come_in_the_originals_order_and_none_twice() {
    let mut spec = plain();
    let value = |v: &str| Some(Arc::from(v));
    spec.selector = registrar_core::cluster::SpiffeIdSelector {
        cluster: value("c"),
        agent_node_uid: value("u"),
        pod_label: [("a".into(), "b".into())].into(),
        pod_name: value("p"),
        pod_uid: value("pu"),
        namespace: value("apps"),
        service_account: value("s"),
        container_name: value("cn"),
        container_image: value("ci"),
        node_name: value("n"),
        arbitrary: vec!["pod-owner:x:y".into(), "ns:apps".into(), "".into()],
    };
    let (entry, _) = registered(decide_spiffe_id(
        &policy(),
        &resource(spec),
        &Bundles::default(),
    ));
    let selectors: Vec<String> = entry.selectors.iter().map(|s| s.to_string()).collect();
    assert_eq!(
        selectors,
        [
            "k8s_psat:cluster:c",
            "k8s_psat:agent_node_uid:u",
            "k8s:pod-label:a:b",
            "k8s:pod-name:p",
            "k8s:pod-uid:pu",
            "k8s:ns:apps",
            "k8s:sa:s",
            "k8s:container-name:cn",
            "k8s:container-image:ci",
            "k8s:node-name:n",
            "k8s:pod-owner:x:y",
        ]
    );
}

#[test]
fn what_cannot_be_an_entry_is_named() {
    let with = |change: &dyn Fn(&mut SpiffeIdSpec)| {
        let mut spec = plain();
        change(&mut spec);
        problem(spec)
    };
    assert_eq!(with(&|s| s.spiffe_id = "blog".into()), "OtherTrustDomain");
    assert_eq!(
        with(&|s| s.parent_id = "spiffe://example.org/a//b".into()),
        "IllegalId"
    );
    assert_eq!(
        with(&|s| s.spiffe_id = "spiffe://example.orgevil/blog".into()),
        "OtherTrustDomain",
        "by parsing, not by prefix"
    );
    assert_eq!(with(&|s| s.selector = Default::default()), "EmptySelector");
}

/// Whoever asks for the same tuple asks for the same entry: it is that of the entry which the SpiffeID gets.
#[test]
fn the_tuple_that_a_spiffe_id_asks_for_is_that_of_its_entry_and_none_if_it_can_have_none() {
    let wish = resource(plain());
    let (entry, _) = registered(decide_spiffe_id(&policy(), &wish, &Bundles::default()));
    assert_eq!(tuple_of(&policy(), &wish), Some(Tuple::wanted(&entry)));
    let elsewhere = SpiffeIdSpec {
        spiffe_id: "spiffe://elsewhere.org/blog".into(),
        ..plain()
    };
    assert_eq!(tuple_of(&policy(), &resource(elsewhere)), None);
}

#[test]
fn a_bad_name_or_trust_domain_is_left_out_and_the_entry_made() {
    let mut spec = plain();
    spec.dns_names = ["b.example", "*.a.example", "bad name", "b.example", "a.*"]
        .map(Arc::from)
        .to_vec();
    spec.federates_with = ["other.test", "UPPER", "example.org"]
        .map(Arc::from)
        .to_vec();
    let (entry, notes) = registered(decide_spiffe_id(
        &policy(),
        &resource(spec),
        &Bundles::default(),
    ));
    let names: Vec<&str> = entry.dns_names.iter().map(|n| n.as_str()).collect();
    assert_eq!(names, ["b.example", "*.a.example"]);
    let domains: Vec<&str> = entry.federates_with.iter().map(|td| td.as_str()).collect();
    assert_eq!(domains, ["other.test"]);
    assert_eq!(notes.len(), 4, "{notes:?}");
}

#[test]
fn of_too_many_names_a_hundred_stay_and_of_too_many_bad_ones_a_hundred_are_named() {
    let names = |count: usize, prefix: &str| -> Vec<Arc<str>> {
        (0..count).map(|n| format!("{prefix}{n}").into()).collect()
    };
    let dropped = |dns_names: Vec<Arc<str>>| {
        let spec = SpiffeIdSpec {
            dns_names,
            ..plain()
        };
        let decision = decide_spiffe_id(&policy(), &resource(spec), &Bundles::default());
        let (entry, notes) = registered(decision);
        (entry.dns_names.len(), notes)
    };
    assert_eq!(dropped(names(100, "n")), (100, vec![]));
    let too_many = Note::Name(DroppedName::TooMany(3));
    assert_eq!(
        dropped([names(103, "n"), names(5, "n")].concat()),
        (100, vec![too_many])
    );
    let (made, notes) = dropped(names(150, "-"));
    assert_eq!((made, notes.len()), (0, 100));
}

#[test]
fn the_spiffe_id_of_a_pod_asks_for_the_entry_of_the_pod() {
    let selectors = [
        "pod-uid:u",
        "ns:apps",
        "node-name:n1",
        "pod-name:db",
        "sa:blog",
        "container-name:x",
    ];
    let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("legal");
    let selectors = Selectors::new(selectors.map(|s| Selector::new("k8s", s)));
    let entry = Entry::new(id("/blog"), id("/nodes/demo"), selectors);
    let spec = spec_of(&entry);
    let selector = &spec.selector;
    let some = |text: &str| Some(Arc::from(text));
    assert_eq!(
        (&selector.pod_uid, &selector.namespace),
        (&some("u"), &some("apps"))
    );
    assert_eq!(
        (&selector.node_name, &selector.pod_name),
        (&some("n1"), &some("db"))
    );
    assert_eq!(selector.service_account, some("blog"));
    assert_eq!(
        selector.arbitrary.iter().map(|a| &**a).collect::<Vec<_>>(),
        ["container-name:x"]
    );
    let decision = decide_spiffe_id(&policy(), &resource(spec), &Bundles::default());
    let (asked, _) = registered(decision);
    assert!(asked.selectors.same_set(&entry.selectors), "{asked:#?}");
    assert_eq!(
        (&asked.spiffe_id, &asked.parent_id),
        (&entry.spiffe_id, &entry.parent_id)
    );
}
