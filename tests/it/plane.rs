//! The control plane that the tests share, private ones for tests that kill processes, and what all tests ask of both.

use std::time::Duration;

use registrar_tests::{
    Cluster, ControlPlane, Entries, Foreign, Options, Registrar,
    entries::{Entry, line},
    eventually, steadily,
};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

/// Tests run at most this many at a time: two cores serve all of it.
static AT_ONCE: Semaphore = Semaphore::const_new(3);
/// Beside the shared control plane there is at most one more.
static PRIVATE: Semaphore = Semaphore::const_new(1);
/// The clusters whose registrars run on private control planes.
const PRIVATE_CLUSTERS: [&str; 8] = [
    "demo",
    "election",
    "faults",
    "monitoring",
    "nowhere",
    "rest",
    "tcp",
    "webhook",
];

/// What a test works on: a cluster, a server, and names of its own in both.
pub struct Bench {
    _foreign: Foreign,
    pub plane: &'static ControlPlane,
    pub cluster: Cluster,
    pub entries: Entries,
    /// Namespace, cluster name, and part of the root.
    pub name: &'static str,
    _turn: SemaphorePermit<'static>,
}

/// The shared control plane, with namespace and cluster name `name` for this test.
pub async fn shared(name: &'static str) -> Bench {
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
    cluster.namespace(name).await.expect("a namespace");
    for node in ["node-1", "node-2"] {
        cluster.node(node).await.expect("a node");
    }
    let entries = plane.entries().expect("the server's entries");
    let foreign = Foreign::plant(plane, &[name], name).await;
    Bench {
        _foreign: foreign.expect("entries of others"),
        plane,
        cluster,
        entries,
        name,
        _turn: turn,
    }
}

/// A control plane for one test alone; its programs may be killed.
pub struct Private {
    // Before the control plane: it reads the server's database.
    _foreign: Foreign,
    pub plane: ControlPlane,
    pub cluster: Cluster,
    pub entries: Entries,
    _turns: [SemaphorePermit<'static>; 2],
}

/// Starts one, with namespace `apps` and node `node-1`.
pub async fn private(options: Options) -> Private {
    let turns = [
        PRIVATE
            .acquire()
            .await
            .expect("the semaphore is never closed"),
        AT_ONCE
            .acquire()
            .await
            .expect("the semaphore is never closed"),
    ];
    let plane = ControlPlane::start(options)
        .await
        .expect("the control plane starts");
    let cluster = plane.cluster().await.expect("a client");
    cluster.namespace("apps").await.expect("a namespace");
    for node in ["node-1", "node-2"] {
        cluster.node(node).await.expect("a node");
    }
    let entries = plane.entries().expect("the server's entries");
    let foreign = Foreign::plant(&plane, &PRIVATE_CLUSTERS, "apps")
        .await
        .expect("entries of others")
        .of_every_registrar_in(plane.dir(), &PRIVATE_CLUSTERS);
    Private {
        _foreign: foreign,
        plane,
        cluster,
        entries,
        _turns: turns,
    }
}

/// The next tests' registrars should not have to register this one's pods, too.
impl Drop for Bench {
    fn drop(&mut self) {
        let (plane, namespace) = (self.plane, self.name);
        // A runtime of its own: that of the test may be ending.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(anyhow::Error::from)?;
            runtime.block_on(async { plane.cluster().await?.delete_pods(namespace).await })
        });
        // A test that failed has said why; that cleaning failed as well adds nothing.
        let _ = cleaning.join();
    }
}

impl Bench {
    /// Runs a registrar of this test's cluster, ready.
    pub async fn registrar(&self, extra: &str) -> Registrar {
        let mut registrar = Registrar::start(self.plane, self.name, extra).expect("starts");
        registrar.ready().await;
        registrar
    }

    /// The root of the default `controller_name`.
    pub fn root(&self) -> String {
        format!("/spire-k8s-registrar/{}/node", self.name)
    }

    /// The entries of this test's namespace under its root.
    pub async fn pods(&self) -> Result<Vec<Entry>, String> {
        let selector = format!("k8s:ns:{}", self.name);
        self.entries
            .selecting(&self.root(), &[&selector])
            .await
            .map_err(|e| e.to_string())
    }

    /// The pods' entries are these to the byte, now and for some seconds.
    pub async fn stay(&self, what: &str, entries: &[Entry]) {
        steadily(Duration::from_secs(2), what, async || {
            let now = self.pods().await?;
            match now == entries {
                true => Ok(()),
                false => Err(format!("{now:?}")),
            }
        })
        .await;
    }

    /// Waits until the pods' entries are exactly these, in any order, as `<SPIFFE ID> <node> <pod>` each; returns them.
    pub async fn settles(&self, expected: &[(&str, &str, &str)]) -> Vec<Entry> {
        let name = self.name;
        let root = self.root();
        let mut wanted: Vec<String> = expected
            .iter()
            .map(|(id, node, pod)| {
                format!("{id} <- {root}/{node} [k8s:ns:{name} k8s:pod-name:{pod}]")
            })
            .collect();
        wanted.sort();
        eventually(&format!("the entries are {wanted:#?}"), async || {
            let found = self.pods().await?;
            let mut lines: Vec<String> = found.iter().map(line).collect();
            lines.sort();
            if lines == wanted {
                Ok(found)
            } else {
                Err(lines.join("\n"))
            }
        })
        .await
    }
}
