//! The SpiffeIDs of nodes: whose they are, and that they and their entries stay while pods need them, and no longer.

use std::sync::Arc;

use registrar_core::{
    cluster::{
        Controller, Kind, NODE_UID_LABEL, NodeSnapshot, Object, ObjectKey, SpiffeIdSnapshot, Uid,
    },
    entry::RegisteredEntry,
    policy::{NodePolicy, ParentForm},
    ports::{KubeCall, ResourceName, SpireCall},
    sync::Event,
};

use crate::sleeper::{Sleeper, crd, pod, seconds};

fn of_node() -> ResourceName {
    ResourceName::new("spire", "n1")
}

/// A node with so many pods on it, and all that they get.
fn at_rest(pods: usize) -> Sleeper {
    let mut sleeper = Sleeper::started(crd(), pods);
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.machine.not_ready(), []);
    sleeper.show_changes();
    sleeper.kube_writes.clear();
    sleeper
}

fn change(sleeper: &mut Sleeper, change: impl FnOnce(&mut SpiffeIdSnapshot)) {
    let object = sleeper.api.objects.get_mut(&of_node()).expect("there");
    change(object);
    object.resource_version = "1000".into();
    sleeper.show_all();
    sleeper.sleep(seconds(60));
}

fn node_ended(sleeper: &mut Sleeper) {
    let key = ObjectKey::new(Kind::Node, "", "n1");
    sleeper.tell(vec![Event::Deleted(key, Uid::new("node-uid"))]);
    sleeper.sleep(seconds(60));
}

fn pod_ended(sleeper: &mut Sleeper, n: usize) {
    let pod = pod(n);
    let key = ObjectKey::new(Kind::Pod, pod.namespace, pod.name);
    sleeper.tell(vec![Event::Deleted(key, pod.uid)]);
    sleeper.show_changes();
    sleeper.sleep(seconds(120));
    sleeper.show_changes();
}

/// What the node's SpiffeID says of its owner; `None` if there is no SpiffeID.
fn owned(sleeper: &Sleeper) -> Option<bool> {
    let object = sleeper.api.objects.get(&of_node());
    object.map(|o| o.controller.is_some())
}

fn has_entry(sleeper: &Sleeper) -> bool {
    let mut entries = sleeper.server.entries();
    entries.any(|e| e.spiffe_id.path().ends_with("/node/n1"))
}

#[test]
fn the_spiffe_id_of_a_node_says_by_its_label_whose_it_is() {
    let sleeper = at_rest(0);
    let labels = &sleeper.api.objects[&of_node()].labels;
    assert_eq!(labels.get(NODE_UID_LABEL).map(|l| &**l), Some("node-uid"));
    assert_eq!(owned(&sleeper), Some(true));
    assert!(has_entry(&sleeper));
}

#[test]
fn whatever_someone_changes_of_a_nodes_spiffe_id_is_applied_again() {
    fn selector(o: &mut SpiffeIdSnapshot) -> &mut registrar_core::cluster::SpiffeIdSelector {
        &mut Arc::make_mut(o.spec.as_mut().expect("readable")).selector
    }
    type Change = fn(&mut SpiffeIdSnapshot);
    let changes: [Change; 4] = [
        |o| selector(o).cluster = Some("another".into()),
        |o| selector(o).agent_node_uid = Some("another".into()),
        |o| {
            o.labels.insert(NODE_UID_LABEL.into(), "another".into());
        },
        |o| o.controller = None,
    ];
    for (n, forge) in changes.into_iter().enumerate() {
        let mut sleeper = at_rest(1);
        let before = sleeper.api.objects[&of_node()].clone();
        change(&mut sleeper, forge);
        let after = &sleeper.api.objects[&of_node()];
        let is = |o: &SpiffeIdSnapshot| (o.spec.clone(), o.labels.clone(), o.controller.clone());
        assert_eq!(is(after), is(&before), "change {n}");
    }
}

#[test]
fn a_spiffe_id_of_another_controller_in_a_nodes_place_is_left_alone_whatever_its_label_says() {
    let mut sleeper = at_rest(1);
    let theirs = Controller {
        kind: "Deployment".into(),
        name: "n1".into(),
        uid: Uid::new("d"),
    };
    change(&mut sleeper, |o| o.controller = Some(theirs.clone()));
    assert_eq!(sleeper.kube_writes, []);
    let held = sleeper.machine.status(sleeper.now).held;
    assert_eq!(held, [("NameTaken", 1)].into());
}

/// Their agent may still run.
#[test]
fn a_node_that_is_gone_keeps_its_spiffe_id_without_an_owner_until_the_last_pod_is_gone() {
    let mut sleeper = at_rest(2);
    node_ended(&mut sleeper);
    assert_eq!(owned(&sleeper), Some(false));
    sleeper.show_changes();
    let writes = sleeper.kube_writes.len();
    sleeper.sleep(seconds(3600));
    assert_eq!(sleeper.kube_writes.len(), writes, "and then it is at rest");
    pod_ended(&mut sleeper, 0);
    assert!(has_entry(&sleeper) && owned(&sleeper) == Some(false));
    pod_ended(&mut sleeper, 1);
    assert_eq!(owned(&sleeper), None);
    assert!(!has_entry(&sleeper));
}

#[test]
fn the_end_of_a_node_that_had_pods_before_finds_those_that_came_later() {
    let mut sleeper = at_rest(1);
    pod_ended(&mut sleeper, 0);
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(10));
    node_ended(&mut sleeper);
    assert_eq!(owned(&sleeper), Some(false));
    assert!(has_entry(&sleeper));
}

/// The garbage collector does that.
#[test]
fn the_spiffe_id_of_a_node_without_pods_is_not_taken_from_its_owner() {
    let mut sleeper = at_rest(0);
    node_ended(&mut sleeper);
    assert_eq!(owned(&sleeper), Some(true));
    assert_eq!(sleeper.kube_writes, []);
}

/// A node that cannot be read may be any node: this one is not known to be gone.
#[test]
fn a_nodes_spiffe_id_stays_while_a_node_cannot_be_read_and_goes_with_the_next_list() {
    let mut sleeper = at_rest(1);
    node_ended(&mut sleeper);
    sleeper.show_changes();
    sleeper.tell(vec![Event::Undecodable {
        kind: Kind::Node,
        key: None,
        uid: None,
        why: "garbled".into(),
    }]);
    pod_ended(&mut sleeper, 0);
    assert_eq!(owned(&sleeper), Some(false));
    assert!(has_entry(&sleeper));
    sleeper.list(Kind::Node, []);
    sleeper.show_changes();
    sleeper.sleep(seconds(120));
    assert_eq!(owned(&sleeper), None);
    assert!(!has_entry(&sleeper));
}

/// Node and SpiffeIDs went while nobody looked: nothing tells of the node but the pod on it.
#[test]
fn the_entry_of_a_node_of_which_nothing_is_left_but_pods_stays_for_them() {
    for pods in [0, 1] {
        let mut sleeper = at_rest(1);
        sleeper.api.objects.clear();
        sleeper.replace();
        sleeper.tell(vec![Event::Leading(true)]);
        sleeper.list(Kind::Node, []);
        sleeper.show_all();
        sleeper.list(Kind::Pod, (0..pods).map(|n| Object::Pod(pod(n))));
        sleeper.sleep(seconds(600));
        assert_eq!(has_entry(&sleeper), pods > 0, "{pods} pods");
    }
}

/// Nobody but the pods on it needs the entry of a node.
#[test]
fn the_end_of_a_persons_spiffe_id_that_is_called_like_a_node_takes_its_entry_with_it() {
    let mut sleeper = at_rest(1);
    let theirs = ResourceName::new("apps", "n1");
    sleeper.api.put(&theirs, crate::by_hand::spec("theirs"));
    sleeper.show_all();
    sleeper.sleep(seconds(10));
    let there = |sleeper: &Sleeper| {
        let mut entries = sleeper.server.entries();
        entries.any(|e| e.spiffe_id.path() == "/theirs")
    };
    assert!(there(&sleeper));
    sleeper.api.delete(&theirs);
    sleeper.show_all();
    sleeper.sleep(seconds(10));
    assert!(!there(&sleeper) && !sleeper.api.objects.contains_key(&theirs));
    let deleted = |c: &KubeCall| matches!(c, KubeCall::Delete(..));
    assert!(!sleeper.kube_writes.iter().any(deleted), "of nodes nothing");
}

/// Its new parent would not be there.
#[test]
fn a_pods_entry_moves_to_another_node_when_that_nodes_entry_is_there() {
    let mut sleeper = at_rest(1);
    sleeper.unanswered = |call| matches!(call, KubeCall::Apply(a) if &*a.name.name == "n2");
    let second = NodeSnapshot {
        name: "n2".into(),
        uid: Uid::new("uid-n2"),
        annotations: Default::default(),
    };
    sleeper.tell(vec![Event::Applied(Object::Node(second))]);
    let mut moved = pod(0);
    moved.uid = Uid::new("uid-moved");
    moved.node_name = Some("n2".into());
    sleeper.tell(vec![Event::Applied(Object::Pod(moved))]);
    sleeper.sleep(seconds(60));
    let on = |sleeper: &Sleeper, node: &str| {
        let of_pod = |e: &&RegisteredEntry| e.selectors.iter().any(|s| s.value == "ns:apps");
        let mut entries = sleeper.server.entries().filter(of_pod);
        entries.all(|e| e.parent_id.path().ends_with(node))
    };
    assert!(on(&sleeper, "/n1"));
    let applies = |c: &&KubeCall| matches!(c, KubeCall::Apply(a) if &*a.name.name == "n2");
    let call = sleeper.kube_writes.iter().find(applies).expect("asked for");
    sleeper.api.perform(&call.clone()).expect("it is made");
    sleeper.show_changes();
    sleeper.sleep(seconds(1));
    assert!(on(&sleeper, "/n2"));
}

#[test]
fn entries_under_agents_follow_a_node_that_was_made_again() {
    let mut policy = crate::sleeper::reconcile();
    policy.pods.parent = ParentForm::Agent;
    policy.nodes = NodePolicy::None;
    let mut sleeper = Sleeper::started(policy, 2);
    let under = |sleeper: &Sleeper, uid: &str| {
        let entries: Vec<_> = sleeper.server.entries().collect();
        let under = |e: &&&RegisteredEntry| e.parent_id.path().ends_with(uid);
        (entries.iter().filter(under).count(), entries.len())
    };
    assert_eq!(under(&sleeper, "/node-uid"), (2, 2));
    let again = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("made-again"),
        annotations: Default::default(),
    };
    sleeper.tell(vec![Event::Applied(Object::Node(again))]);
    assert_eq!(under(&sleeper, "/made-again"), (2, 2));
}

/// Somebody deleted the node's SpiffeID while no pod was on the node, and the delete of its entry waits for a slot.
#[test]
fn a_nodes_entry_stays_for_a_pod_that_comes_before_its_delete_is_sent() {
    for comes in [false, true] {
        let mut policy = crd();
        policy.writes_in_flight = 1;
        let mut sleeper = Sleeper::started(policy, 0);
        sleeper.sleep(seconds(60));
        let before = sleeper
            .server
            .entries()
            .next()
            .expect("of the node")
            .id
            .clone();
        sleeper.late = SpireCall::is_write;
        let theirs = ResourceName::new("apps", "theirs");
        sleeper.api.put(&theirs, crate::by_hand::spec("theirs"));
        // What it names is looked for first: its create and the delete are decided together, and there is one slot.
        sleeper.api.forge_status(&theirs, Some("nowhere".into()));
        sleeper.api.delete(&of_node());
        sleeper.show_changes();
        if comes {
            sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
        }
        sleeper.answer_late();
        sleeper.show_changes();
        sleeper.sleep(seconds(60));
        let stayed = sleeper.server.get(&before).is_some();
        assert_eq!(stayed, comes, "a pod comes: {comes}");
        assert!(
            has_entry(&sleeper),
            "the node lives, and has its SpiffeID again"
        );
    }
}
