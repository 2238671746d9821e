//! A control plane with SpiffeIDs, and a registrar on it that has no more rights than its role gives.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;
use registrar_tests::{
    Options, Registrar, SpiffeIds, dynamic,
    entries::{Entry, line},
    eventually,
};
use serde_json::{Value, json};

use crate::plane::{Private, private};

/// Our own namespace.
pub const OWN: &str = "spire";
/// The root of nodes' identities.
pub const ROOT: &str = "/k8s-workload-registrar/demo/node";
/// What the registrar may do.
const RBAC: &str = include_str!("../../../deploy/base/crd/rbac.yaml");

/// What a test of crd mode works on.
pub struct Bench {
    pub private: Private,
    pub ids: SpiffeIds,
    kubeconfig: PathBuf,
}

/// A private control plane with the definition of SpiffeIDs.
pub async fn bench(options: Options) -> Bench {
    bench_with(options, CUSTOM_RESOURCE_DEFINITION).await
}

/// The same with this definition.
pub async fn bench_with(options: Options, definition: &str) -> Bench {
    let bench = bare_bench(options).await;
    let installed = bench.ids.install(definition).await;
    installed.expect("the definition is installed");
    bench
}

/// The same without the definition.
pub async fn bare_bench(options: Options) -> Bench {
    let private = private(options).await;
    let client = private.plane.client().await.expect("a client");
    private.cluster.namespace(OWN).await.expect("a namespace");
    dynamic::apply_yaml(&client, RBAC).await.expect("the role");
    let token = private
        .cluster
        .token(OWN, "k8s-workload-registrar", None, None)
        .await
        .expect("a token");
    let kubeconfig = private
        .plane
        .kubeconfig_for("k8s-workload-registrar", &token)
        .expect("a kubeconfig");
    Bench {
        ids: SpiffeIds::new(client),
        private,
        kubeconfig,
    }
}

impl Bench {
    /// A registrar of crd mode, with its own token.
    pub fn start(&self, extra: &str) -> Registrar {
        self.start_by(&self.kubeconfig, extra)
    }

    /// The same, by another way to the API server.
    pub fn start_by(&self, kubeconfig: &Path, extra: &str) -> Registrar {
        let extra = format!("mode = \"crd\"\nnamespace = \"{OWN}\"\n{extra}");
        let plane = &self.private.plane;
        Registrar::start_with(plane, kubeconfig, &plane.spire_socket(), "demo", &extra)
            .expect("starts")
    }

    /// The same, ready.
    pub async fn registrar(&self, extra: &str) -> Registrar {
        let mut registrar = self.start(extra);
        registrar.ready().await;
        registrar
    }

    /// The entries with this SPIFFE ID (a path).
    pub async fn with_id(&self, path: &str) -> Result<Vec<Entry>, String> {
        let all = self
            .private
            .entries
            .all()
            .await
            .map_err(|e| e.to_string())?;
        let is = |e: &Entry| e.spiffe_id.as_ref().is_some_and(|id| id.path == path);
        Ok(all.into_iter().filter(is).collect())
    }

    /// Waits until exactly one entry has this SPIFFE ID.
    pub async fn one(&self, path: &str) -> Entry {
        eventually(&format!("{path} has one entry"), async || {
            let mut found = self.with_id(path).await?;
            match found.len() {
                1 => Ok(found.remove(0)),
                _ => Err(format!("{found:#?}")),
            }
        })
        .await
    }

    /// Waits until no entry has this SPIFFE ID.
    pub async fn none(&self, path: &str) {
        eventually(&format!("{path} has no entry"), async || {
            let found = self.with_id(path).await?;
            match found.is_empty() {
                true => Ok(()),
                false => Err(found.iter().map(line).collect::<Vec<_>>().join("\n")),
            }
        })
        .await;
    }

    /// Waits until the condition `Registered` of a SpiffeID is this.
    pub async fn standing(&self, namespace: &str, name: &str, status: &str, reason: &str) -> Value {
        let what = format!("SpiffeID {namespace}/{name} is Registered={status} ({reason})");
        eventually(&what, async || {
            let resource = self.ids.get(namespace, name).await?.ok_or("not there")?;
            let found = registrar_tests::spiffe_ids::registered(&resource);
            let current =
                resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
            match &found {
                Some((s, r, _)) if s == status && r == reason && current => Ok(resource),
                _ => Err(format!("{found:?} in {resource:#}")),
            }
        })
        .await
    }

    /// Waits until a SpiffeID is not there any more.
    pub async fn gone(&self, namespace: &str, name: &str) {
        eventually(
            &format!("SpiffeID {namespace}/{name} is gone"),
            async || match self.ids.get(namespace, name).await? {
                None => Ok(()),
                Some(resource) => Err(format!("{resource:#}")),
            },
        )
        .await;
    }
}

/// The IDs and revisions of all entries.
pub async fn all(b: &Bench) -> Result<BTreeSet<(String, i64)>, String> {
    let all = b.private.entries.all().await.map_err(|e| e.to_string())?;
    Ok(all.into_iter().map(|e| (e.id, e.revision_number)).collect())
}

/// A whole SPIFFE ID.
pub fn id(path: &str) -> String {
    format!("spiffe://example.org{path}")
}

/// A spec for workloads of a service account in our own namespace, under node-1.
pub fn by_hand(path: &str, account: &str) -> Value {
    json!({
        "parentId": id(&format!("{ROOT}/node-1")),
        "spiffeId": id(path),
        "selector": {"namespace": OWN, "serviceAccount": account},
    })
}
