//! What time it is for whom makes no difference.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use registrar_tests::{eventually, steadily};

use super::{LEASE, Replicas};

#[tokio::test]
async fn a_wall_clock_that_jumps_moves_nobody() {
    let mut r = Replicas::start(&["left", "right"]).await;
    let leader = r.a_leader_other_than(None).await;
    let standby = 1 - leader;
    r.more_pods(5).await;
    r.all_registered().await;
    // An hour ahead on the one and half an hour behind on the other: further apart than any lease lasts; then the other
    // way round. (Half an hour, since the API server's certificate is not valid much longer ago.)
    for (leads, stands_by) in [(3600, -1800), (-1800, 3600)] {
        r.all[leader].clock.jump(leads).expect("set");
        r.all[standby].clock.jump(stands_by).expect("set");
        r.more_pods(5).await;
        r.all_registered().await;
        let leases: Api<Lease> = Api::namespaced(r.p.cluster.client(), "apps");
        eventually(
            "the Lease is renewed by the clock that jumped",
            async || {
                let lease = leases.get(LEASE).await.map_err(|e| e.to_string())?;
                let renewed = lease.spec.and_then(|s| s.renew_time).ok_or("no time")?;
                let now = k8s_openapi::jiff::Timestamp::now();
                let ahead = renewed.0.as_second() - now.as_second();
                match (ahead - leads).abs() < 60 {
                    true => Ok(()),
                    false => Err(format!("{ahead} s ahead")),
                }
            },
        )
        .await;
        // Longer than a lease.
        steadily(
            Duration::from_secs(17),
            "the same one leads",
            async || match r.leader().await {
                Ok(now) if now == leader => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
        r.more_pods(5).await;
        r.all_registered().await;
    }
    assert_eq!(r.turns(), [r.all[leader].name]);
    // And a lead that was given up is taken, whatever time it is for whom.
    r.all[leader].registrar.process.terminate();
    r.more_pods(5).await;
    let next = r.a_leader_other_than(Some(leader)).await;
    assert_eq!(next, standby);
    r.all_registered().await;
    r.each_wrote_in_one_row();
}
