//! Keys of every mode.

use std::{collections::BTreeSet, time::Duration};

use registrar_core::{
    policy::{NamespaceRules, ReservedPaths},
    server_address::ServerAddress,
    spiffe::{SpiffeId, TrustDomain},
};

use super::{
    check::{listen_address, max_deletes, one_of, seconds, segment},
    diagnostics::Problem,
    fields::{Fields, Spanned},
    settings::{Common, LogFormat, LogLevel},
};

/// Longest hint SPIRE takes.
const LONGEST_HINT: usize = 1024;

/// Reads the common keys; checks in the original's order, with its words.
pub(super) fn read(fields: &mut Fields, mode: &str) -> Option<Common> {
    let server_address = server_address(fields);
    let trust_domain = trust_domain(fields);
    let cluster = cluster(fields);
    let (pod_label, pod_annotation) = identity_keys(fields);
    let controller_name = fields.text("controller_name", "spire-k8s-registrar").value;
    let agent_socket_path = fields.optional_text("agent_socket_path").map(|s| s.value);
    let trust_domain_for_id = trust_domain.clone();
    let common = Common {
        log_level: log_level(fields),
        log_path: fields
            .optional_text("log_path")
            .map(|s| s.value)
            .filter(|p| !p.is_empty()),
        log_format: one_of(
            fields,
            "log_format",
            "text",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )
        .unwrap_or(LogFormat::Text),
        server_id: server_id(fields, trust_domain_for_id),
        disabled_namespaces: disabled_namespaces(fields),
        reserved: reserved(fields, mode, &controller_name),
        federation_allow: federation_allow(fields),
        x509_svid_ttl: seconds(fields, "x509_svid_ttl"),
        jwt_svid_ttl: seconds(fields, "jwt_svid_ttl"),
        hint: hint(fields),
        max_deletes: max_deletes(fields),
        drift_interval: drift_interval(fields),
        writes_in_flight: fields.int("writes_in_flight", 4, 1..=64) as usize,
        dry_run: fields.bool("dry_run", false),
        metrics_addr: metrics_addr(fields, mode),
        kubeconfig: fields.optional_text("kubeconfig").map(|s| s.value),
        kube_context: fields.optional_text("kube_context").map(|s| s.value),
        namespace: fields.optional_text("namespace").map(|s| s.value),
        leader_election: leader_election(fields),
        trust_domain: trust_domain?,
        cluster: cluster?,
        server_address: server_address?,
        agent_socket_path,
        pod_label,
        pod_annotation,
    };
    Some(common)
}

fn server_address(fields: &mut Fields) -> Option<ServerAddress> {
    let address = fields.text("server_address", "");
    let socket = fields.text("server_socket_path", "");
    let agent = fields.text("agent_socket_path", "");
    let span = address.span.clone();
    let written = match (address.value.as_str(), socket.value.as_str()) {
        ("", "") => {
            fields.problems.push(common_error(
                "server_address or server_socket_path must be specified",
                "server_socket_path = \"/tmp/spire-server/private/api.sock\"",
            ));
            return None;
        }
        ("", socket) => format!("unix://{socket}"),
        (address, _) => address.to_owned(),
    };
    let parsed = match written.parse::<ServerAddress>() {
        Ok(parsed) => parsed,
        Err(e) => {
            let help = "write unix:///path, or host:port, several of them with commas between";
            fields.reject(span, format!("server_address: {e}"), help);
            return None;
        }
    };
    if matches!(parsed, ServerAddress::Tcp(_)) && agent.value.is_empty() {
        fields.problems.push(common_error(
            "agent_socket_path must be specified if the server is not a local socket",
            "agent_socket_path = \"/run/spire/sockets/agent.sock\"",
        ));
        return None;
    }
    Some(parsed)
}

fn common_error(text: &str, example: &str) -> Problem {
    Problem::error(format!("error parsing common config: {text}")).help(format!("add {example}"))
}

fn trust_domain(fields: &mut Fields) -> Option<TrustDomain> {
    let word = fields.text("trust_domain", "");
    if word.value.is_empty() {
        let example = "trust_domain = \"example.org\", the server's own";
        fields
            .problems
            .push(common_error("trust_domain must be specified", example));
        return None;
    }
    match TrustDomain::from_name_or_id(&word.value) {
        Ok(td) => Some(td),
        Err(e) => {
            let message = format!("error parsing common config: malformed trust domain: {e}");
            fields.reject(
                word.span,
                message,
                "write the name alone, such as \"example.org\"",
            );
            None
        }
    }
}

fn cluster(fields: &mut Fields) -> Option<String> {
    let word = fields.text("cluster", "");
    if word.value.is_empty() {
        let example = "cluster = \"demo\", as in the server's k8s_psat configuration";
        fields
            .problems
            .push(common_error("cluster must be specified", example));
        return None;
    }
    segment(fields, "cluster", &word).then_some(word.value)
}

fn identity_keys(fields: &mut Fields) -> (Option<String>, Option<String>) {
    let mut key = |name| fields.optional_text(name).filter(|s| !s.value.is_empty());
    let (label, annotation) = (key("pod_label"), key("pod_annotation"));
    if let (Some(_), Some(annotation)) = (&label, &annotation) {
        let text = "error parsing common config: workload registration mode specification is \
                    incorrect, can't specify both pod_label and pod_annotation";
        fields.reject(
            annotation.span.clone(),
            text.into(),
            "remove one of the two keys",
        );
    }
    (label.map(|s| s.value), annotation.map(|s| s.value))
}

fn log_level(fields: &mut Fields) -> LogLevel {
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    let words = [
        ("panic", Error),
        ("fatal", Error),
        ("error", Error),
        ("warn", Warn),
        ("warning", Warn),
        ("info", Info),
        ("debug", Debug),
        ("trace", Trace),
    ];
    one_of(fields, "log_level", "info", &words).unwrap_or(Info)
}

fn server_id(fields: &mut Fields, trust_domain: Option<TrustDomain>) -> SpiffeId {
    let fallback = || {
        let td = trust_domain
            .clone()
            .or_else(|| TrustDomain::new("unknown").ok());
        td.and_then(|td| SpiffeId::new(td, "/spire/server").ok())
            .expect("a legal trust domain with a constant path")
    };
    let Some(word) = fields.optional_text("server_id") else {
        return fallback();
    };
    SpiffeId::parse(&word.value).unwrap_or_else(|e| {
        let message = format!(
            "server_id is {:?}, which is not a SPIFFE ID: {e}",
            word.value
        );
        fields.reject(
            word.span,
            message,
            "write \"spiffe://<trust domain>/spire/server\"",
        );
        fallback()
    })
}

fn disabled_namespaces(fields: &mut Fields) -> NamespaceRules {
    let words = fields.list("disabled_namespaces").unwrap_or_else(|| {
        ["kube-system", "kube-public"]
            .map(|w| Spanned {
                value: w.to_owned(),
                span: None,
            })
            .to_vec()
    });
    for word in &words {
        if let Err((_, e)) = NamespaceRules::parse([word.value.as_str()]) {
            let why = e.lines().last().unwrap_or_default();
            let message = format!("disabled_namespaces has {:?}: {why}", word.value);
            let help = "after re: stands a regular expression that must match the whole name";
            fields.reject(word.span.clone(), message, help);
        }
    }
    NamespaceRules::parse(words.iter().map(|w| w.value.as_str())).unwrap_or_default()
}

fn reserved(fields: &mut Fields, mode: &str, controller_name: &str) -> ReservedPaths {
    let first = if mode == "reconcile" {
        controller_name
    } else {
        "k8s-workload-registrar"
    };
    let mut reserved = ReservedPaths::new(first);
    for word in fields.list("reserved_paths").unwrap_or_default() {
        if let Err(e) = reserved.reserve(&word.value) {
            let message = format!(
                "reserved_paths has {:?}, which is not a path: {e}",
                word.value
            );
            fields.reject(word.span, message, "write \"/exact/path\" or \"/prefix/*\"");
        }
    }
    reserved
}

fn federation_allow(fields: &mut Fields) -> Option<BTreeSet<TrustDomain>> {
    let words = fields.list("federation_allow")?;
    let mut allow = BTreeSet::new();
    for word in words {
        match TrustDomain::from_name_or_id(&word.value) {
            Ok(td) => {
                allow.insert(td);
            }
            Err(e) => {
                let message = format!(
                    "federation_allow has {:?}, no trust domain: {e}",
                    word.value
                );
                fields.reject(word.span, message, "write names such as \"example.com\"");
            }
        }
    }
    Some(allow)
}

fn hint(fields: &mut Fields) -> Option<std::sync::Arc<str>> {
    let hint = fields.optional_text("hint")?;
    if hint.value.len() > LONGEST_HINT {
        let message = format!("hint has {} bytes; SPIRE takes 1024", hint.value.len());
        fields.reject(hint.span, message, "shorten it");
        return None;
    }
    Some(hint.value.into())
}

fn drift_interval(fields: &mut Fields) -> Duration {
    match fields.duration("drift_interval") {
        Some(interval) if interval.value < Duration::from_secs(1) => {
            let message = format!("drift_interval is {:?}, less than a second", interval.value);
            fields.reject(
                interval.span,
                message,
                "choose at least \"1s\"; the default is \"5m\"",
            );
            interval.value
        }
        Some(interval) => interval.value,
        None => Duration::from_secs(300),
    }
}

fn metrics_addr(fields: &mut Fields, mode: &str) -> Option<String> {
    let bind = fields
        .optional_text("metrics_bind_addr")
        .filter(|_| mode == "crd");
    let (key, address) = match (fields.optional_text("metrics_addr"), bind) {
        (Some(address), _) => ("metrics_addr", address),
        (None, Some(address)) => ("metrics_bind_addr", address),
        (None, None) => (
            "metrics_addr",
            Spanned {
                value: ":8080".into(),
                span: None,
            },
        ),
    };
    if address.value == "0" {
        return None;
    }
    listen_address(fields, key, &address);
    Some(address.value)
}

fn leader_election(fields: &mut Fields) -> bool {
    let wanted = fields.bool("leader_election", false);
    let Some(lock) = fields.optional_text("leader_election_resource_lock") else {
        return wanted;
    };
    match lock.value.as_str() {
        "leases" => {}
        "configmaps" | "endpoints" | "configmapsleases" | "endpointsleases" => {
            let message = format!(
                "leader_election_resource_lock {:?} is gone from Kubernetes' clients; a Lease is used",
                lock.value
            );
            let problem = Problem::warning(message)
                .help("write \"leases\", once no replica of the original registrar runs any more");
            fields.problems.push(match lock.span {
                Some(span) => problem.at(span, "read as \"leases\""),
                None => problem,
            });
        }
        other => {
            let message = format!("leader_election_resource_lock is {other:?}");
            fields.reject(
                lock.span,
                message,
                "the only lock there is now is \"leases\"",
            );
        }
    }
    wanted
}
