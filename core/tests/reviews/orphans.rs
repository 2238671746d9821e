//! How long the entry of a pod stays that nobody sees, and what a delete without a watch finds.

use super::*;

#[test]
fn an_orphan_stays_for_a_minute_and_is_looked_up_before_it_goes() {
    let mut b = Bench::ready(|_| {});
    b.create("a", "1");
    b.settle();
    b.seen(pod("a", "1"));
    b.settle();
    b.gone("a", "1");
    b.wait(59);
    b.settle();
    assert!(b.has("a") && b.look_ups.is_empty());
    b.wait(2);
    b.settle();
    let key = b.look_ups.pop().expect("it is looked up");
    // It is there after all: another minute.
    b.step(vec![Event::LookedUp(
        key,
        LookUp::There(Uid::new("2"), None),
    )]);
    b.settle();
    assert!(b.has("a"));
    b.wait(61);
    b.settle();
    let key = b.look_ups.pop().expect("it is looked up");
    b.step(vec![Event::LookedUp(
        key,
        LookUp::Failed("no answer".into()),
    )]);
    b.settle();
    assert!(b.has("a"), "what cannot be looked up stays");
    b.wait(6);
    let key = b.look_ups.pop().expect("it is looked up again");
    b.step(vec![Event::LookedUp(key, LookUp::Absent)]);
    b.settle();
    assert!(!b.has("a"));
}

/// When the process starts, in Unix seconds.
const START: i64 = 1_000_000;

/// The server has an entry for a pod of this name that was made so many seconds before the start.
fn has_of_before(b: &mut Bench, name: &str, age: i64) {
    let entry = b.entry(&pod(name, "x"));
    let mut stored = RegisteredEntry::created(EntryId::stored(name), &entry);
    stored.created_at = START - age;
    b.server.put(stored);
}

/// It leads, and there are no pods.
fn starts(b: &mut Bench) {
    b.step(vec![
        Event::UnixTime(START),
        Event::Leading(true),
        Event::Answering,
    ]);
    b.step(vec![
        Event::RelistBegan(Kind::Pod),
        Event::RelistDone(Kind::Pod),
    ]);
}

#[test]
fn orphans_of_before_the_start_go_within_seconds_and_younger_ones_after_their_minute() {
    let mut b = Bench::new(|_| {});
    for (name, age) in [("old", 100), ("former", 10), ("new", -1)] {
        has_of_before(&mut b, name, age);
    }
    starts(&mut b);
    b.look_up_in_vain();
    assert!(!b.has("old"), "its review is long over");
    assert!(
        b.has("former"),
        "its review was just answered, and the API server may be about to write its pod"
    );
    b.wait(4);
    b.look_up_in_vain();
    assert!(b.has("former"));
    b.wait(2);
    b.look_up_in_vain();
    assert!(!b.has("former"), "its pod did not come");
    assert!(
        b.has("new"),
        "another replica may have granted a review, and still be waited for"
    );
    b.wait(52);
    b.look_up_in_vain();
    assert!(b.has("new"));
    b.wait(3);
    b.look_up_in_vain();
    assert!(!b.has("new"));
}

#[test]
fn a_pod_that_comes_late_after_a_start_has_its_entry_again() {
    let mut b = Bench::new(|_| {});
    has_of_before(&mut b, "late", 2);
    starts(&mut b);
    b.settle();
    b.wait(6);
    b.look_up_in_vain();
    assert!(!b.has("late"));
    b.seen(pod("late", "x"));
    b.settle();
    assert!(b.has("late"));
}

#[test]
fn without_a_watch_a_delete_finds_the_entries_on_the_server_and_takes_exactly_those() {
    let mut b = Bench::ready(|p| p.pods.watched = false);
    // Made by another replica, and by another registrar.
    let entry = b.entry(&pod("a", "1"));
    b.server.put(RegisteredEntry::created(
        EntryId::stored("other-replica"),
        &entry,
    ));
    let mut foreign = RegisteredEntry::created(EntryId::stored("foreign"), &entry);
    foreign.parent_id = entry.parent_id.child("node-1").expect("a path");
    b.server.put(foreign);
    let id = b.review(Review::Deleted(pod("a", "1")));
    assert!(b.answers.is_empty());
    b.settle();
    assert_eq!(b.answers.get(&id), Some(&Ok(())));
    assert!(!b.has("a"));
    assert!(b.server.get(&EntryId::stored("foreign")).is_some());
}

#[test]
fn a_delete_that_someone_waits_for_does_not_stand_back_while_a_create_is_under_way() {
    let mut b = Bench::ready(|p| p.pods.watched = false);
    b.create("a", "1");
    b.settle();
    b.create("b", "2");
    b.review(Review::Deleted(pod("a", "1")));
    let is_find = |(_, call): &(_, SpireCall)| matches!(call, SpireCall::Find { .. });
    let at = b.calls.iter().position(is_find).expect("it is looked for");
    let (id, find) = b.calls.remove(at);
    let found = b.server.perform(&find, usize::MAX);
    b.step(vec![Event::Replied(id, Ok(found))]);
    let under_way: Vec<&SpireCall> = b.calls.iter().map(|(_, call)| call).collect();
    assert!(
        matches!(
            under_way[..],
            [SpireCall::Create { .. }, SpireCall::Delete { .. }]
        ),
        "{under_way:?}"
    );
}

#[test]
fn without_a_watch_a_late_delete_of_a_former_pod_removes_nothing() {
    let mut b = Bench::ready(|p| p.pods.watched = false);
    b.create("a", "new");
    b.settle();
    b.made.clear();
    let id = b.review(Review::Deleted(pod("a", "old")));
    assert_eq!(b.answers.get(&id), Some(&Ok(())));
    b.settle();
    assert!(b.has("a") && b.made.is_empty());
    let id = b.review(Review::Deleted(pod("a", "new")));
    b.settle();
    assert_eq!(b.answers.get(&id), Some(&Ok(())));
    assert!(!b.has("a"));
}

#[test]
fn without_a_watch_nothing_is_deleted_for_being_absent() {
    let mut b = Bench::ready(|p| p.pods.watched = false);
    b.create("a", "1");
    b.settle();
    for _ in 0..20 {
        b.wait(60);
        b.settle();
    }
    assert!(b.has("a"));
}
