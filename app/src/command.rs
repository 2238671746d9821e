//! What the commands that print have in common: the configuration, the end of the printing, the exit code.

use std::{io, path::Path, process::ExitCode};

use anyhow::bail;
use registrar_adapters::config;

/// The exit code where something is held.
const HELD: u8 = 3;

/// The configuration of a file; its problems are printed.
///
/// # Errors
/// If it cannot be used.
pub fn configuration(path: &Path) -> anyhow::Result<config::Config> {
    match config::load(path) {
        Ok((config, problems)) => {
            eprint!("{problems}");
            Ok(config)
        }
        Err(problems) => {
            eprint!("{problems}");
            bail!("{} cannot be used; see above", path.display());
        }
    }
}

/// A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Any other.
pub fn finish(printed: io::Result<()>) -> anyhow::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// How the command ends.
pub fn exit_code(something_is_held: bool) -> ExitCode {
    match something_is_held {
        true => ExitCode::from(HELD),
        false => ExitCode::SUCCESS,
    }
}
