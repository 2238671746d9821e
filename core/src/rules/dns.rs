//! The DNS names of a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{Template, TemplateError, quoted};
use crate::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, PodSnapshot, Uid},
    entry::{DnsName, DnsNameError},
    policy::DnsPolicy,
};

/// At most this many names an entry: they all land in one certificate.
pub const MAX_DNS_NAMES: usize = 100;

/// A name that was left out of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DroppedName {
    /// No SPIRE Server would take it.
    Illegal {
        /// The name.
        name: String,
        /// Why.
        error: DnsNameError,
    },
    /// Its template cannot be rendered with the pod's values.
    Template(TemplateError),
    /// This many more than [`MAX_DNS_NAMES`].
    TooMany(usize),
}

impl fmt::Display for DroppedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DroppedName::Illegal { name, error } => {
                write!(f, "DNS name {} left out: {error}", quoted(name))
            }
            DroppedName::Template(error) => write!(f, "DNS name left out: {error}"),
            DroppedName::TooMany(n) => {
                write!(
                    f,
                    "{n} DNS names left out: an entry gets at most {MAX_DNS_NAMES}"
                )
            }
        }
    }
}

/// The names that the policy gives a pod, and what was left out. The first becomes the certificate's common name.
pub fn pod_dns_names(
    policy: &DnsPolicy,
    pod: &PodSnapshot,
    slices: &[&EndpointsSnapshot],
) -> (Vec<DnsName>, Vec<DroppedName>) {
    match policy {
        DnsPolicy::None => Default::default(),
        DnsPolicy::AllPodNames { zone } => all_pod_names(zone, pod, slices),
        DnsPolicy::Templates {
            templates,
            services,
        } => {
            let slices = if *services { slices } else { &[] };
            template_names(templates, pod, slices)
        }
    }
}

/// What the templates make of the pod, in their order, then the names of the Services that it is a ready endpoint of,
/// sorted.
fn template_names(
    templates: &[Template],
    pod: &PodSnapshot,
    slices: &[&EndpointsSnapshot],
) -> (Vec<DnsName>, Vec<DroppedName>) {
    let mut failed = Vec::new();
    let mut names = Vec::new();
    for template in templates {
        match template.render(pod) {
            Ok(name) => names.push(name),
            Err(error) => failed.push(DroppedName::Template(error)),
        }
    }
    let namespace = &*pod.namespace;
    let services: BTreeSet<&str> = slices
        .iter()
        .filter(|s| s.namespace == pod.namespace)
        .filter(|s| endpoints_of(pod, s).any(|e| e.ready))
        .filter_map(|s| s.service.as_deref())
        .collect();
    names.extend(services.iter().map(|s| format!("{s}.{namespace}.svc")));
    let (names, dropped) = checked(names);
    failed.extend(dropped);
    (names, failed)
}

/// The names of Services that stay although the pod is not ready for them now: once given, a name stays until the pod's
/// address leaves the Service. Certificates are not signed anew whenever a readiness probe fails.
pub fn kept_service_names(
    policy: &DnsPolicy,
    pod: &PodSnapshot,
    slices: &[&EndpointsSnapshot],
    given: &BTreeSet<Arc<str>>,
) -> Vec<DnsName> {
    let DnsPolicy::Templates { services: true, .. } = policy else {
        return Vec::new();
    };
    let names: BTreeSet<String> = slices
        .iter()
        .filter(|s| s.namespace == pod.namespace && endpoints_of(pod, s).next().is_some())
        .filter_map(|s| s.service.as_deref())
        .map(|service| format!("{service}.{}.svc", pod.namespace))
        .collect();
    names
        .iter()
        .filter(|name| given.contains(name.as_str()))
        .filter_map(|name| DnsName::new(name).ok())
        .collect()
}

/// The names of the Services that have an endpoint of the pod with this UID, and whether it is ready for one of each name.
pub fn service_names_of(uid: &Uid, slices: &[&EndpointsSnapshot]) -> BTreeMap<Arc<str>, bool> {
    let mut names = BTreeMap::new();
    for slice in slices {
        let Some(service) = &slice.service else {
            continue;
        };
        let name = format!("{service}.{}.svc", slice.namespace);
        let here = |e: &&EndpointSnapshot| {
            e.pod_uid.as_ref() == Some(uid) && e.pod_namespace == slice.namespace
        };
        for endpoint in slice.endpoints.iter().filter(here) {
            if DnsName::new(&name).is_ok() {
                *names.entry(Arc::from(&*name)).or_insert(false) |= endpoint.ready;
            }
        }
    }
    names
}

/// All names that reach the pod, in the original registrar's order: the pod's own by address, then those through
/// Services, sorted. Without an address there are none.
fn all_pod_names(
    zone: &str,
    pod: &PodSnapshot,
    slices: &[&EndpointsSnapshot],
) -> (Vec<DnsName>, Vec<DroppedName>) {
    if pod.pod_ips.is_empty() {
        return Default::default();
    }
    let namespace = &*pod.namespace;
    let mut names: Vec<String> = Vec::new();
    for ip in &pod.pod_ips {
        let ip = dashed(ip);
        names.push(format!("{ip}.{namespace}.pod.{zone}"));
        names.push(format!("{ip}.{namespace}.pod"));
    }
    let mut through_services = BTreeSet::new();
    for prefix in service_prefixes(pod, slices) {
        for name in [
            format!("{prefix}.{namespace}.svc.{zone}"),
            format!("{prefix}.{namespace}.svc"),
            format!("{prefix}.{namespace}"),
            prefix,
        ] {
            through_services.insert(name);
        }
    }
    names.extend(through_services);
    checked(names)
}

fn service_prefixes(pod: &PodSnapshot, slices: &[&EndpointsSnapshot]) -> BTreeSet<String> {
    let mut prefixes = BTreeSet::new();
    for slice in slices.iter().filter(|s| s.namespace == pod.namespace) {
        let Some(service) = slice.service.as_deref().filter(|s| !s.contains('.')) else {
            continue;
        };
        for endpoint in endpoints_of(pod, slice) {
            prefixes.insert(service.to_owned());
            match endpoint
                .hostname
                .as_deref()
                .filter(|h| !h.is_empty() && !h.contains('.'))
            {
                Some(hostname) => {
                    prefixes.insert(format!("{hostname}.{service}"));
                }
                None => {
                    prefixes.insert(format!("{}.{service}", dashed(&endpoint.address)));
                    if !pod.name.contains('.') {
                        prefixes.insert(format!("{}.{service}", pod.name));
                    }
                }
            }
        }
    }
    prefixes
}

fn endpoints_of<'s>(
    pod: &'s PodSnapshot,
    slice: &'s EndpointsSnapshot,
) -> impl Iterator<Item = &'s EndpointSnapshot> {
    slice
        .endpoints
        .iter()
        .filter(|e| e.pod_name == pod.name && e.pod_namespace == pod.namespace)
}

fn dashed(ip: &str) -> String {
    ip.replace(['.', ':'], "-")
}

fn checked(candidates: Vec<String>) -> (Vec<DnsName>, Vec<DroppedName>) {
    let mut names: Vec<DnsName> = Vec::with_capacity(candidates.len());
    let mut seen = BTreeSet::new();
    let mut dropped = Vec::new();
    let mut too_many = 0;
    for candidate in candidates {
        if !seen.insert(candidate.clone()) {
            continue;
        }
        match DnsName::new(&candidate) {
            Ok(_) if names.len() >= MAX_DNS_NAMES => too_many += 1,
            Ok(name) => names.push(name),
            Err(error) => dropped.push(DroppedName::Illegal {
                name: candidate,
                error,
            }),
        }
    }
    if too_many > 0 {
        dropped.push(DroppedName::TooMany(too_many));
    }
    (names, dropped)
}
