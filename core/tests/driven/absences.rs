//! Pods that nobody sees: how long their entries stay, what a look-up makes of them, and of reviews that wait for one.

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::{IdentitySource, PodSelector, Policy},
    rules::{Bundles, Decision, PodLookups, decide_pod},
    sync::{Event, Fact, LookUp, Review, ReviewId},
};

use crate::sleeper::{Sleeper, pod, seconds};

fn policy() -> Policy {
    Policy::webhook("example.org", "demo").expect("legal names")
}

fn review(n: u64, review: Review) -> Event {
    Event::Reviewed {
        id: ReviewId(n),
        review,
        patience: seconds(9),
    }
}

/// The entry that a pod gets, under this ID, as the server made it then.
fn entry(n: usize, created_at: i64) -> RegisteredEntry {
    let bundles = Bundles::default();
    let lookups = PodLookups {
        node: None,
        slices: &[],
        bundles: &bundles,
    };
    let Decision::Register { entries, .. } = decide_pod(&policy(), &pod(n), lookups) else {
        panic!("a pod like others");
    };
    let id = EntryId::stored(&format!("of-before-{n}"));
    let mut entry = RegisteredEntry::created(id, &entries[0]);
    entry.created_at = created_at;
    entry
}

/// A process whose time zero is the 950th second of the wall clock's, and that begins to read in its 50th.
#[test]
fn what_a_start_finds_of_pods_that_nobody_sees_goes_by_its_age() {
    // When each was made, and in which second of the process it goes: a minute and a second after it was made. What was
    // made before time zero is of a former process, and goes five seconds after it was read at the latest.
    let cases = [
        (900, 50),
        (940, 51),
        (944, 55),
        (946, 55),
        (950, 61),
        (951, 62),
        (990, 101),
        (999, 110),
        (0, 110),
    ];
    let mut sleeper = Sleeper::new(policy());
    for (n, (created_at, _)) in cases.iter().enumerate() {
        sleeper.server.put(entry(n, *created_at));
    }
    sleeper.tell(vec![Event::UnixTime(1000)]);
    sleeper.start(0);
    for second in 50..120 {
        sleeper.sleep(seconds(second) - sleeper.now);
        for (n, (created_at, goes)) in cases.iter().enumerate() {
            assert_eq!(
                sleeper.registered(n),
                second < *goes,
                "made at {created_at}, in second {second}"
            );
        }
    }
}

#[test]
fn what_appears_later_is_new_however_old_it_says_it_is() {
    let mut sleeper = Sleeper::new(policy());
    sleeper.tell(vec![Event::UnixTime(1000)]);
    sleeper.start(0);
    sleeper.sleep(seconds(10));
    sleeper.server.put(entry(1, 900));
    // It is read with the next comparison.
    sleeper.pages = 0;
    while sleeper.pages == 0 {
        sleeper.sleep(seconds(1));
    }
    sleeper.sleep(seconds(55));
    assert!(sleeper.registered(1));
    sleeper.sleep(seconds(10));
    assert!(!sleeper.registered(1));
}

/// A pod was admitted, and the watch never showed it.
fn admitted(policy: Policy) -> Sleeper {
    let mut sleeper = Sleeper::started(policy, 0);
    sleeper.sleep(seconds(5));
    sleeper.tell(vec![review(1, Review::Created(pod(7)))]);
    assert_eq!(sleeper.answers.get(&ReviewId(1)), Some(&Ok(())));
    assert!(sleeper.registered(7));
    sleeper
}

#[test]
fn a_pod_that_a_look_up_finds_keeps_its_entry_and_is_looked_up_again_a_minute_later() {
    let by_name = policy();
    let mut by_uid = by_name.clone();
    by_uid.pods.selectors = [PodSelector::PodUid].into();
    for policy in [by_name, by_uid] {
        let mut sleeper = admitted(policy);
        sleeper.looked_up = LookUp::There(Uid::new("uid-7"), None);
        sleeper.sleep(seconds(59));
        assert_eq!(sleeper.look_ups, 0);
        sleeper.sleep(seconds(5 * 60));
        assert!(sleeper.registered(7));
        assert!((4..=6).contains(&sleeper.look_ups), "{}", sleeper.look_ups);
        sleeper.looked_up = LookUp::Absent;
        sleeper.sleep(seconds(61));
        assert!(!sleeper.registered(7));
    }
}

#[test]
fn another_pod_of_its_name_does_not_keep_the_entry_of_a_uid() {
    let mut policy = policy();
    policy.pods.selectors = [PodSelector::PodUid].into();
    let mut sleeper = admitted(policy);
    sleeper.looked_up = LookUp::There(Uid::new("another"), None);
    sleeper.sleep(seconds(62));
    assert!(!sleeper.registered(7));
    assert_eq!(sleeper.look_ups, 1);
}

#[test]
fn a_pod_that_cannot_be_looked_up_keeps_its_entry_and_is_looked_up_every_five_seconds() {
    let mut sleeper = admitted(policy());
    sleeper.looked_up = LookUp::Failed("forbidden".into());
    sleeper.sleep(seconds(60));
    let before = sleeper.look_ups;
    sleeper.sleep(seconds(50));
    let look_ups = sleeper.look_ups - before;
    assert!((9..=11).contains(&look_ups), "{look_ups}");
    assert!(sleeper.registered(7));
    sleeper.looked_up = LookUp::Absent;
    sleeper.sleep(seconds(6));
    assert!(!sleeper.registered(7));
}

fn named(uid: &str, id: &str) -> PodSnapshot {
    let mut pod = pod(7);
    pod.uid = Uid::new(uid);
    pod.annotations.insert("id".into(), id.into());
    pod
}

fn by_annotation() -> Policy {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn has(sleeper: &Sleeper, id: &str) -> bool {
    let mut entries = sleeper.server.entries();
    entries.any(|e| e.spiffe_id.path().ends_with(id))
}

/// A pod lives, and another one of its name, which asks for something else, is reviewed: what became of the review, and whether
/// the new one has its entry as soon as the former is gone.
fn reviewed(found: LookUp) -> (Result<(), String>, bool, bool) {
    let mut sleeper = Sleeper::started(by_annotation(), 0);
    sleeper.tell(vec![Event::Applied(Object::Pod(named("former", "a")))]);
    assert!(has(&sleeper, "/a"));
    sleeper.looked_up = found;
    sleeper.tell(vec![review(1, Review::Created(named("new", "b")))]);
    assert_eq!(sleeper.look_ups, 1);
    let at_once = has(&sleeper, "/b");
    sleeper.sleep(seconds(20));
    let answer = sleeper.answers[&ReviewId(1)].clone();
    let key = ObjectKey::new(Kind::Pod, "apps", "pod-7");
    sleeper.tell(vec![Event::Deleted(key, Uid::new("former"))]);
    let after = has(&sleeper, "/b");
    (answer.map_err(|why| why.to_string()), at_once, after)
}

#[test]
fn a_review_of_a_name_that_another_pod_has_is_answered_by_what_a_look_up_finds() {
    // The former is gone, which the watch has yet to show.
    assert_eq!(reviewed(LookUp::Absent), (Ok(()), true, true));
    // The new one is there already.
    let new = LookUp::There(Uid::new("new"), None);
    assert_eq!(reviewed(new), (Ok(()), false, true));
    // It cannot succeed: the name is taken.
    let former = LookUp::There(Uid::new("former"), None);
    assert_eq!(reviewed(former), (Ok(()), false, false));
    let (answer, at_once, after) = reviewed(LookUp::Failed("forbidden".into()));
    let why = answer.expect_err("nobody knows");
    assert!(
        why.contains("pod-7 cannot be looked up: forbidden"),
        "{why}"
    );
    assert_eq!((at_once, after), (false, false));
}

#[test]
fn a_search_for_what_a_deleted_pod_left_is_made_again_when_the_server_is_back() {
    let mut policy = policy();
    policy.pods.watched = false;
    let mut sleeper = Sleeper::new(policy);
    sleeper.server.put(entry(7, 900));
    sleeper.start(0);
    sleeper.sleep(seconds(5));
    sleeper.away = true;
    sleeper.tell(vec![review(1, Review::Deleted(pod(7)))]);
    assert_eq!(sleeper.answers.get(&ReviewId(1)), None);
    sleeper.away = false;
    sleeper.sleep(seconds(1));
    assert_eq!(sleeper.answers.get(&ReviewId(1)), Some(&Ok(())));
    assert!(!sleeper.registered(7));
}

/// Creates of one name come together; at most one of them succeeds, and only the watch tells which.
#[test]
fn of_two_pods_of_one_name_that_were_admitted_both_have_their_entries_until_one_is_seen() {
    let created = |sleeper: &Sleeper| {
        let created = |f: &&Fact| matches!(f, Fact::Created { .. });
        sleeper.facts.iter().filter(created).count()
    };
    let mut sleeper = Sleeper::started(by_annotation(), 0);
    sleeper.sleep(seconds(5));
    sleeper.facts.clear();
    sleeper.tell(vec![review(1, Review::Created(named("first", "a")))]);
    sleeper.tell(vec![review(2, Review::Created(named("second", "b")))]);
    assert!(has(&sleeper, "/a") && has(&sleeper, "/b"));
    // A third one asks for what the first one does.
    sleeper.tell(vec![review(3, Review::Created(named("third", "a")))]);
    assert_eq!(sleeper.answers.len(), 3);
    assert!(sleeper.answers.values().all(Result::is_ok));
    assert_eq!(created(&sleeper), 2, "{:#?}", sleeper.facts);
    sleeper.tell(vec![Event::Applied(Object::Pod(named("first", "a")))]);
    sleeper.sleep(seconds(5));
    assert!(has(&sleeper, "/a") && !has(&sleeper, "/b"));
}

#[test]
fn a_pod_whose_review_failed_is_not_expected() {
    let mut sleeper = Sleeper::started(policy(), 0);
    sleeper.sleep(seconds(5));
    sleeper.away = true;
    sleeper.tell(vec![review(1, Review::Created(pod(7)))]);
    sleeper.sleep(seconds(9));
    assert!(sleeper.answers[&ReviewId(1)].is_err());
    sleeper.away = false;
    sleeper.sleep(seconds(20));
    assert!(!sleeper.registered(7));
}

#[test]
fn the_entry_of_a_pod_that_is_seen_to_be_finished_goes_without_a_look_up() {
    let mut policy = policy();
    policy.pods.release_finished = true;
    let mut sleeper = Sleeper::started(policy, 1);
    sleeper.sleep(seconds(5));
    assert!(sleeper.registered(0));
    let finished = PodSnapshot {
        finished: true,
        ..pod(0)
    };
    sleeper.tell(vec![Event::Applied(Object::Pod(finished))]);
    assert!(!sleeper.registered(0));
    assert_eq!(sleeper.look_ups, 0);
}

/// It was expected until it was seen; that it was is not forgotten when it goes.
#[test]
fn a_pod_that_was_seen_after_its_review_is_not_expected_any_more() {
    let mut policy = policy();
    policy.pods.release_finished = true;
    let mut sleeper = admitted(policy);
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    let finished = PodSnapshot {
        finished: true,
        ..pod(7)
    };
    sleeper.tell(vec![Event::Applied(Object::Pod(finished))]);
    assert!(!sleeper.registered(7));
    let key = ObjectKey::new(Kind::Pod, "apps", "pod-7");
    sleeper.tell(vec![Event::Deleted(key, Uid::new("uid-7"))]);
    for _ in 0..70 {
        assert!(!sleeper.registered(7));
        sleeper.sleep(seconds(1));
    }
}

/// The look-up is newer than a watch that lags.
#[test]
fn a_pod_that_a_look_up_found_gone_does_not_come_back_by_what_the_watch_tells_late() {
    let mut sleeper = Sleeper::started(by_annotation(), 0);
    sleeper.tell(vec![Event::Applied(Object::Pod(named("former", "a")))]);
    sleeper.looked_up = LookUp::Absent;
    sleeper.tell(vec![review(1, Review::Created(named("new", "b")))]);
    assert!(has(&sleeper, "/b"));
    sleeper.tell(vec![Event::Applied(Object::Pod(named("former", "c")))]);
    sleeper.sleep(seconds(5));
    assert!(has(&sleeper, "/b") && !has(&sleeper, "/c"));
}

/// What is one too many goes as soon as everything is known, not when the pod is seen, and not before.
#[test]
fn what_a_review_found_too_many_goes_when_all_is_listed() {
    let mut sleeper = Sleeper::new(policy());
    let right = entry(7, 0);
    let mut other = right.clone();
    other.id = EntryId::stored("one-too-many");
    other.spiffe_id =
        registrar_core::spiffe::SpiffeId::parse("spiffe://example.org/other").expect("an ID");
    sleeper.server.put(right.clone());
    sleeper.server.put(other.clone());
    sleeper.tell(vec![Event::Leading(true), Event::Answering]);
    sleeper.tell(vec![review(1, Review::Created(pod(7)))]);
    assert_eq!(sleeper.answers.get(&ReviewId(1)), Some(&Ok(())));
    assert!(sleeper.server.get(&other.id).is_some(), "not all is listed");
    sleeper.list_all(0);
    sleeper.sleep(seconds(1));
    assert!(sleeper.server.get(&other.id).is_none());
    assert!(sleeper.server.get(&right.id).is_some());
}
