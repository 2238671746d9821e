//! `validate`: reads and checks the configuration file.

use registrar_adapters::config::{self, Severity};

use crate::cli::ValidateArgs;

/// Prints every problem; fails if there is an error among them.
pub fn validate(args: &ValidateArgs) -> anyhow::Result<()> {
    match config::load(&args.config) {
        Ok((config, problems)) => {
            eprint!("{problems}");
            let mode = config.mode.name();
            println!("{} is valid ({mode} mode)", args.config.display());
            Ok(())
        }
        Err(problems) => {
            eprint!("{problems}");
            let errors = problems
                .list
                .iter()
                .filter(|p| p.severity == Severity::Error)
                .count();
            let plural = if errors == 1 { "" } else { "s" };
            anyhow::bail!("{} has {errors} error{plural}", args.config.display());
        }
    }
}
