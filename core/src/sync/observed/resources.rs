//! SpiffeIDs, and whose standing changes with them.

use std::sync::Arc;

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
        if let Some(old) = self.resources.get(&name)
            && old.uid != resource.uid
        {
            touched.former.push((subject_of(&name), old.uid.clone()));
        }
        let node_uid = node_uid(policy, &resource);
        if let Some(uid) = &node_uid {
            // The node itself may be gone since before we began.
            let known = self.node_uids.entry(resource.name.clone());
            known.or_insert_with(|| uid.clone());
        }
        let related = self.resources.put(policy, resource);
        self.touch_resource(&name, touched);
        touched.subjects.extend(related.iter().map(subject_of));
        if node_uid.is_some() && !self.is_node_known(&name.name) {
            // Nobody else brings the node back: neither its object nor a pod on it is there.
            touched.subjects.push(Subject::Node(name.name));
        }
    }

    /// Nodes of which nothing but a SpiffeID is left.
    pub(in crate::sync) fn nodes_left(&self, policy: &Policy) -> Vec<Subject> {
        let Some(ids) = &policy.spiffe_ids else {
            return Vec::new();
        };
        self.resources
            .of_namespace(&ids.namespace)
            .filter(|r| node_uid(policy, r).is_some() && !self.is_node_known(&r.name))
            .map(|r| Subject::Node(r.name.clone()))
            .collect()
    }

    fn is_node_known(&self, name: &Arc<str>) -> bool {
        self.nodes.contains_key(name) || self.pods_of_node.contains_key(name)
    }

    pub(super) fn remove_resource(&mut self, name: &ResourceName, touched: &mut Touched) {
        if let Some(old) = self.resources.get(name) {
            touched.former.push((subject_of(name), old.uid.clone()));
        }
        let related = self.resources.remove(name);
        if !self.nodes.contains_key(&name.name) {
            self.forget_node(&name.name);
        }
        self.touch_resource(name, touched);
        touched.subjects.extend(related.iter().map(subject_of));
    }

    /// The SpiffeID itself, and the object that it may have been made for.
    pub(in crate::sync) fn touch_resource(&self, name: &ResourceName, touched: &mut Touched) {
        touched.subjects.push(subject_of(name));
        let pod = Subject::Pod(name.namespace.clone(), name.name.clone());
        if self.pods.contains_key(&pod) {
            touched.subjects.push(pod);
        }
        if self.is_node_known(&name.name) {
            touched.subjects.push(Subject::Node(name.name.clone()));
        }
    }
}

/// The UID of the node that a SpiffeID was made for, if it was made for one.
fn node_uid(policy: &Policy, resource: &SpiffeIdSnapshot) -> Option<Uid> {
    let ids = policy.spiffe_ids.as_ref()?;
    let uid = resource.labels.get(NODE_UID_LABEL)?;
    let spec = resource.spec.as_ref().ok()?;
    let made_for = spec.selector.agent_node_uid.as_ref() == Some(uid);
    (made_for && ids.namespace == resource.namespace).then(|| Uid(uid.clone()))
}
