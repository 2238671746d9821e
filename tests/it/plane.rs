//! The control plane that the tests share, and private ones for tests that kill processes.

use registrar_tests::{Cluster, ControlPlane, Entries, Options};
use tokio::sync::OnceCell;

/// Tests that share the control plane run at most this many at a time: two cores serve all of it.
static AT_ONCE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);

/// What a test works on.
pub struct Bench {
    pub plane: &'static ControlPlane,
    pub cluster: Cluster,
    pub entries: Entries,
    _turn: tokio::sync::SemaphorePermit<'static>,
}

/// The shared control plane, with namespace `namespace` for this test.
pub async fn shared(namespace: &str) -> Bench {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    let turn = AT_ONCE
        .acquire()
        .await
        .expect("the semaphore is never closed");
    let plane = SHARED
        .get_or_init(async || {
            ControlPlane::start(Options::default())
                .await
                .expect("the control plane starts")
        })
        .await;
    let cluster = plane.cluster().await.expect("a client");
    cluster.namespace(namespace).await.expect("a namespace");
    cluster.node("node-1").await.expect("a node");
    let entries = plane.entries().expect("the server's entries");
    Bench {
        plane,
        cluster,
        entries,
        _turn: turn,
    }
}
