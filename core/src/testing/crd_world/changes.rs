//! What pods, tenants, the garbage collector and the end of the definition change.

use super::{Call, CrdWorld, NAMESPACE};
use crate::{
    cluster::{Kind, Metadata, Object, ObjectKey, PodSnapshot, Uid},
    entry::{EntryId, RegisteredEntry},
    policy::IdentitySource,
    ports::SpireCall,
    rules::Tuple,
    sync::Event,
    testing::Identity,
};

impl CrdWorld {
    pub(super) fn pod(&mut self, name: u8, identity: Identity, again: bool) {
        if again {
            self.delete_pod(name);
        }
        self.uids += 1;
        let uid = Uid::new(format!("uid-{}", self.uids));
        let pod = self.pods.entry(name).or_insert(PodSnapshot {
            namespace: NAMESPACE.into(),
            name: format!("pod-{name}").into(),
            uid,
            node_name: Some("node-0".into()),
            hostname: None,
            service_account: Some("sa".into()),
            labels: Metadata::new(),
            annotations: Metadata::new(),
            pod_ips: Box::new([]),
            mirror: false,
            terminating: false,
            finished: false,
        });
        let value = match identity {
            Identity::None => None,
            Identity::Legal(n) => Some(format!("team/{n}")),
            Identity::Illegal => Some("a//b".to_owned()),
            Identity::Reserved => Some("spire/x".to_owned()),
        };
        if let IdentitySource::Annotation(key) = &self.policy.pods.identity {
            pod.annotations.remove(key);
            if let Some(value) = value {
                pod.annotations.insert(key.clone(), value.into());
            }
        }
        let pod = pod.clone();
        self.unseen.push(Event::Applied(Object::Pod(pod)));
    }

    pub(super) fn delete_pod(&mut self, name: u8) {
        if let Some(pod) = self.pods.remove(&name) {
            let key = ObjectKey::new(Kind::Pod, NAMESPACE, pod.name.clone());
            self.unseen.push(Event::Deleted(key, pod.uid));
        }
    }

    pub(super) fn forge(&mut self, which: u8, entry: u8) {
        let hands: Vec<_> = self
            .api
            .objects
            .keys()
            .filter(|n| n.name.starts_with("hand-"))
            .cloned()
            .collect();
        let ids: Vec<EntryId> = self.server.entries().map(|e| e.id.clone()).collect();
        let name = hands.get(usize::from(which) % hands.len().max(1));
        let id = ids.get(usize::from(entry) % ids.len().max(1));
        if let (Some(name), Some(id)) = (name, id) {
            self.seen.count("status forged");
            if let Some(object) = self.api.objects.get(name) {
                self.forged.insert((object.uid.clone(), id.clone()));
            }
            self.api.forge_status(name, Some(id.as_str().into()));
        }
    }

    pub(super) fn collect(&mut self) {
        let uids: Vec<Uid> = self
            .pods
            .values()
            .map(|p| p.uid.clone())
            .chain(self.node.iter().map(|n| n.uid.clone()))
            .collect();
        self.api.collect_garbage(|uid| uids.contains(uid));
    }

    pub(super) fn define(&mut self, there: bool) {
        if there {
            if self.api.install() {
                self.seen.count("definition installed");
                let events = self.api.list();
                self.unseen.extend(events);
                self.spared.clear();
            }
        } else if self.api.definition.is_some() {
            self.seen.count("definition deleted");
            let living = self.api.objects.values().filter(|o| !o.deleting);
            let prefixes: Vec<String> = living
                .map(|o| self.policy.entry_ids.of_owner(&o.uid))
                .collect();
            let of_living =
                |e: &&RegisteredEntry| prefixes.iter().any(|p| e.id.as_str().starts_with(p));
            let under_way = self.deletes_under_way();
            self.spared = self
                .server
                .entries()
                .filter(of_living)
                // What nobody asks for any more, or not yet as far as was shown, may go for that.
                .filter(|e| self.is_asked_for(e) && self.is_known_to_be_asked_for(e))
                .map(|e| e.id.clone())
                .filter(|id| !under_way.contains(id))
                .collect();
            self.api.uninstall();
        }
    }

    fn is_known_to_be_asked_for(&self, entry: &RegisteredEntry) -> bool {
        let tuple = Some(Tuple::stored(entry));
        self.known.values().any(|(_, asked)| *asked == tuple)
    }

    pub(super) fn deletes_under_way(&self) -> Vec<EntryId> {
        self.under_way
            .values()
            .filter_map(|call| match call {
                Call::Spire(SpireCall::Delete { ids }) => Some(ids.clone()),
                _ => None,
            })
            .flatten()
            .collect()
    }
}
