//! Entries of ours of which no SpiffeID is known: they wait for one that asks for exactly them, as after a backup came back.

use registrar_core::{
    cluster::{Object, SpiffeIdSpec, Uid},
    entry::RegisteredEntry,
    policy::MaxDeletes,
    ports::{KubeCall, ResourceName},
    sync::{Event, Fact},
};

use crate::{
    by_hand::{by_hand, entry_of, spec},
    sleeper::{Sleeper, crd, pod, seconds},
};

/// The entry that a SpiffeID of this UID had.
fn of_former(
    sleeper: &mut Sleeper,
    name: &ResourceName,
    spec: SpiffeIdSpec,
    n: u64,
) -> RegisteredEntry {
    sleeper.api.put(name, spec);
    let object = sleeper.api.objects.get_mut(name).expect("there");
    object.uid = Uid::new("of-before");
    let id = crd().entry_ids.issue_for(&Uid::new("of-before"), 3, n);
    let entry = entry_of(sleeper, name, id.as_str());
    sleeper.api.objects.remove(name);
    sleeper.api.changes.clear();
    entry
}

/// The entries of former SpiffeIDs are there, and the breaker lets none go.
fn with(entries: &[(&str, u64)]) -> (Sleeper, Vec<RegisteredEntry>) {
    let mut policy = crd();
    policy.max_deletes = MaxDeletes::Count(0);
    let mut sleeper = Sleeper::new(policy);
    let entries: Vec<RegisteredEntry> = entries
        .iter()
        .map(|(path, n)| of_former(&mut sleeper, &by_hand(), spec(path), *n))
        .collect();
    for entry in &entries {
        sleeper.server.put(entry.clone());
    }
    (sleeper, entries)
}

fn begun(mut sleeper: Sleeper) -> Sleeper {
    sleeper.start(0);
    sleeper.sleep(seconds(120));
    sleeper.spire_writes.clear();
    sleeper.facts.clear();
    sleeper
}

fn shown(sleeper: &mut Sleeper) {
    sleeper.show_changes();
    sleeper.sleep(seconds(60));
    sleeper.show_changes();
}

fn named(sleeper: &Sleeper, name: &ResourceName) -> Option<String> {
    let status = &sleeper.api.objects[name].status;
    status.entry_id.as_ref().map(ToString::to_string)
}

fn by_hand_entries(sleeper: &Sleeper) -> Vec<RegisteredEntry> {
    let by_hand = |e: &&RegisteredEntry| !e.spiffe_id.path().contains("/node/");
    sleeper.server.entries().filter(by_hand).cloned().collect()
}

#[test]
fn a_spiffe_id_that_comes_back_has_its_entry_without_a_write() {
    let (sleeper, entries) = with(&[("one", 1)]);
    let mut sleeper = begun(sleeper);
    sleeper.api.put(&by_hand(), spec("one"));
    shown(&mut sleeper);
    assert_eq!(sleeper.spire_writes, []);
    assert_eq!(
        named(&sleeper, &by_hand()).as_deref(),
        Some(entries[0].id.as_str())
    );
    assert_eq!(by_hand_entries(&sleeper), entries);
}

/// Its UID shows that it is the same object.
#[test]
fn a_spiffe_id_that_comes_back_asking_for_something_else_has_its_entry_changed() {
    let (sleeper, entries) = with(&[("one", 1)]);
    let mut sleeper = begun(sleeper);
    sleeper.api.put(&by_hand(), spec("two"));
    let object = sleeper.api.objects.get_mut(&by_hand()).expect("there");
    object.uid = Uid::new("of-before");
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    let left = by_hand_entries(&sleeper);
    assert_eq!((left.len(), &left[0].id), (1, &entries[0].id));
    assert_eq!(left[0].spiffe_id.path(), "/two");
    let created = |f: &&Fact| matches!(f, Fact::Created { .. });
    assert_eq!(sleeper.facts.iter().filter(created).count(), 0);
}

#[test]
fn what_a_forged_status_names_is_not_changed_into_what_that_one_asks_for() {
    let (sleeper, entries) = with(&[("one", 1)]);
    let mut sleeper = begun(sleeper);
    sleeper.api.put(&by_hand(), spec("two"));
    sleeper
        .api
        .forge_status(&by_hand(), Some(entries[0].id.as_str().into()));
    shown(&mut sleeper);
    let left = by_hand_entries(&sleeper);
    assert!(left.contains(&entries[0]), "{left:?}");
    assert_eq!(left.len(), 2, "{left:?}");
    assert_ne!(named(&sleeper, &by_hand()), Some(entries[0].id.to_string()));
}

#[test]
fn what_an_invalid_one_keeps_goes_to_one_that_asks_for_it_without_a_write() {
    let (sleeper, entries) = with(&[("one", 1)]);
    let mut sleeper = begun(sleeper);
    sleeper.api.put(&by_hand(), spec("one"));
    shown(&mut sleeper);
    sleeper.api.put(&by_hand(), spec("no path//"));
    shown(&mut sleeper);
    assert_eq!(
        named(&sleeper, &by_hand()).as_deref(),
        Some(entries[0].id.as_str())
    );
    let heir = ResourceName::new("apps", "heir");
    sleeper.api.put(&heir, spec("one"));
    shown(&mut sleeper);
    assert_eq!(sleeper.spire_writes, []);
    assert_eq!(
        named(&sleeper, &heir).as_deref(),
        Some(entries[0].id.as_str())
    );
    assert_eq!(named(&sleeper, &by_hand()), None, "it has none any more");
}

/// Of what it had, only one entry can be what it is served.
#[test]
fn an_invalid_one_keeps_of_two_entries_that_which_its_status_names() {
    for kept in [0, 1] {
        let (mut sleeper, entries) = with(&[("one", 1), ("two", 2)]);
        sleeper.api.put(&by_hand(), spec("no path//"));
        let object = sleeper.api.objects.get_mut(&by_hand()).expect("there");
        object.uid = Uid::new("of-before");
        object.status.entry_id = Some(entries[kept].id.as_str().into());
        let sleeper = begun(sleeper);
        assert_eq!(by_hand_entries(&sleeper), [entries[kept].clone()]);
        assert_eq!(
            named(&sleeper, &by_hand()).as_deref(),
            Some(entries[kept].id.as_str())
        );
    }
}

/// Until every SpiffeID is there that is to be, nobody knows what is one too many.
#[test]
fn an_entry_of_ours_stays_while_the_spiffe_id_that_may_ask_for_it_is_being_made() {
    let mut first = Sleeper::started(crd(), 8);
    first.sleep(seconds(60));
    let of_pod = |e: &&RegisteredEntry| e.selectors.iter().any(|s| s.value == "pod-uid:uid-7");
    let entry = first
        .server
        .entries()
        .find(of_pod)
        .expect("registered")
        .clone();
    // It is on its way, or made and not yet seen.
    for shows in [true, false] {
        let mut sleeper = Sleeper::started(crd(), 1);
        sleeper.sleep(seconds(60));
        sleeper.server.put(entry.clone());
        sleeper.shows = shows;
        if shows {
            sleeper.unanswered =
                |call| matches!(call, KubeCall::Apply(a) if &*a.name.name == "pod-7");
        }
        sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
        sleeper.sleep(seconds(1200));
        assert_eq!(sleeper.server.get(&entry.id), Some(&entry));
        // Another process asks again, and is answered.
        sleeper.unanswered = |_| false;
        sleeper.shows = true;
        sleeper.restart(8);
        sleeper.sleep(seconds(1200));
        assert_eq!(sleeper.server.get(&entry.id), Some(&entry));
        let name = ResourceName::new("apps", "pod-7");
        let named = named(&sleeper, &name);
        assert_eq!(named.as_deref(), Some(entry.id.as_str()));
    }
}
