//! What the machine tells of itself: facts once and no more, a status that counts what there is, and nothing of what is gone.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot, Uid},
    entry::Field,
    policy::{FEDERATES_WITH, IdentitySource, MaxDeletes, Policy},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall},
    rules::{DroppedName, Note, SkipReason, Subject},
    spiffe::SpiffeId,
    sync::{CallId, DeleteReason, Event, Fact, NotReady, Reconciler, TripId},
    testing::ModelServer,
};

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

fn node(name: &str) -> Object {
    Object::Node(NodeSnapshot {
        name: name.into(),
        uid: Uid::new(format!("uid-{name}")),
        annotations: Default::default(),
    })
}

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

/// Asking for this path.
fn asking(n: usize, path: &str) -> PodSnapshot {
    let mut pod = pod(n);
    pod.annotations.insert("id".into(), path.into());
    pod
}

struct Rig {
    machine: Reconciler,
    server: ModelServer,
    now: Duration,
    waiting: Vec<(CallId, SpireCall)>,
    writes: Vec<SpireCall>,
    facts: Vec<Fact>,
}

impl Rig {
    fn new(policy: Policy) -> Self {
        Self {
            machine: Reconciler::new(policy, 7),
            server: ModelServer::default(),
            now: Duration::from_secs(1),
            waiting: Vec::new(),
            writes: Vec::new(),
            facts: Vec::new(),
        }
    }

    fn started(policy: Policy, pods: Vec<PodSnapshot>) -> Self {
        let mut rig = Self::new(policy);
        rig.tell(vec![Event::Leading(true)]);
        rig.list(Kind::Node, vec![node("n1")]);
        rig.list(Kind::Pod, pods.into_iter().map(Object::Pod).collect());
        rig.answer();
        rig
    }

    fn tell(&mut self, events: Vec<Event>) {
        let step = self.machine.step(self.now, events);
        self.facts.extend(step.facts);
        for (id, call) in step.calls {
            if call.is_write() {
                self.writes.push(call.clone());
            }
            self.waiting.push((id, call));
        }
    }

    fn applied(&mut self, objects: Vec<Object>) {
        self.tell(objects.into_iter().map(Event::Applied).collect());
    }

    fn list(&mut self, kind: Kind, objects: Vec<Object>) {
        let mut events = vec![Event::RelistBegan(kind)];
        events.extend(objects.into_iter().map(Event::Listed));
        events.push(Event::RelistDone(kind));
        self.tell(events);
    }

    fn answer(&mut self) {
        while !self.waiting.is_empty() {
            let (id, call) = self.waiting.remove(0);
            let answer = self.server.perform(&call, usize::MAX);
            self.tell(vec![Event::Replied(id, Ok(answer))]);
        }
    }

    /// Answers everything; what is to be created is refused for good.
    fn refuse(&mut self) {
        while !self.waiting.is_empty() {
            let (id, call) = self.waiting.remove(0);
            let answer = match &call {
                SpireCall::Create { entries } => SpireAnswer::Written(
                    entries
                        .iter()
                        .map(|_| Outcome::Refused(Failure::new(FailureClass::Permanent, "no")))
                        .collect(),
                ),
                call => self.server.perform(call, usize::MAX),
            };
            self.tell(vec![Event::Replied(id, Ok(answer))]);
        }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.tell(Vec::new());
            self.answer();
        }
    }

    fn left_out(&self) -> usize {
        let told = |f: &&Fact| matches!(f, Fact::LeftOut { .. });
        self.facts.iter().filter(told).count()
    }
}

#[test]
fn before_it_is_ready_it_says_what_for_it_waits() {
    let mut rig = Rig::new(policy());
    let not_listed = [
        NotReady::NotListed(Kind::Pod),
        NotReady::NotListed(Kind::Node),
    ];
    let unread = [NotReady::EntriesNotRead, NotReady::BundlesNotRead];
    assert_eq!(
        rig.machine.not_ready(),
        [not_listed.to_vec(), unread.to_vec()].concat()
    );
    rig.list(Kind::Node, vec![]);
    rig.list(Kind::Pod, vec![]);
    assert_eq!(rig.machine.not_ready(), unread);
    rig.answer();
    assert_eq!(
        rig.machine.not_ready(),
        [],
        "a standby is ready with warm caches"
    );
    rig.applied(vec![node("n1")]);
    rig.tell(vec![Event::Leading(true)]);
    assert_eq!(rig.machine.not_ready(), [NotReady::FirstSync]);
    rig.tell(vec![Event::Paused(true)]);
    assert_eq!(rig.machine.not_ready(), []);
    rig.tell(vec![Event::Paused(false)]);
    rig.answer();
    assert_eq!(rig.machine.not_ready(), []);
    let failure = Failure::new(FailureClass::Retry, "connection refused");
    rig.applied(vec![Object::Pod(asking(1, "a"))]);
    let (id, _) = rig.waiting.remove(0);
    rig.tell(vec![Event::Replied(id, Err(failure))]);
    assert_eq!(rig.machine.not_ready(), [NotReady::ServerAway]);
}

#[test]
fn what_it_waits_for_is_said_in_words() {
    for (not_ready, part) in [
        (
            NotReady::NotListed(Kind::Pod),
            "Pod objects are not listed yet",
        ),
        (NotReady::EntriesNotRead, "entries are not read"),
        (NotReady::BundlesNotRead, "bundles are not read"),
        (NotReady::ServerAway, "SPIRE Server does not answer"),
        (NotReady::NodeEntry, "entry of all nodes"),
        (NotReady::FirstSync, "first sync"),
        (NotReady::DefinitionNotRead, "is not read yet"),
        (NotReady::DefinitionMissing, "is not installed"),
        (NotReady::DefinitionTerminating, "is being deleted"),
        (NotReady::KubernetesAway, "Kubernetes API"),
    ] {
        assert!(not_ready.to_string().contains(part), "{not_ready}");
    }
    for (reason, text) in [
        (DeleteReason::ObjectDeleted, "its object was deleted"),
        (DeleteReason::ObjectAbsent, "its object does not exist"),
        (DeleteReason::Surplus, "its object has another entry"),
        (
            DeleteReason::FormerObject,
            "it belonged to a former object of the same name",
        ),
        (
            DeleteReason::Duplicate,
            "its SpiffeID asks for what another SpiffeID has",
        ),
        (
            DeleteReason::Skipped(SkipReason::NotScheduled),
            "the pod is not bound to a node yet",
        ),
    ] {
        assert_eq!(reason.to_string(), text);
    }
    assert_eq!(TripId("1-1".into()).to_string(), "1-1");
}

#[test]
fn the_status_counts_what_there_is() {
    let pods = vec![asking(1, "a"), asking(2, "b"), asking(3, "a//b"), pod(4)];
    let mut rig = Rig::started(policy(), pods);
    rig.wait(2);
    let status = rig.machine.status(rig.now);
    assert!(status.leading && !status.paused && status.not_ready.is_empty());
    assert_eq!((status.objects, status.entries), ((1, 4), (1, 2)));
    assert_eq!(status.held, [("IllegalPath", 1)].into());
    assert_eq!(status.skipped, [("no_annotation", 1)].into());
    assert_eq!((status.refused, status.queued, status.busy), (0, 0, 0));
    assert_eq!(
        (status.in_flight, status.oldest, status.tripped),
        (0, None, None)
    );
    assert_eq!((status.spiffe_ids, status.definition), (0, None));
    assert_eq!(status.last_compared, Some(Duration::from_secs(1)));
    rig.applied(vec![Object::Pod(asking(5, "e"))]);
    rig.now += Duration::from_secs(3);
    let status = rig.machine.status(rig.now);
    assert_eq!((status.busy, status.in_flight), (1, 1));
}

#[test]
fn nothing_is_remembered_of_objects_that_are_gone() {
    let mut rig = Rig::started(policy(), vec![]);
    let mut federating = asking(4, "d");
    let annotation = "BAD".into();
    federating
        .annotations
        .insert(FEDERATES_WITH.into(), annotation);
    let pods = [asking(1, "a"), asking(2, "a//b"), pod(3), federating];
    rig.applied(pods.iter().cloned().map(Object::Pod).collect());
    rig.refuse();
    let status = rig.machine.status(rig.now);
    assert_eq!(
        (status.refused, status.held.len(), status.skipped.len()),
        (2, 1, 1)
    );
    for pod in pods {
        let key = ObjectKey::new(Kind::Pod, pod.namespace, pod.name);
        rig.tell(vec![Event::Deleted(key, pod.uid)]);
    }
    rig.wait(2);
    let status = rig.machine.status(rig.now);
    assert_eq!(
        (status.refused, status.held.len(), status.skipped.len()),
        (0, 0, 0)
    );
    assert_eq!((status.busy, status.objects), (0, (1, 0)));
}

#[test]
fn what_is_left_out_of_an_entry_is_told_once_until_it_is_left_out_again() {
    let federated = |with: &str| {
        let mut pod = asking(1, "a");
        pod.annotations.insert(FEDERATES_WITH.into(), with.into());
        Object::Pod(pod)
    };
    let mut rig = Rig::started(policy(), vec![]);
    rig.applied(vec![federated("BAD")]);
    rig.answer();
    rig.applied(vec![federated("BAD, ")]);
    rig.answer();
    assert_eq!(rig.left_out(), 1);
    rig.applied(vec![federated("BAD,WORSE")]);
    rig.answer();
    assert_eq!(rig.left_out(), 2);
    rig.applied(vec![federated("")]);
    rig.answer();
    rig.applied(vec![federated("BAD")]);
    rig.answer();
    assert_eq!(rig.left_out(), 3);
    let Some(Fact::LeftOut { subject, uid, note }) =
        rig.facts.iter().find(|f| matches!(f, Fact::LeftOut { .. }))
    else {
        panic!("told");
    };
    assert_eq!(*subject, Subject::Pod("apps".into(), "pod-1".into()));
    assert_eq!(*uid, Uid::new("uid-1"));
    let of_names = Note::Name(DroppedName::TooMany(1));
    assert!(*note != of_names && note.to_string().contains("BAD"));
}

#[test]
fn nobody_may_have_the_id_that_the_server_knows_us_by() {
    let id = |text: &str| SpiffeId::parse(text).expect("an ID");
    let mut rig = Rig::started(policy(), vec![asking(1, "me"), asking(2, "other")]);
    rig.tell(vec![Event::KnownAs(id("spiffe://elsewhere.test/other"))]);
    rig.tell(vec![Event::KnownAs(id("spiffe://example.org"))]);
    rig.answer();
    assert!(rig.machine.status(rig.now).held.is_empty());
    rig.tell(vec![Event::KnownAs(id("spiffe://example.org/me"))]);
    rig.answer();
    assert_eq!(
        rig.machine.status(rig.now).held,
        [("ReservedPath", 1)].into()
    );
}

#[test]
fn a_listed_pod_has_its_entry_before_the_list_is_complete() {
    let mut rig = Rig::new(policy());
    rig.tell(vec![Event::Leading(true)]);
    rig.list(Kind::Node, vec![node("n1")]);
    rig.answer();
    rig.tell(vec![
        Event::RelistBegan(Kind::Pod),
        Event::Listed(Object::Pod(asking(1, "a"))),
    ]);
    rig.answer();
    assert_eq!(rig.server.entries().count(), 2);
    let mut standby = Rig::new(policy());
    standby.list(Kind::Node, vec![node("n1")]);
    standby.answer();
    standby.list(Kind::Pod, vec![Object::Pod(asking(1, "a"))]);
    standby.answer();
    assert_eq!(standby.writes, []);
}

#[test]
fn every_trip_of_the_breaker_has_its_own_name_and_the_status_tells_it() {
    let mut policy = policy();
    policy.max_deletes = MaxDeletes::Count(0);
    let pods = |from: usize| {
        (from..4)
            .map(|n| asking(n, &format!("p{n}")))
            .collect::<Vec<_>>()
    };
    let mut rig = Rig::started(policy, pods(0));
    rig.wait(2);
    let mut trips = Vec::new();
    for gone in 1..3 {
        rig.list(Kind::Pod, pods(gone).into_iter().map(Object::Pod).collect());
        rig.wait(2);
        let status = rig.machine.status(rig.now);
        let (trip, held_back) = status.tripped.expect("it is open");
        assert_eq!(held_back, 1);
        assert!(!trips.contains(&trip), "{trip} again");
        rig.tell(vec![Event::ConfirmDeletes(Some(trip.clone()))]);
        rig.wait(2);
        assert_eq!(rig.server.entries().count(), 1 + 4 - gone);
        trips.push(trip);
    }
    let again = trips.remove(0);
    rig.tell(vec![Event::ConfirmDeletes(Some(again.clone()))]);
    assert!(rig.facts.contains(&Fact::UnknownTrip(again)));
}

#[test]
fn a_pod_moves_under_another_node_when_that_nodes_entry_is_there() {
    let mut rig = Rig::started(policy(), vec![asking(1, "a")]);
    rig.wait(2);
    rig.writes.clear();
    let moved = PodSnapshot {
        node_name: Some("n2".into()),
        uid: Uid::new("uid-again"),
        ..asking(1, "a")
    };
    rig.applied(vec![Object::Pod(moved), node("n2")]);
    let before: Vec<_> = rig
        .writes
        .iter()
        .map(|w| matches!(w, SpireCall::Create { .. }))
        .collect();
    assert_eq!(before, [true], "the node's entry alone: {:?}", rig.writes);
    rig.answer();
    let Some(SpireCall::Update { mask, .. }) = rig.writes.get(1) else {
        panic!("{:?}", rig.writes);
    };
    assert_eq!(mask.iter().collect::<Vec<_>>(), [Field::ParentId]);
    assert_eq!(rig.server.entries().count(), 3);
}
