//! The Kubernetes side: making and changing objects, as users, controllers and kubelets would.

mod pod_spec;
mod pods;
mod services;

pub use pod_spec::PodSpec;

use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde_json::{Value, json};

/// A client with the few verbs that tests need.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

fn now() -> DeleteParams {
    DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    }
}

impl Cluster {
    /// With this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client itself.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Whether a namespace is there.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn namespace_exists(&self, name: &str) -> Result<bool, String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.get_opt(name)
            .await
            .map(|n| n.is_some())
            .map_err(|e| e.to_string())
    }

    /// Makes a namespace, with its service account `default`.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        ignore_existing(api.create(&PostParams::default(), &object).await)?;
        self.service_account(name, "default").await
    }

    /// Makes a service account.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn service_account(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<ServiceAccount> = self.api(namespace);
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        ignore_existing(api.create(&PostParams::default(), &object).await)
    }

    /// Makes a node, or returns the one that is there; its UID.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn node(&self, name: &str) -> anyhow::Result<String> {
        let api: Api<Node> = Api::all(self.client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        ignore_existing(api.create(&PostParams::default(), &object).await)?;
        Ok(api.get(name).await?.uid().unwrap_or_default())
    }

    /// Deletes a node.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete_node(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        api.delete(name, &now()).await?;
        Ok(())
    }

    /// Changes annotations of a node; `None` removes one.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn annotate_node(
        &self,
        name: &str,
        key: &str,
        value: Option<&str>,
    ) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = json!({"metadata": {"annotations": {key: value}}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// The Events about an object of a namespace (a node's are in `default`): reason and note.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn events(
        &self,
        namespace: &str,
        object: &str,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let api: Api<Event> = self.api(namespace);
        let events = api.list(&ListParams::default()).await?;
        Ok(events
            .into_iter()
            .filter(|e| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(object))
            .map(|e| (e.reason.unwrap_or_default(), e.note.unwrap_or_default()))
            .collect())
    }

    /// Writes a ConfigMap, whatever was there.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn config_map(&self, namespace: &str, name: &str, data: Value) -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data,
        });
        self.apply::<ConfigMap>(namespace, name, object).await
    }

    /// Asks for a namespace and everything in it to be deleted.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// A token of a service account for an audience, bound to a pod.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        audience: Option<&str>,
        pod: Option<(&str, &str)>,
    ) -> anyhow::Result<String> {
        let api: Api<ServiceAccount> = self.api(namespace);
        let mut request = json!({"spec": {"audiences": audience.into_iter().collect::<Vec<_>>()}});
        if let Some((name, uid)) = pod {
            request["spec"]["boundObjectRef"] =
                json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
        }
        let request: TokenRequest = serde_json::from_value(request)?;
        let made = api
            .create_token_request(account, &PostParams::default(), &request)
            .await?;
        Ok(made.status.context("a token request has a status")?.token)
    }

    /// Applies a manifest of one or several documents.
    ///
    /// # Errors
    /// If a document is no object of a kind that examples have, or as the API server says.
    pub async fn apply_manifests(&self, text: &str) -> anyhow::Result<Vec<String>> {
        use serde::Deserialize as _;
        let mut applied = Vec::new();
        for document in serde_yaml::Deserializer::from_str(text) {
            let object = Value::deserialize(document)?;
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            let name = object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let namespace = object["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default")
                .to_owned();
            match &*kind {
                "Namespace" => self.namespace(&name).await?,
                "Node" => drop(self.node(&name).await?),
                "ServiceAccount" => {
                    self.apply::<ServiceAccount>(&namespace, &name, object)
                        .await?;
                }
                "Pod" => self.apply::<Pod>(&namespace, &name, object).await?,
                "Service" => self.apply::<Service>(&namespace, &name, object).await?,
                "ConfigMap" => self.apply::<ConfigMap>(&namespace, &name, object).await?,
                "Secret" => self.apply::<Secret>(&namespace, &name, object).await?,
                other => anyhow::bail!("kind {other:?} of {name:?} is none that examples have"),
            }
            applied.push(format!("{kind} {namespace}/{name}"));
        }
        Ok(applied)
    }

    async fn apply<K>(&self, namespace: &str, name: &str, object: Value) -> anyhow::Result<()>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = self.api(namespace);
        api.patch(
            name,
            &PatchParams::apply("registrar-tests").force(),
            &Patch::Apply(object),
        )
        .await
        .with_context(|| format!("{namespace}/{name}"))?;
        Ok(())
    }
}

fn ignore_existing<T>(result: kube::Result<T>) -> anyhow::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}
