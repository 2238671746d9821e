//! The rules, by table: what a pod or a node gets, and why another gets nothing.

use std::{collections::BTreeSet, sync::Arc};

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, NodeSnapshot, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{
        DnsPolicy, FEDERATES_WITH, IdentitySource, NamespaceRules, ParentForm, PodSelector, Policy,
    },
    rules::{
        Bundles, Decision, Foreign, Ownership, PodLookups, SkipReason, Subject, WhyDropped,
        classify, decide_node, decide_pod, federation,
    },
    spiffe::{SpiffeError, SpiffeId, TrustDomain},
};

const KEY: &str = "spiffe.io/spiffe-id";

fn policy() -> Policy {
    Policy::reconcile("example.test", "CLUSTER", "foo").expect("legal names")
}

fn by_annotation() -> Policy {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation(KEY.into());
    policy
}

fn by_label() -> Policy {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Label(KEY.into());
    policy
}

fn pod() -> PodSnapshot {
    PodSnapshot {
        namespace: "bar".into(),
        name: "foo".into(),
        uid: Uid::new("uid-1"),
        node_name: Some("baz".into()),
        service_account: Some("sa1".into()),
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn saying(value: &str) -> PodSnapshot {
    let mut pod = pod();
    pod.labels.insert(KEY.into(), value.into());
    pod.annotations.insert(KEY.into(), value.into());
    pod
}

fn bundles(known: &[&str]) -> Bundles {
    Bundles {
        known: Some(
            known
                .iter()
                .map(|td| TrustDomain::new(td).expect("legal"))
                .collect(),
        ),
        ..Bundles::default()
    }
}

fn decide_with(policy: &Policy, pod: &PodSnapshot, slices: &[EndpointsSnapshot]) -> Decision {
    let slices: Vec<&EndpointsSnapshot> = slices.iter().collect();
    let node = NodeSnapshot {
        name: "baz".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    };
    let lookups = PodLookups {
        node: Some(&node),
        slices: &slices,
        bundles: &bundles(&["example.io", "example.net"]),
    };
    decide_pod(policy, pod, lookups)
}

fn decide(policy: &Policy, pod: &PodSnapshot) -> Decision {
    decide_with(policy, pod, &[])
}

fn entry(decision: Decision) -> Arc<Entry> {
    match decision {
        Decision::Register { entries, .. } if entries.len() == 1 => entries[0].clone(),
        other => panic!("one entry, not {other:?}"),
    }
}

fn selectors(entry: &Entry) -> Vec<String> {
    entry.selectors.iter().map(|s| s.to_string()).collect()
}

#[test]
fn a_pod_gets_the_entry_of_its_service_account() {
    let entry = entry(decide(&policy(), &pod()));
    assert_eq!(
        entry.spiffe_id.to_string(),
        "spiffe://example.test/ns/bar/sa/sa1"
    );
    assert_eq!(
        entry.parent_id.to_string(),
        "spiffe://example.test/foo/CLUSTER/node/baz"
    );
    assert_eq!(selectors(&entry), ["k8s:ns:bar", "k8s:pod-name:foo"]);
    assert!(entry.dns_names.is_empty() && entry.federates_with.is_empty());
    assert_eq!((entry.x509_svid_ttl, entry.jwt_svid_ttl), (None, None));
    assert_eq!((entry.hint.clone(), entry.downstream), (None, None));
}

#[test]
fn a_value_becomes_a_path_or_is_held_with_its_reason() {
    for (value, expected) in [
        ("label1", Ok("/label1")),
        ("ENV/WORKLOAD", Ok("/ENV/WORKLOAD")),
        ("/ENV/WORKLOAD", Ok("/ENV/WORKLOAD")),
        ("spired", Ok("/spired")),
        ("ns/other/sa/other", Ok("/ns/other/sa/other")),
        ("", Err("IllegalPath")),
        ("/", Err("IllegalPath")),
        ("//a", Err("IllegalPath")),
        ("a//b", Err("IllegalPath")),
        ("a/", Err("IllegalPath")),
        ("..", Err("IllegalPath")),
        ("a/../b", Err("IllegalPath")),
        (".", Err("IllegalPath")),
        ("a b", Err("IllegalPath")),
        ("a%2Fb", Err("IllegalPath")),
        ("ä", Err("IllegalPath")),
        ("a\nb", Err("IllegalPath")),
        (&"x".repeat(256), Err("IllegalPath")),
        ("spire", Err("ReservedPath")),
        ("spire/server", Err("ReservedPath")),
        ("spire/agent/k8s_psat/CLUSTER/x", Err("ReservedPath")),
        ("k8s-workload-registrar/other/node/x", Err("ReservedPath")),
        ("foo", Err("ReservedPath")),
        ("foo/other/node/baz", Err("ReservedPath")),
        ("/foo/CLUSTER/node/baz", Err("ReservedPath")),
    ] {
        let found = match decide(&by_annotation(), &saying(value)) {
            Decision::Register { entries, .. } => Ok(entries[0].spiffe_id.path().to_owned()),
            Decision::Invalid(problem) => Err(problem.word()),
            other => panic!("{value:?}: {other:?}"),
        };
        assert_eq!(found, expected.map(str::to_owned), "{value:?}");
    }
}

#[test]
fn a_problem_names_where_the_value_is_what_it_is_and_what_is_wrong_with_it() {
    let Decision::Invalid(problem) = decide(&by_annotation(), &saying("a b\u{1b}[31m")) else {
        panic!("held");
    };
    let text = problem.to_string();
    for part in ["annotation", KEY, "path segment characters", "a b"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(
        !text.contains('\u{1b}'),
        "what a tenant writes never reaches a terminal raw: {text:?}"
    );
    let Decision::Invalid(problem) = decide(&by_annotation(), &saying(&"y".repeat(100_000))) else {
        panic!("held");
    };
    assert!(
        problem.to_string().len() < 1_000,
        "a long value is shortened"
    );
}

#[test]
fn reserved_paths_are_nobodys_and_their_neighbours_are_free() {
    let mut policy = by_annotation();
    policy.reserved.reserve("/admin").expect("a path");
    policy.reserved.reserve("/vault/*").expect("a path");
    for (value, free) in [
        ("admin", false),
        ("admin/x", true),
        ("admins", true),
        ("vault", true),
        ("vault/x", false),
        ("vault/x/y", false),
        ("vaults/x", true),
    ] {
        let registered = matches!(decide(&policy, &saying(value)), Decision::Register { .. });
        assert_eq!(registered, free, "{value}");
    }
}

#[test]
fn a_pod_is_skipped_for_a_stated_reason() {
    let unbound = PodSnapshot {
        node_name: None,
        ..pod()
    };
    let mirror = PodSnapshot {
        mirror: true,
        service_account: None,
        ..pod()
    };
    let finished = PodSnapshot {
        finished: true,
        ..saying("x")
    };
    let mut disabled = policy();
    disabled.disabled_namespaces = NamespaceRules::parse(["re:b.*"]).expect("a pattern");
    let mut releasing = by_label();
    releasing.pods.release_finished = true;
    for (policy, pod, reason) in [
        (by_label(), pod(), SkipReason::NoLabel),
        (by_annotation(), pod(), SkipReason::NoAnnotation),
        (policy(), unbound, SkipReason::NotScheduled),
        (policy(), mirror, SkipReason::MirrorWithoutServiceAccount),
        (disabled, pod(), SkipReason::NamespaceDisabled),
        (releasing, finished, SkipReason::Finished),
    ] {
        assert_eq!(decide(&policy, &pod), Decision::Skip(reason));
    }
}

#[test]
fn a_disabled_namespace_is_matched_as_a_whole() {
    let rules = NamespaceRules::parse(["kube-system", "re:team-[0-9]+"]).expect("legal");
    for (namespace, disabled) in [
        ("kube-system", true),
        ("kube-system2", false),
        ("team-7", true),
        ("team-7x", false),
        ("my-team-7", false),
    ] {
        assert_eq!(rules.contains(namespace), disabled, "{namespace}");
    }
    assert!(NamespaceRules::parse(["re:("]).is_err());
}

#[test]
fn terminating_and_finished_pods_keep_their_identity() {
    let terminating = PodSnapshot {
        terminating: true,
        ..pod()
    };
    let finished = PodSnapshot {
        finished: true,
        ..pod()
    };
    let expected = decide(&policy(), &pod());
    assert_eq!(decide(&policy(), &terminating), expected);
    assert_eq!(decide(&policy(), &finished), expected);
}

#[test]
fn a_mirror_pod_is_always_selected_by_name() {
    let mut policy = by_annotation();
    policy.pods.selectors = [PodSelector::PodUid].into();
    assert_eq!(
        selectors(&entry(decide(&policy, &saying("x")))),
        ["k8s:pod-uid:uid-1"]
    );
    let mirror = PodSnapshot {
        mirror: true,
        service_account: None,
        ..saying("x")
    };
    assert_eq!(
        selectors(&entry(decide(&policy, &mirror))),
        ["k8s:ns:bar", "k8s:pod-name:foo"]
    );
}

#[test]
fn the_parent_is_the_nodes_alias_or_its_agent() {
    let mut agent = policy();
    agent.pods.parent = ParentForm::Agent;
    assert_eq!(
        entry(decide(&agent, &pod())).parent_id.path(),
        "/spire/agent/k8s_psat/CLUSTER/node-uid"
    );
    let lookups = PodLookups {
        node: None,
        slices: &[],
        bundles: &Bundles::default(),
    };
    let Decision::Invalid(problem) = decide_pod(&agent, &pod(), lookups) else {
        panic!("the agent of an unknown node cannot be told");
    };
    assert_eq!(problem.word(), "UnknownNode");
    assert!(matches!(
        decide_pod(&policy(), &pod(), lookups),
        Decision::Register { .. }
    ));
}

#[test]
fn a_node_gets_an_alias_by_name_with_the_selectors_in_order() {
    let mut node = NodeSnapshot {
        name: "n.example".into(),
        uid: Uid::new("u"),
        annotations: Default::default(),
    };
    node.annotations
        .insert(FEDERATES_WITH.into(), "example.io, nowhere.test".into());
    let decision = decide_node(&policy(), &node, &bundles(&["example.io"]));
    let entry = entry(decision);
    assert_eq!(entry.spiffe_id.path(), "/foo/CLUSTER/node/n.example");
    assert_eq!(entry.parent_id.path(), "/spire/server");
    assert_eq!(
        selectors(&entry),
        [
            "k8s_psat:agent_node_name:n.example",
            "k8s_psat:cluster:CLUSTER"
        ]
    );
    let with: Vec<&str> = entry
        .federates_with
        .iter()
        .map(TrustDomain::as_str)
        .collect();
    assert_eq!(with, ["example.io"]);
}

#[test]
fn federation_takes_what_is_legal_allowed_and_known_and_tells_the_rest() {
    for (annotation, allowed, with, left_out) in [
        ("example.io", None, vec!["example.io"], 0),
        (
            "example.net,example.io",
            None,
            vec!["example.io", "example.net"],
            0,
        ),
        (" example.io , ,example.io,", None, vec!["example.io"], 0),
        ("spiffe://example.io", None, vec!["example.io"], 0),
        ("example.test", None, vec![], 1),
        ("nowhere.test", None, vec![], 1),
        ("EXAMPLE.io,é,a b", None, vec![], 3),
        (
            "example.io,example.net",
            Some("example.net"),
            vec!["example.net"],
            1,
        ),
        ("", None, vec![], 0),
    ] {
        let mut policy = policy();
        policy.federation_allow =
            allowed.map(|td| BTreeSet::from([TrustDomain::new(td).expect("legal")]));
        let mut pod = pod();
        pod.annotations
            .insert(FEDERATES_WITH.into(), annotation.into());
        let Decision::Register { entries, notes } = decide(&policy, &pod) else {
            panic!("the identity is never refused because of federation: {annotation:?}");
        };
        let found: Vec<&str> = entries[0]
            .federates_with
            .iter()
            .map(TrustDomain::as_str)
            .collect();
        assert_eq!(found, with, "{annotation:?}");
        assert_eq!(notes.len(), left_out, "{annotation:?}: {notes:?}");
    }
}

#[test]
fn an_entry_federates_with_at_most_a_hundred_trust_domains_and_names_the_rest() {
    let names: Vec<String> = (0..102).map(|n| format!("td-{n:03}")).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let bundles = bundles(&known);
    // Those that are in already are no more, wherever they are named again.
    let annotation = names.join(",") + ",td-000";
    let found = federation(&policy(), Some(&annotation), &bundles);
    assert_eq!(found.with.len(), 100);
    let dropped: Vec<&str> = found.dropped.iter().map(|d| &*d.written).collect();
    assert_eq!(dropped, ["\"td-100\"", "\"td-101\""]);
    assert!(found.dropped.iter().all(|d| d.why == WhyDropped::TooMany));
}

#[test]
fn of_thousands_of_bad_trust_domains_a_hundred_are_named_each_once() {
    let bad: Vec<String> = (0..1000).map(|n| format!("BAD-{n}")).collect();
    let annotation = format!("BAD-0,{}", bad.join(","));
    let found = federation(&policy(), Some(&annotation), &Bundles::default());
    assert_eq!((found.with.len(), found.dropped.len()), (0, 100));
    assert_eq!(found.dropped[1].written, "\"BAD-1\"");
}

#[test]
fn a_trust_domain_of_more_than_255_bytes_is_none() {
    let (longest, too_long) = ("x".repeat(255), "x".repeat(256));
    let annotation = format!("{longest},{too_long}");
    let found = federation(&policy(), Some(&annotation), &Bundles::default());
    assert_eq!(found.with.len(), 1);
    let why: Vec<_> = found.dropped.iter().map(|d| d.why.clone()).collect();
    assert_eq!(why, [WhyDropped::Illegal(SpiffeError::TooLong(256))]);
}

#[test]
fn a_bundle_that_the_server_refused_is_not_there_and_without_a_list_all_others_may_be_tried() {
    let td = |name: &str| TrustDomain::new(name).expect("legal");
    let mut bundles = bundles(&["example.io"]);
    assert!(bundles.has(&td("example.io")) && !bundles.has(&td("example.net")));
    bundles.missing.insert(td("example.io"));
    assert!(!bundles.has(&td("example.io")));
    bundles.known = None;
    assert!(!bundles.has(&td("example.io")) && bundles.has(&td("example.net")));
}

fn slice(
    service: Option<&str>,
    address: &str,
    hostname: Option<&str>,
    pod: &str,
) -> EndpointsSnapshot {
    EndpointsSnapshot {
        namespace: "bar".into(),
        name: format!("{}-x", service.unwrap_or("none")).into(),
        service: service.map(Arc::from),
        endpoints: Box::new([EndpointSnapshot {
            address: address.into(),
            hostname: hostname.map(Box::from),
            pod_name: pod.into(),
            pod_namespace: "bar".into(),
            pod_uid: None,
            ready: true,
        }]),
    }
}

fn names_of(pod: &PodSnapshot, slices: &[EndpointsSnapshot]) -> Vec<String> {
    let mut policy = policy();
    policy.pods.dns = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let entry = entry(decide_with(&policy, pod, slices));
    entry.dns_names.iter().map(ToString::to_string).collect()
}

fn with_ip(name: &str, ips: &[&str]) -> PodSnapshot {
    PodSnapshot {
        name: name.into(),
        pod_ips: ips.iter().map(|ip| Box::from(*ip)).collect(),
        ..pod()
    }
}

const OWN: [&str; 2] = [
    "123-123-123-124.bar.pod.cluster.local",
    "123-123-123-124.bar.pod",
];

#[test]
fn a_pod_without_services_has_its_own_two_names_and_without_an_address_none() {
    assert_eq!(names_of(&with_ip("foo", &["123.123.123.124"]), &[]), OWN);
    assert!(names_of(&pod(), &[slice(Some("foo-svc"), "1.2.3.4", None, "foo")]).is_empty());
}

#[test]
fn a_service_adds_three_prefixes_in_four_forms_after_the_pods_own_names() {
    let slices = [slice(Some("foo-svc"), "123.123.123.123", None, "foo")];
    let found = names_of(&with_ip("foo", &["123.123.123.124"]), &slices);
    let mut through: Vec<String> = Vec::new();
    for prefix in ["foo-svc", "foo.foo-svc", "123-123-123-123.foo-svc"] {
        for form in [".bar.svc.cluster.local", ".bar.svc", ".bar", ""] {
            through.push(format!("{prefix}{form}"));
        }
    }
    through.sort();
    assert_eq!(found[..2], OWN);
    assert_eq!(found[2..], through);
}

#[test]
fn a_dotted_pod_name_makes_no_names_and_a_dotted_service_name_none_at_all() {
    let dotted = with_ip("foo.3.0.0.woo", &["123.123.123.124"]);
    let slices = [slice(
        Some("foo-svc"),
        "123.123.123.123",
        None,
        "foo.3.0.0.woo",
    )];
    assert_eq!(names_of(&dotted, &slices).len(), 10);
    let pod = with_ip("foo", &["123.123.123.124"]);
    let slices = [
        slice(Some("foo-svc.3.0.0"), "123.123.123.123", None, "foo"),
        slice(None, "123.123.123.123", None, "foo"),
        slice(Some("other"), "123.123.123.123", None, "another-pod"),
    ];
    assert_eq!(names_of(&pod, &slices), OWN);
}

#[test]
fn a_host_name_replaces_the_address_and_the_pods_name() {
    let slices = [slice(Some("db"), "123.123.123.124", Some("db-0"), "foo")];
    let found = names_of(&with_ip("foo", &["123.123.123.124"]), &slices);
    assert_eq!(found.len(), 2 + 8);
    assert!(found.contains(&"db-0.db.bar.svc".to_owned()), "{found:?}");
    assert!(!found.iter().any(|n| n.starts_with("foo.db")), "{found:?}");
}

#[test]
fn a_host_name_that_is_empty_or_dotted_is_none() {
    for hostname in ["", "db.0"] {
        let slices = [slice(Some("db"), "1.2.3.4", Some(hostname), "foo")];
        let found = names_of(&with_ip("foo", &["1.2.3.4"]), &slices);
        assert_eq!(found.len(), 2 + 12, "{hostname:?}: {found:?}");
        assert!(found.contains(&"foo.db.bar.svc".to_owned()), "{found:?}");
        assert!(
            found.contains(&"1-2-3-4.db.bar.svc".to_owned()),
            "{found:?}"
        );
    }
}

#[test]
fn every_address_counts_and_a_name_that_no_server_takes_is_left_out() {
    let found = names_of(&with_ip("foo", &["1.2.3.4", "fd00::5", "::1"]), &[]);
    assert_eq!(
        found,
        [
            "1-2-3-4.bar.pod.cluster.local",
            "1-2-3-4.bar.pod",
            "fd00--5.bar.pod.cluster.local",
            "fd00--5.bar.pod",
        ]
    );
}

fn stored(id: &str, spiffe_id: &str, parent: &str, list: &[&str]) -> RegisteredEntry {
    let id_of = |path: &str| {
        SpiffeId::new(TrustDomain::new("example.test").expect("legal"), path).expect("a path")
    };
    let selectors = Selectors::new(list.iter().map(|s| {
        let (kind, value) = s.split_once(':').expect("type and value");
        Selector::new(kind, value)
    }));
    RegisteredEntry::created(
        EntryId::stored(id),
        &Entry::new(id_of(spiffe_id), id_of(parent), selectors),
    )
}

#[test]
fn ours_are_entries_under_our_root_by_whole_segments_with_a_shape_that_we_make() {
    let policy = policy();
    let ours = format!("{}x", policy.entry_ids.as_str());
    let pod = Subject::Pod("bar".into(), "foo".into());
    let root = "/foo/CLUSTER/node";
    let by_name = &["k8s:ns:bar", "k8s:pod-name:foo"][..];
    for (entry, expected) in [
        (
            stored("x", "/a", "/foo/CLUSTER/node/baz", by_name),
            Ownership::Ours(pod.clone()),
        ),
        (
            stored("x", "/a", root, by_name),
            Ownership::Ours(pod.clone()),
        ),
        (
            stored("x", "/a", "/foo/CLUSTER/node/baz", &["k8s:pod-uid:u"]),
            Ownership::Ours(Subject::PodUid(Uid::new("u"))),
        ),
        (
            stored(&ours, "/a", "/elsewhere", by_name),
            Ownership::Ours(pod),
        ),
        (
            stored("x", "/a", "/foo/CLUSTER/node2/baz", by_name),
            Ownership::Foreign(Foreign::Elsewhere),
        ),
        (
            stored("x", "/a", "/foo/CLUSTER/nodes", by_name),
            Ownership::Foreign(Foreign::Elsewhere),
        ),
        (
            stored("x", "/a", "/foo/other/node/baz", by_name),
            Ownership::Foreign(Foreign::Elsewhere),
        ),
        (
            stored("x", "/a", "/other/CLUSTER/node/baz", by_name),
            Ownership::Foreign(Foreign::Elsewhere),
        ),
        (
            stored(
                "x",
                "/a",
                "/foo/CLUSTER/node/baz",
                &["k8s:container-name:c"],
            ),
            Ownership::Foreign(Foreign::UnderRoot),
        ),
        (
            stored("x", "/a", "/foo/CLUSTER/node/baz", &["k8s:ns:bar"]),
            Ownership::Foreign(Foreign::UnderRoot),
        ),
        (
            stored(
                "x",
                "/a",
                "/foo/CLUSTER/node/baz",
                &["k8s:ns:bar", "k8s:pod-name:foo", "unix:uid:0"],
            ),
            Ownership::Foreign(Foreign::UnderRoot),
        ),
        (
            stored(
                "x",
                "/foo/CLUSTER/node/baz",
                "/spire/server",
                &["k8s_psat:agent_node_name:baz", "k8s_psat:cluster:CLUSTER"],
            ),
            Ownership::Ours(Subject::Node("baz".into())),
        ),
        (
            stored(
                "x",
                "/foo/CLUSTER/node/baz",
                "/spire/server",
                &["k8s_psat:agent_node_name:baz", "k8s_psat:cluster:other"],
            ),
            Ownership::Foreign(Foreign::UnderRoot),
        ),
        (
            stored(
                "x",
                "/somewhere",
                "/spire/server",
                &["k8s_psat:agent_node_name:baz", "k8s_psat:cluster:CLUSTER"],
            ),
            Ownership::Foreign(Foreign::Elsewhere),
        ),
    ] {
        assert_eq!(classify(&policy, &entry), expected, "{entry:#?}");
    }
}
