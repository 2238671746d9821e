//! What the rows are measured on: a control plane with pods, a bare client, and the server's database.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use registrar_adapters::definition::CUSTOM_RESOURCE_DEFINITION;

use super::{
    bare::{Bare, pod_entry, pod_entry_of_crd},
    latency::{self, Latency},
    load::Load,
    store::Store,
};
use crate::{
    Cluster, ControlPlane, Options, Registrar, SpiffeIds, entries::Entry, webhook::Webhook,
};

/// How the registrar is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With the defaults of reconcile mode.
    Reconcile,
    /// With the defaults of crd mode.
    Crd,
    /// With the defaults of webhook mode; nobody asks it for reviews.
    Webhook,
}

impl Mode {
    /// In words, for the table: nothing for the usual one.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Reconcile => "",
            Mode::Crd => "crd mode: ",
            Mode::Webhook => "webhook mode: ",
        }
    }

    fn config(self, webhook: Option<&Webhook>) -> String {
        match self {
            Mode::Reconcile => String::new(),
            Mode::Crd => {
                "mode = \"crd\"\nnamespace = \"bench-0\"\nwebhook_enabled = false\n".into()
            }
            Mode::Webhook => webhook.map(Webhook::config).unwrap_or_default(),
        }
    }

    /// A selector that only this pod's entry has.
    pub fn selector(self, name: &str, uid: &str) -> String {
        match self {
            Mode::Reconcile | Mode::Webhook => format!("pod-name:{name}"),
            Mode::Crd => format!("pod-uid:{uid}"),
        }
    }
}

/// One control plane with its pods.
pub struct Ground {
    pub(super) plane: ControlPlane,
    pub(super) cluster: Cluster,
    pub(super) load: Load,
    pub(super) bare: Bare,
    pub(super) store: Store,
    pub(super) mode: Mode,
    pub(super) pods: usize,
    webhook: Option<Webhook>,
    database: PathBuf,
    /// Numbers of pods and entries that were not used yet.
    next: usize,
}

impl Ground {
    /// Starts one with nodes, namespaces and `pods` pods; no registrar yet.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(mode: Mode, pods: usize) -> anyhow::Result<Self> {
        // The default of SPIRE.
        Self::with_reload(mode, pods, "5s").await
    }

    /// The same with a server that leaves its tables alone: reading them anew costs it twenty times what may be caused at
    /// rest, more or less from one time to the next, and hides that.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn still(mode: Mode, pods: usize) -> anyhow::Result<Self> {
        Self::with_reload(mode, pods, "1h").await
    }

    async fn with_reload(mode: Mode, pods: usize, reload: &'static str) -> anyhow::Result<Self> {
        let plane = ControlPlane::start(Options {
            controller_manager: false,
            spire_cache_reload: reload,
            ..Options::default()
        })
        .await?;
        let cluster = plane.cluster().await?;
        let load = Load::new(&cluster, pods);
        load.ground().await?;
        if mode == Mode::Crd {
            let ids = SpiffeIds::new(cluster.client());
            ids.install(CUSTOM_RESOURCE_DEFINITION).await?;
        }
        let took = load.pods(0, pods).await?;
        println!("   {pods} pods loaded in {:.1} s", took.as_secs_f64());
        let database = plane.dir().join("spire/db.sqlite3");
        Ok(Self {
            bare: Bare::new(&plane.spire_socket())?,
            store: Store::open(&database)?,
            database,
            plane,
            cluster,
            load,
            mode,
            pods,
            webhook: match mode {
                Mode::Webhook => Some(Webhook::generate("fail")?),
                Mode::Reconcile | Mode::Crd => None,
            },
            next: pods,
        })
    }

    /// The server's database.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Entries as the mode makes them, for a bare client.
    pub(super) fn entries(&self, from: usize, to: usize) -> Vec<Entry> {
        let make = match self.mode {
            Mode::Reconcile | Mode::Webhook => pod_entry,
            Mode::Crd => pod_entry_of_crd,
        };
        (from..to)
            .map(|n| {
                let (namespace, name, node) = self.load.place(n);
                make(&namespace, &format!("bare-{name}"), &node)
            })
            .collect()
    }

    /// Waits until so many entries are there.
    pub(super) async fn until_entries(
        &self,
        count: usize,
        registrar: &mut Registrar,
    ) -> anyhow::Result<Instant> {
        loop {
            let asked = Instant::now();
            let found = self.store.entries()?;
            if found >= count {
                return Ok(Instant::now());
            }
            registrar
                .process
                .must_run()
                .with_context(|| format!("{found} of {count} entries"))?;
            // Counting takes time of its own where there are many: no more than a twentieth of what is measured.
            let pause = asked.elapsed().mul_f64(20.0);
            tokio::time::sleep(pause.max(Duration::from_millis(5))).await;
        }
    }

    /// Starts the registrar, with further lines of configuration.
    pub(super) fn registrar(&self, extra: &str) -> anyhow::Result<Registrar> {
        self.registrar_on(&self.plane.spire_socket(), extra)
    }

    /// The same, with another way to the server.
    pub(super) fn registrar_on(&self, socket: &Path, extra: &str) -> anyhow::Result<Registrar> {
        // Logs as an operator has them; debug lines would be measured too.
        let mode = self.mode.config(self.webhook.as_ref());
        let extra = format!("{mode}log_level = \"info\"\n{extra}");
        let kubeconfig = self.plane.kubeconfig();
        Registrar::start_with(&self.plane, &kubeconfig, socket, "bench", &extra)
    }

    /// The registrar with its defaults, once it has made all entries and is ready.
    ///
    /// # Errors
    /// If it ends before.
    pub async fn synced(&self) -> anyhow::Result<Registrar> {
        let mut registrar = self.registrar("")?;
        self.ready(&mut registrar).await?;
        Ok(registrar)
    }

    /// The same in webhook mode, where it is ready before its sweep has made all entries.
    ///
    /// # Errors
    /// If it ends before.
    pub async fn swept(&self) -> anyhow::Result<Registrar> {
        let mut registrar = self.synced().await?;
        // One more hangs above all pods.
        self.until_entries(self.pods + 1, &mut registrar).await?;
        Ok(registrar)
    }

    /// Waits until it is ready, looking more often than tests do; when it was.
    pub(super) async fn ready(&self, registrar: &mut Registrar) -> anyhow::Result<Instant> {
        let begun = Instant::now();
        loop {
            if let Ok((200, _)) = registrar.get("/readyz").await {
                return Ok(Instant::now());
            }
            registrar.process.must_run()?;
            if begun.elapsed() > Duration::from_secs(600) {
                bail!("not ready after ten minutes");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Numbers of pods that nobody has used.
    pub(super) fn take(&mut self, count: usize) -> usize {
        self.next += count;
        self.next - count
    }

    /// Makes `count` new pods, one after the other or at a rate, waits for their entries, and deletes them again.
    pub(super) async fn series(
        &mut self,
        count: usize,
        rate: Option<f64>,
    ) -> anyhow::Result<Latency> {
        let from = self.take(count);
        let range = (from, from + count);
        let seen = latency::measure(
            &self.cluster,
            &self.load,
            &self.database,
            self.mode,
            range,
            rate,
        )
        .await?;
        self.forget(from, from + count).await?;
        Ok(seen)
    }

    /// Deletes pods of a series, and waits for their entries to go.
    pub(super) async fn forget(&self, from: usize, to: usize) -> anyhow::Result<()> {
        self.load.delete(from, to).await?;
        if self.mode == Mode::Crd {
            self.collect(from, to).await?;
        }
        self.until_left(self.pods + self.load.nodes()).await?;
        if self.mode == Mode::Crd {
            self.until_collected().await?;
        }
        Ok(())
    }

    /// Waits until no SpiffeID is left but those of the pods and nodes that stay: they outlive their entries.
    async fn until_collected(&self) -> anyhow::Result<()> {
        let ids = SpiffeIds::new(self.cluster.client());
        let begun = Instant::now();
        loop {
            let mut left = 0;
            for namespace in self.load.namespaces() {
                let there = ids.list(&namespace).await;
                left += there.map_err(anyhow::Error::msg)?.len();
            }
            if left <= self.pods + self.load.nodes() {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(300) {
                bail!("SpiffeIDs of deleted pods stay");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Deletes the SpiffeIDs of pods that are gone, as the garbage collector does, which does not run here.
    async fn collect(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let ids = SpiffeIds::new(self.cluster.client());
        let ids = &ids;
        stream::iter(from..to)
            .map(|n| async move {
                let (namespace, name, _) = self.load.place(n);
                ids.delete(&namespace, &name).await
            })
            .buffer_unordered(16)
            .try_collect::<()>()
            .await
    }

    /// Waits until no more than so many entries are left.
    pub(super) async fn until_left(&self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.store.entries()? > count {
            if begun.elapsed() > Duration::from_secs(300) {
                bail!("entries of deleted pods stay");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
