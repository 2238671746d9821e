//! What a rehearsal says of the world of crd mode, and what then happens in it.

use std::{collections::BTreeMap, time::Duration};

use super::{CrdAction, CrdWorld};
use crate::{
    cluster::{Kind, Object},
    entry::{EntryId, RegisteredEntry},
    model::ModelApi,
    ports::{KubeAnswer, KubeCall},
    sync::{Event, Plan, Reconciler},
};

impl CrdWorld {
    /// Lets everything arrive that is on its way, and starts the process anew, with the definition in force.
    pub fn calm(&mut self) {
        self.act(CrdAction::Definition(true));
        self.leading = true;
        self.act(CrdAction::Kill(true));
        self.collect();
        // What was deleted without a finalizer is gone.
        self.act(CrdAction::Definition(true));
        self.act(CrdAction::Kill(false));
    }

    /// The plan of a machine that reads the cluster and the server as they are.
    pub fn plan(&self) -> Plan {
        let mut machine = Reconciler::new(self.policy.clone(), u64::MAX);
        let mut server = self.server.clone();
        let nodes = self.node.iter().cloned().map(Object::Node);
        let pods = self.pods.values().cloned().map(Object::Pod);
        let resources = self.api.objects.values().cloned();
        let resources = resources.map(|r| Object::SpiffeId(Box::new(r)));
        let kinds = [Kind::Node, Kind::Pod, Kind::SpiffeId];
        let mut events: Vec<Event> = kinds.map(Event::RelistBegan).to_vec();
        events.extend(nodes.chain(pods).chain(resources).map(Event::Listed));
        events.extend(kinds.map(Event::RelistDone));
        loop {
            let step = machine.step(Duration::ZERO, std::mem::take(&mut events));
            for (id, call) in step.calls {
                events.push(Event::Replied(id, Ok(server.perform(&call, usize::MAX))));
            }
            for (id, call) in step.kube_calls {
                assert_eq!(call, KubeCall::ReadDefinition, "a plan writes nothing");
                let definition = KubeAnswer::Definition(Some(ModelApi::definition()));
                events.push(Event::KubeReplied(id, Ok(definition)));
            }
            if events.is_empty() {
                return machine.rehearse(server.entries().cloned().collect());
            }
        }
    }

    /// All entries of the server by ID.
    pub fn stored(&self) -> BTreeMap<EntryId, RegisteredEntry> {
        let entries = self.server.entries();
        entries.map(|e| (e.id.clone(), e.clone())).collect()
    }

    /// The names of all SpiffeIDs.
    pub fn resources(&self) -> Vec<String> {
        let names = self.api.objects.keys();
        names
            .map(|n| format!("{}/{}", n.namespace, n.name))
            .collect()
    }
}
