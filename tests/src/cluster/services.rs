//! Services and their EndpointSlices.

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::Api;
use serde_json::{Value, json};

use super::{Cluster, now};

impl Cluster {
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

    /// Deletes an EndpointSlice.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete_slice(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<EndpointSlice> = self.api(namespace);
        api.delete(name, &now()).await?;
        Ok(())
    }
}
