//! What a pod is to be like.

use serde_json::{Value, json};

/// A pod to be.
#[derive(Debug, Clone)]
pub struct PodSpec {
    pub(super) namespace: String,
    pub(super) name: String,
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

    pub(super) fn object(&self) -> Value {
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
