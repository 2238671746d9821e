//! How much travels in one call, how many calls travel at a time, and what waits meanwhile.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot},
    entry::{EntryId, RegisteredEntry},
    policy::Policy,
    ports::FailureClass,
    sync::Event,
};

use crate::rig::{self, Rig, entry_of, ms, pod};

fn policy(writes_in_flight: usize) -> Policy {
    let mut policy = rig::policy();
    policy.writes_in_flight = writes_in_flight;
    policy
}

/// Leads, knows all there is, and has sent nothing but the node's entry: it knows nothing of the server's speed.
fn at_rest(writes_in_flight: usize, pods: usize) -> Rig {
    let policy = policy(writes_in_flight);
    let mut rig = Rig::new(policy.clone());
    for n in 0..pods {
        let id = EntryId::stored(&format!("old-{n:04}"));
        let entry = entry_of(&policy, &pod(n));
        rig.server.put(RegisteredEntry::created(id, &entry));
    }
    rig.start((0..pods).map(pod));
    rig.wait(ms(1000));
    assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
    rig.writes.clear();
    rig
}

fn come(rig: &mut Rig, pods: impl IntoIterator<Item = usize>) {
    let pods = pods.into_iter().map(|n| Object::Pod(pod(n)));
    rig.tell(pods.map(Event::Applied).collect::<Vec<_>>());
}

fn gone(pod: &PodSnapshot) -> Event {
    let key = ObjectKey::new(Kind::Pod, pod.namespace.clone(), pod.name.clone());
    Event::Deleted(key, pod.uid.clone())
}

fn go(rig: &mut Rig, pods: impl IntoIterator<Item = usize>) {
    let events: Vec<Event> = pods.into_iter().map(|n| gone(&pod(n))).collect();
    rig.tell(events);
}

/// The sizes of the batches of one slot, of which each takes so long.
fn sizes(rig: &mut Rig, took: &[Duration]) -> Vec<usize> {
    took.iter().map(|t| rig.answer_after(*t)).collect()
}

#[test]
fn batches_double_while_the_server_is_fast_and_never_exceed_two_hundred() {
    let mut rig = at_rest(1, 0);
    come(&mut rig, 0..1000);
    assert_eq!(
        sizes(&mut rig, &[ms(1); 7]),
        [50, 100, 200, 200, 200, 200, 50]
    );
}

#[test]
fn a_batch_grows_to_what_the_server_does_in_eight_tenths_of_a_second_and_shrinks_to_that() {
    let mut rig = at_rest(1, 0);
    come(&mut rig, 0..1000);
    // Eight milliseconds an item are a hundred items, four are two hundred, and so on.
    let took = [ms(400), ms(400), ms(1600), ms(1600), ms(400), ms(1)];
    assert_eq!(sizes(&mut rig, &took), [50, 100, 200, 100, 50, 100]);
}

#[test]
fn a_slow_batch_of_a_few_makes_the_next_one_smaller() {
    let mut rig = at_rest(1, 0);
    come(&mut rig, 0..10);
    assert_eq!(rig.answer_after(ms(1000)), 10);
    come(&mut rig, 100..200);
    assert_eq!(rig.answer_after(ms(1)), 8);
}

#[test]
fn a_batch_of_a_few_that_takes_as_long_as_one_may_says_nothing_of_larger_ones() {
    let mut rig = at_rest(1, 0);
    come(&mut rig, 0..10);
    assert_eq!(rig.answer_after(ms(800)), 10);
    come(&mut rig, 100..200);
    assert_eq!(rig.sizes(), [50]);
}

#[test]
fn more_than_half_of_a_batch_tells_of_a_whole_one_and_less_does_not() {
    for (first, second) in [(30, 100), (25, 100), (24, 50)] {
        let mut rig = at_rest(1, 0);
        come(&mut rig, 0..first);
        assert_eq!(rig.answer_after(ms(1)), first);
        come(&mut rig, 100..300);
        assert_eq!(rig.sizes(), [second], "after {first}");
    }
}

#[test]
fn as_much_is_looked_at_as_the_free_slots_can_carry() {
    let mut rig = at_rest(4, 0);
    come(&mut rig, 0..1000);
    assert_eq!(rig.sizes(), [50; 4]);
    assert_eq!(rig.machine.status(rig.now).queued, 800);
    assert_eq!(rig.machine.status(rig.now).in_flight, 4);
}

#[test]
fn what_comes_is_shared_out_among_all_slots_and_not_put_into_one() {
    let mut rig = at_rest(4, 0);
    come(&mut rig, 0..3);
    assert_eq!(rig.sizes(), [1; 3]);
    sizes(&mut rig, &[ms(1); 3]);
    come(&mut rig, 10..18);
    assert_eq!(rig.sizes(), [2; 4]);
    // While all are busy twenty more come: whichever is free first takes its part of these and of what is under way.
    come(&mut rig, 20..40);
    rig.answer_after(ms(1));
    assert_eq!(rig.sizes(), [2, 2, 2, 7]);
    rig.answer_after(ms(1));
    assert_eq!(rig.sizes(), [2, 2, 7, 6]);
    rig.wait(ms(500));
    assert_eq!(rig.server.entries().count(), 32);
}

#[test]
fn what_can_wait_is_not_shared_out() {
    let mut rig = at_rest(4, 50);
    go(&mut rig, 0..10);
    assert_eq!(rig.sizes(), [10]);
}

/// What waits for a look when so many of the pods that went were: each is two, by its name and by its UID, and no look follows
/// the last that finds something to do.
fn left(pods: usize, looked_at: usize) -> usize {
    2 * pods - (2 * looked_at - 1)
}

#[test]
fn what_can_wait_travels_a_quarter_as_much_at_a_time() {
    let mut rig = at_rest(1, 50);
    go(&mut rig, 0..50);
    assert_eq!(rig.sizes(), [12]);
    assert_eq!(rig.machine.status(rig.now).queued, left(50, 12));
    rig.wait(ms(500));
    assert_eq!(rig.server.entries().count(), 1);
}

#[test]
fn what_can_wait_leaves_three_quarters_of_the_slots_free() {
    for (slots, used) in [(1, 1), (2, 1), (4, 1), (7, 1), (8, 2), (12, 3)] {
        let mut rig = at_rest(slots, 100);
        go(&mut rig, 0..100);
        assert_eq!(rig.sizes(), vec![12; used], "of {slots}");
        let queued = rig.machine.status(rig.now).queued;
        assert_eq!(queued, left(100, 12 * used), "of {slots}");
        // A new pod finds a slot free, if there is more than one.
        come(&mut rig, [500]);
        assert_eq!(rig.created().len(), usize::from(slots > 1), "of {slots}");
        rig.wait(ms(500));
        assert_eq!(rig.server.entries().count(), 2);
    }
}

#[test]
fn what_can_wait_stands_back_while_a_create_is_under_way() {
    let mut rig = at_rest(4, 50);
    come(&mut rig, [100]);
    go(&mut rig, 0..50);
    assert_eq!(rig.sizes(), [1]);
    // Another may come soon, and then waits for a few of them only.
    rig.answer_after(ms(5));
    assert_eq!(rig.sizes(), [3]);
    come(&mut rig, [101]);
    assert_eq!(rig.sizes(), [3, 1]);
    rig.answer_after(ms(1));
    assert_eq!(rig.sizes(), [1]);
    rig.wait(ms(3000));
    assert_eq!(rig.server.entries().count(), 3);
}

/// Time passes until what stands back goes on, while nothing is answered.
fn stood_back(rig: &mut Rig) {
    let until = rig.now + ms(50);
    assert_eq!(rig.wake_at, Some(until));
    rig.now = until;
    rig.tell([]);
}

#[test]
fn what_can_wait_stands_back_for_fifty_milliseconds_and_then_takes_its_slots_for_long() {
    let mut rig = at_rest(4, 50);
    come(&mut rig, [100]);
    come(&mut rig, [101]);
    go(&mut rig, 0..50);
    assert_eq!(rig.sizes(), [1, 1]);
    stood_back(&mut rig);
    assert_eq!(rig.sizes(), [1, 1, 12]);
    // Nor does it take more than is free, or the slots of those that come.
    come(&mut rig, [102]);
    assert_eq!(rig.sizes(), [1, 1, 12, 1]);
}

#[test]
fn where_no_other_has_come_for_half_a_second_what_can_wait_travels_as_before() {
    for (pause, size) in [(499, 3), (500, 12)] {
        let mut rig = at_rest(4, 50);
        come(&mut rig, [100]);
        rig.answer_after(ms(5));
        rig.now += ms(pause);
        go(&mut rig, 0..50);
        assert_eq!(rig.sizes(), [size], "{pause} ms after the last");
    }
}

#[test]
fn what_can_wait_finds_fewer_slots_while_others_are_busy() {
    let mut rig = at_rest(8, 50);
    for n in 100..107 {
        come(&mut rig, [n]);
    }
    go(&mut rig, 0..50);
    stood_back(&mut rig);
    assert_eq!(rig.sizes(), [1, 1, 1, 1, 1, 1, 1, 12]);
}

#[test]
fn a_batch_without_an_answer_halves_the_next_and_one_that_never_left_does_not() {
    let mut rig = at_rest(1, 0);
    come(&mut rig, 0..100);
    assert_eq!(rig.sizes(), [50]);
    rig.fail(FailureClass::Unknown);
    rig.now += ms(1000);
    rig.tell([]);
    assert_eq!(rig.sizes(), [25], "half as many of those that never left");

    let mut rig = at_rest(1, 0);
    come(&mut rig, 0..100);
    rig.fail(FailureClass::Retry);
    rig.now += ms(1000);
    rig.tell([]);
    assert_eq!(rig.sizes(), [50]);
}

#[test]
fn a_batch_of_one_is_never_halved_away() {
    let mut rig = at_rest(1, 0);
    for n in 0..8 {
        come(&mut rig, [n]);
        rig.fail(FailureClass::Unknown);
        rig.wait(ms(8000));
    }
    assert_eq!(rig.server.entries().count(), 9, "{:?}", rig.waiting);
}

#[test]
fn an_item_that_is_refused_for_good_is_no_sign_that_the_server_struggles() {
    let most_in_flight = |class| {
        let mut rig = at_rest(4, 0);
        (0..4).for_each(|n| come(&mut rig, [n]));
        assert_eq!(rig.sizes(), [1; 4]);
        rig.refuse(class, "no");
        (10..20).for_each(|n| come(&mut rig, [n]));
        rig.sizes().len()
    };
    assert_eq!(most_in_flight(FailureClass::Permanent), 4);
    assert_eq!(most_in_flight(FailureClass::Denied), 4);
    assert_eq!(most_in_flight(FailureClass::Retry), 3, "those before it");
}
