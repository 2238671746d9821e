//! The leader ends, dies, freezes, or is cut off.

use registrar_tests::eventually;

use super::Replicas;

#[tokio::test]
async fn a_replica_that_ends_or_dies_or_freezes_is_followed_by_another_and_writes_no_more() {
    let mut r = Replicas::start(&["one", "two", "three"]).await;
    let first = r.a_leader_other_than(None).await;
    r.more_pods(20).await;
    r.all_registered().await;

    // SIGTERM: the Lease is given back.
    r.all[first].registrar.process.terminate();
    r.more_pods(10).await;
    let second = r.a_leader_other_than(Some(first)).await;
    r.all_registered().await;
    let status = eventually("the first one ends", async || {
        r.all[first]
            .registrar
            .process
            .ended()
            .ok_or("still running")
    })
    .await;
    assert_eq!(status.code(), Some(0));

    // SIGSTOP in a burst, for longer than the Lease; then it goes on where it was.
    r.more_pods(10).await;
    r.all[second].registrar.process.freeze();
    r.more_pods(10).await;
    let third = r.a_leader_other_than(Some(second)).await;
    r.all_registered().await;
    r.thaw(second);
    eventually(
        "the frozen one knows that it does not lead",
        async || match r.all[second].registrar.metric("leader").await {
            Ok(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    r.more_pods(10).await;
    r.all_registered().await;
    r.each_wrote_in_one_row();

    // SIGKILL: the Lease runs out.
    r.all[third].registrar.process.kill();
    r.more_pods(10).await;
    let fourth = r.a_leader_other_than(Some(third)).await;
    assert_eq!(fourth, second, "the only one left, never restarted");
    r.all_registered().await;
    r.all[second].registrar.process.must_run().expect("runs");
    assert_eq!(r.turns().len(), 4, "{:?}", r.turns());
    r.no_call_began_after_its_lease();
}

#[tokio::test]
async fn a_leader_cut_off_from_the_api_server_stops_in_time_and_stays_up() {
    let mut r = Replicas::start(&["near", "far"]).await;
    let first = r.a_leader_other_than(None).await;
    r.more_pods(20).await;
    r.all_registered().await;
    r.all[first].api.cut();
    r.more_pods(10).await;
    let second = r.a_leader_other_than(Some(first)).await;
    r.all_registered().await;
    r.all[first].api.heal();
    eventually("it stands by", async || {
        r.all[first]
            .registrar
            .process
            .must_run()
            .map_err(|e| e.to_string())?;
        let log = r.all[first].registrar.process.log();
        let (_, after) = log
            .rsplit_once("could not be renewed in time")
            .ok_or("not stopped")?;
        if after.contains("another replica leads") {
            Ok(())
        } else {
            Err("not yet")
        }
        .map_err(str::to_owned)
    })
    .await;
    assert_eq!(
        r.all[first]
            .registrar
            .get("/livez")
            .await
            .expect("answers")
            .0,
        200
    );
    r.more_pods(10).await;
    r.all_registered().await;
    r.each_wrote_in_one_row();
    // Both replicas live through a restart of the API server, and one of them leads afterwards.
    r.p.plane.api_server.kill();
    r.p.plane.api_server.start_again().expect("starts");
    r.p.plane.api_ready().await.expect("ready");
    r.more_pods(10).await;
    r.all_registered().await;
    eventually("one leads", async || r.leader().await).await;
    for n in [first, second] {
        r.all[n].registrar.process.must_run().expect("runs");
    }
    r.no_call_began_after_its_lease();
}
