//! Whose an entry is that was there before: by its ID, by what a SpiffeID asks for, or by what its status names.

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, Uid},
    entry::RegisteredEntry,
    ports::{ResourceName, SpireCall},
    sync::{Event, Fact},
};

use crate::{
    by_hand::{by_hand, entry_of, spec},
    sleeper::{Sleeper, crd, seconds},
};

/// Before anything was read: a SpiffeID, and perhaps what its status names.
fn before(path: &str, named: Option<&str>) -> Sleeper {
    let mut sleeper = Sleeper::new(crd());
    sleeper.api.put(&by_hand(), spec(path));
    let object = sleeper.api.objects.get_mut(&by_hand()).expect("there");
    object.status.entry_id = named.map(Into::into);
    sleeper
}

/// Everything is read, and done.
fn begun(mut sleeper: Sleeper) -> Sleeper {
    sleeper.tell(vec![Event::Leading(true)]);
    let node = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    };
    sleeper.list(Kind::Node, [Object::Node(node)]);
    sleeper.list(Kind::Pod, []);
    sleeper.show_all();
    sleeper.sleep(seconds(30));
    sleeper
}

/// The IDs of entries with this path.
fn ids(sleeper: &Sleeper, path: &str) -> Vec<String> {
    let path = format!("/{path}");
    let entries = sleeper.server.entries();
    let of_path = entries.filter(|e| e.spiffe_id.path() == path);
    of_path.map(|e| e.id.to_string()).collect()
}

fn status(sleeper: &Sleeper, name: &ResourceName) -> (Option<String>, String, String) {
    let status = &sleeper.api.objects[name].status;
    let ours = &status.conditions[0];
    let named = status.entry_id.as_ref().map(ToString::to_string);
    (named, ours.status.to_string(), ours.reason.to_string())
}

fn ended(sleeper: &mut Sleeper, name: &ResourceName) {
    sleeper.api.delete(name);
    sleeper.show_all();
    sleeper.sleep(seconds(30));
    assert!(
        !sleeper.api.objects.contains_key(name),
        "no finalizer is left"
    );
}

#[test]
fn an_entry_that_the_status_names_and_that_is_just_what_is_asked_for_is_taken_over() {
    let mut sleeper = before("one", Some("made-by-another"));
    let entry = entry_of(&sleeper, &by_hand(), "made-by-another");
    sleeper.server.put(entry);
    let mut sleeper = begun(sleeper);
    assert_eq!(ids(&sleeper, "one"), ["made-by-another"]);
    let (named, registered, _) = status(&sleeper, &by_hand());
    assert_eq!(
        (named.as_deref(), &*registered),
        (Some("made-by-another"), "True")
    );
    ended(&mut sleeper, &by_hand());
    assert_eq!(ids(&sleeper, "one"), [""; 0]);
}

#[test]
fn an_entry_with_rights_that_we_never_give_is_taken_over_by_nobody() {
    type Change = fn(&mut RegisteredEntry);
    let rights: [Change; 2] = [|e| e.admin = true, |e| e.store_svid = true];
    for right in rights {
        let mut sleeper = before("one", Some("made-by-another"));
        let mut entry = entry_of(&sleeper, &by_hand(), "made-by-another");
        right(&mut entry);
        sleeper.server.put(entry.clone());
        let mut sleeper = begun(sleeper);
        let (_, registered, _) = status(&sleeper, &by_hand());
        assert_eq!(registered, "False");
        ended(&mut sleeper, &by_hand());
        assert_eq!(sleeper.server.get(&entry.id), Some(&entry));
    }
}

#[test]
fn an_entry_of_others_that_a_status_names_is_left_alone_and_waited_for() {
    let mut sleeper = before("one", Some("of-others"));
    let other = ResourceName::new("apps", "other");
    sleeper.api.put(&other, spec("two"));
    let entry = entry_of(&sleeper, &other, "of-others");
    sleeper.api.objects.remove(&other);
    sleeper.server.put(entry.clone());
    let mut sleeper = begun(sleeper);
    let reads = sleeper.reads;
    for _ in 0..3 {
        sleeper.sleep(seconds(600));
        let (named, registered, why) = status(&sleeper, &by_hand());
        let said = (named.as_deref(), &*registered, &*why);
        assert_eq!(said, (Some("of-others"), "False", "EntryNotOurs"));
        assert_eq!(ids(&sleeper, "one"), [""; 0]);
    }
    assert_eq!(sleeper.reads, reads, "every comparison shows it");
    assert_eq!(sleeper.server.get(&entry.id), Some(&entry));
    sleeper.server.remove(&entry.id);
    sleeper.sleep(seconds(700));
    assert_eq!(ids(&sleeper, "one").len(), 1);
    assert_eq!(status(&sleeper, &by_hand()).1, "True");
}

#[test]
fn an_entry_that_a_status_names_and_that_is_nowhere_is_in_nobodys_way() {
    for named in ["never-was", "no server has such an ID!"] {
        let sleeper = begun(before("one", Some(named)));
        assert_eq!(ids(&sleeper, "one").len(), 1, "{named}");
        let (says, registered, _) = status(&sleeper, &by_hand());
        assert_eq!((says, &*registered), (ids(&sleeper, "one").pop(), "True"));
    }
}

#[test]
fn an_entry_is_found_by_its_id_when_what_is_asked_for_changed_while_nobody_looked() {
    let mut first = begun(before("one", None));
    let before_it = ids(&first, "one");
    let mut second = Sleeper::new(crd());
    second.server = std::mem::take(&mut first.server);
    second.api = std::mem::take(&mut first.api);
    second.api.put(&by_hand(), spec("two"));
    let object = second.api.objects.get_mut(&by_hand()).expect("there");
    object.status = Default::default();
    let second = begun(second);
    assert_eq!(ids(&second, "one"), [""; 0]);
    assert_eq!(ids(&second, "two"), before_it, "changed, not made again");
    let made = |f: &&Fact| matches!(f, Fact::Created { .. });
    assert_eq!(
        second.facts.iter().filter(made).count(),
        0,
        "{:#?}",
        second.facts
    );
}

#[test]
fn what_is_asked_for_finds_its_entry_when_everything_else_is_new() {
    let mut first = begun(before("one", None));
    let before_it = ids(&first, "one");
    let mut second = before("one", None);
    second.server = std::mem::take(&mut first.server);
    let object = second.api.objects.get_mut(&by_hand()).expect("there");
    object.uid = Uid::new("made again");
    let second = begun(second);
    assert_eq!(ids(&second, "one"), before_it);
    assert_eq!(status(&second, &by_hand()).0, before_it.first().cloned());
}

#[test]
fn of_two_that_ask_for_the_same_the_older_has_it_and_the_younger_inherits_it() {
    let mut sleeper = begun(before("one", None));
    let entry = ids(&sleeper, "one");
    let younger = ResourceName::new("apps", "a-younger-one");
    // It had something else before.
    sleeper.api.put(&younger, spec("two"));
    sleeper.show_all();
    sleeper.sleep(seconds(30));
    assert_eq!(ids(&sleeper, "two").len(), 1);
    sleeper.api.put(&younger, spec("one"));
    sleeper.show_all();
    sleeper.sleep(seconds(300));
    let (named, registered, why) = status(&sleeper, &younger);
    assert_eq!((named, &*registered, &*why), (None, "False", "Duplicate"));
    assert_eq!(ids(&sleeper, "two"), [""; 0], "nobody asks for it any more");
    assert_eq!(ids(&sleeper, "one"), entry);
    ended(&mut sleeper, &by_hand());
    assert_eq!(ids(&sleeper, "one"), entry, "without a gap");
    let (named, registered, _) = status(&sleeper, &younger);
    assert_eq!((named, &*registered), (entry.first().cloned(), "True"));
}

#[test]
fn an_entry_of_ours_that_no_spiffe_id_asks_for_goes() {
    let mut sleeper = before("one", None);
    let gone = ResourceName::new("apps", "gone");
    sleeper.api.put(&gone, spec("two"));
    let uid = sleeper.api.objects[&gone].uid.clone();
    let id = crd().entry_ids.issue_for(&uid, 3, 1);
    let entry = entry_of(&sleeper, &gone, id.as_str());
    sleeper.api.objects.remove(&gone);
    sleeper.server.put(entry);
    let sleeper = begun(sleeper);
    assert_eq!(ids(&sleeper, "two"), [""; 0]);
    assert_eq!(ids(&sleeper, "one").len(), 1);
}

#[test]
fn an_entry_that_is_just_becoming_something_else_is_not_taken_for_ones_own() {
    let mut sleeper = begun(before("one", None));
    let entry = ids(&sleeper, "one");
    sleeper.late = |call| matches!(call, SpireCall::Update { .. });
    sleeper.api.put(&by_hand(), spec("two"));
    sleeper.show_changes();
    sleeper.facts.clear();
    let next = ResourceName::new("apps", "next");
    sleeper.api.put(&next, spec("one"));
    sleeper.show_changes();
    sleeper.answer_late();
    sleeper.show_changes();
    sleeper.sleep(seconds(10));
    let adopted = |f: &&Fact| matches!(f, Fact::Adopted { .. });
    assert_eq!(sleeper.facts.iter().find(adopted), None);
    assert_eq!(ids(&sleeper, "two"), entry);
    assert_eq!(ids(&sleeper, "one").len(), 1);
    assert_eq!(status(&sleeper, &next).0, ids(&sleeper, "one").pop());
}
