//! `crd`: prints what the API server must know of SpiffeIDs.

use anyhow::{Context, bail};
use registrar_adapters::{
    config::{self, Mode},
    definition,
};

use crate::cli::CrdArgs;

/// Where the original's manifests put it.
const DEFAULT_NAMESPACE: &str = "spire";

/// Prints the CustomResourceDefinition, and with a configuration the ValidatingAdmissionPolicy.
pub fn crd(args: &CrdArgs) -> anyhow::Result<()> {
    let mut text = definition::CUSTOM_RESOURCE_DEFINITION.to_owned();
    if let Some(path) = &args.config {
        text.push_str("---\n");
        text.push_str(&policy(path, args.namespace.as_deref())?);
    } else {
        eprintln!(
            "only the CustomResourceDefinition: the ValidatingAdmissionPolicy needs -config FILE"
        );
    }
    print!("{text}");
    Ok(())
}

fn policy(path: &std::path::Path, namespace: Option<&str>) -> anyhow::Result<String> {
    let shown = path.display();
    let config = match config::load(path) {
        Ok((config, problems)) => {
            eprint!("{problems}");
            config
        }
        Err(problems) => {
            eprint!("{problems}");
            bail!("{shown} cannot be used; see above");
        }
    };
    let Mode::Crd(crd) = &config.mode else {
        let mode = config.mode.name();
        bail!("{shown} is of {mode} mode; SpiffeIDs belong to mode = \"crd\"");
    };
    let namespace = namespace
        .or(config.common.namespace.as_deref())
        .unwrap_or(DEFAULT_NAMESPACE);
    let policy = crd
        .policy(&config.common, namespace)
        .with_context(|| format!("{shown} cannot be used"))?;
    Ok(definition::admission_policy(&policy))
}
