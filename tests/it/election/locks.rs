//! Locks of others: a Lease, and those that the original registrar held before Leases.

use std::time::Duration;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Endpoints},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use registrar_tests::{PodSpec, Registrar, steadily};
use serde_json::json;

use super::LEASE;
use crate::plane::shared;

#[tokio::test]
async fn a_lease_or_an_old_lock_that_another_one_renews_is_never_taken() {
    let b = shared("old-lock").await;
    let leases: Api<Lease> = Api::namespaced(b.cluster.client(), "old-lock");
    let maps: Api<ConfigMap> = Api::namespaced(b.cluster.client(), "old-lock");
    let lease = json!({"metadata": {"name": LEASE}, "spec": {"holderIdentity": "someone", "leaseDurationSeconds": 4}});
    leases
        .create(
            &PostParams::default(),
            &serde_json::from_value(lease).expect("a Lease"),
        )
        .await
        .expect("created");
    let mut registrar = Registrar::start(
        b.plane,
        b.name,
        "leader_election = true\nnamespace = \"old-lock\"\nleader_election_resource_lock = \"configmaps\"",
    )
    .expect("starts");
    registrar.ready().await;
    b.cluster
        .pod(&PodSpec::new("old-lock", "a"))
        .await
        .expect("pod");
    let mut count = 0;
    steadily(
        Duration::from_secs(8),
        "the Lease is left to its holder",
        async || {
            count += 1;
            let renewed = json!({"spec": {"leaseTransitions": count}});
            leases
                .patch(LEASE, &PatchParams::default(), &Patch::Merge(renewed))
                .await
                .map_err(|e| e.to_string())?;
            match registrar.metric("leader").await {
                Ok(0.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
    // Its holder stops; now an original registrar renews its own kind of lock.
    let lock = |n: u32| {
        let text = format!(
            r#"{{"holderIdentity":"old-0_1","leaseDurationSeconds":4,"acquireTime":"2022-01-01T00:00:00Z","renewTime":"{n}","leaderTransitions":0}}"#
        );
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": LEASE, "annotations": {"control-plane.alpha.kubernetes.io/leader": text},
            },
        })
    };
    let mut apply = PatchParams::apply("original");
    apply.force = true;
    steadily(
        Duration::from_secs(10),
        "the old lock is honoured",
        async || {
            count += 1;
            maps.patch(LEASE, &apply, &Patch::Apply(lock(count)))
                .await
                .map_err(|e| e.to_string())?;
            match registrar.metric("leader").await {
                Ok(0.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
    // The same on an Endpoints object: the other kind that the original had. One is renewed before the other ends.
    let endpoints: Api<Endpoints> = Api::namespaced(b.cluster.client(), "old-lock");
    steadily(
        Duration::from_secs(10),
        "the old lock on Endpoints is honoured",
        async || {
            count += 1;
            let mut object = lock(count);
            object["kind"] = json!("Endpoints");
            endpoints
                .patch(LEASE, &apply, &Patch::Apply(object))
                .await
                .map_err(|e| e.to_string())?;
            match registrar.metric("leader").await {
                Ok(0.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
    registrar
        .process
        .must_run()
        .expect("it stands by, and never ends");
    assert!(b.pods().await.expect("listed").is_empty());
    assert!(
        registrar.process.log().contains("old-0_1"),
        "{}",
        registrar.process.log_tail()
    );
    // The original is gone: its lock runs out.
    b.settles(&[("/ns/old-lock/sa/default", "node-1", "a")])
        .await;
}
