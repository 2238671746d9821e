//! `generate-config`: what webhook mode needs on both sides, as files or as one YAML stream.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail};
use registrar_adapters::{
    admission::generate::{Generated, KeyAlgorithm, Reached, Wanted, generate},
    config::duration,
};

use crate::cli::{FailurePolicy, GenerateArgs};

/// Where the API server finds its kubeconfig, unless told otherwise.
const KUBECONFIG_PATH: &str = "/etc/kubernetes/k8s-workload-registrar/kubeconfig.yaml";
const KUBECONFIG: &str = "kubeconfig.yaml";
/// Pods that must start without us: the cluster's own, and SPIRE's.
const EXCLUDED: [&str; 3] = ["kube-system", "kube-public", "spire"];

/// Makes everything, and prints it or writes it into files.
pub fn generate_config(args: &GenerateArgs) -> anyhow::Result<()> {
    let wanted = wanted(args)?;
    let generated = generate(&wanted).map_err(|why| anyhow!(why))?;
    match &args.out {
        Some(dir) => write_files(dir, &generated, args.force),
        None => {
            print(&generated);
            Ok(())
        }
    }
}

fn wanted(args: &GenerateArgs) -> anyhow::Result<Wanted> {
    let key =
        |flag: &str, name: &str| KeyAlgorithm::parse(name).map_err(|why| anyhow!("-{flag}: {why}"));
    let ttl = match &*args.ttl {
        "0" => None,
        text => match duration(text) {
            Some(ttl) if ttl.is_zero() => None,
            Some(ttl) if ttl > Duration::from_secs(200 * 365 * 86_400) => {
                bail!("-ttl is {text:?}, longer than 200 years; write 0 for ever")
            }
            Some(ttl) => Some(ttl),
            None => bail!("-ttl is {text:?}, which is no duration; write 8760h, or 0 for ever"),
        },
    };
    let reached = match args.address.as_deref().map(|a| (a, a.rsplit_once(':'))) {
        None => Reached::Service,
        Some((address, parts)) => {
            let parsed = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
            let Some((host, port)) = parsed.filter(|(host, _)| !host.is_empty()) else {
                bail!("-address is {address:?}, which is not HOST:PORT");
            };
            let host = host.trim_matches(['[', ']']).to_owned();
            Reached::Url { host, port }
        }
    };
    let mut excluded: Vec<String> = EXCLUDED.map(str::to_owned).to_vec();
    for namespace in std::iter::once(&args.namespace).chain(&args.exclude_namespace) {
        if !excluded.contains(namespace) {
            excluded.push(namespace.clone());
        }
    }
    let kubeconfig_path = match (&args.kubeconfig_path, &args.out) {
        (Some(path), _) => path.clone(),
        (None, Some(dir)) => {
            let whole = std::path::absolute(dir).with_context(|| format!("-out {dir:?}"))?;
            whole.join(KUBECONFIG).display().to_string()
        }
        (None, None) => KUBECONFIG_PATH.to_owned(),
    };
    Ok(Wanted {
        namespace: args.namespace.clone(),
        service: args.service.clone(),
        keys: [
            key("ca-key-alg", &args.ca_key_alg)?,
            key("server-key-alg", &args.server_key_alg)?,
            key("client-key-alg", &args.client_key_alg)?,
        ],
        ttl,
        reached,
        failure_policy: match args.failure_policy {
            FailurePolicy::Ignore => "Ignore",
            FailurePolicy::Fail => "Fail",
        },
        excluded,
        kubeconfig_path,
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?,
    })
}

fn print(generated: &Generated) {
    let documents = [
        &generated.config_map,
        &generated.secret,
        &generated.webhook,
        &generated.kubeconfig,
        &generated.admission_configuration,
    ];
    for document in documents {
        print!("---\n{document}");
    }
}

fn write_files(dir: &Path, generated: &Generated, force: bool) -> anyhow::Result<()> {
    const EVERYONE: u32 = 0o644;
    const OWNER: u32 = 0o600;
    let files = [
        ("server-cert.pem", &generated.server_certificate, EVERYONE),
        ("server-key.pem", &generated.server_key, OWNER),
        ("cacert.pem", &generated.ca_certificate, EVERYONE),
        ("certs-configmap.yaml", &generated.config_map, EVERYONE),
        ("secret.yaml", &generated.secret, OWNER),
        ("webhook.yaml", &generated.webhook, EVERYONE),
        (KUBECONFIG, &generated.kubeconfig, OWNER),
        (
            "admission-configuration.yaml",
            &generated.admission_configuration,
            EVERYONE,
        ),
    ];
    std::fs::create_dir_all(dir).with_context(|| format!("-out {dir:?} cannot be made"))?;
    let taken = files
        .iter()
        .map(|(name, ..)| dir.join(name))
        .find(|p| p.exists());
    if let Some(path) = taken.filter(|_| !force) {
        bail!(
            "{path:?} exists; nothing was written: name another folder with -out, or give -force"
        );
    }
    for (name, text, mode) in files {
        let path = dir.join(name);
        write(&path, text, mode).with_context(|| format!("{path:?} cannot be written"))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    // A file of its own, with its mode from the first byte on.
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())
}
