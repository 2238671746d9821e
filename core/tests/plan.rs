//! A plan says what then happens: on generated clusters and servers, whatever befell them before.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use registrar_core::{
    entry::{EntryId, RegisteredEntry},
    policy::{NodePolicy, ParentForm, PodSelector, Policy},
    sync::{Plan, ResourceChange},
    testing::{Action, CrdAction, CrdWorld, Fault, World, lively, strategies::wishes},
};

fn policies() -> Vec<Policy> {
    let policy =
        lively(Policy::reconcile("example.org", "demo", "registrar").expect("legal names"));
    let mut by_uid = policy.clone();
    by_uid.pods.selectors = [PodSelector::PodUid].into();
    let mut agent = policy.clone();
    agent.pods.parent = ParentForm::Agent;
    agent.nodes = NodePolicy::None;
    let webhook = lively(Policy::webhook("example.org", "demo").expect("legal names"));
    vec![policy, by_uid, agent, webhook]
}

fn action() -> impl Strategy<Value = Action> {
    let some = proptest::option::weighted;
    let pod = (
        0..6u8,
        some(0.9, 0..3u8),
        wishes(),
        some(0.3, 0..2u8),
        any::<bool>(),
    )
        .prop_map(|(name, node, identity, federates, again)| Action::Pod {
            name,
            node,
            identity,
            federates,
            again,
        });
    prop_oneof![
        10 => pod,
        3 => (0..6u8).prop_map(Action::DeletePod),
        3 => (0..3u8).prop_map(Action::Node),
        1 => (0..3u8).prop_map(Action::DeleteNode),
        12 => (1..5u8).prop_map(Action::See),
        16 => any::<u8>().prop_map(|which| Action::Answer(which, Fault::None)),
        1 => any::<u8>().prop_map(|which| Action::Answer(which, Fault::Late)),
        2 => any::<u8>().prop_map(Action::Vandal),
        2 => any::<u8>().prop_map(Action::Forger),
        2 => any::<u8>().prop_map(Action::Copyist),
        2 => (0..2u8, any::<bool>()).prop_map(|(n, there)| Action::Bundle(n, there)),
        4 => (0..40u8).prop_map(Action::Wait),
    ]
}

type Stored = BTreeMap<EntryId, RegisteredEntry>;

/// Entries without what the server or chance gives them.
fn contents<'a>(entries: impl Iterator<Item = &'a RegisteredEntry>) -> Vec<String> {
    let mut contents: Vec<String> = entries
        .map(|e| {
            let mut e = e.clone();
            (e.id, e.created_at) = (EntryId::stored(""), 0);
            format!("{e:?}")
        })
        .collect();
    contents.sort();
    contents
}

fn compare(plan: &Plan, before: &Stored, after: &Stored) -> Result<(), String> {
    let none = EntryId::stored("");
    let made: Vec<RegisteredEntry> = plan
        .create
        .iter()
        .map(|p| RegisteredEntry::created(none.clone(), &p.entry))
        .collect();
    let new = after.iter().filter(|(id, _)| !before.contains_key(*id));
    let (planned, found) = (contents(made.iter()), contents(new.map(|(_, e)| e)));
    if planned != found {
        return Err(format!(
            "planned to create {planned:#?}, created {found:#?}"
        ));
    }
    let mut planned: Vec<&EntryId> = plan.delete.iter().map(|(_, r)| &r.stored.id).collect();
    planned.sort();
    let found: Vec<&EntryId> = before
        .keys()
        .filter(|id| !after.contains_key(*id))
        .collect();
    if planned != found {
        return Err(format!("planned to delete {planned:?}, deleted {found:?}"));
    }
    let mut expected = before.clone();
    for (_, update) in &plan.update {
        let stored = expected
            .get_mut(&update.stored.id)
            .ok_or("an unknown entry")?;
        stored.update(&update.entry, update.fields);
        if before.get(&update.stored.id) == Some(stored) {
            return Err(format!("an update that changes nothing: {update:?}"));
        }
    }
    for (id, entry) in after.iter().filter(|(id, _)| before.contains_key(*id)) {
        if expected.get(id) != Some(entry) {
            return Err(format!("planned {:#?}, is {entry:#?}", expected.get(id)));
        }
    }
    Ok(())
}

#[test]
fn what_is_planned_is_what_happens() {
    for policy in policies() {
        let counts = RefCell::new([0_usize; 5]);
        let config = Config {
            cases: 300,
            failure_persistence: None,
            ..Config::default()
        };
        let result =
            TestRunner::new(config).run(&prop::collection::vec(action(), 1..80), |history| {
                let mut world = World::new(policy.clone(), None);
                for action in &history {
                    world.act(*action);
                }
                world.calm();
                let (plan, before) = (world.plan(), world.stored());
                world
                    .settle()
                    .map_err(|why| TestCaseError::fail(why.to_string()))?;
                compare(&plan, &before, &world.stored()).map_err(TestCaseError::fail)?;
                let sizes = [
                    plan.create.len(),
                    plan.update.len(),
                    plan.delete.len(),
                    plan.held.len(),
                    plan.skipped.len(),
                ];
                for (count, n) in counts.borrow_mut().iter_mut().zip(sizes) {
                    *count += n;
                }
                let again = world.plan();
                prop_assert!(
                    again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(),
                    "after everything happened there is more to do: {again:#?}"
                );
                Ok(())
            });
        result.unwrap_or_else(|why| panic!("{why}"));
        let counts = counts.into_inner();
        assert!(counts.iter().all(|n| *n > 0), "each must occur: {counts:?}");
    }
}

fn crd_action() -> impl Strategy<Value = CrdAction> {
    prop_oneof![
        10 => (0..4u8, wishes(), any::<bool>()).prop_map(|(name, identity, again)| {
            CrdAction::Pod { name, identity, again }
        }),
        3 => (0..4u8).prop_map(CrdAction::DeletePod),
        3 => any::<bool>().prop_map(CrdAction::Node),
        6 => (0..3u8, 0..5u8).prop_map(|(name, spec)| CrdAction::Hand(name, spec)),
        3 => any::<u8>().prop_map(CrdAction::Delete),
        1 => Just(CrdAction::Collect),
        10 => (1..5u8).prop_map(CrdAction::See),
        16 => any::<u8>().prop_map(|which| CrdAction::Answer(which, Fault::None)),
        2 => any::<u8>().prop_map(CrdAction::Vandal),
        1 => any::<bool>().prop_map(CrdAction::Operator),
        4 => (0..40u8).prop_map(CrdAction::Wait),
    ]
}

#[test]
fn what_is_rehearsed_in_crd_mode_is_what_happens() {
    let policy = lively(Policy::crd("example.org", "demo", "spire").expect("legal names"));
    let counts = RefCell::new([0_usize; 5]);
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    let result =
        TestRunner::new(config).run(&prop::collection::vec(crd_action(), 1..60), |history| {
            let mut world = CrdWorld::new(policy.clone(), None);
            for action in &history {
                world.act(*action);
            }
            world.calm();
            let (plan, before) = (world.plan(), world.stored());
            let mut resources = world.resources();
            let settled = world.settle().map_err(|why| why.to_string());
            settled.map_err(TestCaseError::fail)?;
            compare(&plan, &before, &world.stored()).map_err(TestCaseError::fail)?;
            for (name, change) in &plan.resources {
                let name = format!("{}/{}", name.namespace, name.name);
                match change {
                    ResourceChange::Create => resources.push(name),
                    ResourceChange::Delete => resources.retain(|r| *r != name),
                    ResourceChange::Update => {}
                }
            }
            resources.sort();
            prop_assert_eq!(&resources, &world.resources());
            let sizes = [
                plan.create.len(),
                plan.update.len(),
                plan.delete.len(),
                plan.held.len(),
                plan.resources.len(),
            ];
            for (count, n) in counts.borrow_mut().iter_mut().zip(sizes) {
                *count += n;
            }
            let again = world.plan();
            prop_assert!(
                again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(),
                "after everything happened there is more to do: {again:#?}"
            );
            prop_assert!(again.resources.is_empty(), "{:?}", again.resources);
            Ok(())
        });
    result.unwrap_or_else(|why| panic!("{why}"));
    let counts = counts.into_inner();
    assert!(counts.iter().all(|n| *n > 0), "each must occur: {counts:?}");
}
