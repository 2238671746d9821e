//! The step machine by itself: what it asks for, in which order, and what it never asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use registrar_core::{
    cluster::{
        EndpointSnapshot, EndpointsSnapshot, Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot,
        Uid,
    },
    entry::{Entry, EntryId, RegisteredEntry},
    policy::{DnsPolicy, IdentitySource, MaxDeletes, PodSelector, Policy},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall},
    rules::{Bundles, Decision, PodLookups, decide_pod},
    sync::{CallId, Event, Fact, Reconciler},
    testing::ModelServer,
};

fn policy() -> Policy {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.drift_interval = Duration::from_secs(10);
    policy
}

fn pod(n: usize) -> PodSnapshot {
    PodSnapshot {
        namespace: "ns".into(),
        name: format!("pod-{n:04}").into(),
        uid: Uid::new(format!("uid-{n}")),
        node_name: Some("node-0".into()),
        service_account: Some("sa".into()),
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn node() -> NodeSnapshot {
    NodeSnapshot {
        name: "node-0".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    }
}

fn entry_of(policy: &Policy, pod: &PodSnapshot) -> Entry {
    let lookups = PodLookups {
        node: None,
        slices: &[],
        bundles: &Bundles::default(),
    };
    match decide_pod(policy, pod, lookups) {
        Decision::Register { entries, .. } => (*entries[0]).clone(),
        other => panic!("{other:?}"),
    }
}

/// A machine, a model server, and a clock.
struct Rig {
    machine: Reconciler,
    server: ModelServer,
    now: Duration,
    waiting: BTreeMap<CallId, SpireCall>,
    facts: Vec<Fact>,
    /// Every write, in the order in which it was asked for, and when.
    writes: Vec<(Duration, SpireCall)>,
}

impl Rig {
    fn new(policy: Policy) -> Self {
        Self {
            machine: Reconciler::new(policy, 1),
            server: ModelServer::default(),
            now: Duration::ZERO,
            waiting: BTreeMap::new(),
            facts: Vec::new(),
            writes: Vec::new(),
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        let step = self.machine.step(self.now, events);
        self.facts.extend(step.facts);
        for (id, call) in step.calls {
            if call.is_write() {
                self.writes.push((self.now, call.clone()));
            }
            self.waiting.insert(id, call);
        }
    }

    fn listed(&mut self, kind: Kind, objects: impl IntoIterator<Item = Object>) {
        let listed = objects.into_iter().map(Event::Listed);
        let events: Vec<Event> = std::iter::once(Event::RelistBegan(kind))
            .chain(listed)
            .chain([Event::RelistDone(kind)])
            .collect();
        self.tell(events);
    }

    /// Answers all calls, as the server would, until nothing is under way.
    fn answer_all(&mut self) {
        while let Some((id, call)) = self.waiting.pop_first() {
            let answer = self.server.perform(&call, usize::MAX);
            self.tell([Event::Replied(id, Ok(answer))]);
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(500);
            self.tell([]);
            self.answer_all();
        }
    }

    fn start(&mut self, pods: impl IntoIterator<Item = PodSnapshot>) {
        self.tell([Event::Leading(true)]);
        self.listed(Kind::Node, [Object::Node(node())]);
        self.listed(Kind::Pod, pods.into_iter().map(Object::Pod));
        self.answer_all();
    }

    fn created(&self) -> Vec<String> {
        self.writes
            .iter()
            .filter_map(|(_, call)| match call {
                SpireCall::Create { entries } => Some(entries),
                _ => None,
            })
            .flatten()
            .flat_map(|(_, e)| e.selectors.iter().map(|s| s.value.to_string()))
            .filter_map(|s| s.strip_prefix("pod-name:").map(str::to_owned))
            .collect()
    }
}

#[test]
fn one_pod_alone_is_one_create_at_once_and_nothing_is_read_before_it() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.wait(Duration::from_secs(1));
    rig.writes.clear();
    rig.tell([Event::Applied(Object::Pod(pod(1)))]);
    let calls: Vec<&SpireCall> = rig.waiting.values().collect();
    assert!(
        matches!(&calls[..], [SpireCall::Create { entries }] if entries.len() == 1),
        "{calls:?}"
    );
}

#[test]
fn a_burst_gathers_while_the_slots_are_busy() {
    let mut policy = policy();
    policy.writes_in_flight = 2;
    let mut rig = Rig::new(policy);
    rig.start([]);
    for n in 0..100 {
        rig.tell([Event::Applied(Object::Pod(pod(n)))]);
    }
    let under_way = rig.waiting.values().filter(|c| c.is_write()).count();
    assert_eq!(under_way, 2, "no more than two in flight");
    rig.answer_all();
    assert_eq!(rig.server.entries().count(), 101);
    let batches = rig.writes.len();
    assert!(batches < 10, "100 pods went in {batches} calls");
}

#[test]
fn new_pods_go_before_comparisons_and_deletes() {
    let mut policy = policy();
    policy.writes_in_flight = 1;
    let mut rig = Rig::new(policy);
    rig.start((0..20).map(pod));
    // The only slot is busy; deletes queue up, then a new pod comes.
    rig.tell([Event::Applied(Object::Pod(pod(100)))]);
    for n in 0..20 {
        let key = ObjectKey::new(Kind::Pod, "ns", format!("pod-{n:04}"));
        rig.tell([Event::Deleted(key, Uid::new(format!("uid-{n}")))]);
    }
    rig.tell([Event::Applied(Object::Pod(pod(101)))]);
    rig.writes.clear();
    rig.answer_all();
    let first = &rig.writes[0].1;
    assert!(matches!(first, SpireCall::Create { .. }), "{first:?}");
    assert_eq!(rig.server.entries().count(), 3);
}

#[test]
fn a_refused_item_holds_up_no_other() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    let wanted: Vec<PodSnapshot> = (0..10).map(pod).collect();
    rig.tell(
        wanted
            .iter()
            .cloned()
            .map(|p| Event::Applied(Object::Pod(p))),
    );
    let mut rounds = 0;
    while let Some((id, call)) = rig.waiting.pop_first() {
        rounds += 1;
        assert!(rounds < 100, "it backs off");
        let mut answer = rig.server.perform(&call, usize::MAX);
        if let (SpireCall::Create { entries }, SpireAnswer::Written(outcomes)) =
            (&call, &mut answer)
        {
            for ((entry_id, entry), outcome) in entries.iter().zip(outcomes) {
                if entry
                    .selectors
                    .iter()
                    .any(|s| &*s.value == "pod-name:pod-0003")
                {
                    rig.server.remove(entry_id);
                    let failure = Failure::new(FailureClass::Permanent, "invalid argument");
                    *outcome = Outcome::Refused(failure);
                }
            }
        }
        rig.tell([Event::Replied(id, Ok(answer))]);
    }
    assert_eq!(rig.server.entries().count(), 1 + 9);
    let refused = |f: &&Fact| matches!(f, Fact::Refused { .. });
    assert_eq!(
        rig.facts.iter().filter(refused).count(),
        1,
        "{:?}",
        rig.facts
    );
}

#[test]
fn an_unknown_outcome_is_read_not_guessed() {
    let mut rig = Rig::new(policy());
    rig.start([]);
    rig.tell([Event::Applied(Object::Pod(pod(1)))]);
    let (id, call) = rig.waiting.pop_first().expect("a create");
    rig.server.perform(&call, usize::MAX);
    let failure = Failure::new(FailureClass::Unknown, "deadline exceeded");
    rig.tell([Event::Replied(id, Err(failure))]);
    rig.writes.clear();
    rig.wait(Duration::from_secs(5));
    assert!(rig.writes.is_empty(), "{:?}", rig.writes);
    assert_eq!(rig.server.entries().count(), 2);
}

#[test]
fn a_label_that_repeats_thousands_of_times_is_told_once() {
    let mut policy = policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    let mut rig = Rig::new(policy);
    rig.start([]);
    for n in 0..1000 {
        let mut pod = pod(1);
        pod.annotations.insert("id".into(), "a//b".into());
        pod.pod_ips = Box::new([format!("10.0.{}.{}", n / 256, n % 256).into()]);
        rig.tell([Event::Applied(Object::Pod(pod))]);
    }
    let held = |f: &&Fact| matches!(f, Fact::Held { .. });
    assert_eq!(rig.facts.iter().filter(held).count(), 1);
}

/// Entries of pods that no longer exist, on the server before the machine starts.
fn with_orphans(policy: Policy, orphans: usize, living: usize) -> Rig {
    let mut rig = Rig::new(policy.clone());
    for n in 0..orphans + living {
        let entry = entry_of(&policy, &pod(n));
        let id = EntryId::stored(&format!("old-{n}"));
        rig.server.put(RegisteredEntry::created(id, &entry));
    }
    rig.start((orphans..orphans + living).map(pod));
    rig
}

fn deletes_by_time(rig: &Rig) -> Vec<(Duration, usize)> {
    rig.writes
        .iter()
        .filter_map(|(at, call)| match call {
            SpireCall::Delete { ids } => Some((*at, ids.len())),
            _ => None,
        })
        .collect()
}

/// Property: the breaker never lets more than its limit through within a minute.
fn never_more_than(limit: usize, deletes: &[(Duration, usize)]) -> Result<(), String> {
    for (from, _) in deletes {
        let within =
            |(at, _): &&(Duration, usize)| at >= from && *at < *from + Duration::from_secs(60);
        let sum: usize = deletes.iter().filter(within).map(|(_, n)| n).sum();
        if sum > limit {
            return Err(format!(
                "{sum} deletes within a minute from {from:?}, at most {limit} may"
            ));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_never_lets_more_than_its_limit_through(
        orphans in 0usize..40, living in 0usize..40, percent in 0u32..60,
    ) {
        let mut policy = policy();
        policy.max_deletes = MaxDeletes::Percent(percent);
        let limit = policy.max_deletes.limit(orphans + living + 1);
        let mut rig = with_orphans(policy, orphans, living);
        rig.wait(Duration::from_secs(130));
        never_more_than(limit, &deletes_by_time(&rig)).map_err(TestCaseError::fail)?;
        let left = rig.server.entries().count();
        let expected = if orphans > limit { orphans + living + 1 } else { living + 1 };
        prop_assert_eq!(left, expected, "limit {}", limit);
    }

    #[test]
    fn the_order_in_which_a_cluster_is_seen_does_not_matter(order in Just((0..12usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut from_scratch = Rig::new(policy());
        from_scratch.start((0..12).map(pod));
        let mut step_by_step = Rig::new(policy());
        step_by_step.start([]);
        for n in order {
            step_by_step.tell([Event::Applied(Object::Pod(pod(n)))]);
            step_by_step.answer_all();
        }
        let entries = |rig: &Rig| -> BTreeSet<String> {
            rig.server.entries().map(|e| format!("{} {} {:?}", e.spiffe_id, e.parent_id, e.selectors)).collect()
        };
        prop_assert_eq!(entries(&from_scratch), entries(&step_by_step));
    }

    #[test]
    fn changing_one_pod_writes_that_pods_entry_only(which in 0usize..10) {
        let mut policy = policy();
        policy.pods.identity = IdentitySource::Annotation("id".into());
        let named = |n: usize, value: &str| {
            let mut pod = pod(n);
            pod.annotations.insert("id".into(), value.into());
            pod
        };
        let mut rig = Rig::new(policy);
        rig.start((0..10).map(|n| named(n, "old")));
        rig.writes.clear();
        rig.tell([Event::Applied(Object::Pod(named(which, "new")))]);
        rig.answer_all();
        rig.wait(Duration::from_secs(30));
        prop_assert_eq!(rig.writes.len(), 1, "{:?}", rig.writes);
        let SpireCall::Update { entries, .. } = &rig.writes[0].1 else {
            return Err(TestCaseError::fail("an update"));
        };
        prop_assert_eq!(entries.len(), 1);
        let name = format!("pod-name:pod-{which:04}");
        prop_assert!(entries[0].1.selectors.iter().any(|s| *s.value == *name));
    }
}

/// The breaker's property can fail.
#[test]
fn too_many_deletes_within_a_minute_are_noticed() {
    let seconds = Duration::from_secs;
    assert!(never_more_than(10, &[(seconds(0), 6), (seconds(59), 5)]).is_err());
    assert!(never_more_than(10, &[(seconds(0), 6), (seconds(60), 5)]).is_ok());
}

#[test]
fn a_confirmed_trip_lets_exactly_its_deletes_go() {
    let mut policy = policy();
    policy.max_deletes = MaxDeletes::Count(3);
    let mut rig = with_orphans(policy, 20, 5);
    rig.wait(Duration::from_secs(2));
    let trip = rig.facts.iter().find_map(|f| match f {
        Fact::BreakerTripped {
            trip,
            condemned: 20,
            ..
        } => Some(trip.clone()),
        _ => None,
    });
    let trip = trip.expect("it tripped");
    assert!(deletes_by_time(&rig).is_empty());
    rig.tell([Event::ConfirmDeletes(Some(trip))]);
    rig.answer_all();
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.server.entries().count(), 6);
    assert_eq!(rig.created(), Vec::<String>::new());
}

#[test]
fn objects_that_cannot_be_read_at_all_are_told_once_a_list() {
    let mut rig = Rig::new(policy());
    rig.start((0..3).map(pod));
    let blind = || Event::Undecodable {
        kind: Kind::Pod,
        key: None,
        uid: None,
        why: "no metadata".into(),
    };
    rig.tell((0..100).map(|_| blind()));
    let told = |rig: &Rig| {
        rig.facts
            .iter()
            .filter(|f| matches!(f, Fact::Blind { .. }))
            .count()
    };
    assert_eq!(told(&rig), 1);
    let list = std::iter::once(Event::RelistBegan(Kind::Pod)).chain((0..100).map(|_| blind()));
    rig.tell(list.chain([Event::RelistDone(Kind::Pod)]));
    assert_eq!(told(&rig), 2);
    // Nothing goes for being absent, until a list without such an object was read.
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.server.entries().count(), 4);
    rig.listed(Kind::Pod, [Object::Pod(pod(0))]);
    rig.wait(Duration::from_secs(30));
    assert_eq!(rig.server.entries().count(), 2);
}

#[test]
fn a_slice_reaches_its_pod_also_where_the_entry_is_selected_by_uid() {
    let mut policy = policy();
    policy.pods.selectors = [PodSelector::PodUid].into();
    policy.pods.dns = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let mut rig = Rig::new(policy);
    rig.listed(Kind::EndpointSlice, []);
    let named = |uid: &str| PodSnapshot {
        uid: Uid::new(uid),
        pod_ips: Box::new(["10.0.0.1".into()]),
        ..pod(1)
    };
    rig.start([named("uid-1")]);
    // The pod is made again under its name before the former one's end is seen.
    rig.tell([Event::Applied(Object::Pod(named("uid-2")))]);
    rig.tell([Event::Deleted(
        ObjectKey::new(Kind::Pod, "ns", "pod-0001"),
        Uid::new("uid-1"),
    )]);
    rig.answer_all();
    rig.tell([Event::Applied(Object::EndpointSlice(EndpointsSnapshot {
        namespace: "ns".into(),
        name: "db-x".into(),
        service: Some("db".into()),
        endpoints: Box::new([EndpointSnapshot {
            address: "10.0.0.1".into(),
            hostname: None,
            pod_name: "pod-0001".into(),
            pod_namespace: "ns".into(),
            ready: true,
        }]),
    }))]);
    rig.answer_all();
    let pods: Vec<&RegisteredEntry> = rig
        .server
        .entries()
        .filter(|e| e.selectors.iter().any(|s| s.value.starts_with("pod-uid:")))
        .collect();
    assert_eq!(pods.len(), 1, "{pods:#?}");
    assert_eq!(pods[0].dns_names.len(), 2 + 3 * 4, "{pods:#?}");
}

#[test]
fn fewer_calls_are_in_flight_while_the_server_struggles_and_new_pods_still_go_first() {
    let mut policy = policy();
    policy.writes_in_flight = 4;
    let mut rig = Rig::new(policy);
    rig.start([]);
    let most_in_flight = |rig: &mut Rig, from: usize, distress: bool| {
        let mut most = 0;
        for n in from..from + 60 {
            rig.tell([Event::Applied(Object::Pod(pod(n)))]);
            let writes = rig.waiting.values().filter(|c| c.is_write()).count();
            most = most.max(writes);
        }
        while let Some((id, call)) = rig.waiting.pop_first() {
            let mut answer = rig.server.perform(&call, usize::MAX);
            if let (true, SpireCall::Create { entries }, SpireAnswer::Written(outcomes)) =
                (distress, &call, &mut answer)
            {
                for ((entry_id, _), outcome) in entries.iter().zip(outcomes) {
                    rig.server.remove(entry_id);
                    let failure = Failure::new(FailureClass::Retry, "database is locked");
                    *outcome = Outcome::Refused(failure);
                }
            }
            rig.tell([Event::Replied(id, Ok(answer))]);
        }
        most
    };
    assert_eq!(most_in_flight(&mut rig, 0, true), 4);
    assert_eq!(most_in_flight(&mut rig, 100, true), 1);
    rig.wait(Duration::from_secs(120));
    assert_eq!(
        rig.server.entries().count(),
        1 + 120,
        "all are there in the end"
    );
    assert_eq!(most_in_flight(&mut rig, 200, false), 4);
}

/// A list of nodes says nothing of pods: a pod that cannot be read stays held, and keeps its entry, whatever else is listed.
#[test]
fn a_list_of_another_kind_does_not_forget_who_cannot_be_read() {
    let mut rig = Rig::new(policy());
    rig.start([pod(1)]);
    let before: Vec<RegisteredEntry> = rig.server.entries().cloned().collect();
    rig.tell([Event::Undecodable {
        kind: Kind::Pod,
        key: Some(ObjectKey::new(Kind::Pod, "ns", "pod-0001")),
        uid: Some(Uid::new("uid-1")),
        why: "garbled".into(),
    }]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.wait(Duration::from_secs(30));
    let status = rig.machine.status(rig.now);
    assert!(status.held.contains_key("Undecodable"), "{status:#?}");
    assert_eq!(rig.server.entries().cloned().collect::<Vec<_>>(), before);

    // The same where the pod was never read: only its entry is there.
    let mut rig = Rig::new(policy());
    let entry = entry_of(&policy(), &pod(1));
    rig.server
        .put(RegisteredEntry::created(EntryId::stored("kept"), &entry));
    rig.tell([Event::Leading(true), Event::RelistBegan(Kind::Pod)]);
    rig.tell([
        Event::Undecodable {
            kind: Kind::Pod,
            key: Some(ObjectKey::new(Kind::Pod, "ns", "pod-0001")),
            uid: Some(Uid::new("uid-1")),
            why: "garbled".into(),
        },
        Event::RelistDone(Kind::Pod),
    ]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.answer_all();
    rig.wait(Duration::from_secs(30));
    assert!(
        rig.server.get(&EntryId::stored("kept")).is_some(),
        "{:#?}",
        rig.facts
    );
}
