//! Entries of others: planted before a test begins, and compared column for column when it ends. No mode may touch them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Context;
use rusqlite::{Connection, OpenFlags, types::ValueRef};

use crate::{
    control_plane::ControlPlane,
    entries::{Entries, Entry, entry},
};

/// What the IDs of planted entries begin with.
pub(crate) const PREFIX: &str = "planted-";
/// The names of controllers by default: that of reconcile mode, and that of the other two.
const CONTROLLERS: [&str; 2] = ["spire-k8s-registrar", "k8s-workload-registrar"];

/// Planted entries; when this is dropped, each must be exactly what it was.
///
/// They are read from the server's database, not from the server: it may have been killed, and no column is left out.
#[derive(Debug)]
pub struct Foreign {
    database: PathBuf,
    socket: PathBuf,
    ids: Vec<String>,
    /// What the IDs of these begin with.
    prefix: String,
    before: Vec<String>,
    /// Where registrars' files are that must be of one of these clusters.
    configured: Option<(PathBuf, BTreeSet<String>)>,
}

impl Foreign {
    /// Plants entries around the roots of these clusters, some with the selectors of a pod `a` of this namespace.
    ///
    /// # Errors
    /// As the server says.
    pub async fn plant(
        plane: &ControlPlane,
        clusters: &[&str],
        namespace: &str,
    ) -> anyhow::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{n}-");
        let planted: Vec<Entry> = clusters
            .iter()
            .flat_map(|cluster| around(cluster, namespace, n))
            .enumerate()
            .map(|(at, entry)| Entry {
                id: format!("{prefix}{at}"),
                ..entry
            })
            .collect();
        let ids = plane.entries()?.create_all(planted).await?;
        let count = ids.len();
        let database = plane.dir().join("spire/db.sqlite3");
        let before = rows(&database, &prefix)?;
        anyhow::ensure!(
            before.len() > count,
            "{count} entries, with their selectors, are {} rows",
            before.len()
        );
        Ok(Self {
            database,
            socket: plane.spire_socket(),
            ids,
            prefix,
            before,
            configured: None,
        })
    }

    /// The IDs of the planted entries.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// On a control plane that other tests go on using, theirs need not be lists of ours.
    fn remove(&self) {
        let (socket, ids) = (self.socket.clone(), self.ids.clone());
        // A runtime of its own: that of the test may be ending.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let entries = Entries::new(&socket)?;
                let removed = entries.delete_all(ids);
                tokio::time::timeout(Duration::from_secs(10), removed).await?
            })
        });
        // They harm nobody if they stay.
        let _: Result<anyhow::Result<()>, _> = removing.join();
    }

    /// Demands that every registrar whose file is in this folder is one of a cluster with planted entries.
    #[must_use]
    pub fn of_every_registrar_in(mut self, dir: &Path, clusters: &[&str]) -> Self {
        let clusters = clusters.iter().map(|c| (*c).to_owned()).collect();
        self.configured = Some((dir.to_owned(), clusters));
        self
    }

    fn check(&self) -> anyhow::Result<()> {
        let now = rows(&self.database, &self.prefix)?;
        let before: BTreeSet<&String> = self.before.iter().collect();
        let after: BTreeSet<&String> = now.iter().collect();
        anyhow::ensure!(
            before == after,
            "entries of others were touched\nbefore: {:#?}\nafter: {:#?}",
            before.difference(&after).collect::<Vec<_>>(),
            after.difference(&before).collect::<Vec<_>>(),
        );
        match &self.configured {
            Some((dir, clusters)) => of_clusters(dir, clusters),
            None => Ok(()),
        }
    }
}

/// A test that failed already has said why, and goes on failing for that.
impl Drop for Foreign {
    fn drop(&mut self) {
        let checked = self.check();
        if self.configured.is_none() {
            self.remove();
        }
        match checked {
            Ok(()) => {}
            Err(error) if std::thread::panicking() => eprintln!("{error:#}"),
            Err(error) => panic!("{error:#}"),
        }
    }
}

/// What others may have around the roots of a cluster; `n` keeps entries of one server apart.
fn around(cluster: &str, namespace: &str, n: u64) -> Vec<Entry> {
    let in_namespace = format!("k8s:ns:{namespace}");
    let other = format!("other-{n}-{cluster}");
    let of_other = format!("k8s_psat:cluster:{other}");
    let of_us = format!("k8s_psat:cluster:{cluster}");
    let rack = format!("k8s_psat:agent_node_label:rack:{n}");
    // Each of the forms in which pods are selected by default.
    let named = [&*in_namespace, "k8s:pod-name:a"];
    let by_uid = ["k8s:pod-uid:0", &*in_namespace, "k8s:node-name:node-1"];
    let contained = ["k8s:container-name:planted"];
    let mut made = Vec::new();
    for controller in CONTROLLERS {
        let root = format!("/{controller}/{cluster}/node");
        for pod in [&named[..], &by_uid] {
            // A root is made of whole segments.
            made.push((format!("{root}s/node-1"), pod.to_vec()));
            made.push((format!("{root}s"), pod.to_vec()));
            made.push((format!("/{controller}/{other}/node/node-1"), pod.to_vec()));
            // More selectors than we ever generate, or others.
            let on_alias = format!("{root}/node-1");
            made.push((on_alias.clone(), [pod, &contained].concat()));
        }
        made.push((format!("{root}/node-1"), contained.to_vec()));
        made.push((root, vec![&in_namespace, "k8s:container-name:planted"]));
    }
    for pod in [&named[..], &by_uid] {
        made.push((
            format!("/another-controller/{cluster}/node/node-1"),
            pod.to_vec(),
        ));
        made.push(("/by/hand".to_owned(), pod.to_vec()));
        made.push((format!("/spire/agent/k8s_psat/{other}/0"), pod.to_vec()));
    }
    let mut entries: Vec<Entry> = made
        .iter()
        .enumerate()
        .map(|(at, (parent, selectors))| Entry {
            x509_svid_ttl: 60 * (at as i32 % 3),
            hint: format!("planted-{at}"),
            dns_names: vec![format!("planted-{at}.test")],
            ..entry(parent, &format!("/planted/{n}/{cluster}/{at}"), selectors)
        })
        .collect();
    for controller in CONTROLLERS {
        // A node of another cluster, and an operator's own alias beside ours.
        let node = ["k8s_psat:agent_node_name:node-1", &*of_other];
        let theirs = format!("/{controller}/{other}/node/node-1");
        entries.push(entry("/spire/server", &theirs, &node));
        let group = format!("/{controller}/{cluster}/node/planted-{n}");
        entries.push(entry("/spire/server", &group, &[&rack, &of_us]));
    }
    entries
}

/// Every row of every table that is about entries whose ID begins so, with all columns.
fn rows(database: &Path, prefix: &str) -> anyhow::Result<Vec<String>> {
    let read = |flags| rows_of(&Connection::open_with_flags(database, flags)?, prefix);
    // A server that was killed leaves its journal to whoever opens the file next.
    read(OpenFlags::SQLITE_OPEN_READ_ONLY)
        .or_else(|_| read(OpenFlags::SQLITE_OPEN_READ_WRITE))
        .with_context(|| database.display().to_string())
}

fn rows_of(db: &Connection, prefix: &str) -> anyhow::Result<Vec<String>> {
    db.busy_timeout(Duration::from_secs(20))?;
    let entries = format!("SELECT * FROM registered_entries WHERE entry_id LIKE '{prefix}%'");
    let mut found = told(db, "registered_entries", &entries)?;
    let mut tables = db.prepare(
        "SELECT DISTINCT t.name FROM sqlite_master t, pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND c.name = 'registered_entry_id' ORDER BY 1",
    )?;
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    anyhow::ensure!(tables.len() > 1, "selectors and DNS names have tables");
    for table in tables {
        let query = format!(
            "SELECT * FROM {table} WHERE registered_entry_id IN \
             (SELECT id FROM registered_entries WHERE entry_id LIKE '{prefix}%')"
        );
        found.extend(told(db, &table, &query)?);
    }
    Ok(found)
}

fn told(db: &Connection, table: &str, query: &str) -> anyhow::Result<Vec<String>> {
    let mut statement = db.prepare(query)?;
    let columns: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut line = table.to_owned();
        for (at, column) in columns.iter().enumerate() {
            let value = match row.get_ref(at)? {
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => format!("{other:?}"),
            };
            line.push_str(&format!(" {column}={value}"));
        }
        found.push(line);
    }
    Ok(found)
}

/// Fails if a registrar in this folder was given a cluster that nothing was planted for.
fn of_clusters(dir: &Path, clusters: &BTreeSet<String>) -> anyhow::Result<()> {
    for file in std::fs::read_dir(dir)? {
        let path = file?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("registrar-") || !name.ends_with(".conf") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let configured = text
            .lines()
            .filter_map(|line| line.strip_prefix("cluster = \"")?.strip_suffix('"'))
            .next_back();
        let covered = configured.is_some_and(|cluster| clusters.contains(cluster));
        anyhow::ensure!(
            covered,
            "{name} is of cluster {configured:?}, for which no entries of others were planted: name it in tests/it/plane.rs"
        );
    }
    Ok(())
}
