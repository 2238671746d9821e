//! An object that cannot be read is held: counted once, whatever form its entry has, until it can be read or is gone.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot, Uid},
    entry::EntryId,
    policy::{PodSelector, Policy},
    sync::{Event, Fact, Reconciler},
    testing::ModelServer,
};

/// By name, and by UID.
fn policies() -> [Policy; 2] {
    let by_name = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    let mut by_uid = by_name.clone();
    by_uid.pods.selectors = [PodSelector::PodUid].into();
    [by_name, by_uid]
}

fn pod() -> PodSnapshot {
    PodSnapshot {
        namespace: "apps".into(),
        name: "web".into(),
        uid: Uid::new("uid-web"),
        node_name: Some("node-1".into()),
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

fn key() -> ObjectKey {
    ObjectKey::new(Kind::Pod, "apps", "web")
}

fn garbled() -> Event {
    Event::Undecodable {
        kind: Kind::Pod,
        key: Some(key()),
        uid: Some(pod().uid),
        why: "garbled".into(),
    }
}

/// A machine that leads, and a server that answers at once.
struct Rig {
    machine: Reconciler,
    server: ModelServer,
    now: Duration,
    facts: Vec<Fact>,
}

impl Rig {
    fn new(policy: &Policy) -> Self {
        let mut rig = Self {
            machine: Reconciler::new(policy.clone(), 1),
            server: ModelServer::default(),
            now: Duration::ZERO,
            facts: Vec::new(),
        };
        let node = NodeSnapshot {
            name: "node-1".into(),
            uid: Uid::new("uid-node-1"),
            annotations: Default::default(),
        };
        rig.tell([
            Event::Leading(true),
            Event::RelistBegan(Kind::Node),
            Event::Listed(Object::Node(node)),
            Event::RelistDone(Kind::Node),
        ]);
        rig.list([Event::Listed(Object::Pod(pod()))]);
        rig
    }

    fn list(&mut self, pods: impl IntoIterator<Item = Event>) {
        let events = [Event::RelistBegan(Kind::Pod)].into_iter().chain(pods);
        self.tell(events.chain([Event::RelistDone(Kind::Pod)]));
        self.wait();
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut events: Vec<Event> = events.into_iter().collect();
        loop {
            let step = self.machine.step(self.now, events);
            self.facts.extend(step.facts);
            if step.calls.is_empty() {
                return;
            }
            events = step
                .calls
                .into_iter()
                .map(|(id, call)| Event::Replied(id, Ok(self.server.perform(&call, usize::MAX))))
                .collect();
        }
    }

    /// Long enough for another comparison with the server.
    fn wait(&mut self) {
        for _ in 0..20 {
            self.now += Duration::from_secs(60);
            self.tell([]);
        }
    }

    fn held(&self) -> usize {
        self.machine.status(self.now).held.values().sum()
    }

    fn entries(&self) -> Vec<EntryId> {
        self.server.entries().map(|e| e.id.clone()).collect()
    }
}

#[test]
fn it_is_counted_and_reported_once_and_keeps_its_entry() {
    for policy in policies() {
        let mut rig = Rig::new(&policy);
        let before = rig.entries();
        assert_eq!(before.len(), 2, "the node's and the pod's");
        rig.tell([garbled()]);
        rig.wait();
        assert_eq!(rig.held(), 1, "{policy:?}");
        let reports = rig
            .facts
            .iter()
            .filter(|f| matches!(f, Fact::Held { .. }))
            .count();
        assert_eq!(reports, 1, "{policy:?}");
        assert_eq!(rig.entries(), before);
    }
}

#[test]
fn a_plan_names_it_once_and_counts_its_entry_as_one_that_stays() {
    for policy in policies() {
        let mut rig = Rig::new(&policy);
        let mut machine = Reconciler::new(policy.clone(), 2);
        let mut events = vec![
            Event::RelistBegan(Kind::Node),
            Event::RelistDone(Kind::Node),
            Event::RelistBegan(Kind::Pod),
            garbled(),
            Event::RelistDone(Kind::Pod),
        ];
        loop {
            let calls = machine
                .step(Duration::ZERO, std::mem::take(&mut events))
                .calls;
            if calls.is_empty() {
                break;
            }
            for (id, call) in calls {
                let answer = rig.server.perform(&call, usize::MAX);
                events.push(Event::Replied(id, Ok(answer)));
            }
        }
        let plan = machine.plan(&[]);
        let held: Vec<&ObjectKey> = plan.held.iter().map(|(object, _)| object).collect();
        assert_eq!(held, [&key()], "{policy:?}");
        assert_eq!((plan.unchanged, plan.unexplained), (1, 0), "{plan:#?}");
    }
}

#[test]
fn it_is_held_no_longer_when_it_can_be_read_again() {
    for policy in policies() {
        let mut rig = Rig::new(&policy);
        let before = rig.entries();
        rig.tell([garbled()]);
        rig.tell([Event::Applied(Object::Pod(pod()))]);
        rig.wait();
        assert_eq!(rig.held(), 0, "{policy:?}");
        assert_eq!(rig.entries(), before);
    }
}

#[test]
fn it_is_held_no_longer_when_a_list_does_not_have_it() {
    for policy in policies() {
        let mut rig = Rig::new(&policy);
        rig.tell([garbled()]);
        rig.wait();
        rig.list([]);
        assert_eq!(rig.held(), 0, "{policy:?}");
        assert_eq!(rig.entries().len(), 1, "the node's alone: {policy:?}");
    }
}
