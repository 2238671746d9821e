//! Statuses that name the entry of another SpiffeID.

use registrar_core::ports::ResourceName;

use crate::{
    by_hand::spec,
    sleeper::{Sleeper, crd, seconds},
};

fn name(n: usize) -> ResourceName {
    ResourceName::new("apps", format!("by-hand-{n}"))
}

/// Two SpiffeIDs that people wrote, each with its entry.
fn at_rest() -> Sleeper {
    let mut sleeper = Sleeper::started(crd(), 0);
    for n in 0..2 {
        sleeper.api.put(&name(n), spec(&format!("hand/{n}")));
    }
    sleeper.show_all();
    sleeper.sleep(seconds(60));
    sleeper
}

/// The entry that the status names.
fn named(sleeper: &Sleeper, n: usize) -> String {
    let named = sleeper.api.objects[&name(n)].status.entry_id.as_ref();
    named.map(ToString::to_string).unwrap_or_default()
}

/// Whether it is registered, and why not.
fn says(sleeper: &Sleeper, n: usize) -> (String, String) {
    let ours = &sleeper.api.objects[&name(n)].status.conditions[0];
    (ours.status.to_string(), ours.reason.to_string())
}

fn said(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn one_whose_status_names_the_entry_of_another_is_left_alone_until_it_names_none() {
    let mut sleeper = at_rest();
    let (own, other) = (named(&sleeper, 0), named(&sleeper, 1));
    let entries: Vec<_> = sleeper.server.entries().cloned().collect();
    sleeper.api.forge_status(&name(0), Some((*other).into()));
    sleeper.show_changes();
    for _ in 0..10 {
        sleeper.sleep(seconds(60));
        assert_eq!(says(&sleeper, 0), said("False", "EntryNotOurs"));
        assert_eq!(named(&sleeper, 0), other);
        assert_eq!(says(&sleeper, 1), said("True", "Registered"));
        sleeper.show_all();
    }
    let now: Vec<_> = sleeper.server.entries().cloned().collect();
    assert_eq!(now, entries, "no entry changed");
    sleeper.api.forge_status(&name(0), None);
    sleeper.show_changes();
    sleeper.sleep(seconds(60));
    assert_eq!(says(&sleeper, 0), said("True", "Registered"));
    assert_eq!(named(&sleeper, 0), own);
}

#[test]
fn one_whose_status_names_another_that_is_invalid_does_not_go_on_naming_it() {
    let mut sleeper = at_rest();
    let (own, other) = (named(&sleeper, 0), named(&sleeper, 1));
    sleeper.api.put(&name(0), spec("no path//"));
    sleeper.api.forge_status(&name(0), Some((*other).into()));
    sleeper.show_changes();
    sleeper.sleep(seconds(60));
    assert_eq!(says(&sleeper, 0).0, "False");
    assert_eq!(named(&sleeper, 0), own, "it keeps what it had");
}
