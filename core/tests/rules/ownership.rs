//! Which stored entries are ours.

use registrar_core::{
    cluster::Uid,
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    rules::{Foreign, Ownership, Subject, classify},
    spiffe::{SpiffeId, TrustDomain},
};

use crate::policy;

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
