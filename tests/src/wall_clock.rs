//! A wall clock of a program's own, that can be set.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;

/// The clock that says what time it is, shifted; a program that is started with [`WallClock::env`] sees it.
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    offset: PathBuf,
    file: File,
}

impl WallClock {
    /// One that is right, until it is set; its files are in `dir`.
    ///
    /// # Errors
    /// If gcc cannot build what shifts it.
    pub fn new(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let library = dir.join(format!("clock-{name}.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clock/offset.c");
        let built = Command::new("gcc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .status()?;
        ensure!(built.success(), "gcc: {built}");
        let offset = dir.join(format!("clock-{name}.offset"));
        std::fs::write(&offset, 0i64.to_ne_bytes())?;
        let file = File::options().write(true).open(&offset)?;
        Ok(Self {
            library,
            offset,
            file,
        })
    }

    /// The environment of a program that is to see this clock.
    pub fn env(&self) -> [(String, String); 2] {
        let shown = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD".into(), shown(&self.library)),
            ("WALL_CLOCK_OFFSET".into(), shown(&self.offset)),
        ]
    }

    /// From now on it is this much late (or early) by it, in seconds.
    ///
    /// # Errors
    /// As the system says.
    pub fn jump(&self, seconds: i64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
