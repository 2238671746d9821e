//! Admission reviews, one situation at a time: when they are granted, when they fail, and what they never touch.

mod orphans;
mod succession;

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
