//! Several pods of one name: those that are about to be at once, and the next one, reviewed by another replica.

use super::*;

/// Found by a fuzzer: the first of them was granted when the others had their entry, which was not what it asks for.
#[test]
fn a_review_that_too_many_of_its_name_push_out_fails_and_is_not_granted_with_the_others() {
    let mut b =
        Bench::ready(|policy| policy.pods.identity = IdentitySource::Annotation("id".into()));
    let asking = |n: usize, id: &str| {
        let mut pod = pod("web", &format!("u-{n}"));
        pod.annotations.insert("id".into(), id.into());
        Review::Created(pod)
    };
    let first = b.review(asking(0, "alone"));
    let others: Vec<_> = (1..=8).map(|n| b.review(asking(n, "together"))).collect();
    b.settle();
    assert_eq!(
        b.failed(first),
        "more than 8 pods of this name are about to be"
    );
    assert!(others.iter().all(|id| b.answers[id].is_ok()));
}

/// A leader whose watch is behind sees a former pod, and finds what another replica wrote for the next one of its name.
fn succeeded() -> (Bench, RegisteredEntry) {
    let mut b =
        Bench::ready(|policy| policy.pods.identity = IdentitySource::Annotation("id".into()));
    b.seen(named("u-1", "former"));
    b.settle();
    b.made.clear();
    let mut entry = b
        .server
        .entries()
        .find(|e| e.spiffe_id.path() == "/former")
        .cloned()
        .expect("made");
    entry.spiffe_id = b.entry(&named("u-2", "next")).spiffe_id.clone();
    b.server.put(entry.clone());
    b.wait(600);
    b.settle();
    (b, entry)
}

fn named(uid: &str, id: &str) -> PodSnapshot {
    let mut pod = pod("web", uid);
    pod.annotations.insert("id".into(), id.into());
    pod
}

fn there(pod: PodSnapshot) -> LookUp {
    LookUp::There(pod.uid.clone(), Some(Box::new(pod)))
}

/// What is looked up, once, turns out to be this.
fn found(b: &mut Bench, found: LookUp) {
    let asked = std::mem::take(&mut b.look_ups);
    assert_eq!(asked.len(), 1, "{found:?}: {asked:?}");
    b.step(vec![Event::LookedUp(asked[0].clone(), found)]);
    b.settle();
}

fn wrote(b: &Bench) -> bool {
    b.made.iter().any(SpireCall::is_write)
}

#[test]
fn what_another_replica_wrote_for_the_next_pod_of_a_name_is_not_taken_back_by_a_leader_whose_watch_is_behind()
 {
    for answer in [
        there(named("u-1", "next")),
        LookUp::There(Uid::new("u-2"), None),
        there(named("u-2", "next")),
        LookUp::Absent,
        LookUp::Failed("connection refused".into()),
    ] {
        let (mut b, entry) = succeeded();
        for _ in 0..3 {
            found(&mut b, answer.clone());
            assert!(!wrote(&b), "{answer:?}: {:?}", b.made);
            b.wait(2);
            assert_eq!(b.look_ups, [], "not again so soon");
            b.wait(10);
            b.settle();
        }
        b.gone("web", "u-1");
        b.seen(named("u-2", "next"));
        b.look_ups.clear();
        b.settle();
        assert!(!wrote(&b), "{answer:?}: {:?}", b.made);
        assert!(b.server.entries().any(|e| *e == entry));
    }
}

#[test]
fn what_someone_changed_is_put_right_once_the_pod_is_proven_to_live() {
    let (mut b, entry) = succeeded();
    found(&mut b, there(named("u-1", "former")));
    let now = b.server.get(&entry.id).expect("there");
    assert_eq!(now.spiffe_id.path(), "/former");
}

#[test]
fn what_a_leader_before_wrote_for_the_same_pod_is_not_taken_back_and_what_the_watch_shows_then_counts_at_once()
 {
    let (mut b, _) = succeeded();
    // Its annotation changed, which the watch is yet to show.
    found(&mut b, there(named("u-1", "later")));
    assert!(!wrote(&b), "{:?}", b.made);
    b.seen(named("u-1", "later"));
    b.settle();
    let paths: Vec<_> = b
        .server
        .entries()
        .map(|e| e.spiffe_id.path().to_owned())
        .collect();
    assert!(paths.contains(&"/later".to_owned()), "{paths:?}");
    assert_eq!(b.look_ups, []);
}

#[test]
fn a_pod_that_cannot_be_read_is_told_by_its_uid() {
    let (mut b, entry) = succeeded();
    found(&mut b, LookUp::There(Uid::new("u-1"), None));
    assert_eq!(
        b.server.get(&entry.id).expect("there").spiffe_id.path(),
        "/former"
    );
}

/// It was granted, and then another webhook refused it, say; the next one of the name was reviewed by another replica.
#[test]
fn a_pod_that_is_expected_and_never_came_takes_nothing_back_from_the_next_one_of_its_name() {
    let mut b =
        Bench::ready(|policy| policy.pods.identity = IdentitySource::Annotation("id".into()));
    let granted = b.review(Review::Created(named("u-1", "former")));
    b.settle();
    assert_eq!(b.answers[&granted], Ok(()));
    let made = b.server.entries().find(|e| e.spiffe_id.path() == "/former");
    let mut entry = made.cloned().expect("made");
    entry.spiffe_id = b.entry(&named("u-2", "next")).spiffe_id.clone();
    b.server.put(entry.clone());
    b.made.clear();
    b.step(vec![Event::Leading(false)]);
    b.step(vec![Event::Leading(true)]);
    b.settle();
    for answer in [LookUp::Absent, there(named("u-2", "next"))] {
        found(&mut b, answer.clone());
        assert!(!wrote(&b), "{answer:?}: {:?}", b.made);
        b.wait(6);
        b.settle();
    }
    // Had it come, it would be told by its UID.
    let mut came = named("u-1", "former");
    came.node_name = Some("node-1".into());
    found(&mut b, there(came));
    assert_eq!(
        b.server.get(&entry.id).expect("there").spiffe_id.path(),
        "/former"
    );
}
