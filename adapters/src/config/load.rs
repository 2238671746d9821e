//! From a path to a configuration, or to all of its problems.

use std::{io::Read, path::Path};

use super::{
    common,
    diagnostics::{Problem, Problems, Severity},
    fields::Fields,
    hcl, modes,
    settings::Config,
};

/// Larger files are not configurations.
const LARGEST: u64 = 1 << 20;

/// Reads and checks a file. The problems beside a configuration are warnings.
///
/// # Errors
/// All problems of the file, at least one of them an error.
pub fn load(path: &Path) -> Result<(Config, Problems), Problems> {
    let shown = path.display().to_string();
    match read(path) {
        Ok(source) => parse(&shown, source),
        Err(why) => Err(Problems {
            path: shown,
            source: String::new(),
            list: vec![
                Problem::error(format!("unable to load configuration: {why}"))
                    .help("name the file with -config FILE"),
            ],
        }),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|e| format!("open {shown}: {e}"))?;
    let metadata = file.metadata().map_err(|e| format!("stat {shown}: {e}"))?;
    if metadata.is_dir() {
        return Err(format!("{shown} is a directory, not a file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("read {shown}: {e}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!(
            "{shown} is larger than 1 MiB, which is no configuration"
        ));
    }
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        return Err(format!(
            "{shown} has a NUL byte at offset {at}: it is not a text file"
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        format!(
            "{shown} is not UTF-8 at offset {}",
            e.utf8_error().valid_up_to()
        )
    })
}

/// Checks the text of a file. `path` is what messages call it.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &str, source: String) -> Result<(Config, Problems), Problems> {
    let (config, mut list) = match hcl::parse(&source) {
        Ok(items) => checked(&source, items),
        Err(error) => {
            let message = format!("unable to decode configuration: {}", error.message);
            let problem = Problem::error(message).at(clamp(error.span, &source), "here");
            (
                None,
                vec![Problem {
                    help: error.help,
                    ..problem
                }],
            )
        }
    };
    list.sort_by_key(|p| (p.severity, p.span.as_ref().map(|s| s.start)));
    let problems = Problems {
        path: path.to_owned(),
        source,
        list,
    };
    match config {
        Some(config) if !problems.has_errors() => Ok((config, problems)),
        _ => Err(problems),
    }
}

/// A caret needs a character to stand under.
fn clamp(span: hcl::Span, source: &str) -> hcl::Span {
    let end = span.end.min(source.len());
    let start = span.start.min(end);
    start..end
}

fn checked(source: &str, items: Vec<hcl::Item>) -> (Option<Config>, Vec<Problem>) {
    let mut fields = Fields::new(source, items);
    let mode = modes::name(&mut fields);
    let common = common::read(&mut fields, &mode);
    let mode = modes::read(&mut fields, &mode, common.as_ref());
    let config = common
        .zip(mode)
        .map(|(common, mode)| Config { common, mode });
    let failed = fields
        .problems
        .iter()
        .any(|p| p.severity == Severity::Error);
    debug_assert!(
        config.is_some() || failed,
        "no configuration means an error was named"
    );
    (config, fields.problems)
}
