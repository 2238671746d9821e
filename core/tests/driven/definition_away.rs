//! The definition of SpiffeIDs: how often it is looked at, and what becomes of entries when it was away.

use registrar_core::{
    cluster::{Kind, ObjectKey, SPIFFE_ID_FINALIZER},
    ports::KubeCall,
    sync::{Event, Fact},
};

use crate::{
    by_hand::{by_hand, spec},
    sleeper::{Sleeper, crd, seconds},
};

/// Two pods, a node, and a SpiffeID that somebody wrote.
fn at_rest() -> Sleeper {
    let policy = crd();
    let mut sleeper = Sleeper::started(policy, 2);
    sleeper.api.put(&by_hand(), spec("by-hand"));
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    assert_eq!(sleeper.server.entries().count(), 4);
    sleeper.facts.clear();
    sleeper
}

fn has_entry_by_hand(sleeper: &Sleeper) -> bool {
    let path = |p: &str| p == "/by-hand";
    sleeper.server.entries().any(|e| path(e.spiffe_id.path()))
}

fn steps_in(sleeper: &mut Sleeper, time: u64) -> usize {
    sleeper.steps = 0;
    sleeper.sleep(seconds(time));
    sleeper.steps
}

/// The definition goes with everything that it defines, as if nobody's finalizer held them.
fn swept_away(sleeper: &mut Sleeper) -> Vec<Event> {
    sleeper.api.definition = None;
    let objects = std::mem::take(&mut sleeper.api.objects);
    let gone = objects.into_iter().map(|(name, object)| {
        let key = ObjectKey::new(Kind::SpiffeId, name.namespace, name.name);
        Event::Deleted(key, object.uid)
    });
    gone.collect()
}

#[test]
fn a_definition_in_force_is_not_looked_at_again_and_again() {
    let mut sleeper = at_rest();
    let steps = steps_in(&mut sleeper, 3600);
    assert!((12..60).contains(&steps), "{steps} steps an hour");
}

#[test]
fn an_old_definition_is_looked_at_every_ten_seconds_and_one_that_is_away_every_two() {
    let mut sleeper = at_rest();
    let mut old = sleeper.api.definition.clone().expect("installed");
    old.schema.sets = false;
    sleeper.api.definition = Some(old);
    // A new list of SpiffeIDs is a reason to look.
    sleeper.show_all();
    let steps = steps_in(&mut sleeper, 3600);
    assert!((700..900).contains(&steps), "{steps} steps an hour");
    let gone = swept_away(&mut sleeper);
    sleeper.tell(gone);
    let steps = steps_in(&mut sleeper, 3600);
    assert!((3500..4000).contains(&steps), "{steps} steps an hour");
}

/// Whether the definition went first was known of the former one's end, and is not of this one's.
#[test]
fn one_that_was_made_unseen_under_the_name_of_one_that_went_by_itself_does_not_end_like_it() {
    let mut sleeper = at_rest();
    sleeper.tell(vec![Event::Leading(false)]);
    let finalizer: std::sync::Arc<str> = SPIFFE_ID_FINALIZER.into();
    let held = |sleeper: &mut Sleeper| {
        let object = sleeper.api.objects.get_mut(&by_hand()).expect("there");
        object.finalizers = [finalizer.clone()].into();
    };
    held(&mut sleeper);
    sleeper.api.delete(&by_hand());
    sleeper.show_changes();
    sleeper.show_all();
    sleeper.sleep(seconds(1));
    sleeper.unanswered = |call| *call == KubeCall::ReadDefinition;
    sleeper.api.objects.remove(&by_hand());
    sleeper.api.put(&by_hand(), spec("by-hand"));
    held(&mut sleeper);
    sleeper.api.uninstall();
    let mut events = sleeper.api.list();
    events.push(Event::Leading(true));
    sleeper.tell(events);
    sleeper.sleep(seconds(30));
    assert!(has_entry_by_hand(&sleeper), "{:#?}", sleeper.facts);
}

#[test]
fn what_did_not_come_back_with_the_definition_goes_a_minute_later() {
    let mut sleeper = at_rest();
    let gone = swept_away(&mut sleeper);
    sleeper.tell(gone);
    sleeper.sleep(seconds(300));
    assert_eq!(sleeper.server.entries().count(), 4, "they stay meanwhile");
    let told = |f: &Fact, sleeper: &Sleeper| sleeper.facts.iter().filter(|o| *o == f).count();
    assert_eq!(told(&Fact::DefinitionMissing, &sleeper), 1);
    sleeper.api.install();
    sleeper.show_all();
    sleeper.sleep(seconds(55));
    assert_eq!(told(&Fact::DefinitionServing, &sleeper), 1);
    assert!(sleeper.registered(0) && sleeper.registered(1));
    assert!(has_entry_by_hand(&sleeper), "it may yet come back");
    sleeper.sleep(seconds(10));
    assert!(!has_entry_by_hand(&sleeper), "{:#?}", sleeper.facts);
    assert!(sleeper.registered(0) && sleeper.registered(1));
}

#[test]
fn a_spiffe_id_that_comes_back_in_time_finds_its_entry() {
    let mut sleeper = at_rest();
    let gone = swept_away(&mut sleeper);
    sleeper.tell(gone);
    sleeper.sleep(seconds(10));
    let id = |sleeper: &Sleeper| {
        let mut entries = sleeper.server.entries();
        let entry = entries.find(|e| e.spiffe_id.path() == "/by-hand");
        entry.map(|e| e.id.clone())
    };
    let before = id(&sleeper).expect("it stays");
    sleeper.api.install();
    sleeper.show_all();
    sleeper.sleep(seconds(50));
    sleeper.api.put(&by_hand(), spec("by-hand"));
    sleeper.show_all();
    sleeper.sleep(seconds(600));
    assert_eq!(id(&sleeper), Some(before));
}

#[test]
fn a_definition_that_was_replaced_unseen_takes_no_entry_with_it() {
    let mut sleeper = at_rest();
    let gone = swept_away(&mut sleeper);
    sleeper.api.install();
    sleeper.tell(gone);
    sleeper.sleep(seconds(50));
    assert!(!sleeper.facts.contains(&Fact::DefinitionMissing));
    assert!(has_entry_by_hand(&sleeper), "{:#?}", sleeper.facts);
    assert!(sleeper.registered(0) && sleeper.registered(1));
    sleeper.sleep(seconds(300));
    assert!(!has_entry_by_hand(&sleeper), "nobody asks for it any more");
    assert_eq!(sleeper.server.entries().count(), 3);
}

#[test]
fn a_spiffe_id_that_is_deleted_under_a_definition_in_force_takes_its_entry_at_once() {
    let mut sleeper = at_rest();
    sleeper.api.delete(&by_hand());
    sleeper.show_all();
    sleeper.sleep(seconds(1));
    assert!(!has_entry_by_hand(&sleeper));
    assert!(
        !sleeper.api.objects.contains_key(&by_hand()),
        "no finalizer is left"
    );
    assert_eq!(sleeper.server.entries().count(), 3);
}

#[test]
fn while_the_definition_is_deleted_finalizers_leave_although_the_server_is_away() {
    let mut sleeper = at_rest();
    sleeper.away = true;
    sleeper.api.uninstall();
    sleeper.show_all();
    sleeper.sleep(seconds(30));
    assert_eq!(sleeper.api.objects.len(), 0, "{:?}", sleeper.api.objects);
    assert_eq!(sleeper.server.entries().count(), 4);
}
