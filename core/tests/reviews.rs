//! Admission reviews, one situation at a time: when they are granted, when they fail, and what they never touch.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, Metadata, Object, ObjectKey, PodSnapshot, Uid},
    entry::{Entry, EntryId, RegisteredEntry},
    policy::{IdentitySource, Policy},
    ports::{Failure, FailureClass, SpireCall},
    rules::{Bundles, Decision, PodLookups, decide_pod},
    sync::{CallId, Event, LookUp, NotReady, Reconciler, Review, ReviewId},
    testing::ModelServer,
};

type Answer = Result<(), Arc<str>>;

/// A machine in step with a model of the server.
struct Bench {
    machine: Reconciler,
    server: ModelServer,
    policy: Policy,
    now: Duration,
    calls: Vec<(CallId, SpireCall)>,
    /// Every call that was made.
    made: Vec<SpireCall>,
    answers: BTreeMap<ReviewId, Answer>,
    look_ups: Vec<ObjectKey>,
    count: u64,
}

fn pod(name: &str, uid: &str) -> PodSnapshot {
    PodSnapshot {
        namespace: "apps".into(),
        name: name.into(),
        uid: Uid::new(uid),
        node_name: None,
        service_account: Some("blog".into()),
        labels: Metadata::new(),
        annotations: Metadata::new(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
        hostname: None,
    }
}

impl Bench {
    fn new(change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = Policy::webhook("example.org", "demo").expect("legal names");
        change(&mut policy);
        Self {
            machine: Reconciler::new(policy.clone(), 7),
            server: ModelServer::default(),
            policy,
            now: Duration::ZERO,
            calls: Vec::new(),
            made: Vec::new(),
            answers: BTreeMap::new(),
            look_ups: Vec::new(),
            count: 0,
        }
    }

    /// Leading, with all that it wants to know read.
    fn ready(change: impl FnOnce(&mut Policy)) -> Self {
        let mut bench = Self::new(change);
        bench.step(vec![Event::Leading(true), Event::Answering]);
        if bench.policy.pods.watched {
            bench.step(vec![
                Event::RelistBegan(Kind::Pod),
                Event::RelistDone(Kind::Pod),
            ]);
        }
        bench.settle();
        assert_eq!(bench.machine.not_ready(), []);
        bench.made.clear();
        bench
    }

    fn step(&mut self, events: Vec<Event>) {
        let step = self.machine.step(self.now, events);
        self.calls.extend(step.calls);
        self.look_ups.extend(step.look_ups);
        for (id, answer) in step.answers {
            assert!(
                self.answers.insert(id, answer).is_none(),
                "{id:?} answered twice"
            );
        }
    }

    /// Answers calls until there are none.
    fn settle(&mut self) {
        while let Some((id, call)) = self.calls.pop() {
            let reply = Ok(self.server.perform(&call, usize::MAX));
            self.made.push(call);
            self.step(vec![Event::Replied(id, reply)]);
        }
    }

    fn fail(&mut self, class: FailureClass, why: &str) {
        for (id, _) in std::mem::take(&mut self.calls) {
            self.step(vec![Event::Replied(id, Err(Failure::new(class, why)))]);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.step(Vec::new());
    }

    fn review(&mut self, review: Review) -> ReviewId {
        self.count += 1;
        let id = ReviewId(self.count);
        self.step(vec![Event::Reviewed {
            id,
            review,
            patience: Duration::from_secs(9),
        }]);
        id
    }

    fn create(&mut self, name: &str, uid: &str) -> ReviewId {
        self.review(Review::Created(pod(name, uid)))
    }

    fn failed(&self, id: ReviewId) -> &str {
        match self.answers.get(&id) {
            Some(Err(why)) => why,
            other => panic!("{id:?} should have failed: {other:?}"),
        }
    }

    fn entry(&self, pod: &PodSnapshot) -> Arc<Entry> {
        let bundles = Bundles::default();
        let lookups = PodLookups {
            node: None,
            slices: &[],
            bundles: &bundles,
        };
        match decide_pod(&self.policy, pod, lookups) {
            Decision::Register { entries, .. } => entries[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn has(&self, name: &str) -> bool {
        let wanted = self.entry(&pod(name, "any"));
        self.server.entries().any(|e| wanted.is_similar(e))
    }

    fn seen(&mut self, pod: PodSnapshot) {
        self.step(vec![Event::Applied(Object::Pod(pod))]);
    }

    /// Answers calls and look-ups; no pod is found.
    fn look_up_in_vain(&mut self) {
        self.settle();
        for key in std::mem::take(&mut self.look_ups) {
            self.step(vec![Event::LookedUp(key, LookUp::Absent)]);
        }
        self.settle();
    }

    fn gone(&mut self, name: &str, uid: &str) {
        let key = ObjectKey::new(Kind::Pod, "apps", name);
        self.step(vec![Event::Deleted(key, Uid::new(uid))]);
    }
}

#[test]
fn a_review_is_granted_when_its_entry_is_acknowledged_and_not_before() {
    let mut b = Bench::ready(|_| {});
    let id = b.create("a", "1");
    assert!(b.answers.is_empty() && !b.calls.is_empty());
    b.settle();
    assert_eq!(b.answers.get(&id), Some(&Ok(())));
    assert!(b.has("a"));
}

#[test]
fn reviews_that_come_together_travel_together() {
    let mut b = Bench::ready(|_| {});
    let events = (0..30).map(|n| Event::Reviewed {
        id: ReviewId(n),
        review: Review::Created(pod(&format!("p-{n}"), &format!("u-{n}"))),
        patience: Duration::from_secs(9),
    });
    b.step(events.collect());
    b.settle();
    assert_eq!(b.answers.len(), 30);
    assert!(b.answers.values().all(Result::is_ok));
    let made = &b.made;
    assert_eq!(
        made.len(),
        4,
        "one call in each slot, with its part: {made:?}"
    );
}

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

#[test]
fn every_replica_answers_reviews_and_only_the_leader_removes_anything() {
    let mut b = Bench::new(|_| {});
    b.step(vec![Event::Answering]);
    b.settle();
    let id = b.create("a", "1");
    b.settle();
    assert_eq!(
        b.answers.get(&id),
        Some(&Ok(())),
        "before the pods are listed, without the lead"
    );
    b.step(vec![
        Event::RelistBegan(Kind::Pod),
        Event::RelistDone(Kind::Pod),
    ]);
    b.wait(300);
    b.settle();
    assert!(b.has("a"), "nothing is removed without the lead");
    b.step(vec![Event::Leading(true)]);
    for _ in 0..10 {
        b.settle();
        for key in std::mem::take(&mut b.look_ups) {
            b.step(vec![Event::LookedUp(key, LookUp::Absent)]);
        }
        b.wait(10);
    }
    assert!(!b.has("a"), "with the lead the orphan goes");
}

#[test]
fn without_the_entry_of_all_nodes_a_review_fails_with_that_reason() {
    let mut b = Bench::new(|_| {});
    b.step(vec![Event::Leading(true), Event::Answering]);
    b.step(vec![
        Event::RelistBegan(Kind::Pod),
        Event::RelistDone(Kind::Pod),
    ]);
    // Reads are answered, writes are not.
    while let Some(at) = b.calls.iter().position(|(_, c)| !c.is_write()) {
        let (id, call) = b.calls.remove(at);
        let reply = Ok(b.server.perform(&call, usize::MAX));
        b.step(vec![Event::Replied(id, reply)]);
    }
    assert_eq!(b.machine.not_ready(), [NotReady::NodeEntry]);
    let id = b.create("a", "1");
    assert_eq!(
        b.calls.len(),
        1,
        "only the node entry is asked for: {:?}",
        b.calls
    );
    b.wait(10);
    assert!(
        b.failed(id).contains("the entry of all nodes"),
        "{}",
        b.failed(id)
    );
    b.settle();
    let id = b.create("a", "1");
    b.settle();
    assert_eq!(b.answers.get(&id), Some(&Ok(())));
}

#[test]
fn a_server_that_is_away_fails_reviews_soon_and_a_short_absence_goes_unnoticed() {
    let mut b = Bench::ready(|_| {});
    let short = b.create("a", "1");
    b.fail(FailureClass::Retry, "connection refused");
    assert!(b.answers.is_empty(), "it waits for the server");
    b.wait(1);
    b.settle();
    assert_eq!(b.answers.get(&short), Some(&Ok(())));
    let long = b.create("b", "2");
    b.fail(FailureClass::Retry, "connection refused");
    for _ in 0..3 {
        b.wait(1);
        b.fail(FailureClass::Retry, "connection refused");
    }
    assert!(
        b.failed(long).contains("connection refused"),
        "{}",
        b.failed(long)
    );
    // While it is away, the next one need not wait at all.
    let next = b.create("c", "3");
    assert!(b.failed(next).contains("does not answer"));
}

#[test]
fn a_slow_server_fails_a_review_when_its_patience_ends() {
    let mut b = Bench::ready(|_| {});
    let id = b.create("a", "1");
    b.wait(8);
    assert!(b.answers.is_empty());
    b.wait(1);
    assert!(b.failed(id).contains("in time"), "{}", b.failed(id));
}

#[test]
fn a_pause_fails_reviews_that_would_write() {
    let mut b = Bench::ready(|_| {});
    b.step(vec![Event::Paused(true)]);
    let id = b.create("a", "1");
    assert!(b.failed(id).contains("paused"));
    assert!(b.calls.is_empty());
}

#[test]
fn a_dry_run_of_the_whole_program_grants_reviews_and_writes_nothing() {
    let mut b = Bench::ready(|p| p.dry_run = true);
    let id = b.create("a", "1");
    b.settle();
    assert_eq!(b.answers.get(&id), Some(&Ok(())));
    assert_eq!(b.server.entries().count(), 0);
}

#[test]
fn what_another_replica_removed_is_made_again_before_a_review_is_granted() {
    let mut b = Bench::ready(|_| {});
    b.create("a", "1");
    b.settle();
    b.seen(pod("a", "1"));
    let stored = b.entry(&pod("a", "1"));
    let id = b
        .server
        .entries()
        .find(|e| stored.is_similar(e))
        .map(|e| e.id.clone());
    b.server.remove(&id.expect("there"));
    let again = b.create("a", "2");
    b.settle();
    assert_eq!(b.answers.get(&again), Some(&Ok(())));
    assert!(b.has("a"));
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

fn wrote(b: &Bench) -> bool {
    b.made.iter().any(SpireCall::is_write)
}

#[test]
fn what_another_replica_wrote_for_the_next_pod_of_a_name_is_not_taken_back_by_a_leader_whose_watch_is_behind()
 {
    for found in [
        LookUp::There(Uid::new("u-2")),
        LookUp::Absent,
        LookUp::Failed("connection refused".into()),
    ] {
        let (mut b, entry) = succeeded();
        for _ in 0..3 {
            let asked = std::mem::take(&mut b.look_ups);
            assert_eq!(asked.len(), 1, "{found:?}: {asked:?}");
            b.step(vec![Event::LookedUp(asked[0].clone(), found.clone())]);
            b.settle();
            assert!(!wrote(&b), "{found:?}: {:?}", b.made);
            b.wait(2);
            assert_eq!(b.look_ups, [], "not again so soon");
            b.wait(10);
            b.settle();
        }
        b.gone("web", "u-1");
        b.seen(named("u-2", "next"));
        b.look_ups.clear();
        b.settle();
        assert!(!wrote(&b), "{found:?}: {:?}", b.made);
        assert!(b.server.entries().any(|e| *e == entry));
    }
}

#[test]
fn what_someone_changed_is_put_right_once_the_pod_is_proven_to_live() {
    let (mut b, entry) = succeeded();
    let asked = std::mem::take(&mut b.look_ups);
    b.step(vec![Event::LookedUp(
        asked[0].clone(),
        LookUp::There(Uid::new("u-1")),
    )]);
    b.settle();
    let now = b.server.get(&entry.id).expect("there");
    assert_eq!(now.spiffe_id.path(), "/former");
}

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
    b.step(vec![Event::LookedUp(key, LookUp::There(Uid::new("2")))]);
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

#[test]
fn orphans_of_before_the_start_go_within_seconds_and_younger_ones_after_their_minute() {
    let mut b = Bench::new(|_| {});
    for (name, age) in [("old", 100), ("former", 10), ("new", -1)] {
        let entry = b.entry(&pod(name, "x"));
        let mut stored = RegisteredEntry::created(EntryId::stored(name), &entry);
        stored.created_at = 1_000_000 - age;
        b.server.put(stored);
    }
    b.step(vec![
        Event::UnixTime(1_000_000),
        Event::Leading(true),
        Event::Answering,
    ]);
    b.step(vec![
        Event::RelistBegan(Kind::Pod),
        Event::RelistDone(Kind::Pod),
    ]);
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
    let entry = b.entry(&pod("late", "x"));
    let mut stored = RegisteredEntry::created(EntryId::stored("late"), &entry);
    stored.created_at = 1_000_000 - 2;
    b.server.put(stored);
    b.step(vec![
        Event::UnixTime(1_000_000),
        Event::Leading(true),
        Event::Answering,
    ]);
    b.step(vec![
        Event::RelistBegan(Kind::Pod),
        Event::RelistDone(Kind::Pod),
    ]);
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
