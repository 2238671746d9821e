//! Comparisons with the server: when their pages are asked for, and what they find of objects with which something is going on.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot},
    entry::{DnsName, Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::{IdentitySource, Policy},
    ports::{FailureClass, SpireCall},
    spiffe::SpiffeId,
    sync::{Drift, Event, Fact},
};

use crate::rig::{self, Rig, pod};

fn policy() -> Policy {
    let mut policy = rig::policy();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy
}

fn named(id: &str) -> PodSnapshot {
    let mut pod = pod(1);
    pod.annotations.insert("id".into(), id.into());
    pod
}

fn is_list(call: &SpireCall) -> bool {
    matches!(call, SpireCall::List { .. })
}

fn of_others(n: usize) -> RegisteredEntry {
    let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org{path}")).expect("an ID");
    let selector = Selector::new("k8s", format!("container-name:c{n}"));
    let entry = Entry::new(
        id(&format!("/f/{n}")),
        id("/elsewhere"),
        Selectors::new([selector]),
    );
    RegisteredEntry::created(EntryId::stored(&format!("of-others-{n:05}")), &entry)
}

/// The comparisons that were told.
fn compared(rig: &Rig) -> Vec<(usize, usize)> {
    let compared = rig.facts.iter().filter_map(|fact| match fact {
        Fact::Compared { total, owned } => Some((*total, *owned)),
        _ => None,
    });
    compared.collect()
}

#[test]
fn a_first_reading_makes_no_pauses_and_a_comparison_spreads_its_pages_over_half_of_its_interval() {
    let mut rig = Rig::new(policy());
    (0..2500).for_each(|n| rig.server.put(of_others(n)));
    rig.start([named("a")]);
    assert_eq!(compared(&rig), [(2500, 0)]);
    let mut asked = Vec::new();
    while asked.len() < 6 {
        rig.now = rig.wake_at.expect("the next page, some day");
        rig.tell([]);
        if rig.waiting.values().any(is_list) {
            asked.push(rig.now.as_millis());
        }
        rig.answer_all();
    }
    // Three pages with something on them, and one that says that there is no more.
    assert_eq!(asked, [10_000, 11_250, 12_500, 13_750, 20_000, 21_250]);
    assert_eq!(compared(&rig), [(2500, 0), (2502, 2)]);
    let status = rig.machine.status(rig.now);
    assert_eq!(status.last_compared, Some(Duration::from_millis(13_750)));
}

/// A machine with one pod, whose entry is to be changed by the write that is under way.
fn changing() -> (Rig, EntryId) {
    let mut rig = Rig::new(policy());
    rig.start([named("a")]);
    rig.wait(Duration::from_secs(1));
    let of_pod = |e: &&RegisteredEntry| e.spiffe_id.path().ends_with("/a");
    let entry = rig.server.entries().find(of_pod).expect("registered");
    let id = entry.id.clone();
    rig.tell([Event::Applied(Object::Pod(named("b")))]);
    assert_eq!(rig.sizes(), [1]);
    rig.facts.clear();
    (rig, id)
}

/// Time enough for a comparison, of whose calls only those that read are answered, and the writes by a refusal or not at all.
fn compare(rig: &mut Rig, refused: bool) {
    let end = rig.now + Duration::from_secs(18);
    while rig.now < end {
        rig.now += Duration::from_millis(500);
        rig.tell([]);
        while refused && !rig.sizes().is_empty() {
            rig.refuse(FailureClass::Permanent, "no");
        }
        while rig.waiting.values().any(is_list) {
            let (id, call) = rig.take(is_list);
            let answer = rig.server.perform(&call, usize::MAX);
            rig.tell([Event::Replied(id, Ok(answer))]);
        }
    }
    assert!(!compared(rig).is_empty());
}

fn drifts(rig: &Rig) -> Vec<Drift> {
    let drifts = rig.facts.iter().filter_map(|fact| match fact {
        Fact::Drifted { drift, .. } => Some(*drift),
        _ => None,
    });
    drifts.collect()
}

#[test]
fn what_is_read_of_an_entry_while_a_write_of_it_is_under_way_is_no_drift() {
    let (mut rig, id) = changing();
    rig.server
        .change(&id, |e| e.dns_names = [DnsName::stored("x.test")].into());
    compare(&mut rig, false);
    assert_eq!(drifts(&rig), []);

    let (mut rig, id) = changing();
    rig.server.remove(&id);
    compare(&mut rig, false);
    assert_eq!(drifts(&rig), []);
    rig.wait(Duration::from_secs(1));
    let mut entries = rig.server.entries();
    let made_again = entries.any(|e| e.spiffe_id.path().ends_with("/b"));
    assert!(made_again, "{:#?}", rig.writes);
}

#[test]
fn what_someone_did_to_an_entry_whose_write_was_refused_is_drift() {
    let (mut rig, id) = changing();
    rig.refuse(FailureClass::Permanent, "no");
    rig.server
        .change(&id, |e| e.dns_names = [DnsName::stored("x.test")].into());
    compare(&mut rig, true);
    assert_eq!(drifts(&rig), [Drift::Changed]);

    let (mut rig, id) = changing();
    rig.refuse(FailureClass::Permanent, "no");
    rig.server.remove(&id);
    compare(&mut rig, true);
    assert_eq!(drifts(&rig), [Drift::Missing]);
}

/// A page is on its way back while something is done; what it shows is older than that.
fn beside_a_page(done: Event) -> Rig {
    let mut rig = Rig::new(policy());
    rig.start([named("a")]);
    rig.now += Duration::from_secs(30);
    rig.tell([]);
    let (id, call) = rig.take(is_list);
    let shown = rig.server.perform(&call, usize::MAX);
    rig.facts.clear();
    rig.writes.clear();
    rig.tell([done]);
    rig.answer_after(Duration::ZERO);
    rig.tell([Event::Replied(id, Ok(shown))]);
    rig.wait(Duration::from_secs(30));
    assert!(!compared(&rig).is_empty());
    assert_eq!(drifts(&rig), []);
    assert_eq!(rig.writes.len(), 1, "{:#?}", rig.writes);
    rig
}

#[test]
fn a_page_does_not_undo_what_was_done_since_it_was_asked_for() {
    let has = |rig: &Rig, end: &str| {
        let mut entries = rig.server.entries();
        entries.any(|e| e.spiffe_id.path().ends_with(end))
    };
    let changed = beside_a_page(Event::Applied(Object::Pod(named("b"))));
    assert!(has(&changed, "/b") && !has(&changed, "/a"));
    let mut another = pod(2);
    another.annotations.insert("id".into(), "c".into());
    let made = beside_a_page(Event::Applied(Object::Pod(another)));
    assert!(has(&made, "/c") && has(&made, "/a"));
    let key = ObjectKey::new(Kind::Pod, pod(1).namespace, pod(1).name);
    let ended = beside_a_page(Event::Deleted(key, pod(1).uid));
    assert_eq!(ended.server.entries().count(), 1);
    assert_eq!(ended.machine.status(ended.now).entries, (1, 0));
}

#[test]
fn entries_are_counted_by_what_they_are_for_however_they_come_and_go() {
    let count = |rig: &Rig| rig.machine.status(rig.now).entries;
    let mut rig = Rig::new(policy());
    rig.start((0..3).map(|n| {
        let mut pod = pod(n);
        pod.annotations.insert("id".into(), format!("p-{n}").into());
        pod
    }));
    rig.wait(Duration::from_secs(1));
    assert_eq!(count(&rig), (1, 3));
    // Somebody changes them all.
    let all: Vec<EntryId> = rig.server.entries().map(|e| e.id.clone()).collect();
    for id in &all {
        rig.server
            .change(id, |e| e.dns_names = [DnsName::stored("x.test")].into());
    }
    rig.wait(Duration::from_secs(30));
    assert_eq!(count(&rig), (1, 3));
    for id in &all {
        rig.server.remove(id);
    }
    rig.wait(Duration::from_secs(30));
    assert_eq!(count(&rig), (1, 3));
    rig.listed(Kind::Pod, []);
    rig.wait(Duration::from_secs(30));
    assert_eq!(count(&rig), (1, 0));
    rig.listed(Kind::Node, []);
    rig.wait(Duration::from_secs(30));
    assert_eq!(count(&rig), (0, 0));
    assert_eq!(rig.server.entries().count(), 0);
}

#[test]
fn a_comparison_that_finds_nothing_is_told_and_asks_for_nothing_more() {
    let mut rig = Rig::new(policy());
    rig.start([named("a")]);
    rig.facts.clear();
    rig.writes.clear();
    rig.sleep(Duration::from_secs(100));
    let told = compared(&rig);
    assert!((9..=10).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|c| *c == (2, 2)), "{told:?}");
    assert_eq!(rig.facts.len(), told.len(), "{:?}", rig.facts);
    assert_eq!(rig.writes, []);
}
