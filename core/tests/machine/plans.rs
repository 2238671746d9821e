//! What a plan says: conflicts, the breaker, what is right already, and everything in order.

use registrar_core::{
    cluster::{Kind, Object, PodSnapshot},
    entry::{EntryId, RegisteredEntry},
    policy::{FEDERATES_WITH, IdentitySource, MaxDeletes, NodePolicy, PodSelector, Policy},
    sync::{DeleteReason, Plan},
};

use crate::rig::{Rig, entry_of, node, pod, policy};

/// A machine that never leads, fed with the node and these pods.
fn fed(
    policy: Policy,
    pods: impl IntoIterator<Item = PodSnapshot>,
    stored: Vec<RegisteredEntry>,
) -> Rig {
    let mut rig = Rig::new(policy);
    for entry in stored {
        rig.server.put(entry);
    }
    rig.tell([]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.listed(Kind::Pod, pods.into_iter().map(Object::Pod));
    rig.answer_all();
    rig
}

fn stored(id: &str, pod: &PodSnapshot) -> RegisteredEntry {
    RegisteredEntry::created(EntryId::stored(id), &entry_of(&policy(), pod))
}

fn names(plan: &Plan) -> Vec<String> {
    plan.create
        .iter()
        .map(|p| p.object.name.to_string())
        .collect()
}

#[test]
fn what_the_server_would_refuse_is_a_conflict_and_is_not_to_be_made() {
    let rig = fed(policy(), [pod(0), pod(1), pod(2)], Vec::new());
    let mut other = stored("of-others", &pod(1));
    let plan = rig.machine.plan(&[other.clone()]);
    assert_eq!(names(&plan), ["node-0", "pod-0000", "pod-0002"]);
    let conflicts: Vec<_> = plan
        .conflicts
        .iter()
        .map(|c| (&*c.wanted.object.name, c.taken_by.as_str()))
        .collect();
    assert_eq!(conflicts, [("pod-0001", "of-others")]);
    assert_eq!(
        (plan.registered(Kind::Pod), plan.registered(Kind::Node)),
        (3, 1)
    );
    // The same SPIFFE ID and parent with other selectors is in nobody's way.
    other.selectors = stored("x", &pod(7)).selectors;
    let rig = fed(policy(), [pod(1)], Vec::new());
    let plan = rig.machine.plan(&[other]);
    assert_eq!(plan.conflicts, []);
    assert_eq!(names(&plan), ["node-0", "pod-0001"]);
}

#[test]
fn a_plan_says_when_the_breaker_would_hold_its_deletes() {
    for (orphans, trips) in [(3, false), (4, true), (5, true)] {
        let mut policy = policy();
        policy.max_deletes = MaxDeletes::Count(3);
        let old = (1..=orphans).map(|n| stored(&format!("old-{n}"), &pod(n)));
        let rig = fed(policy, [pod(0)], old.collect());
        let plan = rig.machine.plan(&[]);
        assert_eq!(
            plan.breaker,
            trips.then_some((orphans, 3)),
            "{orphans} orphans"
        );
        assert_eq!(plan.delete.len(), orphans);
        let absent = |r: DeleteReason| r == DeleteReason::ObjectAbsent;
        assert!(
            plan.delete.iter().all(|(_, r)| absent(r.reason)),
            "{plan:?}"
        );
    }
}

#[test]
fn what_is_right_is_unchanged_and_what_nobody_can_tell_of_is_unexplained() {
    let two = || vec![stored("a", &pod(0)), stored("b", &pod(1))];
    let plan = fed(policy(), [pod(0), pod(1)], two()).machine.plan(&[]);
    assert_eq!((plan.unchanged, plan.unexplained), (2, 0));
    assert_eq!(
        (names(&plan), plan.delete.len()),
        (vec!["node-0".to_owned()], 0)
    );
    // The list of the pods never came.
    let mut rig = Rig::new(policy());
    for entry in two() {
        rig.server.put(entry);
    }
    rig.tell([]);
    rig.listed(Kind::Node, [Object::Node(node())]);
    rig.answer_all();
    let plan = rig.machine.plan(&[]);
    assert_eq!((plan.unchanged, plan.unexplained), (0, 2));
    assert_eq!(plan.delete, []);
}

#[test]
fn an_object_without_an_entry_is_told_but_not_every_node_where_nodes_have_none() {
    let mut policy = policy();
    policy.nodes = NodePolicy::None;
    policy.pods.identity = IdentitySource::Annotation("id".into());
    let plan = fed(policy, [pod(0)], Vec::new()).machine.plan(&[]);
    let skipped: Vec<&str> = plan.skipped.iter().map(|(o, _)| &*o.name).collect();
    assert_eq!(skipped, ["pod-0000"]);
    assert_eq!(plan.entries, []);
}

#[test]
fn everything_in_a_plan_is_in_the_order_of_its_objects() {
    let mut policy = policy();
    policy.pods.selectors = [PodSelector::PodUid].into();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    // The machine goes by their UIDs, which run the other way.
    let pods = (0..12usize).map(|n| {
        let mut pod = pod(n);
        pod.uid = registrar_core::cluster::Uid::new(format!("uid-{:02}", 50 - n));
        let id = match n % 4 {
            0 => None,
            1 => Some("two//slashes"),
            _ => Some("web"),
        };
        if let Some(id) = id {
            pod.annotations.insert("id".into(), id.into());
        }
        pod.annotations
            .insert(FEDERATES_WITH.into(), "not a name".into());
        pod
    });
    let plan = fed(policy, pods, Vec::new()).machine.plan(&[]);
    assert_eq!((plan.skipped.len(), plan.held.len()), (3, 3));
    assert!(
        plan.create.len() >= 6 && plan.left_out.len() >= 6,
        "{plan:#?}"
    );
    assert!(plan.create.is_sorted_by(|a, b| a.object <= b.object));
    assert!(plan.entries.is_sorted_by(|a, b| a.object <= b.object));
    assert!(plan.skipped.is_sorted_by(|a, b| a.0 <= b.0));
    assert!(plan.held.is_sorted_by(|a, b| a.0 <= b.0));
    assert!(plan.left_out.is_sorted_by(|a, b| a.0 <= b.0));
}
