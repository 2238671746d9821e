//! What the webhook of SpiffeIDs asks the API server: who we are to it, and which SpiffeID names an entry.

use kube::Client;
use registrar_core::entry::EntryId;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::objects::spiffe_id::snapshot;

/// The user that we are to the API server.
///
/// # Errors
/// Why it does not say, in one line.
pub async fn own_user(client: &Client) -> Result<String, String> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(review.to_string().into_bytes())
        .map_err(|e| e.to_string())?;
    let answer: Value = client.request(request).await.map_err(|e| e.to_string())?;
    let user = answer["status"]["userInfo"]["username"].as_str();
    user.map(str::to_owned)
        .ok_or_else(|| "the API server does not name us".into())
}

/// Whether a living SpiffeID of a namespace names this entry as its own.
///
/// # Errors
/// Why that cannot be told, in one line.
pub async fn is_named(client: &Client, namespace: &str, entry: &EntryId) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let path = format!("/apis/spiffeid.spiffe.io/v1beta1/namespaces/{namespace}/spiffeids");
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|e| e.to_string())?;
    let text = client
        .request_text(request)
        .await
        .map_err(|e| format!("SpiffeIDs cannot be listed: {e}"))?;
    let list: List<'_> = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let names = |item: &&RawValue| {
        snapshot(item.get()).is_ok_and(|resource| {
            !resource.deleting && resource.status.entry_id.as_deref() == Some(entry.as_str())
        })
    };
    Ok(list.items.iter().any(names))
}
