//! The SPIFFE ID path of a pod.

use std::sync::Arc;

use super::{Decision, Problem, SkipReason, Template, quoted};
use crate::{
    cluster::PodSnapshot,
    policy::{IdentitySource, Policy},
    spiffe::SpiffeId,
};

/// The SPIFFE ID that the policy gives a pod, or why it gets none.
///
/// # Errors
/// [`Decision::Skip`] or [`Decision::Invalid`]; never [`Decision::Register`].
pub fn pod_path(policy: &Policy, pod: &PodSnapshot) -> Result<SpiffeId, Decision> {
    let (what, value): (String, Arc<str>) = match &policy.pods.identity {
        IdentitySource::ServiceAccount => {
            let Some(account) = pod.service_account.as_deref().filter(|a| !a.is_empty()) else {
                if pod.mirror {
                    return Err(Decision::Skip(SkipReason::MirrorWithoutServiceAccount));
                }
                return checked(
                    policy,
                    "its service account".into(),
                    "",
                    pod_sa_path(pod, ""),
                );
            };
            let path = pod_sa_path(pod, account);
            return checked(policy, "its service account".into(), account, path);
        }
        IdentitySource::Label(key) => match pod.labels.get(key) {
            Some(value) => (format!("label {key:?}"), value.clone()),
            None => return Err(Decision::Skip(SkipReason::NoLabel)),
        },
        IdentitySource::Annotation(key) => match pod.annotations.get(key) {
            Some(value) => (format!("annotation {key:?}"), value.clone()),
            None => return Err(Decision::Skip(SkipReason::NoAnnotation)),
        },
        IdentitySource::Template { template, label } => {
            let value = rendered(template, label.as_deref(), pod)?;
            (template.what().to_owned(), value.into())
        }
    };
    let path = match (&policy.pods.identity, value.strip_prefix('/')) {
        // An annotation may be written with its leading slash.
        (IdentitySource::Annotation(_), Some(_)) => value.to_string(),
        _ => format!("/{value}"),
    };
    checked(policy, what, &value, path)
}

/// What the template makes of the pod, if the pod is one that gets an entry.
fn rendered(
    template: &Template,
    label: Option<&str>,
    pod: &PodSnapshot,
) -> Result<String, Decision> {
    let labelled = |key| {
        let value = pod.labels.get(key);
        value.is_some_and(|v| v.eq_ignore_ascii_case("true"))
    };
    if label.is_some_and(|key| !labelled(key)) {
        return Err(Decision::Skip(SkipReason::NotLabelled));
    }
    let has_account = pod
        .service_account
        .as_deref()
        .is_some_and(|a| !a.is_empty());
    if pod.mirror && !has_account && template.reads_service_account() {
        return Err(Decision::Skip(SkipReason::MirrorWithoutServiceAccount));
    }
    template
        .render(pod)
        .map_err(|error| Decision::Invalid(Problem::Template(error)))
}

fn pod_sa_path(pod: &PodSnapshot, account: &str) -> String {
    format!("/ns/{}/sa/{account}", pod.namespace)
}

fn checked(policy: &Policy, what: String, value: &str, path: String) -> Result<SpiffeId, Decision> {
    let id = SpiffeId::new(policy.trust_domain.clone(), path).map_err(|error| {
        Decision::Invalid(Problem::IllegalPath {
            what: what.clone(),
            value: quoted(value),
            error,
        })
    })?;
    match policy.reserved.find(id.path()) {
        Some(rule) => Err(Decision::Invalid(Problem::ReservedPath {
            what,
            path: id.path().to_owned(),
            rule,
        })),
        None => Ok(id),
    }
}
