//! Every key of the configuration file, once.

/// The modes in which a key means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// `mode = "webhook"`
    pub webhook: bool,
    /// `mode = "reconcile"`
    pub reconcile: bool,
    /// `mode = "crd"`
    pub crd: bool,
}

const ALL: Modes = Modes {
    webhook: true,
    reconcile: true,
    crd: true,
};
const WEBHOOK: Modes = Modes {
    webhook: true,
    reconcile: false,
    crd: false,
};
const RECONCILE: Modes = Modes {
    webhook: false,
    reconcile: true,
    crd: false,
};
const CRD: Modes = Modes {
    webhook: false,
    reconcile: false,
    crd: true,
};
const WEBHOOK_RECONCILE: Modes = Modes {
    webhook: true,
    reconcile: true,
    crd: false,
};
const RECONCILE_CRD: Modes = Modes {
    webhook: false,
    reconcile: true,
    crd: true,
};

/// A key: its name, type, modes, default and meaning. The README's table is compared with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As written in the file; case does not matter.
    pub name: &'static str,
    /// `string`, `bool`, `int`, `list`, `map`, `duration`, or `percent`
    pub kind: &'static str,
    /// Where it means something; elsewhere it is accepted and ignored.
    pub modes: Modes,
    /// What holds without it; empty: nothing, or required.
    pub default: &'static str,
    /// One line.
    pub doc: &'static str,
}

const fn key(
    name: &'static str,
    kind: &'static str,
    modes: Modes,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        kind,
        modes,
        default,
        doc,
    }
}

/// All keys, in the order in which the README lists them.
pub const KEYS: &[Key] = &[
    key(
        "mode",
        "string",
        ALL,
        "webhook",
        "webhook, reconcile or crd",
    ),
    key(
        "trust_domain",
        "string",
        ALL,
        "",
        "the server's trust domain; required",
    ),
    key(
        "cluster",
        "string",
        ALL,
        "",
        "the cluster, as in the server's k8s_psat configuration; required",
    ),
    key(
        "server_socket_path",
        "string",
        ALL,
        "",
        "the server's Unix socket; this or server_address is required",
    ),
    key(
        "server_address",
        "string",
        ALL,
        "",
        "unix:///path, or host:port",
    ),
    key(
        "agent_socket_path",
        "string",
        ALL,
        "",
        "the agent's Unix socket; required unless the server is a local socket",
    ),
    key(
        "server_id",
        "string",
        ALL,
        "spiffe://<trust_domain>/spire/server",
        "the SPIFFE ID the server must present over TCP",
    ),
    key(
        "log_level",
        "string",
        ALL,
        "info",
        "panic, fatal, error, warn, warning, info, debug or trace",
    ),
    key(
        "log_path",
        "string",
        ALL,
        "",
        "a file to log to, reopened on SIGHUP; default is standard error",
    ),
    key("log_format", "string", ALL, "text", "text or json"),
    key(
        "pod_label",
        "string",
        ALL,
        "",
        "the label whose value becomes the SPIFFE ID path",
    ),
    key(
        "pod_annotation",
        "string",
        ALL,
        "",
        "the annotation whose value becomes the SPIFFE ID path",
    ),
    key(
        "disabled_namespaces",
        "list",
        ALL,
        "kube-system, kube-public",
        "namespaces without entries: names, or re:<regular expression>",
    ),
    key(
        "reserved_paths",
        "list",
        ALL,
        "",
        "SPIFFE ID paths that no pod may have: exact, or /prefix/*",
    ),
    key(
        "federation_allow",
        "list",
        ALL,
        "all",
        "the trust domains pods may name in spiffe.io/federatesWith",
    ),
    key(
        "x509_svid_ttl",
        "duration",
        ALL,
        "not managed",
        "lifetime of the pods' X509-SVIDs",
    ),
    key(
        "jwt_svid_ttl",
        "duration",
        ALL,
        "not managed",
        "lifetime of the pods' JWT-SVIDs",
    ),
    key(
        "hint",
        "string",
        ALL,
        "not managed",
        "the hint of the pods' entries",
    ),
    key(
        "max_deletes",
        "percent",
        ALL,
        "30%",
        "how many entries may be deleted within a minute unless their objects' deletion was watched",
    ),
    key(
        "drift_interval",
        "duration",
        ALL,
        "5m",
        "how often each entry is compared with the server",
    ),
    key(
        "writes_in_flight",
        "int",
        ALL,
        "4",
        "RPCs in flight to the server",
    ),
    key(
        "dry_run",
        "bool",
        ALL,
        "false",
        "do everything except writing",
    ),
    key(
        "metrics_addr",
        "string",
        ALL,
        ":8080",
        "/metrics, /livez and /readyz; \"0\" turns them off",
    ),
    key(
        "kubeconfig",
        "string",
        ALL,
        "in-cluster, else the usual lookup",
        "a kubeconfig file",
    ),
    key(
        "kube_context",
        "string",
        ALL,
        "the current context",
        "a context of the kubeconfig",
    ),
    key(
        "namespace",
        "string",
        ALL,
        "MY_POD_NAMESPACE, else the service account's",
        "our own namespace",
    ),
    key(
        "leader_election",
        "bool",
        ALL,
        "false",
        "elect one replica that writes (webhook: that sweeps)",
    ),
    key(
        "leader_election_resource_lock",
        "string",
        ALL,
        "leases",
        "leases; other values of old files mean the same",
    ),
    key(
        "pod_selectors",
        "list",
        WEBHOOK_RECONCILE,
        "ns, pod-name",
        "the selectors of the pods' entries: of ns, pod-name, pod-uid, node-name, sa",
    ),
    key(
        "addr",
        "string",
        WEBHOOK,
        ":8443",
        "where the webhook listens",
    ),
    key(
        "cert_path",
        "string",
        WEBHOOK,
        "cert.pem",
        "the webhook's certificate",
    ),
    key(
        "key_path",
        "string",
        WEBHOOK,
        "key.pem",
        "the webhook's private key",
    ),
    key(
        "cacert_path",
        "string",
        WEBHOOK,
        "cacert.pem",
        "the CA of the API server's client certificate",
    ),
    key(
        "insecure_skip_client_verification",
        "bool",
        WEBHOOK,
        "false",
        "let anyone call the webhook",
    ),
    key(
        "sweep",
        "string",
        WEBHOOK,
        "auto",
        "auto or off: remove orphans and repair missing entries by reading pods",
    ),
    key(
        "controller_name",
        "string",
        RECONCILE,
        "spire-k8s-registrar",
        "part of the root of the nodes' identities",
    ),
    key(
        "add_pod_dns_names",
        "bool",
        RECONCILE,
        "false",
        "give pods all DNS names that reach them",
    ),
    key(
        "cluster_dns_zone",
        "string",
        RECONCILE,
        "cluster.local",
        "the cluster's DNS zone",
    ),
    key(
        "parent",
        "string",
        RECONCILE,
        "node-alias",
        "node-alias, or agent",
    ),
    key(
        "terminal_pods",
        "string",
        RECONCILE_CRD,
        "keep",
        "keep or release the entries of finished pods",
    ),
    key(
        "metrics_bind_addr",
        "string",
        CRD,
        ":8080",
        "the same as metrics_addr",
    ),
    key(
        "add_svc_dns_name",
        "bool",
        CRD,
        "true",
        "give pods the names of their Services",
    ),
    key(
        "pod_controller",
        "bool",
        CRD,
        "true",
        "make SpiffeIDs for pods and nodes",
    ),
    key(
        "identity_template",
        "string",
        CRD,
        "ns/{{.Pod.Namespace}}/sa/{{.Pod.ServiceAccount}}",
        "the template of the SPIFFE ID path",
    ),
    key(
        "identity_template_label",
        "string",
        CRD,
        "",
        "only pods with this label set to true get an entry",
    ),
    key(
        "dns_name_templates",
        "list",
        CRD,
        "{{.Pod.Name}}",
        "templates of DNS names",
    ),
    key("context", "map", CRD, "", "values for the templates"),
    key(
        "downstream_namespaces",
        "list",
        CRD,
        "our own",
        "namespaces whose SpiffeIDs may say downstream",
    ),
    key(
        "webhook_enabled",
        "bool",
        CRD,
        "false",
        "validate SpiffeIDs at admission",
    ),
    key(
        "webhook_port",
        "int",
        CRD,
        "9443",
        "where the validating webhook listens",
    ),
    key(
        "webhook_cert_dir",
        "string",
        CRD,
        "/run/spire/serving-certs",
        "where the webhook's certificate is",
    ),
    key(
        "webhook_service_name",
        "string",
        CRD,
        "k8s-workload-registrar",
        "the webhook's Service",
    ),
];

/// The key with this name, whatever its case.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name.eq_ignore_ascii_case(name))
}

/// The key that `name` was probably meant to be.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let (distance, key) = KEYS
        .iter()
        .map(|k| (distance(&name, k.name), k.name))
        .min_by_key(|(d, _)| *d)?;
    (distance <= 2.max(name.len() / 3)).then_some(key)
}

/// How many single-character edits lie between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
