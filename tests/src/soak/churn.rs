//! Pods that come, change, are re-created and go, so many a second, whatever becomes of the requests.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinHandle};

use super::{ANNOTATION, NAMESPACE, NODES};
use crate::{Cluster, PodSpec, fate::Random};

/// Names that pods may have: about half of them live at a time.
const NAMES: usize = 300;
/// What the API server does not answer in this time is given up; whether it was done is for the API server to know.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests at a time.
const IN_FLIGHT: usize = 32;

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Pods made.
    pub made: AtomicUsize,
    /// Pods deleted.
    pub deleted: AtomicUsize,
    /// Annotations changed.
    pub changed: AtomicUsize,
    /// Requests that failed.
    pub failed: AtomicUsize,
}

/// What happens to a pod.
#[derive(Debug, Clone, Copy)]
enum Act {
    Make,
    Delete,
    Recreate,
    Change,
}

struct Churning {
    cluster: Cluster,
    living: Mutex<BTreeSet<usize>>,
    busy: Mutex<BTreeSet<usize>>,
    done: Arc<Done>,
}

/// Begins; ends when the handle is aborted.
pub fn begin(cluster: Cluster, seed: u64, per_second: f64, done: Arc<Done>) -> JoinHandle<()> {
    let churning = Arc::new(Churning {
        cluster,
        living: Mutex::default(),
        busy: Mutex::default(),
        done,
    });
    tokio::spawn(async move {
        let mut random = Random::new(seed);
        let mut turn = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        loop {
            turn.tick().await;
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            let name = random.below(NAMES);
            let choice = random.below(10);
            let pod = spec(name, &mut random);
            if !lock(&churning.busy).insert(name) {
                continue;
            }
            let act = match (lock(&churning.living).contains(&name), choice) {
                (false, _) => Act::Make,
                (true, 0) => Act::Recreate,
                (true, 1) => Act::Change,
                (true, _) => Act::Delete,
            };
            let churning = churning.clone();
            let path = path(&mut random);
            tokio::spawn(async move {
                let _permit = permit;
                let performed = churning.perform(act, name, &pod, path);
                let in_time = tokio::time::timeout(PATIENCE, performed).await;
                if !matches!(in_time, Ok(Ok(()))) {
                    churning.done.failed.fetch_add(1, Ordering::Relaxed);
                }
                lock(&churning.busy).remove(&name);
            });
        }
    })
}

/// Most pods get an identity; a few get none.
fn path(random: &mut Random) -> Option<String> {
    let number = random.below(1000);
    (!number.is_multiple_of(20)).then(|| format!("team-{}/app-{number}", number % 7))
}

fn named(name: usize) -> String {
    format!("pod-{name}")
}

fn spec(name: usize, random: &mut Random) -> PodSpec {
    let node = format!("node-{}", random.below(NODES));
    let spec = PodSpec::new(NAMESPACE, &named(name)).node_named(&node);
    match path(random) {
        Some(path) => spec.annotation(ANNOTATION, &path),
        None => spec,
    }
}

impl Churning {
    async fn perform(
        &self,
        act: Act,
        name: usize,
        pod: &PodSpec,
        path: Option<String>,
    ) -> anyhow::Result<()> {
        match act {
            Act::Make => self.make(name, pod).await,
            Act::Delete => self.delete(name).await,
            Act::Recreate => {
                self.delete(name).await?;
                self.make(name, pod).await
            }
            Act::Change => {
                let changed = self
                    .cluster
                    .annotate(NAMESPACE, &named(name), ANNOTATION, path.as_deref())
                    .await;
                self.note(name, &changed);
                changed?;
                self.done.changed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    async fn make(&self, name: usize, pod: &PodSpec) -> anyhow::Result<()> {
        // Also if it fails: it may have been made, or been there.
        lock(&self.living).insert(name);
        self.cluster.pod(pod).await?;
        self.done.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn delete(&self, name: usize) -> anyhow::Result<()> {
        let deleted = self.cluster.delete_pod(NAMESPACE, &named(name)).await;
        self.note(name, &deleted);
        deleted?;
        lock(&self.living).remove(&name);
        self.done.deleted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What is not there does not live.
    fn note(&self, name: usize, result: &anyhow::Result<()>) {
        let Err(error) = result else { return };
        let missing = matches!(
            error.downcast_ref::<kube::Error>(),
            Some(kube::Error::Api(status)) if status.code == 404
        );
        if missing {
            lock(&self.living).remove(&name);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
