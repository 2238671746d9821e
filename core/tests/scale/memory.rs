//! What a pod costs in memory while nothing happens.

use std::time::Duration;

use registrar_core::{
    cluster::{Kind, Object},
    entry::{Entry, EntryId, RegisteredEntry},
    ports::{SpireAnswer, SpireCall},
    rules::{Bundles, Decision, PodLookups, decide_node, decide_pod},
    spiffe::SpiffeId,
    sync::Event,
};

use crate::cluster::{Cluster, NODES, node, pod, reconcile, reply};

/// What the IDs of entries begin with here.
const ID: &str = "kwr-0123456789abcdef.0123456789abcdef";

/// A machine that began with all entries in place, as a server lists them: with texts of their own.
pub fn restarted(pods: usize) -> Cluster {
    let mut cluster = Cluster::new(reconcile(), 2);
    let stored = |id: String, entry: &Entry| {
        let id_of = |id: &SpiffeId| SpiffeId::parse(&id.to_string()).expect("legal");
        let mut stored = RegisteredEntry::created(EntryId::stored(&id), entry);
        stored.spiffe_id = id_of(&entry.spiffe_id);
        stored.parent_id = id_of(&entry.parent_id);
        stored
    };
    let entries = |n: std::ops::Range<usize>| -> Vec<RegisteredEntry> {
        let (policy, bundles) = (reconcile(), Bundles::default());
        let lookups = || PodLookups {
            node: None,
            slices: &[],
            bundles: &bundles,
        };
        let of = |decision, n| match decision {
            Decision::Register { entries, .. } => stored(format!("{ID}-{n}"), &entries[0]),
            other => panic!("{other:?}"),
        };
        n.map(|n| match n.checked_sub(pods) {
            Some(n) => of(decide_node(&policy, &node(n), &bundles), pods + n),
            None => of(decide_pod(&policy, &pod(n, &"team/a".into()), lookups()), n),
        })
        .collect()
    };
    let (machine, now) = (&mut cluster.machine, &mut cluster.now);
    let mut calls = machine.step(*now, [Event::Leading(true)]).calls;
    // The pods' list is half through when the entries' is complete.
    let objects = (0..pods).map(|n| Event::Listed(Object::Pod(pod(n, &"team/a".into()))));
    let (first, second): (Vec<_>, Vec<_>) = objects.enumerate().partition(|(n, _)| n % 2 == 0);
    let events = |half: Vec<(usize, Event)>| half.into_iter().map(|(_, event)| event);
    calls.extend(machine.step(*now, [Event::RelistBegan(Kind::Pod)]).calls);
    calls.extend(machine.step(*now, events(first)).calls);
    let mut at = 0;
    while let Some((id, call)) = calls.pop() {
        *now += Duration::from_millis(1);
        let replied = match call {
            SpireCall::List { page_size, .. } => {
                let end = (at + page_size as usize).min(pods + NODES);
                let entries = entries(at..end);
                at = end;
                let next = (at < pods + NODES).then(|| at.to_string().into());
                let page = SpireAnswer::Page {
                    entries,
                    unreadable: 0,
                    next,
                };
                Event::Replied(id, Ok(page))
            }
            call => reply(id, call),
        };
        calls.extend(machine.step(*now, [replied]).calls);
    }
    let nodes = (0..NODES).map(|n| Event::Listed(Object::Node(node(n))));
    let nodes = std::iter::once(Event::RelistBegan(Kind::Node)).chain(nodes);
    let calls = cluster.drive(events(second).collect())
        + cluster.drive(vec![Event::RelistDone(Kind::Pod)])
        + cluster.drive(nodes.collect())
        + cluster.drive(vec![Event::RelistDone(Kind::Node)]);
    let status = cluster.machine.status(cluster.now);
    assert_eq!(
        (calls, status.busy, status.entries.1),
        (0, 0, pods),
        "{status:?}"
    );
    cluster
}
