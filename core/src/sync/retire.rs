//! What may go of the entries under another root of this cluster, once every living pod has its own under ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{Preview, Reconciler, Verdict, resources::subject_of};
use crate::{
    cluster::{Kind, ObjectKey},
    entry::{Entry, RegisteredEntry},
    policy::NodePolicy,
    rules::{FormerRoot, SkipReason, Subject},
    spiffe::SpiffeId,
};

/// Why a pod's entry under another root must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// It has none under ours yet, or not the right one.
    NotRegistered,
    /// Its own is right, but its node's entry is not, so no agent serves it.
    NodeNotRegistered(Arc<str>),
    /// It gets none under ours.
    Skipped(SkipReason),
    /// It is held, and has none under ours.
    Held(String),
    /// Whether it still exists is not known.
    Unknown,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNot::NotRegistered => f.write_str(
                "it has no right entry under our own root yet; run the registrar until `plan -live` has nothing to do",
            ),
            WhyNot::NodeNotRegistered(node) => write!(
                f,
                "its node {node:?} has no right entry yet, so no agent would serve the pod's new one"
            ),
            WhyNot::Skipped(reason) => write!(
                f,
                "it would lose its identity: it gets none by this configuration ({reason})"
            ),
            WhyNot::Unknown => f.write_str(
                "whether this pod still exists is not known: a pod of the cluster cannot be read (see the log of `run`)",
            ),
            WhyNot::Held(problem) => write!(f, "it is held and has no entry of ours: {problem}"),
        }
    }
}

/// A living pod that would lose its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// The pod.
    pub object: ObjectKey,
    /// Why.
    pub why: WhyNot,
}

/// What may go, what may not, and what is none of our business.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retirement {
    /// Entries to remove, and whom each is about: those of pods first.
    pub remove: Vec<(Subject, RegisteredEntry)>,
    /// Pods that would lose their identity. While there is one, nothing may be removed.
    pub uncovered: Vec<Uncovered>,
    /// Entries under the root that no registrar makes in this form: they stay.
    pub others: Vec<RegisteredEntry>,
    /// Entries of nodes that stay because one of the others hangs under them.
    pub needed: Vec<RegisteredEntry>,
}

impl Reconciler {
    /// What may go under `former`, by all that the machine was fed with. `entries` are the server's under that root.
    ///
    /// If not all pods were listed, or one cannot be read at all, a pod that is not known is not taken for gone.
    pub fn retirement(mut self, former: &FormerRoot, entries: &[RegisteredEntry]) -> Retirement {
        let mut retirement = Retirement::default();
        let mut nodes = Vec::new();
        for entry in entries.iter().filter(|e| former.covers(e)) {
            match former.subject(&self.policy, entry) {
                Some(subject @ Subject::Node(_)) => nodes.push((subject, entry.clone())),
                Some(subject) => retirement.remove.push((subject, entry.clone())),
                None if self.mirror.get(&entry.id).is_none() => {
                    retirement.others.push(entry.clone());
                }
                None => {}
            }
        }
        let by_name = self.living_pods();
        let absence_is_known = self.observed.proves_absence(Kind::Pod);
        let mut judged = BTreeSet::new();
        for (subject, _) in &retirement.remove {
            let Some(own) = by_name.get(subject) else {
                if !absence_is_known {
                    retirement.uncovered.push(Uncovered {
                        object: ObjectKey::new(Kind::Pod, "", subject.to_string()),
                        why: WhyNot::Unknown,
                    });
                }
                continue;
            };
            if judged.insert(own.clone())
                && let Some(uncovered) = self.uncovered(own)
            {
                retirement.uncovered.push(uncovered);
            }
        }
        retirement.uncovered.sort_by(|a, b| a.object.cmp(&b.object));
        retirement
            .remove
            .sort_by(|a, b| (&a.0, &a.1.id).cmp(&(&b.0, &b.1.id)));
        let parents: BTreeSet<&SpiffeId> = retirement.others.iter().map(|e| &e.parent_id).collect();
        let (needed, free): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .partition(|(_, e)| parents.contains(&e.spiffe_id));
        retirement.needed = needed.into_iter().map(|(_, e)| e).collect();
        retirement.remove.extend(free);
        retirement
    }

    /// By every subject that an entry may name a living pod with, the one under which we know it.
    fn living_pods(&self) -> BTreeMap<Subject, Subject> {
        let mut pods = BTreeMap::new();
        for (own, pod) in self.observed.pods() {
            let by_name = Subject::Pod(pod.namespace.clone(), pod.name.clone());
            pods.insert(by_name, own.clone());
            pods.insert(Subject::PodUid(pod.uid.clone()), own.clone());
        }
        for own in self.observed.unreadable_subjects() {
            pods.entry(own.clone()).or_insert_with(|| own.clone());
        }
        pods
    }

    /// Whether a living pod would lose its identity with its entry under another root.
    fn uncovered(&mut self, own: &Subject) -> Option<Uncovered> {
        let preview = self.preview(own);
        let why = self.why_not(own, &preview)?;
        let fallback = || ObjectKey::new(Kind::Pod, "", own.to_string());
        Some(Uncovered {
            object: preview.object.unwrap_or_else(fallback),
            why,
        })
    }

    fn why_not(&mut self, own: &Subject, preview: &Preview) -> Option<WhyNot> {
        match &preview.verdict {
            Verdict::Registered(entries, _) if self.gets_resource(own) => {
                let well = self.has_entries_of_resource(own, entries);
                match well {
                    true => self.node_of_pod_lacks(own),
                    false => Some(WhyNot::NotRegistered),
                }
            }
            // No process of the pod runs, so none can lose anything.
            Verdict::Skipped(SkipReason::NotScheduled | SkipReason::Finished) => None,
            Verdict::Skipped(reason) => Some(WhyNot::Skipped(*reason)),
            Verdict::Held(problem) if preview.right.is_empty() => {
                Some(WhyNot::Held(problem.to_string()))
            }
            Verdict::Held(_) => self.node_of_pod_lacks(own),
            Verdict::Registered(..)
                if !preview.right.is_empty()
                    && preview.create.is_empty()
                    && preview.update.is_empty() =>
            {
                self.node_of_pod_lacks(own)
            }
            _ => Some(WhyNot::NotRegistered),
        }
    }

    fn node_of_pod_lacks(&mut self, own: &Subject) -> Option<WhyNot> {
        let node = self.observed.pod(own)?.node_name.clone()?;
        let subject = match self.policy.nodes {
            NodePolicy::None => return None,
            NodePolicy::OneForAll => Subject::Node("".into()),
            NodePolicy::ByName | NodePolicy::ByUid => Subject::Node(node.clone()),
        };
        let preview = self.preview(&subject);
        let well = match &preview.verdict {
            Verdict::Registered(entries, _) if self.gets_resource(&subject) => {
                self.has_entries_of_resource(&subject, entries)
            }
            _ => !preview.right.is_empty() && preview.update.is_empty(),
        };
        (!well).then_some(WhyNot::NodeNotRegistered(node))
    }

    /// Whether an object whose entries come through a SpiffeID has them: the SPIFFE ID, under the right parent, with the
    /// right selectors. What people wrote into the SpiffeID beside is theirs.
    fn has_entries_of_resource(&self, subject: &Subject, entries: &[Arc<Entry>]) -> bool {
        let Some(resource) = self.resource_for(subject).map(|name| subject_of(&name)) else {
            return false;
        };
        let stored: Vec<_> = self.mirror.of(&resource).collect();
        entries
            .iter()
            .all(|entry| stored.iter().any(|r| entry.is_similar(&r.entry)))
    }
}
