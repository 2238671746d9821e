//! What a policy asks to be watched and kept, and where its limits are.

use std::collections::BTreeSet;

use registrar_core::{
    cluster::Kind,
    policy::{
        DnsPolicy, FEDERATES_WITH, IdentitySource, MaxDeletes, NamespaceRules, NodePolicy,
        ParentForm, Policy, ReservedPaths,
    },
    rules::{Template, template::Context},
    sync::Reconciler,
};

fn reconcile() -> Policy {
    Policy::reconcile("example.org", "demo", "registrar").expect("legal names")
}

fn crd() -> Policy {
    Policy::crd("example.org", "demo", "spire").expect("legal names")
}

fn all_names() -> DnsPolicy {
    DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    }
}

fn templates(services: bool) -> DnsPolicy {
    DnsPolicy::Templates {
        templates: [].into(),
        services,
    }
}

#[test]
fn only_the_kinds_that_the_rules_read_are_watched() {
    use Kind::{EndpointSlice, Node, Pod, SpiffeId};
    type Change = fn(&mut Policy);
    let unwatched: Change = |p| p.pods.watched = false;
    let under_agents: Change = |p| {
        p.nodes = NodePolicy::None;
        p.pods.parent = ParentForm::Agent;
    };
    let by_hand: Change = |p| {
        p.spiffe_ids.as_mut().expect("crd mode").pod_controller = false;
    };
    let by_hand_with_services: Change = |p| {
        p.spiffe_ids.as_mut().expect("crd mode").pod_controller = false;
        p.pods.dns = templates(true);
    };
    let webhook = || Policy::webhook("example.org", "demo").expect("legal names");
    let unchanged: Change = |_| {};
    for (mut policy, change, kinds) in [
        (reconcile(), unchanged, vec![Pod, Node]),
        (reconcile(), |p| p.nodes = NodePolicy::None, vec![Pod]),
        (reconcile(), under_agents, vec![Pod, Node]),
        (
            reconcile(),
            |p| p.pods.dns = all_names(),
            vec![Pod, Node, EndpointSlice],
        ),
        (
            reconcile(),
            |p| p.pods.dns = templates(false),
            vec![Pod, Node],
        ),
        (
            reconcile(),
            |p| p.pods.dns = templates(true),
            vec![Pod, Node, EndpointSlice],
        ),
        (webhook(), unchanged, vec![Pod]),
        (webhook(), unwatched, vec![]),
        (crd(), unchanged, vec![SpiffeId, Pod, Node]),
        (crd(), by_hand, vec![SpiffeId]),
        (crd(), by_hand_with_services, vec![SpiffeId, EndpointSlice]),
    ] {
        change(&mut policy);
        assert_eq!(Reconciler::kinds(&policy), kinds, "{policy:#?}");
    }
}

#[test]
fn only_the_metadata_that_the_rules_read_is_kept() {
    let template = Template::parse("t", "{{.Pod.Name}}", &Context::default()).expect("parses");
    let by_template = IdentitySource::Template {
        template,
        label: Some("labelled".into()),
    };
    for (identity, labels, annotations) in [
        (IdentitySource::ServiceAccount, vec![], vec![FEDERATES_WITH]),
        (
            IdentitySource::Label("id".into()),
            vec!["id"],
            vec![FEDERATES_WITH],
        ),
        (
            IdentitySource::Annotation("id".into()),
            vec![],
            vec!["id", FEDERATES_WITH],
        ),
        (by_template, vec!["labelled"], vec![FEDERATES_WITH]),
    ] {
        let mut policy = reconcile();
        policy.pods.identity = identity;
        let wanted = policy.wanted_metadata();
        let words = |keys: Vec<&str>| keys.into_iter().map(Into::into).collect::<BTreeSet<_>>();
        assert_eq!(
            (wanted.labels, wanted.annotations),
            (words(labels), words(annotations))
        );
    }
    for (mut policy, dns, addresses, endpoint_uids) in [
        (reconcile(), DnsPolicy::None, false, false),
        (reconcile(), all_names(), true, false),
        (crd(), DnsPolicy::None, false, false),
        (crd(), templates(false), false, false),
        (crd(), templates(true), true, true),
    ] {
        policy.pods.dns = dns;
        let wanted = policy.wanted_metadata();
        assert_eq!(
            (wanted.addresses, wanted.endpoint_uids),
            (addresses, endpoint_uids)
        );
    }
}

#[test]
fn the_breaker_lets_a_share_through_but_at_least_ten_and_a_hundred_per_cent_is_no_limit() {
    for (limit, owned, expected) in [
        (MaxDeletes::Percent(30), 0, 10),
        (MaxDeletes::Percent(30), 36, 10),
        (MaxDeletes::Percent(30), 37, 11),
        (MaxDeletes::Percent(30), 1000, 300),
        (MaxDeletes::Percent(99), 1000, 990),
        (MaxDeletes::Percent(0), 1000, 10),
        (MaxDeletes::Percent(100), 1000, usize::MAX),
        (MaxDeletes::Percent(101), 0, usize::MAX),
        (MaxDeletes::Count(0), 1000, 0),
        (MaxDeletes::Count(3), 1000, 3),
    ] {
        assert_eq!(limit.limit(owned), expected, "{limit:?} of {owned}");
    }
}

#[test]
fn namespace_rules_are_the_same_when_their_words_are() {
    let rules = |words: &[&str]| NamespaceRules::parse(words.iter().copied()).expect("legal");
    assert_eq!(rules(&["a", "re:b.*"]), rules(&["re:b.*", "a"]));
    assert_ne!(rules(&["a", "re:b.*"]), rules(&["a", "re:c.*"]));
    assert_ne!(rules(&["a", "re:b.*"]), rules(&["d", "re:b.*"]));
    assert_ne!(rules(&["re:b.*"]), rules(&[]));
}

#[test]
fn a_reserved_path_is_told_by_its_rule() {
    let mut reserved = ReservedPaths::new("registrar");
    reserved.reserve("/admin").expect("a path");
    reserved.reserve("/vault/*").expect("a path");
    for word in ["", "/", "/*", "admin", "/a b", "/a//b", "/a/", "/a/../*"] {
        assert!(reserved.reserve(word).is_err(), "{word:?}");
    }
    for (path, rule) in [
        ("/spire", Some("/spire")),
        ("/spire/server", Some("/spire")),
        ("/k8s-workload-registrar/x", Some("/k8s-workload-registrar")),
        ("/registrar", Some("/registrar")),
        ("/registrars", None),
        ("/admin", Some("/admin")),
        ("/admin/x", None),
        ("/vault", None),
        ("/vault/x", Some("/vault/*")),
        ("/vaults", None),
    ] {
        assert_eq!(reserved.find(path).as_deref(), rule, "{path}");
    }
    let first: Vec<&str> = reserved.first_segments().collect();
    assert_eq!(first, ["k8s-workload-registrar", "registrar", "spire"]);
    assert_eq!(reserved.exact().collect::<Vec<_>>(), ["/admin"]);
    assert_eq!(reserved.below().collect::<Vec<_>>(), ["/vault"]);
}
