//! Single objects, for people's questions. What is watched does not come from here.

use k8s_openapi::api::events::v1::Event as KubeEvent;
use kube::{Api, Client, api::ListParams};
use registrar_core::{cluster::Kind, policy::WantedMetadata, sync::Event};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::watch::path;
use crate::causes::causes;
use crate::objects::decode;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct ReadError {
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// The API server's or the transport's words.
    pub why: String,
}

impl From<kube::Error> for ReadError {
    fn from(error: kube::Error) -> Self {
        let status = match &error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        Self {
            status,
            why: causes(&error),
        }
    }
}

/// One object as an event: [`Event::Listed`], or [`Event::Undecodable`]; `None` if it does not exist.
///
/// It is asked for by a list of one, which needs no other right than the registrar's own.
///
/// # Errors
/// If it cannot be read. `name` and `namespace` must be names, not paths.
pub async fn object(
    client: &Client,
    kind: Kind,
    namespace: &str,
    name: &str,
    wanted: &WantedMetadata,
) -> Result<Option<Event>, ReadError> {
    let url = format!(
        "{}?fieldSelector=metadata.name%3D{name}",
        in_namespace(kind, namespace)
    );
    Ok(listed(client, &url, kind, wanted).await?.pop())
}

/// All objects of a kind in a namespace.
///
/// # Errors
/// If they cannot be read to the last.
pub async fn objects(
    client: &Client,
    kind: Kind,
    namespace: &str,
    wanted: &WantedMetadata,
) -> Result<Vec<Event>, ReadError> {
    listed(client, &in_namespace(kind, namespace), kind, wanted).await
}

async fn listed(
    client: &Client,
    url: &str,
    kind: Kind,
    wanted: &WantedMetadata,
) -> Result<Vec<Event>, ReadError> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow, default)]
        items: Option<Vec<&'a RawValue>>,
    }
    let json = text(client, url).await?;
    let list: List<'_> = serde_json::from_str(&json).map_err(|e| ReadError {
        status: None,
        why: format!("the list cannot be read: {e}"),
    })?;
    let items = list.items.into_iter().flatten();
    Ok(items.map(|i| event(kind, i.get(), wanted)).collect())
}

/// The Kubernetes Events about an object: reason and note.
///
/// # Errors
/// If they cannot be read.
pub async fn events_about(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Vec<(String, String)>, ReadError> {
    let api: Api<KubeEvent> = Api::namespaced(client.clone(), namespace);
    let about = ListParams::default().fields(&format!("regarding.name={name}"));
    let events = api.list(&about).await?;
    Ok(events
        .into_iter()
        .map(|e| (e.reason.unwrap_or_default(), e.note.unwrap_or_default()))
        .collect())
}

fn event(kind: Kind, json: &str, wanted: &WantedMetadata) -> Event {
    match decode::object(kind, json, wanted) {
        Ok(object) => Event::Listed(object),
        Err(undecodable) => *undecodable,
    }
}

fn in_namespace(kind: Kind, namespace: &str) -> String {
    let path = path(kind);
    match (namespace, path.rsplit_once('/')) {
        ("", _) | (_, None) => path.to_owned(),
        (namespace, Some((group, plural))) => format!("{group}/namespaces/{namespace}/{plural}"),
    }
}

async fn text(client: &Client, url: &str) -> Result<String, ReadError> {
    let request = http::Request::get(url)
        .body(Vec::new())
        .map_err(|e| ReadError {
            status: None,
            why: format!("{url:?} cannot be asked for: {e}"),
        })?;
    Ok(client.request_text(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_asked_for_in_their_namespace() {
        assert_eq!(in_namespace(Kind::Pod, "a"), "/api/v1/namespaces/a/pods");
        assert_eq!(in_namespace(Kind::Node, ""), "/api/v1/nodes");
        assert_eq!(
            in_namespace(Kind::EndpointSlice, "a"),
            "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices"
        );
    }
}
