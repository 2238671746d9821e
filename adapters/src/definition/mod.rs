//! What `crd` prints: the CustomResourceDefinition of SpiffeIDs, and a ValidatingAdmissionPolicy for what a schema cannot
//! see, the namespace and the trust domain among it.

use registrar_core::policy::Policy;

/// The CustomResourceDefinition, in YAML.
pub const CUSTOM_RESOURCE_DEFINITION: &str = include_str!("spiffe_ids.yaml");

/// The ValidatingAdmissionPolicy and its binding for this policy of crd mode, in YAML. The texts are those of
/// [`registrar_core::admission::permitted`].
///
/// Objects that are being deleted and changes that leave the spec alone are let through, so that the policy never
/// stands in the way of a deletion.
pub fn admission_policy(policy: &Policy) -> String {
    let td = &policy.trust_domain;
    let own = policy.spiffe_ids.as_ref().map_or("", |p| &p.namespace);
    let downstream = policy
        .spiffe_ids
        .iter()
        .flat_map(|p| &p.downstream_namespaces);
    let root = &policy.root;
    ADMISSION_POLICY
        .replace("$TRUST_DOMAIN", td.as_str())
        .replace("$OWN_NAMESPACE", own)
        .replace("$CLUSTER", &policy.cluster)
        .replace("$ROOT", &root.to_string())
        .replace("$DOWNSTREAM_NAMESPACES", &list(downstream.map(|n| &**n)))
        .replace("$RESERVED_PARENT", &reserved(policy, "spec.parentId"))
        .replace("$RESERVED_ID", &reserved(policy, "spec.spiffeId"))
}

/// A list in CEL. Everything that comes here is a name, and has no quotes in it.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|n| format!("'{n}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Whether an ID is reserved, in CEL.
fn reserved(policy: &Policy, field: &str) -> String {
    let td = &policy.trust_domain;
    let reserved = &policy.reserved;
    let id = format!("object.{field}");
    let mut terms = vec![format!(
        "{id}.split('/').size() > 3 && {id}.split('/')[3] in {}",
        list(reserved.first_segments())
    )];
    let exact: Vec<String> = reserved
        .exact()
        .map(|path| format!("spiffe://{td}{path}"))
        .collect();
    if !exact.is_empty() {
        let exact = list(exact.iter().map(String::as_str));
        terms.push(format!("{id} in {exact}"));
    }
    let below = reserved.below();
    terms.extend(below.map(|path| format!("{id}.startsWith('spiffe://{td}{path}/')")));
    terms.join(" || ")
}

const ADMISSION_POLICY: &str = include_str!("admission_policy.yaml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::objects::spiffe_id::{Condition, SpiffeIdSelector, SpiffeIdSpec, SpiffeIdStatus};

    /// The type and the schema are two texts of one thing.
    #[test]
    fn the_schema_has_exactly_the_fields_of_the_type() {
        let definition: Value = serde_yaml::from_str(CUSTOM_RESOURCE_DEFINITION).expect("YAML");
        let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let keys = |value: &Value| -> BTreeSet<String> {
            let map = value.as_object().expect("an object");
            map.keys().cloned().collect()
        };
        let text = || Some(String::from("x"));
        let selector = SpiffeIdSelector {
            cluster: text(),
            agent_node_uid: text(),
            pod_label: Some(Default::default()),
            pod_name: text(),
            pod_uid: text(),
            namespace: text(),
            service_account: text(),
            container_image: text(),
            container_name: text(),
            node_name: text(),
            arbitrary: Some(Vec::new()),
        };
        let spec = SpiffeIdSpec {
            selector: selector.clone(),
            downstream: Some(false),
            dns_names: Some(Vec::new()),
            federates_with: Some(Vec::new()),
            ..SpiffeIdSpec::default()
        };
        let condition = Condition {
            observed_generation: Some(1),
            last_transition_time: text(),
            ..Condition::default()
        };
        let status = SpiffeIdStatus {
            entry_id: text(),
            observed_generation: Some(1),
            conditions: Some(vec![condition.clone()]),
        };
        let json = |value: serde_json::Result<Value>| value.expect("serializable");
        let (of_spec, of_status) = (
            &root["properties"]["spec"]["properties"],
            &root["properties"]["status"]["properties"],
        );
        for (schema, value) in [
            (of_spec, json(serde_json::to_value(spec))),
            (
                &of_spec["selector"]["properties"],
                json(serde_json::to_value(selector)),
            ),
            (of_status, json(serde_json::to_value(status))),
            (
                &of_status["conditions"]["items"]["properties"],
                json(serde_json::to_value(condition)),
            ),
        ] {
            assert_eq!(keys(schema), keys(&value));
        }
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        let mut policy = Policy::crd("example.org", "demo", "spire").expect("legal names");
        policy.reserved.reserve("/admin").expect("a path");
        policy.reserved.reserve("/ops/*").expect("a path");
        let text = admission_policy(&policy);
        assert!(!text.contains('$'), "{text}");
        assert!(
            text.contains("spec.parentId in ['spiffe://example.org/admin']"),
            "{text}"
        );
        assert!(
            text.contains("spec.spiffeId.startsWith('spiffe://example.org/ops/')"),
            "{text}"
        );
    }
}
