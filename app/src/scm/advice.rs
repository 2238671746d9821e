//! Which settings of ours come nearest to what a resource says.

use registrar_core::policy::{IdentitySource, Policy};

use super::{
    resources::{ClusterSpiffeId, Configuration, LabelSelector, Resources},
    template::{Piece, Value, pieces},
};

/// What is said of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Its kind and name.
    pub of: String,
    /// Lines of our configuration that mean the same.
    pub settings: Vec<String>,
    /// What must be known beside.
    pub remarks: Vec<String>,
}

/// Advice for all of them.
pub fn advice(resources: &Resources, policy: &Policy) -> Vec<Advice> {
    let mut all = Vec::new();
    match &resources.configuration {
        Some(configuration) => all.push(of_configuration(configuration, resources, policy)),
        None => all.push(Advice {
            of: "no ControllerManagerConfig".into(),
            settings: Vec::new(),
            remarks: vec![
                "trust domain and cluster are taken for those of this configuration, and its other settings for their \
                 defaults; whether it has an entryIDPrefix, and so whether both may run side by side, is not known"
                    .into(),
            ],
        }),
    }
    all.extend(resources.ids.iter().map(|id| of_id(id, policy)));
    for (name, id) in &resources.statics {
        all.push(Advice {
            of: format!("ClusterStaticEntry {name}"),
            settings: Vec::new(),
            remarks: vec![format!(
                "its entry ({id}) is no pod's: it stays on the server when the controller manager is gone, \
                 `retire` leaves it alone, and reserved_paths can keep pods from its SPIFFE ID"
            )],
        });
    }
    if !resources.unreadable.is_empty() {
        all.push(Advice {
            of: "not understood".into(),
            settings: Vec::new(),
            remarks: resources.unreadable.clone(),
        });
    }
    all
}

fn of_configuration(c: &Configuration, resources: &Resources, policy: &Policy) -> Advice {
    let mut settings = Vec::new();
    let mut remarks = Vec::new();
    if c.trust_domain != policy.trust_domain.as_str() {
        settings.push(format!("trust_domain = {:?}", c.trust_domain));
    }
    if c.cluster_name != *policy.cluster {
        settings.push(format!("cluster = {:?}", c.cluster_name));
    }
    let words: Vec<String> = resources
        .ignored()
        .iter()
        .map(|pattern| format!("\"re:.*(?:{pattern}).*\""))
        .collect();
    settings.push(format!("disabled_namespaces = [{}]", words.join(", ")));
    match c.entry_id_prefix.as_deref().filter(|p| !p.is_empty()) {
        Some(prefix) => remarks.push(format!(
            "entryIDPrefix {prefix:?}: it sees only its own entries, so both may run side by side"
        )),
        None => remarks.push(
            "no entryIDPrefix: it deletes every entry that it did not make, ours included. Stop it before this \
             registrar starts; its entries stay"
                .into(),
        ),
    }
    if let Some(template) = &c.parent_id_template {
        remarks.push(format!(
            "parentIDTemplate {template:?}: `retire /spire/agent/k8s_psat/{}` finds only entries directly under agents",
            policy.cluster
        ));
    }
    Advice {
        of: "ControllerManagerConfig".into(),
        settings,
        remarks,
    }
}

fn of_id(id: &ClusterSpiffeId, policy: &Policy) -> Advice {
    let mut settings = Vec::new();
    let mut remarks = Vec::new();
    match identity(&id.template) {
        Ok(Nearest::Setting(setting, source)) => {
            if source != policy.pods.identity {
                settings.push(setting);
            }
        }
        Ok(Nearest::Template(template)) => {
            settings.push("mode = \"crd\"".into());
            settings.push(format!("identity_template = {template:?}"));
        }
        Err(why) => remarks.push(why),
    }
    for (key, value) in [("x509_svid_ttl", &id.ttl), ("jwt_svid_ttl", &id.jwt_ttl)] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty() && *v != "0s") {
            settings.push(format!("{key} = {value:?}"));
        }
    }
    if !id.hint.is_empty() {
        settings.push(format!("hint = {:?}", id.hint));
    }
    if id.auto_populate_dns_names {
        settings.push("add_pod_dns_names = true".into());
        remarks.push(
            "add_pod_dns_names gives more names than autoPopulateDNSNames: also the pod's own"
                .into(),
        );
    }
    if !id.dns_name_templates.is_empty() {
        remarks.push(
            "dnsNameTemplates: in crd mode, dns_name_templates over .Pod.* and .Context.*".into(),
        );
    }
    if !id.federates_with.is_empty() {
        remarks.push(format!(
            "federatesWith: pods name their trust domains themselves: annotation spiffe.io/federatesWith: {}",
            id.federates_with.join(",")
        ));
    }
    for (flag, name) in [(id.admin, "admin"), (id.downstream, "downstream")] {
        if flag {
            remarks.push(format!(
                "{name}: no pod gets this from us by a rule; make such an entry by hand"
            ));
        }
    }
    if !id.workload_selector_templates.is_empty() {
        remarks.push(
            "workloadSelectorTemplates: see pod_selectors for what ours may select by".into(),
        );
    }
    for (selector, what, instead) in [
        (
            &id.namespace_selector,
            "namespaceSelector",
            "disabled_namespaces names those without entries",
        ),
        (
            &id.pod_selector,
            "podSelector",
            "pod_label or identity_template_label take only labelled pods",
        ),
    ] {
        if selector
            .as_ref()
            .is_some_and(|s| *s != LabelSelector::default())
        {
            remarks.push(format!("{what}: {instead}"));
        }
    }
    Advice {
        of: format!("ClusterSPIFFEID {}", id.name),
        settings,
        remarks,
    }
}

enum Nearest {
    Setting(String, IdentitySource),
    Template(String),
}

/// What gives the same IDs as this template.
fn identity(template: &str) -> Result<Nearest, String> {
    let all = pieces(template)?;
    let text = |t: &str| Piece::Text(t.to_owned());
    let start = [text("spiffe://"), Piece::Value(Value::TrustDomain)];
    let path = all.strip_prefix(&start).ok_or_else(|| {
        format!("template {template:?} does not begin with spiffe://{{{{ .TrustDomain }}}}/")
    })?;
    match path {
        [
            a,
            Piece::Value(Value::Namespace),
            b,
            Piece::Value(Value::ServiceAccount),
        ] if *a == text("/ns/") && *b == text("/sa/") => {
            let setting = "neither pod_label nor pod_annotation (the default)".to_owned();
            Ok(Nearest::Setting(setting, IdentitySource::ServiceAccount))
        }
        [slash, Piece::Value(Value::Label(key))] if *slash == text("/") => Ok(Nearest::Setting(
            format!("pod_label = {key:?}"),
            IdentitySource::Label(key.as_str().into()),
        )),
        [slash, Piece::Value(Value::Annotation(key))] if *slash == text("/") => {
            Ok(Nearest::Setting(
                format!("pod_annotation = {key:?}"),
                IdentitySource::Annotation(key.as_str().into()),
            ))
        }
        path => crd_template(path).map(Nearest::Template),
    }
}

/// The path as an `identity_template` of crd mode.
fn crd_template(path: &[Piece]) -> Result<String, String> {
    let mut template = String::new();
    for piece in path {
        let name = match piece {
            Piece::Text(text) => {
                template.push_str(text);
                continue;
            }
            Piece::Value(Value::Namespace) => ".Pod.Namespace",
            Piece::Value(Value::PodName) => ".Pod.Name",
            Piece::Value(Value::PodUid) => ".Pod.UID",
            Piece::Value(Value::ServiceAccount) => ".Pod.ServiceAccount",
            Piece::Value(Value::NodeName) => ".Pod.NodeName",
            Piece::Value(Value::ClusterName) => ".Context.ClusterName",
            Piece::Value(Value::TrustDomain) => ".Context.TrustDomain",
            Piece::Value(Value::ClusterDomain) => ".Context.ClusterDomain",
            Piece::Value(Value::NodeUid) => {
                return Err("the node's UID in a path: no setting of ours gives that".into());
            }
            Piece::Value(Value::Label(key) | Value::Annotation(key)) => {
                return Err(format!(
                    "label or annotation {key:?} beside other parts of a path: no setting of ours gives that; write \
                     the whole path into an annotation of the pods, and pod_annotation = ..."
                ));
            }
        };
        template.push_str(&format!("{{{{{name}}}}}"));
    }
    Ok(template.trim_start_matches('/').to_owned())
}
