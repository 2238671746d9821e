//! Where text comes from, within bounds.

use std::{
    cell::Cell,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;

/// A single object may have this many bytes; etcd takes 1.5 MiB.
const LARGEST_OBJECT: u64 = 16 << 20;
/// A gzipped file may grow to this many times its size; dumps of clusters grow to 20 to 50 times.
const LARGEST_GROWTH: u64 = 300;
/// What any gzipped file may grow to.
const HARMLESS: u64 = 64 << 20;
/// Folders within folders.
const DEEPEST: usize = 16;

/// A file, or standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `-`
    StandardInput,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::StandardInput => f.write_str("standard input"),
            Source::File(path) => path.display().fmt(f),
        }
    }
}

/// Why something that was named cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct SourceError {
    path: String,
    why: String,
}

fn fails(path: &Path, why: impl ToString) -> SourceError {
    SourceError {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

/// The files that `named` means: a file itself, a folder all manifests in it and below it by name, `-` standard input.
///
/// # Errors
/// If one of them is not there or cannot be listed, or a folder holds no manifest.
pub fn sources(named: &[PathBuf]) -> Result<Vec<Source>, SourceError> {
    let mut found = Vec::new();
    for path in named {
        if path.as_os_str() == "-" {
            found.push(Source::StandardInput);
            continue;
        }
        let metadata = std::fs::metadata(path).map_err(|e| fails(path, e))?;
        if !metadata.is_dir() {
            found.push(Source::File(path.clone()));
            continue;
        }
        let before = found.len();
        list(path, &mut found, 0)?;
        if found.len() == before {
            let why = "the folder holds no .yaml, .yml or .json file (.gz may follow)";
            return Err(fails(path, why));
        }
    }
    Ok(found)
}

fn list(folder: &Path, found: &mut Vec<Source>, depth: usize) -> Result<(), SourceError> {
    let entries = std::fs::read_dir(folder).map_err(|e| fails(folder, e))?;
    let mut entries: Vec<_> = entries
        .collect::<Result<_, _>>()
        .map_err(|e| fails(folder, e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        // A link to a folder is not followed: it could lead round in a circle.
        let kind = entry.file_type().map_err(|e| fails(&entry.path(), e))?;
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if kind.is_dir() {
            if depth < DEEPEST {
                list(&entry.path(), found, depth + 1)?;
            }
        } else if [".yaml", ".yml", ".json"]
            .iter()
            .any(|e| plain.ends_with(e))
        {
            found.push(Source::File(entry.path()));
        }
    }
    Ok(())
}

/// Text under way.
pub struct Input {
    pub(super) text: BufReader<Bounded>,
    since_object: Rc<Cell<u64>>,
    position: Rc<Cell<u64>>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

impl Input {
    /// Says that an object ended: the next one may have its own full size.
    pub(super) fn object_ended(&self) {
        self.since_object.set(0);
    }

    /// Bytes that were read so far, before they were unpacked.
    pub(super) fn position(&self) -> Rc<Cell<u64>> {
        self.position.clone()
    }

    /// The text, and what says that an object ended.
    pub(super) fn into_parts(self) -> (BufReader<Bounded>, impl Fn()) {
        let since = self.since_object;
        (self.text, move || since.set(0))
    }
}

/// The bytes as they are, whatever their objects: for what is no manifest.
impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.object_ended();
        self.text.read(buffer)
    }
}

/// Opens a source; gzipped text is recognised by its first bytes.
///
/// # Errors
/// As the system says.
pub fn open(source: &Source) -> io::Result<Input> {
    let raw: Box<dyn Read> = match source {
        Source::StandardInput => Box::new(io::stdin()),
        Source::File(path) => {
            let file = File::open(path)?;
            if file.metadata()?.is_dir() {
                return Err(io::Error::other("this is a folder"));
            }
            Box::new(file)
        }
    };
    input(raw)
}

fn input(raw: Box<dyn Read>) -> io::Result<Input> {
    let packed = Rc::new(Cell::new(0));
    let counted = Counted {
        inner: raw,
        count: packed.clone(),
    };
    let mut buffered = BufReader::with_capacity(64 << 10, counted);
    let gzipped = buffered.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let since_object = Rc::new(Cell::new(0));
    let bounded = Bounded {
        inner: match gzipped {
            true => Box::new(MultiGzDecoder::new(buffered)),
            false => Box::new(buffered),
        },
        packed: gzipped.then(|| packed.clone()),
        total: 0,
        since_object: since_object.clone(),
    };
    Ok(Input {
        text: BufReader::with_capacity(64 << 10, bounded),
        since_object,
        position: packed,
    })
}

struct Counted {
    inner: Box<dyn Read>,
    count: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// Ends with an error where an object, or what a gzipped file grows to, has no end.
pub struct Bounded {
    inner: Box<dyn Read>,
    packed: Option<Rc<Cell<u64>>>,
    total: u64,
    since_object: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.total += n as u64;
        self.since_object.set(self.since_object.get() + n as u64);
        if self.since_object.get() > LARGEST_OBJECT {
            return Err(io::Error::other(format!(
                "a single object has more than {} MiB, which no API server takes",
                LARGEST_OBJECT >> 20
            )));
        }
        let growth = |packed: &Rc<Cell<u64>>| packed.get().max(1) * LARGEST_GROWTH;
        if self.total > HARMLESS && self.packed.as_ref().is_some_and(|p| self.total > growth(p)) {
            return Err(io::Error::other(format!(
                "it grows to more than {LARGEST_GROWTH} times its size, as no dump of a cluster does; \
                 unpack it yourself if it is meant"
            )));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(text: &[u8], times: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..times {
            encoder.write_all(text).expect("written");
        }
        encoder.finish().expect("finished")
    }

    fn all_of(input: io::Result<Input>) -> io::Result<u64> {
        io::copy(&mut input?, &mut io::sink())
    }

    #[test]
    fn a_gzip_bomb_ends_with_an_error_long_before_memory_does() {
        let bomb = packed(&[b'\n'; 1 << 20], 200);
        let opened = input(Box::new(io::Cursor::new(bomb)));
        let error = all_of(opened).expect_err("refused").to_string();
        assert!(error.contains("300 times its size"), "{error}");
    }

    #[test]
    fn text_without_an_end_is_not_gathered() {
        let endless = io::repeat(b'x');
        let mut text = input(Box::new(endless)).expect("opened").text;
        let error = text
            .read_until(b'\n', &mut Vec::new())
            .expect_err("refused")
            .to_string();
        assert!(error.contains("more than 16 MiB"), "{error}");
    }

    #[test]
    fn a_folder_is_read_by_name_and_its_hidden_files_and_links_are_not() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["b.yaml", "a.json.gz", "c.txt", ".d.yaml"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        std::fs::create_dir(dir.path().join("sub")).expect("made");
        std::fs::write(dir.path().join("sub/e.yml"), "").expect("written");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("round")).expect("linked");
        let found = sources(&[dir.path().to_owned(), "-".into()]).expect("listed");
        let names: Vec<String> = found
            .iter()
            .map(|s| s.to_string().replace(&dir.path().display().to_string(), ""))
            .collect();
        assert_eq!(
            names,
            ["/a.json.gz", "/b.yaml", "/sub/e.yml", "standard input"]
        );
        assert!(sources(&[dir.path().join("nowhere")]).is_err());
    }
}
