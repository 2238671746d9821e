//! What a SpiffeID's status says of its entry.

use std::sync::Arc;

use super::{Now, Reconciler, queue::Urgency, resources::resource_of};
use crate::{
    cluster::{Condition, SpiffeIdSnapshot, SpiffeIdStatus},
    entry::EntryId,
    ports::{KubeCall, ResourceName},
    rules::Subject,
};

/// The type of the condition that we keep.
const REGISTERED: &str = "Registered";
/// Why one has no entry whose status names one that is not its own.
pub(super) const NOT_OURS: &str = "EntryNotOurs";
/// How much of a message a condition carries.
const LONGEST_MESSAGE: usize = 1024;

/// What a SpiffeID's status is to say.
#[derive(Debug)]
pub(super) enum Standing {
    /// It has this entry; what was left out of it.
    Registered { id: EntryId, left_out: String },
    /// It has no entry of its own, or not the one that it asks for.
    Not {
        /// In CamelCase.
        reason: &'static str,
        message: String,
        /// What the status is to name as its entry.
        entry: Option<Arc<str>>,
    },
}

impl Reconciler {
    /// Writes the status where it does not say this already; if there is no room for that, it is looked at again when there is,
    /// so that it need not wait if something happens to it meanwhile.
    pub(super) fn report_standing(
        &mut self,
        subject: &Subject,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        standing: Standing,
        now: Now,
    ) {
        let Some(call) = self.status_call(name, resource, standing) else {
            return;
        };
        if self.kube.room().statuses {
            self.stage_write(subject, name, call);
        } else if self.queue.get(subject).is_some_and(|w| w.in_flight == 0) {
            // What is staged for it brings it back by itself.
            self.queue.mark(subject, Urgency::Standing, now);
        }
    }

    fn status_call(
        &self,
        name: &ResourceName,
        resource: &SpiffeIdSnapshot,
        standing: Standing,
    ) -> Option<KubeCall> {
        let status = wanted_status(resource, standing);
        let there = same_standing(&status, &resource.status);
        if there || self.kube.expects(name) || self.kube.did_not_keep(name, &resource.uid, &status)
        {
            return None;
        }
        Some(KubeCall::WriteStatus {
            name: name.clone(),
            uid: resource.uid.clone(),
            status: Box::new(status),
        })
    }

    /// The server refuses a SpiffeID's entry: its status says so at once, not after the back-off.
    pub(super) fn report_refusal(&mut self, subject: &Subject, message: &str) {
        let Some(name) = resource_of(subject) else {
            return;
        };
        let resource = self.observed.resources.get(&name).cloned();
        if let Some(resource) = resource.filter(|r| !r.deleting) {
            let has = self.entry_kept(subject, &name, &resource);
            let standing = Standing::Not {
                reason: "EntryRefused",
                message: format!("the SPIRE Server refuses the entry: {message}"),
                entry: has.map(|id| id.as_str().into()),
            };
            if let Some(call) = self.status_call(&name, &resource, standing) {
                self.stage_write(subject, &name, call);
            }
        }
    }
}

fn wanted_status(resource: &SpiffeIdSnapshot, standing: Standing) -> SpiffeIdStatus {
    let (entry_id, status, reason, message) = match standing {
        Standing::Registered { id, left_out } => {
            let message = match &*left_out {
                "" => String::new(),
                left_out => format!("without what was left out: {left_out}"),
            };
            (Some(id.as_str().into()), "True", "Registered", message)
        }
        Standing::Not {
            reason,
            message,
            entry,
        } => (entry, "False", reason, message),
    };
    let ours = |c: &&Condition| &*c.kind == REGISTERED;
    let before = resource.status.conditions.iter().find(ours);
    let condition = Condition {
        kind: REGISTERED.into(),
        status: status.into(),
        observed_generation: Some(resource.generation),
        last_transition: before
            .filter(|c| &*c.status == status)
            .and_then(|c| c.last_transition.clone()),
        reason: reason.into(),
        message: shortened(&message).into(),
    };
    let others = resource.status.conditions.iter().filter(|c| !ours(c));
    SpiffeIdStatus {
        entry_id,
        observed_generation: Some(resource.generation),
        conditions: others.cloned().chain([condition]).collect(),
    }
}

/// Whether a status is what we wrote for a spec that was changed since, and named the entry that it had then; or that it has
/// not what it asks for, and named what it kept: that another may have had since.
pub(super) fn is_outdated(resource: &SpiffeIdSnapshot) -> bool {
    let conditions = &resource.status.conditions;
    conditions.iter().any(|c| {
        let generation = c.observed_generation;
        *c.kind == *REGISTERED
            && *c.reason != *NOT_OURS
            && (*c.status == *"False" || generation.is_some_and(|of| of < resource.generation))
    })
}

/// Whether two statuses say the same of the entry.
pub(super) fn same_standing(a: &SpiffeIdStatus, b: &SpiffeIdStatus) -> bool {
    let ours = |s: &SpiffeIdStatus| {
        let condition = s.conditions.iter().find(|c| &*c.kind == REGISTERED)?;
        let Condition {
            status,
            observed_generation,
            reason,
            message,
            ..
        } = condition.clone();
        Some((status, observed_generation, reason, message))
    };
    a.entry_id == b.entry_id && a.observed_generation == b.observed_generation && ours(a) == ours(b)
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST_MESSAGE)]
}
