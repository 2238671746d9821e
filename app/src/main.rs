//! `k8s-workload-registrar`: gives every pod of a Kubernetes cluster its registration entry on a SPIRE Server.
//!
//! Exit codes: 0 done, 1 an error, 2 wrong usage, 3 something is held.

mod cli;
mod collect;
mod command;
mod crd;
mod driver;
mod election;
mod explain;
mod generate_config;
mod intake;
mod manual;
mod parts;
mod plan;
mod progress;
mod render;
mod replies;
mod report;
mod retire;
mod run;
mod scm;
mod server;
mod signals;
mod spiffe_id_webhook;
mod throttle;
mod validate;
mod webhook;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse_from(cli::with_double_dashes(std::env::args_os()));
    let result = match cli.chosen() {
        cli::Command::Run(args) => run::run(&args).map(done),
        cli::Command::Validate(args) => validate::validate(&args).map(done),
        cli::Command::Plan(args) => plan::plan(&args),
        cli::Command::Crd(args) => crd::crd(&args).map(done),
        cli::Command::GenerateConfig(args) => generate_config::generate_config(&args).map(done),
        cli::Command::Explain(args) => explain::explain(&args),
        cli::Command::Retire(args) => retire::retire(&args),
        cli::Command::Man => manual::page().map(done),
        cli::Command::Completions { shell } => manual::completions(shell).map(done),
        cli::Command::Version => {
            println!("k8s-workload-registrar {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(1)
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
