//! What `explain` finds in crd mode, where a SpiffeID stands between the pod and its entry.

use std::{sync::Arc, time::Duration};

use registrar_adapters::spire::AttestedAgent;
use registrar_core::{
    cluster::{Condition, NodeSnapshot, Object, PodSnapshot, SpiffeIdSnapshot, Uid},
    entry::EntryId,
    model::{ModelApi, ModelServer},
    policy::{IdentitySource, Policy},
    ports::ResourceName,
    sync::{Event, Reconciler},
};

use super::{
    findings::{Finding, Weight, findings},
    seen::{Agent, Found, Seen, assemble},
    tests::pod,
};

const NOW: i64 = 1_000_000;

/// A cluster whose registrar ran until everything was right, until a test changes something.
struct Case {
    policy: Policy,
    pod: PodSnapshot,
    node: NodeSnapshot,
    api: ModelApi,
    server: ModelServer,
}

impl Case {
    fn new() -> Self {
        let mut policy = Policy::crd("example.org", "demo", "spire").expect("legal");
        policy.pods.identity = IdentitySource::Annotation("id".into());
        let pod = pod();
        let node = NodeSnapshot {
            name: "node-1".into(),
            uid: Uid::new("node-uid"),
            annotations: Default::default(),
        };
        let mut case = Self {
            policy,
            pod,
            node,
            api: ModelApi::serving([]),
            server: ModelServer::default(),
        };
        case.run(true);
        case
    }

    /// A machine that has seen everything as it is; if it leads, it has also acted.
    fn run(&mut self, leading: bool) -> Reconciler {
        let mut machine = Reconciler::new(self.policy.clone(), 0);
        let kinds = Reconciler::kinds(&self.policy);
        let mut events = vec![Event::Leading(leading)];
        events.extend(kinds.iter().copied().map(Event::RelistBegan));
        let resources = self.api.objects.values().cloned();
        let resources = resources.map(|r| Object::SpiffeId(Box::new(r)));
        let others = [
            Object::Pod(self.pod.clone()),
            Object::Node(self.node.clone()),
        ];
        events.extend(others.into_iter().chain(resources).map(Event::Listed));
        events.extend(kinds.into_iter().map(Event::RelistDone));
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(5) {
            let step = machine.step(now, std::mem::take(&mut events));
            for (id, call) in step.calls {
                let answer = self.server.perform(&call, usize::MAX);
                events.push(Event::Replied(id, Ok(answer)));
            }
            for (id, call) in step.kube_calls {
                events.push(Event::KubeReplied(id, self.api.perform(&call)));
            }
            events.append(&mut self.api.changes);
            now += Duration::from_millis(100);
        }
        machine
    }

    fn own(&self) -> ResourceName {
        ResourceName::new("apps", "web")
    }

    fn resource(&mut self) -> &mut SpiffeIdSnapshot {
        let name = self.own();
        self.api.objects.get_mut(&name).expect("its SpiffeID")
    }

    fn entry(&mut self) -> EntryId {
        let id = self.resource().status.entry_id.clone().expect("an ID");
        EntryId::stored(&id)
    }

    fn seen(mut self) -> Seen {
        let machine = self.run(false);
        let agent = "spiffe://example.org/spire/agent/k8s_psat/demo/node-uid";
        let attested = Agent::Attested(AttestedAgent {
            banned: false,
            expires_at: NOW + 1,
        });
        let found = Found {
            name: "apps/web".into(),
            pod: Some(self.pod),
            node_exists: true,
            agent: Some((agent.parse_id(), attested)),
            refusals: Vec::new(),
        };
        assemble(machine, &[], found)
    }

    #[track_caller]
    fn says(self, in_text: &str, in_remedy: &str) {
        let found = findings(&self.seen(), NOW);
        let first: &Finding = found.first().expect("a finding");
        assert_eq!(first.weight, Weight::Fault, "{found:#?}");
        assert!(first.text.contains(in_text), "{found:#?}");
        let remedy = first.remedy.as_deref().expect("a remedy");
        assert!(remedy.contains(in_remedy), "{found:#?}");
    }
}

trait ParseId {
    fn parse_id(&self) -> registrar_core::spiffe::SpiffeId;
}

impl ParseId for str {
    fn parse_id(&self) -> registrar_core::spiffe::SpiffeId {
        registrar_core::spiffe::SpiffeId::parse(self).expect("legal")
    }
}

#[test]
fn fine() {
    let seen = Case::new().seen();
    let found = findings(&seen, NOW);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].weight, Weight::Well);
    assert_eq!(seen.own.right.len(), 1, "the entry of its SpiffeID");
}

#[test]
fn no_spiffe_id_yet() {
    let mut case = Case::new();
    let name = case.own();
    case.api.objects.remove(&name);
    case.says("SpiffeID apps/web does not exist", "/readyz");
}

#[test]
fn a_terminating_pod_whose_spiffe_id_is_gone_is_no_fault() {
    let mut case = Case::new();
    let name = case.own();
    case.api.objects.remove(&name);
    case.pod.terminating = true;
    let found = findings(&case.seen(), NOW);
    assert!(
        found.iter().all(|f| f.weight != Weight::Fault),
        "{found:#?}"
    );
}

#[test]
fn its_spiffe_id_is_being_deleted() {
    let mut case = Case::new();
    case.resource().deleting = true;
    case.says("is being deleted", "if it stays like this");
}

#[test]
fn its_spiffe_id_is_another_than_the_pod_should_have() {
    let mut case = Case::new();
    case.pod
        .annotations
        .insert("id".into(), "team/other".into());
    case.says("is not what the pod should have", "the registrar writes it");
}

#[test]
fn its_spiffe_id_asks_for_what_it_may_not_have() {
    let mut case = Case::new();
    let resource = case.resource();
    let mut spec = (**resource.spec.as_ref().expect("a spec")).clone();
    spec.downstream = true;
    resource.spec = Ok(Arc::new(spec));
    case.says("asks for what it may not have: spec.downstream", "undo");
}

#[test]
fn somebody_elses_spiffe_id_has_its_name() {
    let mut case = Case::new();
    case.resource().controller = None;
    case.resource().applied = None;
    case.says(
        "is there already and not this object's",
        "kubectl delete spiffeid -n apps web",
    );
}

#[test]
fn the_entry_is_not_there_or_differs() {
    let mut case = Case::new();
    let id = case.entry();
    case.server.remove(&id);
    case.says("the entry is not on the server", "/readyz");
    let mut case = Case::new();
    let id = case.entry();
    case.server.change(&id, |e| e.hint = "x".into());
    let other = "spiffe://example.org/other".parse_id();
    case.server.change(&id, |e| e.spiffe_id = other);
    case.says("differs in spiffe_id", "repaired in place");
}

#[test]
fn what_its_status_says_is_told_with_a_remedy() {
    for (reason, remedy) in [
        ("Duplicate", "delete the other SpiffeID"),
        ("EntryNotOurs", "status.entryId"),
        ("EntryRefused", "tries again by itself"),
    ] {
        let mut case = Case::new();
        case.resource().status.conditions = vec![Condition {
            kind: "Registered".into(),
            status: "False".into(),
            observed_generation: None,
            last_transition: None,
            reason: reason.into(),
            message: "for a reason".into(),
        }];
        case.says(reason, remedy);
    }
}

#[test]
fn the_nodes_spiffe_id_has_no_entry() {
    let mut case = Case::new();
    let node = ResourceName::new("spire", "node-1");
    let id = case.api.objects[&node]
        .status
        .entry_id
        .clone()
        .expect("an ID");
    case.server.remove(&EntryId::stored(&id));
    case.says("the node has no entry", "/readyz");
}
