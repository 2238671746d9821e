//! The mode, and the keys of each.

use std::{collections::BTreeMap, sync::Arc};

use registrar_core::{
    policy::{DnsPolicy, IdentitySource, NodePolicy, ParentForm, PodSelector, Policy},
    spiffe::SpiffeError,
};

use super::{
    check::{lease_name, listen_address, one_of, segment},
    fields::{Fields, Spanned},
    settings::{Common, Crd, Mode, Reconcile, Webhook},
    templates,
};

const DEFAULT_IDENTITY_TEMPLATE: &str = "ns/{{.Pod.Namespace}}/sa/{{.Pod.ServiceAccount}}";
const DEFAULT_DNS_NAME_TEMPLATE: &str = "{{.Pod.Name}}";

/// The mode as written; `webhook` where nothing is.
pub(super) fn name(fields: &mut Fields) -> String {
    fields.text("mode", "webhook").value
}

/// The keys of the mode.
pub(super) fn read(fields: &mut Fields, mode: &str, common: Option<&Common>) -> Option<Mode> {
    match mode {
        "webhook" => webhook(fields, common).map(|w| Mode::Webhook(Box::new(w))),
        "reconcile" => reconcile(fields, common).map(|r| Mode::Reconcile(Box::new(r))),
        "crd" => crd(fields, common).map(Mode::Crd),
        other => {
            let span = fields.optional_text("mode").and_then(|m| m.span);
            let message = format!(
                "error parsing common config: invalid mode \"{other}\", \
                 valid values are crd, webhook and reconcile"
            );
            fields.reject(span, message, "reconcile is the recommended one");
            None
        }
    }
}

fn selectors(fields: &mut Fields, node_name_known: bool) -> Option<Arc<[PodSelector]>> {
    let words = fields.list("pod_selectors")?;
    let mut kinds = Vec::new();
    let mut span = None;
    for word in words {
        let kind = PodSelector::ALL
            .into_iter()
            .find(|k| k.word() == word.value);
        match kind {
            Some(PodSelector::NodeName) if !node_name_known => fields.reject(
                word.span.clone(),
                "pod_selectors has \"node-name\", which is not known at admission".into(),
                "use \"ns\" and \"pod-name\", or \"pod-uid\", in webhook mode",
            ),
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => fields.reject(
                word.span.clone(),
                format!("pod_selectors has {:?}", word.value),
                "valid words are \"ns\", \"pod-name\", \"pod-uid\", \"node-name\" and \"sa\"",
            ),
        }
        span = word.span.or(span);
    }
    let by_name = kinds.contains(&PodSelector::PodName) && kinds.contains(&PodSelector::Namespace);
    if !by_name && !kinds.contains(&PodSelector::PodUid) {
        fields.reject(
            span,
            "pod_selectors would not tell one pod from another".into(),
            "it must contain \"pod-uid\", or both \"ns\" and \"pod-name\"",
        );
    }
    Some(kinds.into())
}

fn webhook(fields: &mut Fields, common: Option<&Common>) -> Option<Webhook> {
    let addr = fields.text("addr", ":8443");
    listen_address(fields, "addr", &addr);
    let selectors = selectors(fields, false);
    let sweep = one_of(fields, "sweep", "auto", &[("auto", true), ("off", false)])?;
    let common = common?;
    let mut policy = Policy::webhook(common.trust_domain.as_str(), &common.cluster)
        .map_err(|e| {
            let help = "shorten trust_domain or cluster";
            fields.reject(None, format!("Unable to determine root ID: {e}"), help);
        })
        .ok()?;
    share(&mut policy, common);
    if let Some(selectors) = selectors {
        policy.pods.selectors = selectors;
    }
    policy.pods.watched = sweep;
    Some(Webhook {
        policy,
        addr: addr.value,
        cert_path: fields.text("cert_path", "cert.pem").value,
        key_path: fields.text("key_path", "key.pem").value,
        cacert_path: fields.text("cacert_path", "cacert.pem").value,
        insecure_skip_client_verification: fields.bool("insecure_skip_client_verification", false),
        sweep,
    })
}

fn reconcile(fields: &mut Fields, common: Option<&Common>) -> Option<Reconcile> {
    let controller_name = fields.text("controller_name", "spire-k8s-registrar");
    let named = segment(fields, "controller_name", &controller_name);
    if named && common.is_some_and(|c| c.leader_election) {
        lease_name(fields, "controller_name", &controller_name);
    }
    let parent = one_of(
        fields,
        "parent",
        "node-alias",
        &[
            ("node-alias", ParentForm::NodeAlias),
            ("agent", ParentForm::Agent),
        ],
    )?;
    let release_finished = terminal_pods(fields)?;
    let selectors = selectors(fields, true);
    let dns = fields.bool("add_pod_dns_names", false);
    let zone = fields.text("cluster_dns_zone", "cluster.local");
    if let Err(e) = registrar_core::entry::DnsName::new(&zone.value) {
        let message = format!("cluster_dns_zone is {:?}, no DNS name: {e}", zone.value);
        fields.reject(zone.span, message, "it is usually \"cluster.local\"");
        return None;
    }
    let common = common.filter(|_| named)?;
    let mut policy = Policy::reconcile(
        common.trust_domain.as_str(),
        &common.cluster,
        &controller_name.value,
    )
    .map_err(|e| {
        let help = "shorten trust_domain, cluster or controller_name";
        fields.reject(None, format!("Unable to determine root ID: {e}"), help);
    })
    .ok()?;
    share(&mut policy, common);
    policy.pods.parent = parent;
    policy.pods.release_finished = release_finished;
    if parent == ParentForm::Agent {
        policy.nodes = NodePolicy::None;
    }
    if let Some(selectors) = selectors {
        policy.pods.selectors = selectors;
    }
    if dns {
        policy.pods.dns = DnsPolicy::AllPodNames {
            zone: zone.value.into(),
        };
    }
    Some(Reconcile {
        controller_name: controller_name.value,
        policy,
    })
}

/// What the common keys mean to the rules.
fn share(policy: &mut Policy, common: &Common) {
    policy.pods.identity = named_identity(common);
    policy.pods.x509_svid_ttl = common.x509_svid_ttl;
    policy.pods.jwt_svid_ttl = common.jwt_svid_ttl;
    policy.pods.hint = common.hint.clone();
    policy.disabled_namespaces = common.disabled_namespaces.clone();
    policy.reserved = common.reserved.clone();
    policy.federation_allow = common.federation_allow.clone();
    policy.max_deletes = common.max_deletes;
    policy.drift_interval = common.drift_interval;
    policy.writes_in_flight = common.writes_in_flight;
    policy.dry_run = common.dry_run;
}

/// The service account, unless a label or an annotation is named.
fn named_identity(common: &Common) -> IdentitySource {
    match (&common.pod_label, &common.pod_annotation) {
        (Some(label), _) => IdentitySource::Label(label.as_str().into()),
        (None, Some(annotation)) => IdentitySource::Annotation(annotation.as_str().into()),
        (None, None) => IdentitySource::ServiceAccount,
    }
}

fn terminal_pods(fields: &mut Fields) -> Option<bool> {
    one_of(
        fields,
        "terminal_pods",
        "keep",
        &[("keep", false), ("release", true)],
    )
}

fn crd(fields: &mut Fields, common: Option<&Common>) -> Option<Crd> {
    let release_finished = terminal_pods(fields)?;
    let context = fields.map("context");
    let identity = identity(fields, common, context.as_ref());
    let dns = dns(fields, context.as_ref());
    let downstream = fields.list("downstream_namespaces");
    if let Some(common) = common
        && let Err(e) = Policy::crd(common.trust_domain.as_str(), &common.cluster, "")
    {
        let help = "shorten trust_domain or cluster";
        fields.reject(None, format!("Unable to determine root ID: {e}"), help);
        return None;
    }
    Some(Crd {
        pod_controller: fields.bool("pod_controller", true),
        downstream_namespaces: downstream.map(|l| l.into_iter().map(|s| s.value).collect()),
        release_finished,
        webhook_enabled: fields.bool("webhook_enabled", false),
        webhook_port: fields.int("webhook_port", 9443, 1..=65535) as u16,
        webhook_cert_dir: fields
            .text("webhook_cert_dir", "/run/spire/serving-certs")
            .value,
        webhook_service_name: fields
            .text("webhook_service_name", "k8s-workload-registrar")
            .value,
        context,
        identity: identity?,
        dns: dns?,
    })
}

impl Crd {
    /// What the rules and the step machine need, for a registrar whose own namespace is `namespace`.
    ///
    /// # Errors
    /// If the trust domain or the cluster cannot be part of a SPIFFE ID.
    pub fn policy(&self, common: &Common, namespace: &str) -> Result<Policy, SpiffeError> {
        let mut policy = Policy::crd(common.trust_domain.as_str(), &common.cluster, namespace)?;
        share(&mut policy, common);
        policy.pods.identity = self.identity.clone();
        policy.pods.dns = self.dns.clone();
        policy.pods.release_finished = self.release_finished;
        if let Some(ids) = &mut policy.spiffe_ids {
            ids.pod_controller = self.pod_controller;
            if let Some(named) = &self.downstream_namespaces {
                ids.downstream_namespaces = named.iter().map(|n| n.as_str().into()).collect();
            }
        }
        Ok(policy)
    }
}

/// Where the ID comes from: one of `pod_label`, `pod_annotation` and `identity_template`, the last by default.
fn identity(
    fields: &mut Fields,
    common: Option<&Common>,
    context: Option<&BTreeMap<String, String>>,
) -> Option<IdentitySource> {
    let template = fields
        .optional_text("identity_template")
        .filter(|t| !t.value.is_empty());
    let label = fields
        .optional_text("identity_template_label")
        .filter(|l| !l.value.is_empty());
    let named = common
        .map(named_identity)
        .filter(|i| *i != IdentitySource::ServiceAccount);
    let template = match (template, named) {
        (Some(template), Some(_)) => {
            let text = "workload registration configuration is incorrect, can only use one of \
                        identity_template, pod_annotation, or pod_label";
            fields.reject(template.span, text.into(), "keep one of the three keys");
            return None;
        }
        (None, Some(named)) => return Some(named),
        (Some(template), None) => template,
        (None, None) => default(DEFAULT_IDENTITY_TEMPLATE),
    };
    if context.is_none() && names_context(&template) {
        let text = "identity_template references non-existing context";
        fields.reject(template.span, text.into(), ADD_CONTEXT);
        return None;
    }
    let template = templates::identity(fields, &template, &templates::context(context))?;
    Some(IdentitySource::Template {
        template,
        label: label.map(|l| l.value.into()),
    })
}

fn dns(fields: &mut Fields, context: Option<&BTreeMap<String, String>>) -> Option<DnsPolicy> {
    let services = fields.bool("add_svc_dns_name", true);
    let texts = fields
        .list("dns_name_templates")
        .unwrap_or_else(|| vec![default(DEFAULT_DNS_NAME_TEMPLATE)]);
    let values = templates::context(context);
    let mut all = Vec::new();
    let mut broken = false;
    for text in texts {
        let template = if context.is_none() && names_context(&text) {
            let message = "dns_name_template references non-existing context";
            fields.reject(text.span, message.into(), ADD_CONTEXT);
            None
        } else {
            templates::dns_name(fields, &text, &values)
        };
        broken |= template.is_none();
        all.extend(template);
    }
    (!broken).then(|| DnsPolicy::Templates {
        templates: all.into(),
        services,
    })
}

const ADD_CONTEXT: &str = "add context = { ... } with the values that the template names";

fn names_context(template: &Spanned<String>) -> bool {
    template.value.replace(' ', "").contains("{{.Context.")
}

fn default(text: &str) -> Spanned<String> {
    Spanned {
        value: text.to_owned(),
        span: None,
    }
}
