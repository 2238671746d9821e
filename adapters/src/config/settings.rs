//! The configuration, checked and typed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use registrar_core::{
    policy::{DnsPolicy, IdentitySource, MaxDeletes, NamespaceRules, Policy, ReservedPaths},
    server_address::ServerAddress,
    spiffe::{SpiffeId, TrustDomain},
};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Keys of every mode.
    pub common: Common,
    /// The mode and its own keys.
    pub mode: Mode,
}

/// Keys of every mode.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// `log_level`
    pub log_level: LogLevel,
    /// `log_path`
    pub log_path: Option<String>,
    /// `log_format`
    pub log_format: LogFormat,
    /// `trust_domain`, without `spiffe://`
    pub trust_domain: TrustDomain,
    /// `cluster`
    pub cluster: String,
    /// `server_address`, or `unix://` and `server_socket_path`
    pub server_address: ServerAddress,
    /// `agent_socket_path`
    pub agent_socket_path: Option<String>,
    /// `server_id`
    pub server_id: SpiffeId,
    /// `pod_label`
    pub pod_label: Option<String>,
    /// `pod_annotation`
    pub pod_annotation: Option<String>,
    /// `disabled_namespaces`
    pub disabled_namespaces: NamespaceRules,
    /// `reserved_paths`, and the built-in ones
    pub reserved: ReservedPaths,
    /// `federation_allow`
    pub federation_allow: Option<BTreeSet<TrustDomain>>,
    /// `x509_svid_ttl`, in seconds
    pub x509_svid_ttl: Option<i32>,
    /// `jwt_svid_ttl`, in seconds
    pub jwt_svid_ttl: Option<i32>,
    /// `hint`
    pub hint: Option<Arc<str>>,
    /// `max_deletes`
    pub max_deletes: MaxDeletes,
    /// `drift_interval`
    pub drift_interval: Duration,
    /// `writes_in_flight`
    pub writes_in_flight: usize,
    /// `dry_run`
    pub dry_run: bool,
    /// `metrics_addr` (or `metrics_bind_addr`); `None` is off
    pub metrics_addr: Option<String>,
    /// `kubeconfig`
    pub kubeconfig: Option<String>,
    /// `kube_context`
    pub kube_context: Option<String>,
    /// `namespace`
    pub namespace: Option<String>,
    /// `leader_election`
    pub leader_election: bool,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// `panic`, `fatal`, `error`
    Error,
    /// `warn`, `warning`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// How it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` lines
    Text,
    /// One JSON object a line
    Json,
}

/// The mode and its own keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// `mode = "webhook"`
    Webhook(Box<Webhook>),
    /// `mode = "reconcile"`
    Reconcile(Box<Reconcile>),
    /// `mode = "crd"`
    Crd(Crd),
}

impl Mode {
    /// The mode's name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Webhook(_) => "webhook",
            Mode::Reconcile(_) => "reconcile",
            Mode::Crd(_) => "crd",
        }
    }
}

/// Keys of webhook mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// What the rules and the step machine need.
    pub policy: Policy,
    /// `addr`
    pub addr: String,
    /// `cert_path`
    pub cert_path: String,
    /// `key_path`
    pub key_path: String,
    /// `cacert_path`
    pub cacert_path: String,
    /// `insecure_skip_client_verification`
    pub insecure_skip_client_verification: bool,
    /// `sweep` is not `off`
    pub sweep: bool,
}

/// Keys of reconcile mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconcile {
    /// `controller_name`
    pub controller_name: String,
    /// What the rules and the step machine need.
    pub policy: Policy,
}

/// Keys of crd mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crd {
    /// `pod_controller`
    pub pod_controller: bool,
    /// `pod_label`, `pod_annotation`, or `identity_template` with `identity_template_label`
    pub identity: IdentitySource,
    /// `dns_name_templates` and `add_svc_dns_name`
    pub dns: DnsPolicy,
    /// `context`
    pub context: Option<BTreeMap<String, String>>,
    /// `downstream_namespaces`
    pub downstream_namespaces: Option<BTreeSet<String>>,
    /// `terminal_pods = "release"`
    pub release_finished: bool,
    /// `webhook_enabled`
    pub webhook_enabled: bool,
    /// `webhook_port`
    pub webhook_port: u16,
    /// `webhook_cert_dir`
    pub webhook_cert_dir: String,
    /// `webhook_service_name`
    pub webhook_service_name: String,
}
