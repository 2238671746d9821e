//! Lists of a kind: what a complete one does not hold is absent.

use std::{collections::BTreeSet, sync::Arc};

use super::{Name, Observed, Touched, filled};
use crate::{
    cluster::{Kind, Uid},
    index::Index,
    ports::ResourceName,
    rules::Subject,
};

impl Observed {
    pub(in crate::sync) fn relist_began(&mut self, kind: Kind) {
        if kind == Kind::Pod {
            self.pod_lists = self.pod_lists.wrapping_add(1);
        }
        let knowledge = self.kinds.entry(kind).or_default();
        knowledge.relist = Some(Index::new());
        knowledge.blind_in_relist = false;
    }

    /// Everything of this kind that the list did not hold is absent.
    pub(in crate::sync) fn relist_done(&mut self, kind: Kind, touched: &mut Touched) {
        let knowledge = self.kinds.entry(kind).or_default();
        knowledge.synced = true;
        knowledge.blind = knowledge.blind_in_relist;
        let Some(seen) = knowledge.relist.take() else {
            return;
        };
        match kind {
            Kind::Pod => {
                let absent: Vec<Subject> = self
                    .pods
                    .iter()
                    .filter(|(_, known)| known.list != self.pod_lists)
                    .filter(|(_, known)| {
                        let pod = &known.pod;
                        match seen.get(&(pod.namespace.clone(), pod.name.clone())) {
                            // Another pod of the same name is not this one.
                            Some(Some(uid)) => *uid != pod.uid,
                            Some(None) => false,
                            None => true,
                        }
                    })
                    .map(|(s, _)| s.clone())
                    .collect();
                for subject in absent {
                    self.remove_pod(&subject, touched);
                }
                self.close_ranks();
                // The list is newer than every read before it.
                self.buried.clear();
                self.forget_unreadable(kind, &seen, touched);
            }
            Kind::Node => {
                let empty: Arc<str> = "".into();
                let absent: Vec<Arc<str>> = self
                    .nodes
                    .keys()
                    .filter(|n| !seen.contains_key(&(empty.clone(), (*n).clone())))
                    .cloned()
                    .collect();
                for name in absent {
                    self.remove_node(&name, touched);
                }
                self.forget_unreadable(kind, &seen, touched);
            }
            Kind::EndpointSlice => {
                let absent: Vec<Name> = self
                    .slices
                    .keys()
                    .filter(|n| !seen.contains_key(*n))
                    .cloned()
                    .collect();
                for name in absent {
                    self.replace_slice(&name, None, touched);
                }
            }
            Kind::SpiffeId => {
                let seen_now = |name: &ResourceName| {
                    seen.contains_key(&(name.namespace.clone(), name.name.clone()))
                };
                let absent: Vec<ResourceName> = self
                    .resources
                    .names()
                    .filter(|n| !seen_now(n))
                    .cloned()
                    .collect();
                for name in absent {
                    self.remove_resource(&name, touched);
                }
                self.forget_unreadable(kind, &seen, touched);
            }
        }
    }

    /// Fills the nodes of the trees, which are half empty after so many insertions in order.
    fn close_ranks(&mut self) {
        filled(&mut self.pods);
        filled(&mut self.uids);
        for pods in self.pods_of_node.values_mut() {
            *pods = std::mem::take(pods).into_iter().collect();
        }
    }

    fn forget_unreadable(
        &mut self,
        kind: Kind,
        seen: &Index<Name, Option<Uid>>,
        touched: &mut Touched,
    ) {
        if self.unreadable.is_empty() {
            return;
        }
        let uids: BTreeSet<&Uid> = seen.values().flatten().collect();
        let some_without_uid = seen.values().any(Option::is_none);
        self.unreadable.retain(|subject, _| {
            let name = match (kind, subject) {
                (Kind::Pod, Subject::Pod(namespace, name))
                | (Kind::SpiffeId, Subject::SpiffeId(namespace, name)) => {
                    (namespace.clone(), name.clone())
                }
                (Kind::Node, Subject::Node(name)) => (Arc::from(""), name.clone()),
                (Kind::Pod, Subject::PodUid(uid)) => {
                    let keep = some_without_uid || uids.contains(uid);
                    if !keep {
                        touched.subjects.push(subject.clone());
                    }
                    return keep;
                }
                // Of another kind.
                _ => return true,
            };
            let keep = seen.contains_key(&name);
            if !keep {
                touched.subjects.push(subject.clone());
            }
            keep
        });
    }
}
