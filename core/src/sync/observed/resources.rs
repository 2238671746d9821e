//! SpiffeIDs, and whose standing changes with them.

use super::{Observed, Touched};
use crate::{
    cluster::{NODE_UID_LABEL, SpiffeIdSnapshot, Uid},
    policy::Policy,
    ports::ResourceName,
    rules::Subject,
    sync::resources::subject_of,
};

impl Observed {
    pub(super) fn apply_resource(
        &mut self,
        policy: &Policy,
        resource: SpiffeIdSnapshot,
        touched: &mut Touched,
    ) {
        let name = ResourceName::new(resource.namespace.clone(), resource.name.clone());
        let readable = self.unreadable.remove(&subject_of(&name)).is_some();
        if !readable && self.resources.get(&name) == Some(&resource) {
            return;
        }
        if let (Some(uid), Ok(spec)) = (resource.labels.get(NODE_UID_LABEL), &resource.spec)
            && spec.selector.agent_node_uid.as_ref() == Some(uid)
            && policy
                .spiffe_ids
                .as_ref()
                .is_some_and(|p| p.namespace == resource.namespace)
        {
            // The node itself may be gone since before we began.
            let known = self.node_uids.entry(resource.name.clone());
            known.or_insert_with(|| Uid(uid.clone()));
        }
        let related = self.resources.put(policy, resource);
        self.touch_resource(&name, related, touched);
    }

    pub(super) fn remove_resource(&mut self, name: &ResourceName, touched: &mut Touched) {
        let related = self.resources.remove(name);
        self.touch_resource(name, related, touched);
    }

    /// The SpiffeID itself, those that ask for the same, and the object that it may have been made for.
    fn touch_resource(
        &self,
        name: &ResourceName,
        related: Vec<ResourceName>,
        touched: &mut Touched,
    ) {
        touched.subjects.push(subject_of(name));
        touched.subjects.extend(related.iter().map(subject_of));
        let pod = Subject::Pod(name.namespace.clone(), name.name.clone());
        if self.pods.contains_key(&pod) {
            touched.subjects.push(pod);
        }
        if self.nodes.contains_key(&name.name) || self.pods_of_node.contains_key(&name.name) {
            touched.subjects.push(Subject::Node(name.name.clone()));
        }
    }
}
