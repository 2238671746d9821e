//! Reading a text as a configuration.

use registrar_adapters::config::{Config, Problems, Severity, parse};

pub const MINIMAL: &str =
    "trust_domain = \"domain.test\"\ncluster = \"CLUSTER\"\nserver_socket_path = \"SOCKETPATH\"\n";

pub fn read(text: &str) -> Result<(Config, Problems), Problems> {
    parse("registrar.conf", text.to_owned())
}

pub fn with(extra: &str) -> String {
    format!("{MINIMAL}{extra}\n")
}

pub fn config(extra: &str) -> Config {
    match read(&with(extra)) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{extra:?} is refused:\n{problems}"),
    }
}

pub fn errors(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => panic!("{text:?} is accepted"),
        Err(problems) => problems
            .list
            .into_iter()
            .filter(|p| p.severity == Severity::Error)
            .map(|p| p.message)
            .collect(),
    }
}
