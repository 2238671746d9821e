//! Who is without identity, and for how long: the API server's pods beside the SPIRE Server's own database, again and
//! again, whatever fails meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::Client;
use rusqlite::{Connection, OpenFlags};
use tokio::task::JoinHandle;

use super::{
    mode::Mode,
    right::{self, Living},
};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// Gaps that are noted.
const LONG: Duration = Duration::from_secs(10);

/// What it saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// The longest time that a pod was without its entry, and which one.
    pub longest: (Duration, String),
    /// Pods that had their entry, and lost it while they lived, though nobody meddled with it.
    pub lost: Vec<String>,
    /// For the timeline: which pods lost their entry, or had it at last after long without, and when.
    pub notes: Vec<(Instant, String)>,
    /// How often it looked.
    pub looks: usize,
    /// Lines of entries that a third party meddled with.
    pub meddled: BTreeSet<String>,
}

/// Shared with it.
pub type Shared = Arc<Mutex<Seen>>;

#[derive(Debug, Default)]
struct State {
    had: bool,
    without_since: Option<Instant>,
    /// It was there, and was not at the last look: its pod may have gone in between.
    missed: bool,
}

/// Begins to look; ends when the handle is aborted.
///
/// # Errors
/// If the database cannot be opened.
pub fn begin(
    client: Client,
    database: &Path,
    mode: Mode,
    seen: Shared,
) -> anyhow::Result<JoinHandle<()>> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    let connection = Arc::new(Mutex::new(connection));
    Ok(tokio::spawn(async move {
        let mut states: BTreeMap<(String, String), State> = BTreeMap::new();
        let mut turn = tokio::time::interval(EVERY);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            // Without an answer nothing can be said of this moment.
            let asked = tokio::time::timeout(Duration::from_secs(2), right::pods(&client, mode));
            let Ok(Ok(living)) = asked.await else {
                continue;
            };
            let connection = connection.clone();
            let read = tokio::task::spawn_blocking(move || {
                lines(&connection.lock().unwrap_or_else(PoisonError::into_inner))
            });
            if let Ok(Ok(lines)) = read.await {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                look(&mut states, &mut seen, &living, &lines);
            }
        }
    }))
}

fn look(
    states: &mut BTreeMap<(String, String), State>,
    seen: &mut Seen,
    living: &BTreeMap<String, Living>,
    lines: &BTreeSet<String>,
) {
    let now = Instant::now();
    seen.looks += 1;
    let mut old = std::mem::take(states);
    for (name, pod) in living {
        let Some(line) = &pod.line else { continue };
        let key = (pod.uid.clone(), line.clone());
        let mut state = old.remove(&key).unwrap_or_default();
        if lines.contains(line) {
            state.had = true;
            state.missed = false;
            let since = state.without_since.take();
            if let Some(gap) = since.map(|s| s.elapsed()).filter(|gap| *gap > LONG) {
                let told = format!("{name} has its entry after {:.1} s", gap.as_secs_f64());
                seen.notes.push((now, told));
            }
        } else {
            let since = *state.without_since.get_or_insert(now);
            if state.had && !state.missed {
                state.missed = true;
            } else if state.missed {
                state.missed = false;
                state.had = false;
                if !seen.meddled.contains(line) {
                    seen.notes
                        .push((since, format!("{name} is without {line}")));
                    seen.lost.push(name.clone());
                }
            }
            if since.elapsed() > seen.longest.0 {
                seen.longest = (since.elapsed(), name.clone());
            }
        }
        states.insert(key, state);
    }
}

/// All entries, as [`right::sorted_line`] writes them.
fn lines(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut query = connection.prepare_cached(
        "SELECT e.id, e.spiffe_id, e.parent_id, s.type, s.value FROM registered_entries e \
         JOIN selectors s ON s.registered_entry_id = e.id ORDER BY e.id, s.type, s.value",
    )?;
    let mut entries: BTreeMap<i64, (String, Vec<String>)> = BTreeMap::new();
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let path = |id: String| {
            let path = id.strip_prefix("spiffe://").and_then(|r| r.split_once('/'));
            path.map(|(_, path)| format!("/{path}")).unwrap_or_default()
        };
        let (id, parent) = (path(row.get(1)?), path(row.get(2)?));
        let (kind, value): (String, String) = (row.get(3)?, row.get(4)?);
        let entry = entries
            .entry(row.get(0)?)
            .or_insert_with(|| (format!("{id} <- {parent}"), Vec::new()));
        entry.1.push(format!("{kind}:{value}"));
    }
    let lines = entries.into_values();
    Ok(lines
        .map(|(ids, selectors)| format!("{ids} [{}]", selectors.join(" ")))
        .collect())
}
