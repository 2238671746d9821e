//! The SPIRE Server's own database, read beside it: looking there costs the server nothing.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

/// A read-only connection.
#[derive(Debug)]
pub struct Store(Connection);

impl Store {
    /// Of the server whose database this is.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(database: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(Self(connection))
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn entries(&self) -> anyhow::Result<usize> {
        let count: i64 = self
            .0
            .query_row("SELECT COUNT(*) FROM registered_entries", [], |r| r.get(0))?;
        Ok(count as usize)
    }

    /// The numbers of the pods whose entries are there, by their names, in the order in which the entries came.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn pods_in_order(&self) -> anyhow::Result<Vec<usize>> {
        let mut query = self
            .0
            .prepare("SELECT value FROM selectors WHERE value LIKE 'pod-name:pod-%' ORDER BY id")?;
        let values = query.query_map([], |r| r.get::<_, String>(0))?;
        values
            .map(|value| Ok(value?.trim_start_matches("pod-name:pod-").parse()?))
            .collect()
    }

    fn last_selector(&self) -> anyhow::Result<i64> {
        let query = "SELECT COALESCE(MAX(id), 0) FROM selectors";
        Ok(self.0.query_row(query, [], |r| r.get(0))?)
    }

    fn selectors_after(&self, last: i64) -> anyhow::Result<Vec<(i64, String)>> {
        let mut query = self
            .0
            .prepare_cached("SELECT id, value FROM selectors WHERE id > ?1")?;
        let rows = query.query_map([last], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Notes when each new selector appears in the database.
#[derive(Debug)]
pub struct Arrivals {
    seen: Arc<Mutex<BTreeMap<String, Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Arrivals {
    /// Begins to look, about twice a millisecond.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn watch(database: &Path) -> anyhow::Result<Self> {
        let store = Store::open(database)?;
        let mut last = store.last_selector()?;
        let seen: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (into, stopped) = (seen.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let new = store.selectors_after(last)?;
                let now = Instant::now();
                let mut seen = into.lock().expect("not poisoned");
                for (id, value) in new {
                    last = last.max(id);
                    seen.entry(value).or_insert(now);
                }
                drop(seen);
                std::thread::sleep(Duration::from_micros(400));
            }
            Ok(())
        });
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// When this selector's value appeared.
    pub fn at(&self, value: &str) -> Option<Instant> {
        self.seen.lock().expect("not poisoned").get(value).copied()
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it could not read shows as an arrival that is missing.
            let _ = thread.join();
        }
    }
}
