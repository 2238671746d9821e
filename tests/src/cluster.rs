//! The Kubernetes side: making and changing objects, as users, controllers and kubelets would.

use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
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

/// A pod to be.
#[derive(Debug, Clone)]
pub struct PodSpec {
    namespace: String,
    name: String,
    node: Option<String>,
    service_account: String,
    labels: Value,
    annotations: Value,
    hostname: Option<(String, String)>,
    mirror: bool,
}

impl PodSpec {
    /// A pod of service account `default`, bound to node `node-1`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            node: Some("node-1".to_owned()),
            service_account: "default".to_owned(),
            labels: json!({}),
            annotations: json!({}),
            hostname: None,
            mirror: false,
        }
    }

    /// What a kubelet shows the API server of a static pod; such a pod has no service account.
    #[must_use]
    pub fn mirror(mut self) -> Self {
        self.mirror = true;
        self.annotation("kubernetes.io/config.mirror", "0123456789abcdef")
    }

    /// Bound to this node, or to none.
    #[must_use]
    pub fn node(mut self, node: impl Into<Option<&'static str>>) -> Self {
        self.node = node.into().map(str::to_owned);
        self
    }

    /// Bound to the node of this name.
    #[must_use]
    pub fn node_named(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// Of this service account, which must exist.
    #[must_use]
    pub fn service_account(mut self, name: &str) -> Self {
        self.service_account = name.to_owned();
        self
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels[key] = json!(value);
        self
    }

    /// With an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations[key] = json!(value);
        self
    }

    /// With `spec.hostname` and `spec.subdomain`, as a StatefulSet's pods have.
    #[must_use]
    pub fn hostname(mut self, hostname: &str, subdomain: &str) -> Self {
        self.hostname = Some((hostname.to_owned(), subdomain.to_owned()));
        self
    }

    fn object(&self) -> Value {
        let mut spec = json!({
            "containers": [{"name": "main", "image": "example.org/image:1"}],
        });
        if !self.mirror {
            spec["serviceAccountName"] = json!(self.service_account);
            spec["automountServiceAccountToken"] = json!(false);
        }
        if let Some(node) = &self.node {
            spec["nodeName"] = json!(node);
        }
        if let Some((hostname, subdomain)) = &self.hostname {
            spec["hostname"] = json!(hostname);
            spec["subdomain"] = json!(subdomain);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": spec,
        })
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

    /// Makes a pod; its UID.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pod(&self, pod: &PodSpec) -> anyhow::Result<String> {
        let api: Api<Pod> = self.api(&pod.namespace);
        let object = serde_json::from_value(pod.object())?;
        let made = api
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("pod {}/{}", pod.namespace, pod.name))?;
        Ok(made.uid().unwrap_or_default())
    }

    /// What a scheduler does: binds a pod to a node.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn bind(&self, namespace: &str, name: &str, node: &str) -> anyhow::Result<()> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        let request = http::Request::post(path)
            .header("Content-Type", "application/json")
            .body(binding.to_string().into_bytes())?;
        self.client.request_text(request).await?;
        Ok(())
    }

    /// What a kubelet reports once the sandbox is there.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pod_runs(&self, namespace: &str, name: &str, ips: &[&str]) -> anyhow::Result<()> {
        let list: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let status = json!({"status": {
            "phase": "Running",
            "podIP": ips.first(),
            "podIPs": list,
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.pod_status(namespace, name, status).await
    }

    /// Writes a part of a pod's status.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pod_status(
        &self,
        namespace: &str,
        name: &str,
        status: Value,
    ) -> anyhow::Result<()> {
        let api: Api<Pod> = self.api(namespace);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }

    /// Changes the labels and annotations of a pod: a merge patch of its metadata.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn patch_pod(
        &self,
        namespace: &str,
        name: &str,
        metadata: Value,
    ) -> anyhow::Result<()> {
        let api: Api<Pod> = self.api(namespace);
        let patch = json!({ "metadata": metadata });
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Sets an annotation of a pod, or removes it.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn annotate(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        value: Option<&str>,
    ) -> anyhow::Result<()> {
        self.patch_pod(namespace, name, json!({"annotations": {key: value}}))
            .await
    }

    /// Deletes a pod at once.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<Pod> = self.api(namespace);
        api.delete(name, &now())
            .await
            .with_context(|| format!("pod {namespace}/{name}"))?;
        Ok(())
    }

    /// Asks for a pod to end, with a grace period; the object stays until [`Cluster::delete_pod`].
    ///
    /// # Errors
    /// As the API server says.
    pub async fn end_pod(&self, namespace: &str, name: &str, seconds: u32) -> anyhow::Result<()> {
        let api: Api<Pod> = self.api(namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(seconds),
            ..Default::default()
        };
        api.delete(name, &params).await?;
        Ok(())
    }

    /// Deletes all pods of a namespace at once.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete_pods(&self, namespace: &str) -> anyhow::Result<()> {
        let api: Api<Pod> = self.api(namespace);
        api.delete_collection(&now(), &ListParams::default())
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

    /// Writes a Service without a selector, so that its EndpointSlices are ours to write.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn service(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        });
        self.apply::<Service>(namespace, name, object).await
    }

    /// Writes an EndpointSlice of a Service; an endpoint is an address, a hostname (or none) and the name of a pod.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn slice(
        &self,
        namespace: &str,
        name: &str,
        service: &str,
        endpoints: &[(&str, Option<&str>, &str)],
    ) -> anyhow::Result<()> {
        let family = match endpoints.first() {
            Some((address, ..)) if address.contains(':') => "IPv6",
            _ => "IPv4",
        };
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, hostname, pod)| {
                json!({
                    "addresses": [address],
                    "hostname": hostname,
                    "conditions": {"ready": true},
                    "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
                })
            })
            .collect();
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": family, "endpoints": endpoints, "ports": [],
        });
        self.apply::<EndpointSlice>(namespace, name, object).await
    }

    /// Writes an EndpointSlice of a Service; an endpoint is an address, whether it is ready, and the name of a pod.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn slice_ready(
        &self,
        namespace: &str,
        name: &str,
        service: &str,
        endpoints: &[(&str, bool, &str)],
    ) -> anyhow::Result<()> {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, ready, pod)| {
                json!({
                    "addresses": [address],
                    "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
                })
            })
            .collect();
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [],
        });
        self.apply::<EndpointSlice>(namespace, name, object).await
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

    /// Deletes an EndpointSlice.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete_slice(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<EndpointSlice> = self.api(namespace);
        api.delete(name, &now()).await?;
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

    /// A pod as the API has it.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pod_json(&self, namespace: &str, name: &str) -> anyhow::Result<Value> {
        let api: Api<Pod> = self.api(namespace);
        Ok(serde_json::to_value(api.get(name).await?)?)
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
