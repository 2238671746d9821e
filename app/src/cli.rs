//! The command line: the original's single-dash flags and the usual ones.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Gives every pod of a Kubernetes cluster its registration entry on a SPIRE Server.
#[derive(Debug, Parser)]
#[command(
    name = "k8s-workload-registrar",
    version,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the configured mode (the default command)
    Run(RunArgs),
    /// Reads and checks the configuration file; prints every problem
    Validate(ValidateArgs),
    /// Shows the entries that pods and nodes would get, and what would change; writes nothing
    Plan(PlanArgs),
    /// Prints the CustomResourceDefinition of SpiffeIDs, and with -config the ValidatingAdmissionPolicy that goes with it
    Crd(CrdArgs),
    /// Makes keys, certificates and objects for webhook mode
    GenerateConfig(GenerateArgs),
    /// Tells why a pod has, or has not, the identity that it should have
    Explain(ExplainArgs),
    /// Lists, or removes, the entries that another mode or controller_name left under its root
    Retire(RetireArgs),
    /// Prints the manual page (man -l FILE shows it)
    Man,
    /// Prints what a shell completes
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Prints the version
    Version,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "k8s-workload-registrar.conf"
    )]
    pub config: PathBuf,
    /// A kubeconfig file; overrides the key of the same name
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kind of object: pod
    #[arg(value_name = "pod")]
    pub kind: String,
    /// Which one
    #[arg(value_name = "NAMESPACE/NAME")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct RetireArgs {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "k8s-workload-registrar.conf"
    )]
    pub config: PathBuf,
    /// Removes them, if no living pod loses its identity by it
    #[arg(long)]
    pub apply: bool,
    /// A kubeconfig file; overrides the key of the same name
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The root: /k8s-workload-registrar/CLUSTER/node, /CONTROLLER_NAME/CLUSTER/node or
    /// /spire/agent/k8s_psat/CLUSTER
    #[arg(value_name = "ROOT")]
    pub root: String,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people, at most 100 columns wide
    Table,
    /// As docs/json/plan.schema.json says; with -from-scm, docs/json/from-scm.schema.json
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "k8s-workload-registrar.conf"
    )]
    pub config: PathBuf,
    /// How the plan is printed
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// Compares the cluster as it is with the SPIRE Server as it is
    #[arg(long, conflicts_with_all = ["sources", "entries"])]
    pub live: bool,
    /// Compares with these entries: the output of `spire-server entry show -output json`
    #[arg(long, value_name = "FILE")]
    pub entries: Option<PathBuf>,
    /// Compares with what spire-controller-manager gives: the files hold its resources and configuration, too; with -entries,
    /// its entries are taken as they are on the server
    #[arg(long, conflicts_with = "live")]
    pub from_scm: bool,
    /// A kubeconfig file; overrides the key of the same name
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Manifests and `kubectl get -o json` or `-o yaml` dumps, also gzipped; folders; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "live")]
    pub sources: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The registrar's namespace
    #[arg(long, value_name = "NAME", default_value = "spire")]
    pub namespace: String,
    /// The registrar's Service
    #[arg(long, value_name = "NAME", default_value = "k8s-workload-registrar")]
    pub service: String,
    /// The type of the CA's key: ec-p256 or ec-p384
    #[arg(long, value_name = "TYPE", default_value = "ec-p256")]
    pub ca_key_alg: String,
    /// The type of the registrar's key
    #[arg(long, value_name = "TYPE", default_value = "ec-p256")]
    pub server_key_alg: String,
    /// The type of the API server's key
    #[arg(long, value_name = "TYPE", default_value = "ec-p256")]
    pub client_key_alg: String,
    /// How long the certificates are valid; 0 is for ever
    #[arg(long, value_name = "DURATION", default_value = "8760h")]
    pub ttl: String,
    /// The API server calls https://HOST:PORT directly, not through the Service
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// What happens to pods while the registrar cannot be asked: ignore (the sweep registers them later) or fail
    #[arg(long, value_enum, default_value = "ignore")]
    pub failure_policy: FailurePolicy,
    /// A further namespace whose pods are not reviewed; repeat it for several
    #[arg(long, value_name = "NAME")]
    pub exclude_namespace: Vec<String>,
    /// Where the API server finds the kubeconfig [default: beside the other files]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig_path: Option<String>,
    /// Writes files into this folder; otherwise one YAML stream is printed
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Overwrites files that exist
    #[arg(long)]
    pub force: bool,
}

/// A webhook's failurePolicy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailurePolicy {
    /// Pods are admitted
    Ignore,
    /// Pods are refused
    Fail,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "k8s-workload-registrar.conf"
    )]
    pub config: PathBuf,
    /// A kubeconfig file; overrides the key of the same name
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "k8s-workload-registrar.conf"
    )]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
pub struct CrdArgs {
    /// The configuration file, of crd mode; without it, only the CustomResourceDefinition is printed
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The registrar's own namespace; overrides the key of the same name
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

impl Cli {
    /// The command that was named, or `run`.
    pub fn chosen(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

/// The original took its flags with one dash (`-config FILE`, `-config=FILE`), as Go programs do.
pub fn with_double_dashes(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let root = Cli::command();
    let commands = std::iter::once(&root).chain(root.get_subcommands());
    let long: Vec<String> = commands
        .flat_map(|c| {
            c.get_arguments()
                .filter_map(|a| a.get_long())
                .map(str::to_owned)
        })
        .chain(["version", "help"].map(str::to_owned))
        .collect();
    let mut only_values = false;
    args.map(|arg| {
        only_values |= arg == "--";
        let name = arg
            .to_str()
            .filter(|a| !only_values && !a.starts_with("--"))
            .and_then(|a| a.strip_prefix('-'))
            .map(|a| a.split('=').next().unwrap_or_default().to_owned());
        match name {
            Some(name) if name.len() > 1 && long.contains(&name) => {
                let mut doubled = OsString::from("-");
                doubled.push(&arg);
                doubled
            }
            _ => arg,
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_may_be_written_as_in_go() {
        for args in [
            vec!["-config", "x"],
            vec!["-config=x"],
            vec!["--config", "x"],
            vec!["--config=x"],
            vec!["run", "-config", "x"],
        ] {
            let all = std::iter::once("k8s-workload-registrar").chain(args.iter().copied());
            let cli = Cli::parse_from(with_double_dashes(all.map(OsString::from)));
            let Command::Run(run) = cli.chosen() else {
                panic!("{args:?} runs")
            };
            assert_eq!(run.config, PathBuf::from("x"), "{args:?}");
        }
    }

    #[test]
    fn without_flags_the_original_default_file_is_read() {
        let cli = Cli::parse_from(["k8s-workload-registrar"]);
        let Command::Run(run) = cli.chosen() else {
            panic!("run is the default")
        };
        assert_eq!(run.config, PathBuf::from("k8s-workload-registrar.conf"));
    }

    #[test]
    fn every_command_of_the_documents_is_understood() {
        let mut count = 0;
        for text in [
            include_str!("../../README.md"),
            include_str!("../../docs/migration.md"),
        ] {
            let commands = text
                .lines()
                .filter_map(|l| l.trim_start().strip_prefix("$ k8s-workload-registrar"));
            for command in commands {
                let words = command.split(['>', '|', '#']).next().unwrap_or_default();
                let all = std::iter::once("k8s-workload-registrar").chain(words.split_whitespace());
                let parsed = Cli::try_parse_from(with_double_dashes(all.map(OsString::from)));
                assert!(parsed.is_ok(), "{command}: {parsed:?}");
                count += 1;
            }
        }
        assert!(count > 5, "commands are found");
    }
}
