//! Objects with nothing remarkable about them.

use crate::cluster::{PodSnapshot, Uid};

/// A pod that runs on a node, under a service account.
pub fn bound_pod(namespace: &str, name: &str, uid: &str, node: &str, account: &str) -> PodSnapshot {
    PodSnapshot {
        namespace: namespace.into(),
        name: name.into(),
        uid: Uid::new(uid),
        node_name: Some(node.into()),
        service_account: Some(account.into()),
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}
