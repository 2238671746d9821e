//! The names of Services on SpiffeIDs that people wrote.

use std::sync::Arc;

use registrar_core::{
    cluster::{
        Controller, EndpointSnapshot, EndpointsSnapshot, Kind, Object, ObjectKey, POD_UID_LABEL,
        SpiffeIdSelector, SpiffeIdSpec, Uid,
    },
    policy::{DnsPolicy, NamespaceRules, Policy},
    ports::{Failure, FailureClass, KubeCall, ResourceName, SpireCall},
    sync::{Event, Fact},
};

use crate::sleeper::{Sleeper, crd, seconds};

fn policy() -> Policy {
    let mut policy = crd();
    policy.pods.dns = DnsPolicy::Templates {
        templates: [].into(),
        services: true,
    };
    policy
}

fn theirs() -> ResourceName {
    ResourceName::new("apps", "theirs")
}

/// Two pods, and a SpiffeID of a person about the second.
fn with_theirs(policy: Policy) -> Sleeper {
    beside_theirs(Sleeper::new(policy), vec!["theirs.test".into()])
}

/// What the person asks for.
fn spec(dns_names: Vec<Arc<str>>) -> SpiffeIdSpec {
    SpiffeIdSpec {
        parent_id: "spiffe://example.org/nodes".into(),
        spiffe_id: "spiffe://example.org/theirs".into(),
        selector: SpiffeIdSelector {
            namespace: Some("apps".into()),
            ..Default::default()
        },
        dns_names,
        ..Default::default()
    }
}

/// As [`with_theirs`], on this cluster, and with these names in the SpiffeID.
fn beside_theirs(mut sleeper: Sleeper, dns_names: Vec<Arc<str>>) -> Sleeper {
    sleeper.api.put(&theirs(), spec(dns_names));
    about(&mut sleeper, Some("uid-1"));
    sleeper.start(2);
    sleeper.list(Kind::EndpointSlice, []);
    let shown = sleeper.api.list();
    sleeper.tell(shown);
    sleeper.sleep(seconds(60));
    sleeper
}

/// The label says that theirs is about this pod.
fn about(sleeper: &mut Sleeper, uid: Option<&str>) {
    let object = sleeper.api.objects.get_mut(&theirs()).expect("there");
    object.labels.remove(POD_UID_LABEL);
    if let Some(uid) = uid {
        object.labels.insert(POD_UID_LABEL.into(), uid.into());
    }
    let version: u64 = object.resource_version.parse().expect("a number");
    object.resource_version = (version + 1000).to_string().into();
}

fn endpoint(uid: &str, ready: bool) -> EndpointSnapshot {
    EndpointSnapshot {
        address: "10.0.0.1".into(),
        hostname: None,
        pod_name: "whichever".into(),
        pod_namespace: "apps".into(),
        pod_uid: Some(Uid::new(uid)),
        ready,
    }
}

fn slice(namespace: &str, service: &str, endpoints: Vec<EndpointSnapshot>) -> EndpointsSnapshot {
    EndpointsSnapshot {
        namespace: namespace.into(),
        name: "slice-1".into(),
        service: Some(service.into()),
        endpoints: endpoints.into(),
    }
}

fn apply(sleeper: &mut Sleeper, slice: EndpointsSnapshot) {
    sleeper.tell(vec![Event::Applied(Object::EndpointSlice(slice))]);
    sleeper.sleep(seconds(10));
}

/// The names on their object, and those of its entry.
fn names(sleeper: &Sleeper) -> Vec<String> {
    let spec = sleeper.api.objects[&theirs()].spec.as_ref();
    let names: Vec<String> = spec
        .expect("readable")
        .dns_names
        .iter()
        .map(|n| n.to_string())
        .collect();
    let entry = sleeper
        .server
        .entries()
        .find(|e| e.spiffe_id.path() == "/theirs")
        .expect("it is there");
    let given: Vec<&str> = entry.dns_names.iter().map(|n| n.as_str()).collect();
    assert_eq!(given, names, "its entry has the names of the object");
    names
}

fn applied(sleeper: &Sleeper) -> usize {
    let named = |c: &&KubeCall| matches!(c, KubeCall::ApplyNames { .. });
    sleeper.kube_writes.iter().filter(named).count()
}

#[test]
fn a_name_comes_when_the_pod_is_ready_and_stays_until_it_has_left_the_service() {
    let mut sleeper = with_theirs(policy());
    assert_eq!(names(&sleeper), ["theirs.test"]);
    let of = |ready| slice("apps", "web", vec![endpoint("uid-1", ready)]);
    apply(&mut sleeper, of(false));
    assert_eq!(
        (names(&sleeper), applied(&sleeper)),
        (vec!["theirs.test".into()], 0)
    );
    apply(&mut sleeper, of(true));
    assert_eq!(names(&sleeper), ["theirs.test", "web.apps.svc"]);
    apply(&mut sleeper, of(false));
    assert_eq!(names(&sleeper), ["theirs.test", "web.apps.svc"]);
    assert_eq!(applied(&sleeper), 1, "what is right is not written again");
    apply(&mut sleeper, slice("apps", "web", Vec::new()));
    assert_eq!(names(&sleeper), ["theirs.test"]);
    assert_eq!(applied(&sleeper), 2);
}

#[test]
fn the_name_goes_with_the_slice_and_follows_its_service() {
    let mut sleeper = with_theirs(policy());
    let of = |service| slice("apps", service, vec![endpoint("uid-1", true)]);
    apply(&mut sleeper, of("web"));
    apply(&mut sleeper, of("shop"));
    assert_eq!(names(&sleeper), ["theirs.test", "shop.apps.svc"]);
    let key = ObjectKey::new(Kind::EndpointSlice, "apps", "slice-1");
    sleeper.tell(vec![Event::Deleted(key, Uid::new(""))]);
    sleeper.list(Kind::EndpointSlice, []);
    sleeper.sleep(seconds(10));
    assert_eq!(names(&sleeper), ["theirs.test"]);
}

#[test]
fn two_slices_of_a_pod_name_it_and_one_of_them_alone_does_still() {
    let mut sleeper = with_theirs(policy());
    let second = |endpoints| EndpointsSnapshot {
        name: "slice-2".into(),
        ..slice("apps", "shop", endpoints)
    };
    apply(
        &mut sleeper,
        slice("apps", "web", vec![endpoint("uid-1", true)]),
    );
    apply(&mut sleeper, second(vec![endpoint("uid-1", true)]));
    assert_eq!(
        names(&sleeper),
        ["theirs.test", "web.apps.svc", "shop.apps.svc"]
    );
    apply(&mut sleeper, second(Vec::new()));
    assert_eq!(names(&sleeper), ["theirs.test", "web.apps.svc"]);
}

#[test]
fn only_slices_of_its_own_namespace_and_endpoints_of_its_own_pod_count() {
    let mut sleeper = with_theirs(policy());
    let mut elsewhere = endpoint("uid-1", true);
    elsewhere.pod_namespace = "others".into();
    let mut without_uid = endpoint("uid-1", true);
    without_uid.pod_uid = None;
    let mut of_no_service = slice("apps", "web", vec![endpoint("uid-1", true)]);
    of_no_service.service = None;
    for slice in [
        slice("others", "web", vec![endpoint("uid-1", true)]),
        slice("apps", "web", vec![elsewhere]),
        slice("apps", "web", vec![without_uid, endpoint("uid-0", true)]),
        of_no_service,
    ] {
        apply(&mut sleeper, slice);
    }
    assert_eq!(
        (names(&sleeper), applied(&sleeper)),
        (vec!["theirs.test".into()], 0)
    );
}

#[test]
fn the_names_go_with_the_label_that_says_whose_they_are() {
    let mut sleeper = with_theirs(policy());
    let both = vec![endpoint("uid-1", true), endpoint("uid-0", false)];
    apply(&mut sleeper, slice("apps", "web", both));
    assert_eq!(names(&sleeper), ["theirs.test", "web.apps.svc"]);
    about(&mut sleeper, None);
    let shown = sleeper.api.list();
    sleeper.tell(shown);
    sleeper.sleep(seconds(10));
    assert_eq!(names(&sleeper), ["theirs.test"]);
}

#[test]
fn nothing_is_named_where_nothing_may_be() {
    let mut disabled = policy();
    disabled.disabled_namespaces = NamespaceRules::parse(["apps"]).expect("a name");
    let mut unasked = policy();
    unasked.pods.dns = DnsPolicy::None;
    for policy in [disabled, unasked] {
        let mut sleeper = with_theirs(policy);
        apply(
            &mut sleeper,
            slice("apps", "web", vec![endpoint("uid-1", true)]),
        );
        assert_eq!(
            (names(&sleeper), applied(&sleeper)),
            (vec!["theirs.test".into()], 0)
        );
    }
}

#[test]
fn a_list_that_is_one_value_to_the_api_is_left_to_its_author() {
    let mut sleeper = Sleeper::new(policy());
    let mut old = sleeper.api.definition.clone().expect("installed");
    old.schema.sets = false;
    sleeper.api.definition = Some(old);
    let mut sleeper = beside_theirs(sleeper, Vec::new());
    apply(
        &mut sleeper,
        slice("apps", "web", vec![endpoint("uid-1", true)]),
    );
    assert_eq!((names(&sleeper).len(), applied(&sleeper)), (0, 0));
}

#[test]
fn names_that_the_api_will_not_have_do_not_keep_the_entry_from_being_right() {
    let mut sleeper = with_theirs(policy());
    sleeper.kube_failure = Some(Failure::new(FailureClass::Permanent, "denied by a webhook"));
    apply(
        &mut sleeper,
        slice("apps", "web", vec![endpoint("uid-1", true)]),
    );
    let object = sleeper.api.objects.get_mut(&theirs()).expect("there");
    let spec = object.spec.as_mut().expect("readable");
    Arc::make_mut(spec).dns_names = vec!["new.test".into()];
    object.resource_version = "5000".into();
    let shown = sleeper.api.list();
    sleeper.tell(shown);
    sleeper.sleep(seconds(30));
    assert_eq!(names(&sleeper), ["new.test"]);
    sleeper.kube_failure = None;
    sleeper.sleep(seconds(400));
    assert_eq!(names(&sleeper), ["new.test", "web.apps.svc"]);
}

#[test]
fn an_owner_of_another_kind_or_another_name_does_not_make_it_the_pods_own() {
    for (kind, name) in [("Deployment", "theirs"), ("Pod", "pod-1")] {
        let mut sleeper = with_theirs(policy());
        let object = sleeper.api.objects.get_mut(&theirs()).expect("there");
        object.controller = Some(Controller {
            kind: kind.into(),
            name: name.into(),
            uid: Uid::new("uid-1"),
        });
        object.resource_version = "5000".into();
        let shown = sleeper.api.list();
        sleeper.tell(shown);
        apply(
            &mut sleeper,
            slice("apps", "web", vec![endpoint("uid-1", true)]),
        );
        assert_eq!(names(&sleeper), ["theirs.test", "web.apps.svc"], "{kind}");
    }
}

#[test]
fn an_entry_is_made_with_the_names_of_services_at_once() {
    let mut sleeper = Sleeper::started(policy(), 2);
    sleeper.list(Kind::EndpointSlice, []);
    let slice = slice("apps", "web", vec![endpoint("uid-1", true)]);
    apply(&mut sleeper, slice);
    sleeper.api.put(&theirs(), spec(vec!["theirs.test".into()]));
    about(&mut sleeper, Some("uid-1"));
    sleeper.show_all();
    sleeper.sleep(seconds(10));
    assert_eq!(names(&sleeper), ["theirs.test", "web.apps.svc"]);
    let updates = |c: &&SpireCall| matches!(c, SpireCall::Update { .. });
    assert_eq!(sleeper.spire_writes.iter().find(updates), None);
    assert_eq!(refusals(&mut sleeper), 0);
}

fn refusals(sleeper: &mut Sleeper) -> usize {
    let refused = |f: &Fact| {
        matches!(f, Fact::WriteRefused { failure, .. }
            if failure.message.contains("keeps other DNS names"))
    };
    sleeper.facts.drain(..).filter(refused).count()
}

#[test]
fn names_of_services_that_another_webhook_takes_away_are_told_and_written_ever_more_seldom() {
    let mut sleeper = with_theirs(policy());
    sleeper.spoil = |call, object| {
        if let (KubeCall::ApplyNames { .. }, Ok(spec)) = (call, &mut object.spec) {
            Arc::make_mut(spec).dns_names = vec!["theirs.test".into()];
        }
    };
    sleeper.facts.clear();
    apply(
        &mut sleeper,
        slice("apps", "web", vec![endpoint("uid-1", true)]),
    );
    sleeper.sleep(seconds(120));
    let told = refusals(&mut sleeper);
    assert!((2..20).contains(&told), "{told} times");
}
