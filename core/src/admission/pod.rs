//! Reviews of pods, in webhook mode.

use std::sync::Arc;

use crate::{
    cluster::PodSnapshot,
    policy::Policy,
    rules::{Bundles, Decision, PodLookups, Problem, SkipReason, decide_pod},
    sync::Review,
};

/// What a review asks about. Objects are `Err` where they cannot be read, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodReview {
    /// What is about to happen.
    pub operation: Operation,
    /// Whether nothing may be written.
    pub dry_run: bool,
    /// `request.namespace`
    pub namespace: Arc<str>,
    /// Whether it is about a pod itself: core/v1 Pod, no subresource.
    pub is_pod: bool,
}

/// What is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// The pod as it is to be.
    Create(Result<PodSnapshot, Arc<str>>),
    /// The pod as it was.
    Delete {
        /// `oldObject`: the only thing that names the pod when a collection is deleted.
        pod: Result<PodSnapshot, Arc<str>>,
        /// Seconds until it is removed: those of the request, else the pod's own.
        grace: i64,
    },
    /// Anything else.
    Other,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The answer.
    Respond(Response),
    /// The machine has to do this first; then the pod is admitted.
    Do(Review),
}

/// An answer that needs nothing of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Admitted; nothing is to be done.
    Nothing,
    /// Admitted; this pod gets no entry.
    Skipped(SkipReason),
    /// Admitted; it can have no entry as it is. The person who asked is told.
    Held(Problem),
    /// Admitted; we should not have been asked.
    Unhandled(&'static str),
    /// Admitted; were it not a dry run, something would be written.
    DryRun,
    /// Cannot be told: the webhook's failurePolicy decides.
    Failed(Arc<str>),
}

impl Response {
    fn allow_skip(decision: &Decision) -> Option<Self> {
        match decision {
            Decision::Register { .. } => None,
            Decision::Skip(reason) => Some(Response::Skipped(*reason)),
            Decision::Invalid(problem) => Some(Response::Held(problem.clone())),
        }
    }
}

/// What a review of a pod leads to.
///
/// A DELETE comes when a pod begins to end. Where pods are watched, the watch tells when it has; where they are not, only
/// a delete after which the pod is gone for good removes its entries.
pub fn review_pod(policy: &Policy, review: PodReview) -> Next {
    if policy.disabled_namespaces.contains(&review.namespace) {
        return Next::Respond(Response::Skipped(SkipReason::NamespaceDisabled));
    }
    if !review.is_pod {
        return Next::Respond(Response::Unhandled(
            "Admission request received for unhandled object; check filters",
        ));
    }
    let unreadable = |why: Arc<str>| {
        let text = format!("unable to unmarshal v1/Pod object: {why}");
        Next::Respond(Response::Failed(text.into()))
    };
    match review.operation {
        Operation::Create(Err(why)) => unreadable(why),
        Operation::Create(Ok(pod)) => {
            let bundles = Bundles::default();
            let lookups = PodLookups {
                node: None,
                slices: &[],
                bundles: &bundles,
            };
            let decision = decide_pod(policy, &pod, lookups);
            match Response::allow_skip(&decision) {
                Some(response) => Next::Respond(response),
                None if review.dry_run => Next::Respond(Response::DryRun),
                None => Next::Do(Review::Created(pod)),
            }
        }
        Operation::Delete { .. } if policy.pods.watched => Next::Respond(Response::Nothing),
        Operation::Delete { pod: Err(why), .. } => unreadable(why),
        Operation::Delete {
            pod: Ok(pod),
            grace,
        } => {
            let for_good = grace <= 0 || pod.node_name.is_none() || pod.finished;
            match (for_good, review.dry_run) {
                (false, _) => Next::Respond(Response::Nothing),
                (true, true) => Next::Respond(Response::DryRun),
                (true, false) => Next::Do(Review::Deleted(pod)),
            }
        }
        Operation::Other => Next::Respond(Response::Unhandled(
            "Admission request received for unhandled pod operation; check filters",
        )),
    }
}
