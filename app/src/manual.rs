//! The manual page and shell completions, made from the definition of the command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{cli::Cli, command::finish};

/// Exit codes, as README has them.
const EXIT_STATUS: &str = ".SH \"EXIT STATUS\"\n.TP\n0\nDone, or ended by SIGTERM.\n.TP\n1\nAn error; it is named on \
                           standard error.\n.TP\n2\nWrong usage of the command line.\n.TP\n3\nplan, explain: something \
                           is held; the output was printed.\n";

/// Prints the page: the program, and each command with its options.
///
/// # Errors
/// If it cannot be written.
pub fn page() -> anyhow::Result<()> {
    finish(io::stdout().write_all(&text()?))
}

fn text() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let command = Cli::command();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for sub in command.get_subcommands() {
        let name = sub.get_name().to_uppercase();
        writeln!(page, ".SH \"COMMAND {name}\"")?;
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "{about}.")?;
        let mut options = Vec::new();
        Man::new(sub.clone()).render_options_section(&mut options)?;
        // A section of its own would end the command's.
        let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
        page.extend(options.as_bytes());
    }
    page.extend(EXIT_STATUS.as_bytes());
    Ok(page)
}

/// Prints the completions of a shell.
///
/// # Errors
/// If they cannot be written.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "k8s-workload-registrar",
        &mut script,
    );
    finish(io::stdout().write_all(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command_and_option() {
        let page = String::from_utf8(text().expect("made")).expect("text");
        let plain = page
            .replace("\\-", "-")
            .replace("\\fB", "")
            .replace("\\fR", "");
        for sub in Cli::command().get_subcommands() {
            assert!(
                plain.contains(&format!("COMMAND {}", sub.get_name().to_uppercase())),
                "{plain}"
            );
            for long in sub.get_arguments().filter_map(|a| a.get_long()) {
                assert!(plain.contains(&format!("--{long}")), "--{long}: {plain}");
            }
        }
    }

    #[test]
    fn every_shell_can_complete() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "k8s-workload-registrar",
                &mut script,
            );
            let script = String::from_utf8(script).expect("text");
            assert!(
                script.contains("explain") && script.contains("kubeconfig"),
                "{shell}"
            );
        }
    }
}
