//! How the API server is reached, and which namespace is ours.

use std::path::PathBuf;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::connection::client_of;
use crate::causes::causes;

/// What the configuration says about Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeSettings {
    /// Key `kubeconfig` or flag `-kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// Key `kube_context`.
    pub context: Option<String>,
    /// Key `namespace`.
    pub namespace: Option<String>,
}

/// Why the API server cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file that was named.
    #[error(
        "kubeconfig {path:?} cannot be used: {why}; name another file with kubeconfig or -kubeconfig"
    )]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The context that was named.
    #[error("kube_context is {context:?}, and {place} has no such context; it has: {known}")]
    Context {
        /// Which.
        context: String,
        /// Where it was looked for.
        place: String,
        /// Those that there are.
        known: String,
    },
    /// Nothing was named, and nothing was found.
    #[error(
        "no way to the Kubernetes API: {0}; run in a cluster, or name a file with kubeconfig or -kubeconfig"
    )]
    Nowhere(String),
    /// A client could not be made of what was found.
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(String),
}

/// A client that tries nothing again by itself, and our own namespace: the key `namespace`, else `MY_POD_NAMESPACE`, else the service account's or the
/// kubeconfig context's.
///
/// # Errors
/// If a named file cannot be used, or nothing is found. That the API server is away is no error: calls are retried.
pub async fn connect(settings: &KubeSettings) -> Result<(Client, String), ClientError> {
    let mut config = configuration(settings).await?;
    // A list of a large cluster takes a while; a watch is silent for minutes.
    config.read_timeout = Some(std::time::Duration::from_secs(330));
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    let namespace = settings
        .namespace
        .clone()
        .or_else(|| {
            std::env::var("MY_POD_NAMESPACE")
                .ok()
                .filter(|n| !n.is_empty())
        })
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = client_of(config).map_err(|e| ClientError::Client(e.to_string()))?;
    Ok((client, namespace))
}

/// A client of its own for the Lease: nothing else fills its connections. It tries nothing again by itself either.
///
/// # Errors
/// As [`connect`].
pub async fn connect_for_lease(
    settings: &KubeSettings,
    deadline: std::time::Duration,
) -> Result<Client, ClientError> {
    let mut config = configuration(settings).await?;
    config.read_timeout = Some(deadline);
    config.write_timeout = Some(deadline);
    config.connect_timeout = Some(deadline);
    client_of(config).map_err(|e| ClientError::Client(e.to_string()))
}

async fn configuration(settings: &KubeSettings) -> Result<Config, ClientError> {
    let options = KubeConfigOptions {
        context: settings.context.clone(),
        ..Default::default()
    };
    let unusable = |why: String| match &settings.kubeconfig {
        Some(path) => ClientError::Kubeconfig {
            path: path.clone(),
            why,
        },
        None => ClientError::Nowhere(why),
    };
    let kubeconfig = match &settings.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => {
            if settings.context.is_none()
                && let Ok(config) = Config::incluster()
            {
                return Ok(config);
            }
            Kubeconfig::read()
        }
    };
    let kubeconfig = kubeconfig.map_err(|e| unusable(causes(&e)))?;
    if let Some(context) = &settings.context {
        let known: Vec<&str> = kubeconfig.contexts.iter().map(|c| &*c.name).collect();
        if !known.contains(&context.as_str()) {
            return Err(ClientError::Context {
                context: context.clone(),
                place: match &settings.kubeconfig {
                    Some(path) => format!("{path:?}"),
                    None => {
                        "the kubeconfig of the usual lookup (KUBECONFIG, ~/.kube/config)".into()
                    }
                },
                known: known.join(", "),
            });
        }
    }
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| unusable(causes(&e)))
}
