//! Objects of any kind, as YAML and JSON.

use anyhow::Context;
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams,
        ValidationDirective,
    },
    core::GroupVersionKind,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The API of the kind and namespace that an object names.
///
/// # Errors
/// If it names none.
fn api(client: &Client, object: &Value) -> anyhow::Result<Api<DynamicObject>> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let api_version = text("/apiVersion").context("an apiVersion")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = text("/kind").context("a kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Ok(match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

/// Server-side apply of every document of a YAML text.
///
/// # Errors
/// As the API server says.
pub async fn apply_yaml(client: &Client, text: &str) -> anyhow::Result<()> {
    for document in serde_yaml::Deserializer::from_str(text) {
        let object = Value::deserialize(document)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams::apply("registrar-tests").force();
        api(client, &object)?
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("{} {name}", object["kind"]))?;
    }
    Ok(())
}

/// Has the API server validate an object strictly, every field of it, without writing it.
///
/// # Errors
/// As [`create`].
pub async fn dry_run(client: &Client, object: &Value) -> Result<(), String> {
    let params = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("registrar-tests").force()
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api(client, object)
        .map_err(|e| e.to_string())?
        .patch(name, &params, &Patch::Apply(object))
        .await
        .map(drop)
        .map_err(message)
}

/// A SpiffeID with this spec.
pub fn spiffe_id(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "spiffeid.spiffe.io/v1beta1",
        "kind": "SpiffeID",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// Makes an object.
///
/// # Errors
/// What the API server says, as a person would see it.
pub async fn create(client: &Client, object: &Value) -> Result<DynamicObject, String> {
    let parsed = serde_json::from_value(object.clone()).map_err(|e| e.to_string())?;
    let api = api(client, object).map_err(|e| e.to_string())?;
    api.create(&PostParams::default(), &parsed)
        .await
        .map_err(message)
}

/// Changes an object by a merge patch.
///
/// # Errors
/// As [`create`].
pub async fn merge(client: &Client, object: &Value, patch: Value) -> Result<DynamicObject, String> {
    let api = api(client, object).map_err(|e| e.to_string())?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(message)
}

/// Replaces the spec of an object.
///
/// # Errors
/// As [`create`].
pub async fn respecify(client: &Client, object: &Value, spec: Value) -> Result<(), String> {
    let api = api(client, object).map_err(|e| e.to_string())?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut current = api.get(name).await.map_err(message)?;
    current.data["spec"] = spec;
    api.replace(name, &PostParams::default(), &current)
        .await
        .map(drop)
        .map_err(message)
}

/// Deletes an object.
///
/// # Errors
/// As [`create`].
pub async fn delete(client: &Client, object: &Value) -> Result<(), String> {
    let api = api(client, object).map_err(|e| e.to_string())?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api.delete(name, &DeleteParams::default())
        .await
        .map(drop)
        .map_err(message)
}

/// An object as it is now, if it is there.
///
/// # Errors
/// As [`create`].
pub async fn get(client: &Client, object: &Value) -> Result<Option<DynamicObject>, String> {
    let api = api(client, object).map_err(|e| e.to_string())?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api.get_opt(name).await.map_err(message)
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
