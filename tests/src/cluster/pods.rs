//! Pods, from their making to their end: what users, the scheduler and kubelets write.

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{Cluster, PodSpec, now};

impl Cluster {
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

    /// A pod as the API has it.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn pod_json(&self, namespace: &str, name: &str) -> anyhow::Result<Value> {
        let api: Api<Pod> = self.api(namespace);
        Ok(serde_json::to_value(api.get(name).await?)?)
    }
}
