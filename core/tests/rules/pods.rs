//! Pods and nodes: the ID, the parent and the selectors.

use registrar_core::{
    cluster::{NodeSnapshot, PodSnapshot, Uid},
    policy::{FEDERATES_WITH, NamespaceRules, ParentForm, PodSelector},
    rules::{Bundles, Decision, PodLookups, SkipReason, decide_node, decide_pod},
    spiffe::TrustDomain,
};

use crate::{KEY, bundles, by_annotation, by_label, decide, entry, pod, policy, saying, selectors};

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

/// A label cannot hold most of them; a rule does not rely on that.
#[test]
fn values_that_look_like_ids_of_other_trust_domains_are_paths_of_ours_or_held() {
    for (value, expected) in [
        ("spiffe://other.test/x", None),
        ("//other.test/x", None),
        ("../../other.test/x", None),
        ("other.test:443", None),
        ("@other.test", None),
        ("other.test?x", None),
        ("other.test#x", None),
        ("other.test\\x", None),
        ("other.test", Some("/other.test")),
        ("example.test", Some("/example.test")),
    ] {
        for policy in [by_label(), by_annotation()] {
            let found = match decide(&policy, &saying(value)) {
                Decision::Register { entries, .. } => Some(entries[0].spiffe_id.clone()),
                Decision::Invalid(_) => None,
                other => panic!("{value:?}: {other:?}"),
            };
            let found = found.map(|id| id.to_string());
            let expected = expected.map(|path| format!("spiffe://example.test{path}"));
            assert_eq!(found, expected, "{value:?}");
        }
    }
}
