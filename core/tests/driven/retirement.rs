//! What may go of another root's entries in crd mode, where a pod's own entry comes through its SpiffeID.

use registrar_core::{
    cluster::Object,
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    rules::FormerRoot,
    spiffe::SpiffeId,
    sync::{Event, Retirement, WhyNot},
};

use crate::sleeper::{Sleeper, crd, pod, seconds};

const FORMER: &str = "/registrar/demo/node";

fn stored(id: &str, path: &str, parent: &str, selectors: [(&str, &str); 2]) -> RegisteredEntry {
    let spiffe_id = |path: &str| {
        let id = format!("spiffe://example.org{path}");
        id.parse::<SpiffeId>().expect("legal")
    };
    let selectors = selectors.map(|(kind, value)| Selector::new(kind, value));
    let entry = Entry::new(
        spiffe_id(path),
        spiffe_id(parent),
        Selectors::new(selectors),
    );
    RegisteredEntry::created(EntryId::stored(id), &entry)
}

/// What reconcile mode left behind for the node and these pods.
fn left_behind(pods: &[usize]) -> Vec<RegisteredEntry> {
    let node = format!("{FORMER}/n1");
    let of_node = [
        ("k8s_psat", "agent_node_name:n1"),
        ("k8s_psat", "cluster:demo"),
    ];
    let mut entries = vec![stored("node", &node, "/spire/server", of_node)];
    for n in pods {
        let of_pod = [("k8s", "ns:apps"), ("k8s", &*format!("pod-name:pod-{n}"))];
        entries.push(stored(&format!("pod-{n}"), "/former", &node, of_pod));
    }
    entries
}

fn retire(sleeper: Sleeper, pods: &[usize]) -> Retirement {
    let former = FormerRoot::parse(&crd(), FORMER).expect("a root");
    sleeper.machine.retirement(&former, &left_behind(pods))
}

fn uncovered(retirement: &Retirement) -> Vec<(&str, &WhyNot)> {
    let named = retirement
        .uncovered
        .iter()
        .map(|u| (&*u.object.name, &u.why));
    named.collect()
}

#[test]
fn what_every_pod_has_through_its_spiffe_id_may_go_elsewhere() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    let retirement = retire(sleeper, &[0, 1]);
    assert_eq!(uncovered(&retirement), []);
    let gone: Vec<&str> = retirement
        .remove
        .iter()
        .map(|(_, e)| e.id.as_str())
        .collect();
    assert_eq!(gone, ["pod-0", "pod-1", "node"]);
}

#[test]
fn a_pod_whose_spiffe_id_has_no_entry_yet_would_lose_its_identity() {
    let mut sleeper = Sleeper::started(crd(), 2);
    sleeper.sleep(seconds(60));
    sleeper.refused = Some("pod-uid:uid-7");
    sleeper.tell(vec![Event::Applied(Object::Pod(pod(7)))]);
    sleeper.sleep(seconds(30));
    assert!(!sleeper.registered(7));
    let retirement = retire(sleeper, &[0, 7]);
    assert_eq!(uncovered(&retirement), [("pod-7", &WhyNot::NotRegistered)]);
}

#[test]
fn a_pod_whose_node_has_no_entry_would_be_served_by_nobody() {
    let mut sleeper = Sleeper::new(crd());
    sleeper.refused = Some("agent_node_uid:node-uid");
    sleeper.start(1);
    sleeper.sleep(seconds(60));
    let retirement = retire(sleeper, &[0]);
    let lacks = WhyNot::NodeNotRegistered("n1".into());
    assert_eq!(uncovered(&retirement), [("pod-0", &lacks)]);
}
