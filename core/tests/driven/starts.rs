//! A start reads both sides at once, and puts together what it read.

use registrar_core::{
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    spiffe::SpiffeId,
    sync::{Event, NotReady},
};

use crate::sleeper::{Sleeper, crd, seconds};

/// Pages of a few entries: the server says that there is no more with one that is empty.
const PASS: usize = 2;

fn id(path: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("an ID")
}

/// A process that has yet to list anything of Kubernetes, on two pods that have what they should have.
fn starting() -> Sleeper {
    let policy = crd();
    let mut sleeper = Sleeper::started(policy, 2);
    sleeper.sleep(seconds(60));
    sleeper.replace();
    sleeper
}

#[test]
fn entries_are_read_while_spiffe_ids_are_yet_to_be_listed() {
    let mut sleeper = starting();
    let writes = (sleeper.server.writes, sleeper.api.writes);
    sleeper.tell(vec![Event::Leading(true)]);
    assert_eq!(sleeper.pages, PASS);
    let missing = sleeper.machine.not_ready();
    assert!(missing.contains(&NotReady::EntriesNotRead), "{missing:?}");
    sleeper.list_all(2);
    assert_eq!((sleeper.machine.not_ready(), sleeper.pages), (vec![], PASS));
    assert_eq!((sleeper.server.writes, sleeper.api.writes), writes);
}

#[test]
fn entries_that_were_read_long_before_the_spiffe_ids_are_read_again() {
    let mut sleeper = starting();
    sleeper.tell(vec![Event::Leading(true)]);
    sleeper.sleep(seconds(600));
    assert_eq!(sleeper.pages, PASS, "nothing is asked for in vain");
    let of_pod = |e: &&RegisteredEntry| e.selectors.iter().any(|s| s.value == "pod-uid:uid-1");
    let entry = sleeper.server.entries().find(of_pod).expect("registered");
    let id = entry.id.clone();
    sleeper.server.remove(&id);
    sleeper.list_all(2);
    assert_eq!(
        (sleeper.machine.not_ready(), sleeper.pages),
        (vec![], 2 * PASS)
    );
    assert!(sleeper.registered(1));
}

#[test]
fn of_very_many_entries_the_rest_is_read_when_the_spiffe_ids_are_known() {
    let mut sleeper = starting();
    for n in 0..20_000 {
        let selectors = Selectors::new([Selector::new("unix", format!("uid:{n}"))]);
        let entry = Entry::new(id("/other"), id("/parent"), selectors);
        let stored = EntryId::stored(&format!("other-{n}"));
        sleeper.server.put(RegisteredEntry::created(stored, &entry));
    }
    sleeper.tell(vec![Event::Leading(true)]);
    let before = sleeper.pages;
    sleeper.list_all(2);
    assert_eq!((before, sleeper.pages), (16, 20 + PASS));
    assert_eq!(sleeper.machine.not_ready(), []);
}
