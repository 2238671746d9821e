//! What a plan says of the world, and what then happens in it.

use std::{collections::BTreeMap, time::Duration};

use super::World;
use crate::{
    cluster::{Kind, Object},
    entry::{EntryId, RegisteredEntry},
    sync::{Event, Plan, Reconciler},
};

impl World {
    /// Lets everything arrive that is on its way, and starts the process anew.
    pub fn calm(&mut self) {
        for late in std::mem::take(&mut self.late) {
            self.perform(&late, usize::MAX);
        }
        self.restart();
    }

    /// The plan of a machine that reads the cluster and the server as they are.
    pub fn plan(&self) -> Plan {
        let mut machine = Reconciler::new(self.policy.clone(), u64::MAX);
        let mut server = self.server.clone();
        let nodes = self.nodes.values().cloned().map(Object::Node);
        let pods = self.pods.values().cloned().map(Object::Pod);
        let mut events: Vec<Event> = [Kind::Node, Kind::Pod].map(Event::RelistBegan).to_vec();
        events.extend(nodes.chain(pods).map(Event::Listed));
        events.extend([Kind::Node, Kind::Pod].map(Event::RelistDone));
        loop {
            let calls = machine.step(Duration::ZERO, events).calls;
            if calls.is_empty() {
                return machine.plan(&self.foreign);
            }
            events = calls
                .into_iter()
                .map(|(id, call)| Event::Replied(id, Ok(server.perform(&call, usize::MAX))))
                .collect();
        }
    }

    /// All entries of the server by ID.
    pub fn stored(&self) -> BTreeMap<EntryId, RegisteredEntry> {
        let entries = self.server.entries();
        entries.map(|e| (e.id.clone(), e.clone())).collect()
    }
}
