//! The CA bundle that the API server checks our webhook's certificate with: written into the webhook configurations that
//! ask for it by label, and there only where the client is our own Service.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration},
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::access::needs;

/// Configurations with this label get the bundle.
const LABELLED: &str = "spiffe.io/webhook=true";
/// How often bundle and configurations are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// These configurations now have the bundle of today.
    Changed(Vec<String>),
    /// It could not be done; it is tried again. Said once a cause.
    Failed(String),
}

/// Keeps the bundle in the configurations right until it is dropped. At rest it writes nothing.
pub async fn publish_ca_bundle(
    client: Client,
    service: ServiceName,
    mut authorities: impl AsyncFnMut() -> Result<Vec<Vec<u8>>, String>,
    told: impl Fn(Published),
) {
    let mut last_failure = None;
    loop {
        let tried = match authorities().await {
            Ok(bundle) => publish(&client, &service, &bundle).await,
            Err(why) => Err(why),
        };
        match tried {
            Ok(changed) => {
                last_failure = None;
                if !changed.is_empty() {
                    told(Published::Changed(changed));
                }
            }
            Err(why) => {
                if last_failure.as_ref() != Some(&why) {
                    last_failure = Some(why.clone());
                    told(Published::Failed(why));
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Writes the bundle where it is not there yet; the names of the configurations that were changed.
async fn publish(
    client: &Client,
    service: &ServiceName,
    authorities: &[Vec<u8>],
) -> Result<Vec<String>, String> {
    if authorities.is_empty() {
        return Err("the SPIRE Server's bundle is empty".into());
    }
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let listed = api
        .list(&ListParams::default().labels(LABELLED))
        .await
        .map_err(|e| {
            let remedy = remedy(&e, "list");
            format!("webhook configurations cannot be listed: {e}{remedy}")
        })?;
    let mut changed = Vec::new();
    for configuration in listed {
        let patch = patch(&configuration, service, authorities);
        let name = configuration.name_any();
        if !patch.is_empty() {
            send(client, &name, &patch)
                .await
                .map_err(|e| format!("webhook configuration {name:?} cannot be patched: {e}"))?;
            changed.push(name);
        }
    }
    Ok(changed)
}

async fn send(client: &Client, name: &str, patch: &[Value]) -> Result<(), String> {
    let path = format!(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{name}?fieldManager=k8s-workload-registrar"
    );
    let body = serde_json::to_vec(patch).map_err(|e| e.to_string())?;
    let request = http::Request::patch(path)
        .header(http::header::CONTENT_TYPE, "application/json-patch+json")
        .body(body)
        .map_err(|e| e.to_string())?;
    let answer: Result<Value, _> = client.request(request).await;
    answer
        .map(drop)
        .map_err(|e| format!("{e}{}", remedy(&e, "patch")))
}

/// What a call that the API server forbids needs.
fn remedy(error: &kube::Error, verb: &str) -> String {
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            let resource = "validatingwebhookconfigurations (admissionregistration.k8s.io)";
            format!("; {}", needs(&format!("{verb} on {resource}")))
        }
        _ => String::new(),
    }
}

/// The JSON patch that a configuration needs; empty where it is right.
fn patch(
    configuration: &ValidatingWebhookConfiguration,
    service: &ServiceName,
    authorities: &[Vec<u8>],
) -> Vec<Value> {
    let wanted: BTreeSet<&[u8]> = authorities.iter().map(Vec::as_slice).collect();
    let webhooks = configuration.webhooks.iter().flatten().enumerate();
    let writes: Vec<Value> = webhooks
        .filter(|(_, webhook)| is_ours(webhook, service))
        .filter(|(_, webhook)| !has_exactly(webhook, &wanted))
        .map(|(n, _)| {
            json!({
                "op": "add",
                "path": format!("/webhooks/{n}/clientConfig/caBundle"),
                "value": ByteString(pem(authorities).into_bytes()),
            })
        })
        .collect();
    if writes.is_empty() {
        return writes;
    }
    // The webhooks are counted from what was read; if it is another by now, the next look sees it.
    let version = configuration.resource_version().unwrap_or_default();
    let unchanged = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
    std::iter::once(unchanged).chain(writes).collect()
}

fn is_ours(webhook: &ValidatingWebhook, service: &ServiceName) -> bool {
    let client = webhook.client_config.service.as_ref();
    client.is_some_and(|s| s.namespace == service.namespace && s.name == service.name)
}

/// Whether its bundle has these certificates and no others, however it is written: others may write it too.
fn has_exactly(webhook: &ValidatingWebhook, wanted: &BTreeSet<&[u8]>) -> bool {
    let Some(ByteString(bundle)) = &webhook.client_config.ca_bundle else {
        return false;
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    found.is_ok_and(|found| found.iter().map(|c| &**c).collect::<BTreeSet<_>>() == *wanted)
}

fn pem(certificates: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for der in certificates {
        let encoded = json!(ByteString(der.clone()));
        let encoded = encoded.as_str().unwrap_or_default();
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().map(|b| char::from(*b)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceName {
        ServiceName {
            namespace: "spire".into(),
            name: "k8s-workload-registrar".into(),
        }
    }

    fn configuration(webhooks: Value) -> ValidatingWebhookConfiguration {
        let object = json!({
            "metadata": {"name": "x", "resourceVersion": "7"},
            "webhooks": webhooks,
        });
        serde_json::from_value(object).expect("a configuration")
    }

    fn webhook(namespace: &str, name: &str, bundle: &str) -> Value {
        json!({
            "name": "a.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": {"namespace": namespace, "name": name},
                "caBundle": ByteString(bundle.into()),
            },
        })
    }

    #[test]
    fn the_bundle_goes_to_our_own_service_and_nowhere_else() {
        let url = json!({"name": "u", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x"}});
        let configuration = configuration(json!([
            webhook("spire", "other", ""),
            webhook("other", "k8s-workload-registrar", ""),
            url,
            webhook("spire", "k8s-workload-registrar", ""),
        ]));
        let patch = patch(&configuration, &service(), &[vec![1, 2, 3]]);
        let paths: Vec<&str> = patch.iter().filter_map(|op| op["path"].as_str()).collect();
        assert_eq!(
            paths,
            [
                "/metadata/resourceVersion",
                "/webhooks/3/clientConfig/caBundle"
            ]
        );
    }

    #[test]
    fn the_same_certificates_in_another_order_or_form_are_left_alone() {
        let authorities = [vec![1; 100], vec![2; 100]];
        let reversed = [vec![2; 100], vec![1; 100]];
        let right = format!("# a comment\n{}", pem(&reversed));
        let wrong = pem(&[vec![1; 100]]);
        for (bundle, changes) in [(right, 0), (wrong, 2), (String::new(), 2)] {
            let webhooks = json!([webhook("spire", "k8s-workload-registrar", &bundle)]);
            let found = patch(&configuration(webhooks), &service(), &authorities);
            assert_eq!(found.len(), changes, "{bundle:?}");
        }
    }
}
