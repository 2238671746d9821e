//! What SpiffeIDs may ask for, by table, with the original's texts.

use std::sync::Arc;

use registrar_core::{
    admission::{permitted, review_spiffe_id},
    cluster::{SpiffeIdSelector, SpiffeIdSpec},
    policy::Policy,
};

const NODE: &str = "spiffe://example.org/k8s-workload-registrar/demo/node/n1";

fn policy() -> Policy {
    let mut policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    policy.reserved.reserve("/admin").expect("a path");
    policy.reserved.reserve("/ops/*").expect("a path");
    let ids = policy.spiffe_ids.as_mut().expect("crd mode");
    ids.downstream_namespaces.insert("subordinate".into());
    policy
}

fn some(value: &str) -> Option<Arc<str>> {
    Some(value.into())
}

/// A SpiffeID that a tenant of namespace `apps` may write.
fn plain() -> SpiffeIdSpec {
    SpiffeIdSpec {
        parent_id: "spiffe://example.org/nodes/demo".into(),
        spiffe_id: "spiffe://example.org/blog".into(),
        selector: SpiffeIdSelector {
            namespace: some("apps"),
            service_account: some("blog"),
            ..SpiffeIdSelector::default()
        },
        ..SpiffeIdSpec::default()
    }
}

fn with(change: impl FnOnce(&mut SpiffeIdSpec)) -> SpiffeIdSpec {
    let mut spec = plain();
    change(&mut spec);
    spec
}

fn verdict(namespace: &str, spec: &SpiffeIdSpec) -> String {
    match review_spiffe_id(&policy(), namespace, spec) {
        Ok(_) => "allowed".into(),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn the_originals_checks_are_made_in_its_order_and_with_its_texts() {
    let parent = "spec.parentId must begin with spiffe://example.org";
    let id = "spec.spiffeId must begin with spiffe://example.org";
    let agents = "spec.Selector.Cluster and spec.Selector.AgentNodeUid can only be used by the k8s-workload-registrar";
    let namespace = "spec.Selector.Namespace must match namespace of resource";
    for (spec, expected) in [
        (plain(), "allowed"),
        (
            with(|s| s.parent_id = "spiffe://other.test/x".into()),
            parent,
        ),
        (
            with(|s| s.parent_id = "spiffe://example.orgevil/x".into()),
            parent,
        ),
        (
            with(|s| s.parent_id = "spiffe://example.org.evil/x".into()),
            parent,
        ),
        (
            with(|s| s.parent_id = "spiffe://example.org:80/x".into()),
            parent,
        ),
        (
            with(|s| s.parent_id = "SPIFFE://example.org/x".into()),
            parent,
        ),
        (with(|s| s.parent_id = "".into()), parent),
        (with(|s| s.parent_id = "x".into()), parent),
        (
            with(|s| (s.parent_id, s.spiffe_id) = ("x".into(), "y".into())),
            parent,
        ),
        (
            with(|s| s.spiffe_id = "spiffe://example.orgevil/x".into()),
            id,
        ),
        (
            with(|s| s.spiffe_id = "spiffe://example.org/a//b".into()),
            "malformed CRD SPIFFE ID: path cannot contain empty segments",
        ),
        (
            with(|s| s.parent_id = "spiffe://example.org/../x".into()),
            "malformed CRD parent ID: path cannot contain dot segments",
        ),
        (
            with(|s| s.spiffe_id = "spiffe://example.org".into()),
            "malformed CRD SPIFFE ID: path is empty",
        ),
        (
            with(|s| s.spiffe_id = "spiffe://example.org/".into()),
            "malformed CRD SPIFFE ID: path cannot have a trailing slash",
        ),
        (with(|s| s.selector.cluster = some("demo")), agents),
        (with(|s| s.selector.agent_node_uid = some("u")), agents),
        (with(|s| s.selector.namespace = some("other")), namespace),
        (with(|s| s.selector.namespace = None), namespace),
        (
            with(|s| s.dns_names = vec!["ok.example".into(), "-a".into()]),
            "invalid DNS name \"-a\": label \"-a\" begins or ends with a hyphen",
        ),
        (with(|s| s.dns_names = vec!["*.example".into()]), "allowed"),
        (
            with(|s| (s.dns_names, s.selector.namespace) = (vec!["-a".into()], None)),
            namespace,
        ),
    ] {
        assert_eq!(verdict("apps", &spec), expected, "{spec:?}");
    }
}

#[test]
fn an_empty_selector_selects_nothing() {
    let spec = with(|s| s.selector = SpiffeIdSelector::default());
    for namespace in ["apps", "spire"] {
        assert!(verdict(namespace, &spec).starts_with("spec.selector is empty"));
    }
}

#[test]
fn in_the_registrars_namespace_agents_may_be_selected_and_other_namespaces_still_not() {
    let mut agents = with(|s| s.parent_id = "spiffe://example.org/spire/server".into());
    agents.selector = SpiffeIdSelector {
        cluster: some("demo"),
        ..SpiffeIdSelector::default()
    };
    assert_eq!(verdict("spire", &agents), "allowed");
    assert!(verdict("spire", &plain()).starts_with("spec.Selector.Namespace"));
    let own = with(|s| {
        s.parent_id = NODE.into();
        s.selector.namespace = some("spire");
    });
    assert_eq!(verdict("spire", &own), "allowed", "a parent under the root");
}

#[test]
fn reserved_paths_are_nobodys() {
    for path in [
        "/spire",
        "/spire/server",
        "/spire/agent/k8s_psat/demo/u",
        "/k8s-workload-registrar/demo/node/n1",
        "/k8s-workload-registrar/demo/webhook",
        "/k8s-workload-registrar/other/node",
        "/admin",
        "/ops/x",
    ] {
        let id = format!("spiffe://example.org{path}");
        let tenant = with(|s| s.spiffe_id = id.as_str().into());
        let own = with(|s| {
            s.spiffe_id = id.as_str().into();
            s.selector.namespace = some("spire");
        });
        for (namespace, spec) in [("apps", tenant), ("spire", own)] {
            let verdict = verdict(namespace, &spec);
            assert!(
                verdict.starts_with("spec.spiffeId must not be reserved"),
                "{path}: {verdict}"
            );
        }
    }
}

#[test]
fn a_tenants_parent_is_none_of_ours_and_no_agent() {
    for path in [
        "/spire/server",
        "/spire/agent/k8s_psat/demo/u",
        "/k8s-workload-registrar/demo/node",
        "/k8s-workload-registrar/demo/node/n1",
        "/k8s-workload-registrar/demo/node/n1/x",
        "/admin",
    ] {
        let spec = with(|s| s.parent_id = format!("spiffe://example.org{path}").into());
        let verdict = verdict("apps", &spec);
        assert!(
            verdict.starts_with("spec.parentId must not be reserved"),
            "{path}: {verdict}"
        );
    }
}

/// What the registrar makes of pods and nodes, and what only looks like it.
#[test]
fn what_we_write_ourselves_is_permitted_by_its_form() {
    let of_pod = with(|s| {
        s.parent_id = NODE.into();
        s.selector = SpiffeIdSelector {
            pod_uid: some("p"),
            namespace: some("apps"),
            node_name: some("n1"),
            ..SpiffeIdSelector::default()
        };
    });
    let of_mirror_pod = with(|s| {
        s.parent_id = NODE.into();
        s.selector = SpiffeIdSelector {
            pod_name: some("etcd-n1"),
            namespace: some("apps"),
            ..SpiffeIdSelector::default()
        };
    });
    let of_node = with(|s| {
        s.parent_id = "spiffe://example.org/spire/server".into();
        s.spiffe_id = NODE.into();
        s.selector = SpiffeIdSelector {
            cluster: some("demo"),
            agent_node_uid: some("u"),
            ..SpiffeIdSelector::default()
        };
    });
    for (namespace, spec) in [
        ("apps", &of_pod),
        ("apps", &of_mirror_pod),
        ("spire", &of_node),
    ] {
        assert_eq!(
            permitted(&policy(), namespace, spec).map(drop),
            Ok(()),
            "{spec:?}"
        );
    }
    let changed = |spec: &SpiffeIdSpec, change: &dyn Fn(&mut SpiffeIdSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        spec
    };
    // What a person adds only narrows it down.
    for spec in [
        changed(&of_pod, &|s| s.selector.container_name = some("c")),
        changed(&of_mirror_pod, &|s| {
            s.selector.arbitrary = vec!["x:y".into()]
        }),
    ] {
        assert_eq!(
            permitted(&policy(), "apps", &spec).map(drop),
            Ok(()),
            "{spec:?}"
        );
    }
    for (namespace, spec) in [
        (
            "apps",
            changed(&of_pod, &|s| s.selector.node_name = some("n2")),
        ),
        ("apps", changed(&of_pod, &|s| s.selector.pod_uid = None)),
        (
            "apps",
            changed(&of_pod, &|s| s.selector.namespace = some("other")),
        ),
        (
            "apps",
            changed(&of_pod, &|s| s.parent_id = format!("{NODE}/x").into()),
        ),
        ("apps", changed(&of_pod, &|s| s.spiffe_id = NODE.into())),
        ("apps", of_node.clone()),
        (
            "spire",
            changed(&of_node, &|s| s.selector.cluster = some("other")),
        ),
        (
            "spire",
            changed(&of_node, &|s| s.selector.agent_node_uid = None),
        ),
        ("spire", changed(&of_node, &|s| s.parent_id = NODE.into())),
        (
            "spire",
            changed(&of_node, &|s| s.spiffe_id = format!("{NODE}/x").into()),
        ),
    ] {
        assert!(
            permitted(&policy(), namespace, &spec).is_err(),
            "{namespace}: {spec:?}"
        );
    }
}

#[test]
fn downstream_is_for_named_namespaces() {
    for (namespace, expected) in [
        (
            "apps",
            "spec.downstream can only be used in the namespaces of downstream_namespaces",
        ),
        ("subordinate", "allowed"),
        ("spire", "allowed"),
    ] {
        let spec = with(|s| {
            s.downstream = true;
            s.selector.namespace = some(namespace);
        });
        assert_eq!(verdict(namespace, &spec), expected, "{namespace}");
    }
}
