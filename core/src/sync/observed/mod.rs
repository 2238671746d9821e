//! The cluster as last seen: objects, the indexes between them, and how far each kind is known.

mod lists;
mod resources;
mod slices;

use std::{collections::BTreeMap, sync::Arc};

use super::resources::{Resources, subject_of};
use crate::{
    cluster::{EndpointsSnapshot, Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot, Uid},
    index::{Index, IndexSet},
    intern::Interner,
    policy::Policy,
    ports::ResourceName,
    rules::{Subject, subject_of_pod},
};

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// How far one kind is known.
#[derive(Debug, Default)]
struct Knowledge {
    /// Listed completely at least once.
    synced: bool,
    /// While a list is under way: what it held so far, and its UID if that could be read. Of pods, the many, only those that
    /// cannot be read; of the others each knows it by itself.
    relist: Option<Index<Name, Option<Uid>>>,
    /// Whether an object without a readable UID is there, since the list under way or the last one.
    blind: bool,
    blind_in_relist: bool,
}

/// The subjects whose decision may have changed, and those whose object's end was watched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) subjects: Vec<Subject>,
    pub(super) ended: Vec<Subject>,
    /// Pods that were here and are not any more.
    pub(super) gone: Vec<(Subject, ObjectKey)>,
    /// SpiffeIDs that were here and are not any more, another of the same name perhaps.
    pub(super) former: Vec<(Subject, Uid)>,
}

/// A pod that is here.
#[derive(Debug)]
struct Known {
    pod: PodSnapshot,
    /// The last list, or the watch after it, that showed it.
    list: u32,
}

#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Boxed: the nodes of the tree are never quite full.
    pods: Index<Subject, Box<Known>>,
    /// Lists of pods so far.
    pod_lists: u32,
    /// The UIDs of those whose subject does not tell their name: slices name pods, not UIDs.
    uids: Index<Name, Uid>,
    nodes: Index<Arc<str>, NodeSnapshot>,
    slices: Index<Name, EndpointsSnapshot>,
    pub(super) resources: Resources,
    /// Of nodes, those that are gone and still named by pods among them.
    node_uids: Index<Arc<str>, Uid>,
    pods_of_node: Index<Arc<str>, IndexSet<Subject>>,
    slices_of_pod: Index<Name, IndexSet<Name>>,
    /// Only where SpiffeIDs are found by their pod's UID.
    slices_of_uid: Index<Uid, IndexSet<Name>>,
    unreadable: Index<Subject, Arc<str>>,
    kinds: BTreeMap<Kind, Knowledge>,
    /// Pods that a read of their own showed to be gone: a watch that lags may still tell of them.
    buried: IndexSet<Uid>,
    strings: Interner,
}

impl Observed {
    pub(super) fn pod(&self, subject: &Subject) -> Option<&PodSnapshot> {
        self.pods.get(subject).map(|known| &known.pod)
    }

    pub(super) fn node(&self, name: &str) -> Option<&NodeSnapshot> {
        self.nodes.get(name)
    }

    /// The UID of a node, or that of the last one of this name.
    pub(super) fn last_uid_of_node(&self, name: &str) -> Option<&Uid> {
        self.node_uids.get(name)
    }

    pub(super) fn unreadable(&self, subject: &Subject) -> Option<&Arc<str>> {
        self.unreadable.get(subject)
    }

    /// Whom the objects that are here, readable or not, are about.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> {
        let nodes = self.nodes.keys().cloned().map(Subject::Node);
        let unreadable = self.unreadable.keys().cloned();
        nodes.chain(self.pods.keys().cloned()).chain(unreadable)
    }

    /// All pods that can be read.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&Subject, &PodSnapshot)> {
        self.pods
            .iter()
            .map(|(subject, known)| (subject, &known.pod))
    }

    /// All nodes that can be read.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeSnapshot> {
        self.nodes.values()
    }

    /// Whom the objects that cannot be read are about.
    pub(super) fn unreadable_subjects(&self) -> impl Iterator<Item = &Subject> {
        self.unreadable.keys()
    }

    pub(super) fn pods_on(&self, node: &str) -> impl Iterator<Item = &Subject> {
        self.pods_of_node.get(node).into_iter().flatten()
    }

    pub(super) fn slices_of(&self, pod: &PodSnapshot) -> Vec<&EndpointsSnapshot> {
        let name = (pod.namespace.clone(), pod.name.clone());
        let names = self.slices_of_pod.get(&name).into_iter().flatten();
        names.filter_map(|n| self.slices.get(n)).collect()
    }

    pub(super) fn is_synced(&self, kind: Kind) -> bool {
        self.kinds.get(&kind).is_some_and(|k| k.synced)
    }

    /// Whether the absence of an object of this kind is known when it is not here.
    pub(super) fn proves_absence(&self, kind: Kind) -> bool {
        self.kinds
            .get(&kind)
            .is_some_and(|k| k.synced && !k.blind && !k.blind_in_relist)
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.nodes.len(), self.pods.len())
    }

    /// Makes the names of a subject those that its pod is known by here, or will be.
    pub(super) fn share_names(&mut self, subject: &mut Subject) {
        if let Some((known, _)) = self.pods.get_key_value(subject) {
            *subject = known.clone();
        } else if let Subject::Pod(namespace, _) = subject {
            self.strings.share(namespace);
        }
    }

    /// An object as it is now, from a list or a watch.
    pub(super) fn apply(&mut self, policy: &Policy, object: Object, touched: &mut Touched) {
        let key = object.key();
        let uid = match &object {
            Object::Pod(pod) => Some(pod.uid.clone()),
            Object::SpiffeId(resource) => Some(resource.uid.clone()),
            Object::Node(_) | Object::EndpointSlice(_) => None,
        };
        if key.kind != Kind::Pod {
            self.seen(&key, uid);
        }
        match object {
            Object::Pod(pod) => self.apply_pod(policy, pod, touched),
            Object::Node(node) => self.apply_node(node, touched),
            Object::EndpointSlice(slice) => {
                let name = (slice.namespace.clone(), slice.name.clone());
                self.replace_slice(&name, Some(slice), touched);
            }
            Object::SpiffeId(resource) => self.apply_resource(policy, *resource, touched),
        }
    }

    fn seen(&mut self, key: &ObjectKey, uid: Option<Uid>) {
        if let Some(relist) = self.kinds.entry(key.kind).or_default().relist.as_mut() {
            relist.insert((key.namespace.clone(), key.name.clone()), uid);
        }
    }

    fn apply_pod(&mut self, policy: &Policy, mut pod: PodSnapshot, touched: &mut Touched) {
        let subject = subject_of_pod(policy, &pod);
        let buried = self.buried.contains(&pod.uid);
        let readable = !buried && self.is_readable_again(&subject, &pod, touched);
        let mut known = self.pods.get_mut(&subject);
        if let Some(known) = known.as_mut().filter(|known| known.pod.uid == pod.uid) {
            known.list = self.pod_lists;
        }
        if buried {
            return;
        }
        let old = known.map(|known| &known.pod);
        if !readable && old == Some(&pod) {
            return;
        }
        pod.share(&mut self.strings);
        let subject = subject_of_pod(policy, &pod);
        let moved_from = old
            .and_then(|o| o.node_name.clone())
            .filter(|n| Some(n) != pod.node_name.as_ref());
        if let Some(node) = &pod.node_name {
            self.pods_of_node
                .entry(node.clone())
                .or_default()
                .insert(subject.clone());
        }
        if let Some(node) = moved_from {
            self.leave_node(&node, &subject, touched);
        }
        if let Subject::PodUid(uid) = &subject {
            let name = (pod.namespace.clone(), pod.name.clone());
            self.uids.insert(name, uid.clone());
        }
        let list = self.pod_lists;
        self.pods
            .insert(subject.clone(), Box::new(Known { pod, list }));
        touched.subjects.push(subject);
    }

    /// Whether it could not be read before. It was held under its name and its UID, as its entry may have either.
    fn is_readable_again(
        &mut self,
        subject: &Subject,
        pod: &PodSnapshot,
        touched: &mut Touched,
    ) -> bool {
        if self.unreadable.is_empty() {
            return false;
        }
        let by_name = Subject::Pod(pod.namespace.clone(), pod.name.clone());
        for other in [by_name, Subject::PodUid(pod.uid.clone())] {
            if other != *subject && self.unreadable.remove(&other).is_some() {
                touched.subjects.push(other);
            }
        }
        self.unreadable.remove(subject).is_some()
    }

    fn leave_node(&mut self, node: &Arc<str>, subject: &Subject, touched: &mut Touched) {
        if let Some(pods) = self.pods_of_node.get_mut(node) {
            pods.remove(subject);
            if pods.is_empty() {
                self.pods_of_node.remove(node);
                if !self.nodes.contains_key(node) {
                    self.node_uids.remove(node);
                }
                // The entry of a node whose object is gone stays as long as a living pod names it.
                touched.subjects.push(Subject::Node(node.clone()));
            }
        }
    }

    fn remove_pod(&mut self, subject: &Subject, touched: &mut Touched) {
        if let Some(known) = self.pods.remove(subject) {
            let pod = known.pod;
            if let Some(node) = &pod.node_name {
                self.leave_node(node, subject, touched);
            }
            let name = (pod.namespace.clone(), pod.name.clone());
            // A newer pod of that name may be here already.
            if self.uids.get(&name) == Some(&pod.uid) {
                self.uids.remove(&name);
            }
            touched.subjects.push(subject.clone());
            let key = ObjectKey::new(Kind::Pod, pod.namespace, pod.name);
            touched.gone.push((subject.clone(), key));
        }
    }

    /// The pod is gone, whatever a watch that lags still tells of it before it tells so too.
    pub(super) fn bury(&mut self, uid: Uid) {
        self.buried.insert(uid);
    }

    fn apply_node(&mut self, node: NodeSnapshot, touched: &mut Touched) {
        let subject = Subject::Node(node.name.clone());
        let readable = self.unreadable.remove(&subject).is_some();
        let old = self.nodes.insert(node.name.clone(), node.clone());
        self.node_uids.insert(node.name.clone(), node.uid.clone());
        if !readable && old.as_ref() == Some(&node) {
            return;
        }
        if old.is_none_or(|o| o.uid != node.uid) {
            self.touch_pods_on(&node.name, touched);
        }
        touched.subjects.push(subject);
    }

    fn remove_node(&mut self, name: &Arc<str>, touched: &mut Touched) {
        self.nodes.remove(name);
        self.forget_node(name);
        touched.subjects.push(Subject::Node(name.clone()));
        self.touch_pods_on(name, touched);
    }

    /// Parents that are made of the node's UID come, change and go with it.
    fn touch_pods_on(&self, name: &str, touched: &mut Touched) {
        touched.subjects.extend(self.pods_on(name).cloned());
    }

    /// Its UID is remembered as long as pods name it.
    pub(super) fn forget_node(&mut self, name: &Arc<str>) {
        if !self.pods_of_node.contains_key(name) {
            self.node_uids.remove(name);
        }
    }

    /// The end of this very object was watched.
    pub(super) fn delete(&mut self, key: &ObjectKey, uid: &Uid, touched: &mut Touched) {
        let name = (key.namespace.clone(), key.name.clone());
        match key.kind {
            Kind::Pod => {
                self.buried.remove(uid);
                let by_name = Subject::Pod(name.0, name.1);
                let by_uid = Subject::PodUid(uid.clone());
                for subject in [by_name, by_uid] {
                    self.unreadable.remove(&subject);
                    match self.pods.get(&subject) {
                        Some(known) if known.pod.uid == *uid => self.remove_pod(&subject, touched),
                        // A late delete of a former pod says nothing about the one that is here.
                        Some(_) => continue,
                        None => touched.subjects.push(subject.clone()),
                    }
                    touched.ended.push(subject);
                }
            }
            Kind::Node => {
                if self.nodes.get(&key.name).is_some_and(|n| n.uid != *uid) {
                    return;
                }
                let subject = Subject::Node(key.name.clone());
                self.unreadable.remove(&subject);
                self.remove_node(&key.name, touched);
                touched.ended.push(subject);
            }
            Kind::EndpointSlice => self.replace_slice(&name, None, touched),
            Kind::SpiffeId => {
                let name = ResourceName::new(name.0, name.1);
                if self.resources.get(&name).is_some_and(|r| r.uid != *uid) {
                    return;
                }
                self.unreadable.remove(&subject_of(&name));
                self.remove_resource(&name, touched);
                touched.ended.push(subject_of(&name));
            }
        }
    }

    /// An object that is there but cannot be read. Returns whether its kind is blind from now on, and was not before.
    pub(super) fn undecodable(
        &mut self,
        kind: Kind,
        key: Option<&ObjectKey>,
        uid: Option<&Uid>,
        why: &Arc<str>,
        touched: &mut Touched,
    ) -> bool {
        if let Some(key) = key {
            self.seen(key, uid.cloned());
        }
        let mut subjects = Vec::new();
        match (kind, key) {
            (Kind::Pod, Some(key)) => {
                subjects.push(Subject::Pod(key.namespace.clone(), key.name.clone()));
                subjects.extend(uid.cloned().map(Subject::PodUid));
            }
            (Kind::Node, Some(key)) => subjects.push(Subject::Node(key.name.clone())),
            (Kind::SpiffeId, Some(key)) => {
                subjects.push(Subject::SpiffeId(key.namespace.clone(), key.name.clone()));
            }
            _ => {}
        }
        for subject in subjects {
            self.unreadable.insert(subject.clone(), why.clone());
            touched.subjects.push(subject);
        }
        let blind = kind != Kind::EndpointSlice && (uid.is_none() || key.is_none());
        if !blind {
            return false;
        }
        let knowledge = self.kinds.entry(kind).or_default();
        let known = match knowledge.relist {
            Some(_) => &mut knowledge.blind_in_relist,
            None => &mut knowledge.blind,
        };
        !std::mem::replace(known, true)
    }
}

/// A tree made anew of the same entries has full nodes.
pub(super) fn filled<K: Ord, V>(map: &mut Index<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}
