//! Log lines: `key=value` text or JSON, to standard error or to a file that can be reopened.

use std::{
    borrow::Cow,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::SubscriberExt, registry::Registry};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `ts=... level=info message="..." key=value`
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, how and where.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The least important level that is logged.
    pub level: LevelFilter,
    /// How.
    pub format: Format,
    /// Where; `None` is standard error.
    pub file: Option<LogFile>,
}

/// A log file that can be opened again, after something moved it away.
#[derive(Debug, Clone)]
pub struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    /// Opens, and makes if need be, the file; lines are appended.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = Arc::new(Mutex::new(append_to(&path)?));
        Ok(Self { path, file })
    }

    /// Opens the path again; on failure the old file stays in use.
    ///
    /// # Errors
    /// As the system says.
    pub fn reopen(&self) -> io::Result<()> {
        let file = append_to(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes to the file or to standard error. A log that cannot be written (a full disk) must never stop the program.
#[derive(Debug, Clone)]
pub struct Writer(Option<LogFile>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let harmless = harmless(line);
        let written = match &self.0 {
            Some(log) => log
                .file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(&harmless),
            None => io::stderr().lock().write_all(&harmless),
        };
        // Reported as written: there is nobody to tell, and the caller would print the failure for every line.
        let _ = written;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with every control character in it written out, as text and as JSON have it alike: what a tenant wrote must not
/// move a terminal's cursor. Formatters leave some of them as they are, those of one byte in Latin-1 for example.
fn harmless(line: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(line) else {
        return Cow::Borrowed(line);
    };
    let body = text.strip_suffix('\n').unwrap_or(text);
    if !body.contains(char::is_control) {
        return Cow::Borrowed(line);
    }
    let mut clean = String::with_capacity(line.len() + 16);
    for character in body.chars() {
        if character.is_control() {
            // Writing to a string does not fail.
            let _ = write!(clean, "\\u{:04x}", u32::from(character));
        } else {
            clean.push(character);
        }
    }
    clean.push('\n');
    Cow::Owned(clean.into_bytes())
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Writer;
    fn make_writer(&'a self) -> Writer {
        self.clone()
    }
}

/// The subscriber for these settings; install it once, or use it for a while in tests.
pub fn subscriber(settings: LogSettings) -> impl tracing::Subscriber + Send + Sync {
    let writer = Writer(settings.file);
    let debugs = settings.level >= LevelFilter::DEBUG;
    // Our own lines at the chosen level; libraries speak only where something is wrong.
    let ours = move |metadata: &tracing::Metadata<'_>| {
        let level = metadata.level();
        let registrar = metadata.target().starts_with("k8s_workload_registrar")
            || metadata.target().starts_with("registrar_");
        // What becomes of a request is told by whoever made it, with the remedy.
        let told_better = metadata.target().starts_with("kube_client::client");
        let library = *level <= tracing::Level::WARN && (!told_better || debugs);
        *level <= settings.level && (registrar || library)
    };
    let filter = tracing_subscriber::filter::filter_fn(ours);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Text => Box::new(
            tracing_logfmt::builder()
                .with_target(false)
                .with_span_name(false)
                .layer()
                .with_writer(writer)
                .with_filter(filter),
        ),
        Format::Json => Box::new(
            tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_writer(writer)
                .with_filter(filter),
        ),
    };
    tracing_subscriber::registry().with(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: Format, log: impl FnOnce()) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        let file = LogFile::open(&path).expect("a file");
        let settings = LogSettings {
            level: LevelFilter::INFO,
            format,
            file: Some(file),
        };
        tracing::subscriber::with_default(subscriber(settings), log);
        std::fs::read_to_string(&path)
            .expect("the log")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn what_tenants_write_never_breaks_a_line() {
        // A forged line, colours by ESC and by the one-byte CSI, a line break of Unicode, the end of a text, and DEL.
        let hostile = "a\nlevel=error fake=1\u{1b}[31m\r\"\u{9b}31m\u{85}b\u{7f}\0";
        for format in [Format::Text, Format::Json] {
            let lines = lines(format, || {
                tracing::info!(target: "registrar_test", pod = hostile, "entry created");
                tracing::info!(target: "registrar_test", pod = %hostile, "entry created");
                tracing::info!(target: "registrar_test", pod = ?hostile, "entry created");
                tracing::info!(target: "registrar_test", "entry of {hostile} created");
                tracing::info!(target: "registrar_test", pod = "a\u{9b}31m", "no other need to quote");
            });
            assert_eq!(lines.len(), 5, "{lines:?}");
            for line in lines {
                if format == Format::Json {
                    serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
                }
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }

    #[test]
    fn a_moved_file_is_made_again_on_reopen() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("log");
        let file = LogFile::open(&path).expect("a file");
        let settings = LogSettings {
            level: LevelFilter::INFO,
            format: Format::Text,
            file: Some(file.clone()),
        };
        tracing::subscriber::with_default(subscriber(settings), || {
            tracing::info!(target: "registrar_test", "before");
            std::fs::rename(&path, dir.path().join("log.1")).expect("moved");
            file.reopen().expect("reopened");
            tracing::info!(target: "registrar_test", "after");
        });
        let text = std::fs::read_to_string(&path).expect("made again");
        assert!(text.contains("after") && !text.contains("before"), "{text}");
    }

    #[test]
    fn libraries_speak_only_where_something_is_wrong() {
        let lines = lines(Format::Text, || {
            tracing::info!(target: "hyper", "chatter");
            tracing::warn!(target: "hyper", "trouble");
            tracing::debug!(target: "registrar_test", "below the level");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn a_request_that_failed_is_told_by_whoever_made_it_alone() {
        let lines = lines(Format::Text, || {
            tracing::error!(target: "kube_client::client::builder", "failed with status 504");
            tracing::warn!(target: "kube_client::config", "trouble of another kind");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("another kind"), "{lines:?}");
    }
}
