//! Whoever drives the machine sleeps until it says, and nothing is late or forgotten for that; nor does it wake for nothing.

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, Uid},
    policy::{FEDERATES_WITH, MaxDeletes, Policy},
    spiffe::TrustDomain,
    sync::{Event, Fact, NotReady, Review, ReviewId},
};

use crate::sleeper::{Sleeper, crd, pod, reconcile, seconds};

#[test]
fn at_rest_it_wakes_for_its_comparisons_and_finds_what_is_missing() {
    let mut sleeper = Sleeper::started(reconcile(), 3);
    sleeper.sleep(seconds(60));
    sleeper.steps = 0;
    sleeper.sleep(seconds(3600));
    assert!(
        (12..60).contains(&sleeper.steps),
        "{} steps an hour",
        sleeper.steps
    );
    let all: Vec<_> = sleeper.server.entries().map(|e| e.id.clone()).collect();
    assert_eq!(all.len(), 4);
    for id in &all {
        sleeper.server.remove(id);
    }
    sleeper.sleep(seconds(301));
    assert_eq!(sleeper.server.entries().count(), 4);
}

#[test]
fn an_item_that_is_refused_is_tried_again() {
    let mut sleeper = Sleeper::started(reconcile(), 2);
    sleeper.refused = Some("pod-name:pod-7");
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(120));
    assert!(!sleeper.registered(7));
    sleeper.refused = None;
    sleeper.sleep(seconds(120));
    assert!(sleeper.registered(7));
}

#[test]
fn a_server_that_comes_back_is_found_soon_and_not_stormed_before() {
    let mut sleeper = Sleeper::started(reconcile(), 2);
    sleeper.away = true;
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.steps = 0;
    sleeper.sleep(seconds(600));
    assert!(
        (50..1000).contains(&sleeper.steps),
        "{} steps",
        sleeper.steps
    );
    assert_eq!(sleeper.machine.not_ready(), [NotReady::ServerAway]);
    sleeper.away = false;
    sleeper.sleep(seconds(7));
    assert!(sleeper.registered(7));
    assert_eq!(sleeper.machine.not_ready(), []);
}

#[test]
fn a_server_that_comes_back_is_found_soon_though_nothing_is_wanted_of_it() {
    for denied in [false, true] {
        let mut sleeper = Sleeper::started(reconcile(), 2);
        sleeper.sleep(seconds(10));
        sleeper.away = true;
        sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
        assert_eq!(sleeper.machine.not_ready(), [NotReady::ServerAway]);
        // Another replica leads: what failed is its business.
        sleeper.tell(vec![Event::Leading(false)]);
        sleeper.bundles_denied = denied;
        sleeper.steps = 0;
        sleeper.sleep(seconds(60));
        assert!((10..100).contains(&sleeper.steps), "{}", sleeper.steps);
        sleeper.away = false;
        sleeper.sleep(seconds(7));
        assert_eq!(sleeper.machine.not_ready(), []);
        sleeper.steps = 0;
        sleeper.sleep(seconds(60));
        assert!(sleeper.steps < 10, "{} steps a minute", sleeper.steps);
    }
}

#[test]
fn deletes_that_were_held_back_go_when_their_minute_has_passed() {
    let mut policy = reconcile();
    policy.max_deletes = MaxDeletes::Count(3);
    let mut sleeper = Sleeper::started(policy, 6);
    sleeper.sleep(seconds(10));
    let left = |from: usize| (from..6).map(|n| Object::Pod(pod(n)));
    sleeper.list(Kind::Pod, left(3));
    sleeper.sleep(seconds(10));
    sleeper.list(Kind::Pod, left(5));
    sleeper.sleep(seconds(10));
    assert_eq!(
        sleeper.server.entries().count(),
        1 + 3,
        "the breaker tripped"
    );
    sleeper.steps = 0;
    sleeper.sleep(seconds(61));
    assert!(sleeper.steps < 20, "{} steps a minute", sleeper.steps);
    assert_eq!(sleeper.server.entries().count(), 1 + 1);
    let closed = Fact::BreakerClosed { confirmed: false };
    assert!(sleeper.facts.contains(&closed), "{:?}", sleeper.facts);
}

/// The bundle of `later.test` arrives; the one entry that asks for it has it soon.
fn finds_the_bundle(sleeper: &mut Sleeper) {
    sleeper.sleep(seconds(60));
    let td = TrustDomain::new("later.test").expect("a name");
    sleeper.server.bundles.insert(td.clone());
    sleeper.sleep(seconds(3));
    let entries = sleeper.server.entries();
    let with = entries.filter(|e| e.federates_with.contains(&td)).count();
    assert_eq!(with, 1);
}

#[test]
fn a_bundle_that_arrives_is_found() {
    let mut sleeper = Sleeper::started(reconcile(), 1);
    let mut federated = pod(7);
    federated
        .annotations
        .insert(FEDERATES_WITH.into(), "later.test".into());
    sleeper.tell(vec![Event::Applied(Object::Pod(federated))]);
    finds_the_bundle(&mut sleeper);
}

#[test]
fn a_bundle_that_a_node_asks_for_is_found_when_it_arrives() {
    let mut sleeper = Sleeper::started(reconcile(), 1);
    let annotations = [(FEDERATES_WITH.into(), "later.test".into())].into();
    let node = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("node-uid"),
        annotations,
    };
    sleeper.tell(vec![Event::Applied(Object::Node(node))]);
    finds_the_bundle(&mut sleeper);
}

#[test]
fn only_a_bundle_that_was_not_there_before_is_told_as_new() {
    let td = |name| TrustDomain::new(name).expect("a name");
    let mut sleeper = Sleeper::new(reconcile());
    sleeper.server.bundles.insert(td("first.test"));
    sleeper.start(0);
    let mut federated = pod(7);
    let both = "first.test,later.test".into();
    federated.annotations.insert(FEDERATES_WITH.into(), both);
    sleeper.tell(vec![Event::Applied(Object::Pod(federated))]);
    sleeper.sleep(seconds(60));
    sleeper.server.bundles.insert(td("later.test"));
    sleeper.sleep(seconds(60));
    let arrived = |f: &Fact| match f {
        Fact::BundleArrived(td) => Some(td.clone()),
        _ => None,
    };
    let told: Vec<TrustDomain> = sleeper.facts.iter().filter_map(arrived).collect();
    assert_eq!(told, [td("later.test")]);
}

fn webhook(pods: usize) -> Sleeper {
    let policy = Policy::webhook("example.org", "demo").expect("legal names");
    let mut sleeper = Sleeper::started(policy, pods);
    sleeper.sleep(seconds(10));
    assert_eq!(sleeper.machine.not_ready(), []);
    sleeper
}

fn review(n: u64, review: Review) -> Event {
    Event::Reviewed {
        id: ReviewId(n),
        review,
        patience: seconds(9),
    }
}

#[test]
fn a_review_fails_when_its_patience_ends_though_nothing_else_happens() {
    let mut sleeper = webhook(0);
    sleeper.away = true;
    sleeper.tell(vec![review(1, Review::Created(pod(1)))]);
    assert!(sleeper.answers.is_empty(), "a short absence goes unnoticed");
    sleeper.sleep(seconds(9));
    assert!(matches!(sleeper.answers.get(&ReviewId(1)), Some(Err(_))));
}

#[test]
fn the_entry_of_a_pod_that_never_came_to_be_goes_after_its_minute() {
    let mut sleeper = webhook(0);
    sleeper.tell(vec![review(1, Review::Created(pod(1)))]);
    assert_eq!(sleeper.answers.get(&ReviewId(1)), Some(&Ok(())));
    sleeper.sleep(seconds(55));
    assert!(sleeper.registered(1), "within its minute");
    sleeper.sleep(seconds(30));
    assert!(!sleeper.registered(1));
}

#[test]
fn in_crd_mode_it_sleeps_as_well_and_a_definition_that_comes_is_found() {
    let policy = crd();
    let mut sleeper = Sleeper::new(policy);
    sleeper.api.uninstall();
    sleeper.start(2);
    sleeper.sleep(seconds(60));
    sleeper.api.install();
    sleeper.show_all();
    sleeper.sleep(seconds(120));
    assert!(
        sleeper.registered(0) && sleeper.registered(1),
        "{:#?}",
        sleeper.facts
    );
    assert_eq!(sleeper.machine.not_ready(), []);
    sleeper.steps = 0;
    sleeper.sleep(seconds(3600));
    assert!(sleeper.steps < 1000, "{} steps an hour", sleeper.steps);
}
