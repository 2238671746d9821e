//! Whoever drives the machine sleeps until it says, and nothing is late or forgotten for that; nor does it wake for nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, Uid},
    policy::{FEDERATES_WITH, MaxDeletes, Policy},
    ports::{Failure, FailureClass, KubeAnswer, Outcome, SpireAnswer, SpireCall},
    spiffe::TrustDomain,
    sync::{Event, Fact, LookUp, NotReady, Reconciler, Review, ReviewId},
    testing::{ModelApi, ModelServer},
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn pod(n: usize) -> PodSnapshot {
    PodSnapshot {
        namespace: "apps".into(),
        name: format!("pod-{n}").into(),
        uid: Uid::new(format!("uid-{n}")),
        node_name: Some("n1".into()),
        service_account: Some("blog".into()),
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn reconcile() -> Policy {
    Policy::reconcile("example.org", "demo", "registrar").expect("legal names")
}

/// A machine before servers that answer at once, driven only when it asked for it or something happened.
struct Sleeper {
    machine: Reconciler,
    server: ModelServer,
    api: ModelApi,
    now: Duration,
    wake_at: Option<Duration>,
    /// Whether the server does not answer.
    away: bool,
    /// Creates of entries with this selector are refused.
    refused: Option<&'static str>,
    steps: usize,
    facts: Vec<Fact>,
    answers: BTreeMap<ReviewId, Result<(), Arc<str>>>,
}

impl Sleeper {
    fn new(policy: Policy) -> Self {
        let mut api = ModelApi::default();
        api.install();
        Self {
            machine: Reconciler::new(policy, 7),
            server: ModelServer::default(),
            api,
            now: seconds(50),
            wake_at: None,
            away: false,
            refused: None,
            steps: 0,
            facts: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    fn started(policy: Policy, pods: usize) -> Self {
        let mut sleeper = Self::new(policy);
        sleeper.start(pods);
        sleeper
    }

    fn start(&mut self, pods: usize) {
        self.tell(vec![Event::Leading(true), Event::Answering]);
        let node = NodeSnapshot {
            name: "n1".into(),
            uid: Uid::new("node-uid"),
            annotations: Default::default(),
        };
        self.list(Kind::Node, [Object::Node(node)]);
        self.list(Kind::SpiffeId, []);
        self.list(Kind::Pod, (0..pods).map(|n| Object::Pod(pod(n))));
    }

    fn list(&mut self, kind: Kind, objects: impl IntoIterator<Item = Object>) {
        let mut events = vec![Event::RelistBegan(kind)];
        events.extend(objects.into_iter().map(Event::Listed));
        events.push(Event::RelistDone(kind));
        self.tell(events);
    }

    fn reply(&mut self, call: &SpireCall) -> Result<SpireAnswer, Failure> {
        let failure = |why| Failure::new(FailureClass::Retry, why);
        if self.away {
            return Err(failure("connection refused"));
        }
        let mut answer = self.server.perform(call, usize::MAX);
        if let (SpireCall::Create { entries }, SpireAnswer::Written(outcomes)) = (call, &mut answer)
        {
            for ((id, entry), outcome) in entries.iter().zip(outcomes) {
                if entry
                    .selectors
                    .iter()
                    .any(|s| Some(s.value) == self.refused)
                {
                    self.server.remove(id);
                    *outcome = Outcome::Refused(failure("database is locked"));
                }
            }
        }
        Ok(answer)
    }

    /// Something happened; everything that it leads to is done at once.
    fn tell(&mut self, mut events: Vec<Event>) {
        loop {
            let step = self.machine.step(self.now, events);
            self.steps += 1;
            assert!(self.steps < 100_000, "it turns in circles");
            self.wake_at = step.wake_at;
            self.facts.extend(step.facts);
            self.answers.extend(step.answers);
            events = Vec::new();
            for (id, call) in step.calls {
                events.push(Event::Replied(id, self.reply(&call)));
            }
            for (id, call) in step.kube_calls {
                let reply = self.api.perform(&call);
                let seen = match &reply {
                    Ok(KubeAnswer::Written(object)) => Some(object.clone()),
                    _ => None,
                };
                events.push(Event::KubeReplied(id, reply));
                events.extend(seen.map(|o| Event::Applied(Object::SpiffeId(o))));
            }
            for key in step.look_ups {
                events.push(Event::LookedUp(key, LookUp::Absent));
            }
            if events.is_empty() {
                return;
            }
        }
    }

    fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            assert!(at > self.now, "it wants to be woken at once: {at:?}");
            self.now = at;
            self.tell(Vec::new());
        }
        self.now = end;
    }

    fn registered(&self, n: usize) -> bool {
        let (by_name, by_uid) = (format!("pod-name:pod-{n}"), format!("pod-uid:uid-{n}"));
        self.server.entries().any(|e| {
            let mut selectors = e.selectors.iter();
            selectors.any(|s| s.value == by_name || s.value == by_uid)
        })
    }
}

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
    sleeper.sleep(seconds(61));
    assert_eq!(sleeper.server.entries().count(), 1 + 1);
    let closed = Fact::BreakerClosed { confirmed: false };
    assert!(sleeper.facts.contains(&closed), "{:?}", sleeper.facts);
}

#[test]
fn a_bundle_that_arrives_is_found() {
    let mut sleeper = Sleeper::started(reconcile(), 1);
    let mut federated = pod(7);
    federated
        .annotations
        .insert(FEDERATES_WITH.into(), "later.test".into());
    sleeper.tell(vec![Event::Applied(Object::Pod(federated))]);
    sleeper.sleep(seconds(60));
    let td = TrustDomain::new("later.test").expect("a name");
    sleeper.server.bundles.insert(td.clone());
    sleeper.sleep(seconds(3));
    let entries = sleeper.server.entries();
    let with = entries.filter(|e| e.federates_with.contains(&td)).count();
    assert_eq!(with, 1);
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
    let policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
    let mut sleeper = Sleeper::new(policy);
    sleeper.api.uninstall();
    sleeper.start(2);
    sleeper.sleep(seconds(60));
    sleeper.api.install();
    let events = sleeper.api.list();
    sleeper.tell(events);
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
