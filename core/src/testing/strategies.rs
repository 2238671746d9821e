//! Strategies for property tests: objects as a cluster has them, and as a hostile tenant writes them.

use std::sync::Arc;

use proptest::{option::weighted, prelude::*};

use super::Identity;
use crate::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, Metadata, NodeSnapshot, PodSnapshot, Uid},
    policy::FEDERATES_WITH,
    spiffe::TrustDomain,
};

/// The annotation (or label) that [`pods`] write their identity into.
pub const IDENTITY_KEY: &str = "example.org/identity";

fn text(strategy: &'static str) -> impl Strategy<Value = Arc<str>> {
    strategy.prop_map(Arc::from)
}

/// Names of namespaces, Services and hosts.
pub fn labels() -> impl Strategy<Value = Arc<str>> {
    text("[a-z]([-a-z0-9]{0,6}[a-z0-9])?")
}

/// Names of pods and nodes: one or several labels.
pub fn names() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        8 => text("[a-z]([-a-z0-9]{0,8}[a-z0-9])?"),
        1 => text("[a-z0-9]{1,3}([.][a-z0-9]{1,3}){1,3}"),
        1 => text("[a-z]{60,70}"),
    ]
}

/// What a tenant writes where a SPIFFE ID path is expected.
pub fn identities() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        6 => text("[a-z]{1,8}(/[A-Za-z0-9._-]{1,8}){0,3}"),
        1 => text("/[a-z]{1,8}(/[a-z]{1,4}){0,2}"),
        1 => text("(spire|spire/agent/x|k8s-workload-registrar/other/node/n|registrar/demo/node/n)"),
        1 => text("([.]{1,3}/?|/{1,3}|[a-z]{0,2}//[a-z]|[a-z]/)"),
        1 => text("[a-z]{200,300}"),
        1 => text(".*"),
    ]
}

/// What a tenant writes into the federation annotation.
pub fn federations() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        4 => text("[a-c][.]test( ?, ?[a-c][.]test){0,4}"),
        1 => text("(spiffe://)?(a[.]test|example[.]org|EXAMPLE[.]org)(/x)?,{0,3}"),
        1 => text(".*"),
    ]
}

/// Trust domains that [`federations`] may name.
pub fn trust_domains() -> impl Strategy<Value = TrustDomain> {
    "[a-c][.]test".prop_map(|name| TrustDomain::new(&name).expect("a legal name"))
}

/// Addresses as the API writes them, awkward ones among them.
pub fn addresses() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        "10[.][0-9][.][0-9][.][0-9]",
        "fd00::[0-9a-f]{1,4}",
        Just("::1".to_owned()),
        Just("fe80::".to_owned()),
    ]
    .prop_map(String::into_boxed_str)
}

fn metadata() -> impl Strategy<Value = Metadata> {
    (weighted(0.8, identities()), weighted(0.3, federations())).prop_map(
        |(identity, federation)| {
            let mut metadata = Metadata::new();
            if let Some(identity) = identity {
                metadata.insert(IDENTITY_KEY.into(), identity);
            }
            if let Some(federation) = federation {
                metadata.insert(FEDERATES_WITH.into(), federation);
            }
            metadata
        },
    )
}

/// Pods, with [`IDENTITY_KEY`] as a label and as an annotation.
pub fn pods() -> impl Strategy<Value = PodSnapshot> {
    (
        (labels(), names(), "[0-9a-f]{8}"),
        (weighted(0.9, names()), weighted(0.95, labels()), metadata()),
        proptest::collection::vec(addresses(), 0..3),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |((namespace, name, uid), (node_name, account, metadata), ips, flags)| PodSnapshot {
                namespace,
                name,
                uid: Uid::new(uid),
                node_name,
                service_account: account,
                hostname: None,
                labels: metadata.clone(),
                annotations: metadata,
                pod_ips: ips.into(),
                mirror: flags.0 && flags.1,
                terminating: flags.1,
                finished: flags.2,
            },
        )
}

/// Nodes.
pub fn nodes() -> impl Strategy<Value = NodeSnapshot> {
    (names(), "[0-9a-f]{8}", metadata()).prop_map(|(name, uid, annotations)| NodeSnapshot {
        name,
        uid: Uid::new(uid),
        annotations,
    })
}

/// EndpointSlices with endpoints of `pod`.
pub fn slices_of(pod: &PodSnapshot) -> impl Strategy<Value = EndpointsSnapshot> + use<> {
    let (namespace, pod_name) = (pod.namespace.clone(), pod.name.clone());
    (
        names(),
        weighted(0.9, names()),
        proptest::collection::vec((addresses(), weighted(0.3, labels()), any::<bool>()), 0..4),
    )
        .prop_map(move |(name, service, endpoints)| EndpointsSnapshot {
            namespace: namespace.clone(),
            name,
            service,
            endpoints: endpoints
                .into_iter()
                .map(|(address, hostname, ready)| EndpointSnapshot {
                    address,
                    hostname: hostname.map(|h| Box::from(&*h)),
                    pod_name: pod_name.clone(),
                    pod_namespace: namespace.clone(),
                    pod_uid: None,
                    ready,
                })
                .collect(),
        })
}

/// What a pod of a history says of its identity.
pub fn wishes() -> impl Strategy<Value = Identity> {
    prop_oneof![
        1 => Just(Identity::None),
        6 => (0..3u8).prop_map(Identity::Legal),
        1 => Just(Identity::Illegal),
        1 => Just(Identity::Reserved),
    ]
}
