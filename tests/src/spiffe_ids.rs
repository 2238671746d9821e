//! SpiffeID resources, as users and other controllers write them, and their definition.

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::eventually;

/// The name of the definition.
pub const DEFINITION: &str = "spiffeids.spiffeid.spiffe.io";

/// The definition that clusters of the original registrar have: types and nothing else.
pub const ORIGINAL_DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: spiffeids.spiffeid.spiffe.io}
spec:
  group: spiffeid.spiffe.io
  scope: Namespaced
  names: {kind: SpiffeID, listKind: SpiffeIDList, plural: spiffeids, singular: spiffeid}
  versions:
    - name: v1beta1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              required: [parentId, selector, spiffeId]
              properties:
                parentId: {type: string}
                spiffeId: {type: string}
                downstream: {type: boolean}
                selector:
                  type: object
                  properties:
                    cluster: {type: string}
                    agent_node_uid: {type: string}
                    podLabel: {type: object, additionalProperties: {type: string}}
                    podName: {type: string}
                    podUid: {type: string}
                    namespace: {type: string}
                    serviceAccount: {type: string}
                    containerImage: {type: string}
                    containerName: {type: string}
                    nodeName: {type: string}
                    arbitrary: {type: array, items: {type: string}}
                dnsNames: {type: array, items: {type: string}}
                federatesWith: {type: array, items: {type: string}}
            status:
              type: object
              properties:
                entryId: {type: string}
"#;

/// A client for SpiffeIDs.
#[derive(Clone)]
pub struct SpiffeIds {
    client: Client,
    resource: ApiResource,
}

impl std::fmt::Debug for SpiffeIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpiffeIds")
    }
}

impl SpiffeIds {
    /// With this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            resource: ApiResource {
                group: "spiffeid.spiffe.io".into(),
                version: "v1beta1".into(),
                api_version: "spiffeid.spiffe.io/v1beta1".into(),
                kind: "SpiffeID".into(),
                plural: "spiffeids".into(),
            },
        }
    }

    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &self.resource)
    }

    /// Installs a definition and waits until it serves.
    ///
    /// # Errors
    /// If it is no definition, or as the API server says.
    pub async fn install(&self, definition: &str) -> anyhow::Result<()> {
        let definition: Value = serde_yaml::from_str(definition)?;
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let params = PatchParams::apply("registrar-tests").force();
        api.patch(DEFINITION, &params, &Patch::Apply(definition))
            .await?;
        eventually("SpiffeIDs are served", async || {
            let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.resource);
            all.list(&ListParams::default()).await.map(drop)
        })
        .await;
        Ok(())
    }

    /// Deletes the definition; the API server then deletes all SpiffeIDs, and waits for their finalizers.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn uninstall(&self) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        api.delete(DEFINITION, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Whether the definition is there, be it on its way out.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn is_installed(&self) -> Result<bool, String> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let found = api.get_opt(DEFINITION).await.map_err(|e| e.to_string())?;
        Ok(found.is_some())
    }

    /// Makes one from its spec.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn create(&self, namespace: &str, name: &str, spec: Value) -> anyhow::Result<()> {
        self.create_object(namespace, json!({"metadata": {"name": name}, "spec": spec}))
            .await
    }

    /// Makes one with whatever metadata.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn create_object(&self, namespace: &str, mut object: Value) -> anyhow::Result<()> {
        object["apiVersion"] = "spiffeid.spiffe.io/v1beta1".into();
        object["kind"] = "SpiffeID".into();
        let object: DynamicObject = serde_json::from_value(object)?;
        // As the original's client called itself.
        let params = PostParams {
            field_manager: Some("k8s-workload-registrar".into()),
            ..PostParams::default()
        };
        self.api(namespace).create(&params, &object).await?;
        Ok(())
    }

    /// One as the API has it, if it is there.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<Value>, String> {
        let found = self.api(namespace).get_opt(name).await;
        let found = found.map_err(|e| e.to_string())?;
        Ok(found.and_then(|o| serde_json::to_value(o).ok()))
    }

    /// All of a namespace.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn list(&self, namespace: &str) -> Result<Vec<Value>, String> {
        let found = self.api(namespace).list(&ListParams::default()).await;
        let found = found.map_err(|e| e.to_string())?;
        Ok(found
            .items
            .into_iter()
            .filter_map(|o| serde_json::to_value(o).ok())
            .collect())
    }

    /// Changes one as a person would: a merge patch.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn patch(&self, namespace: &str, name: &str, patch: Value) -> anyhow::Result<()> {
        let params = PatchParams {
            field_manager: Some("a-person".into()),
            ..PatchParams::default()
        };
        self.api(namespace)
            .patch(name, &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Changes its status: a merge patch.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        status: Value,
    ) -> anyhow::Result<()> {
        let patch = json!({ "status": status });
        self.api(namespace)
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Adds names to `spec.dnsNames` as a field manager of its own.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn apply_names(
        &self,
        namespace: &str,
        name: &str,
        names: &[&str],
    ) -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": "spiffeid.spiffe.io/v1beta1", "kind": "SpiffeID",
            "metadata": {"name": name}, "spec": {"dnsNames": names},
        });
        self.api(namespace)
            .patch(
                name,
                &PatchParams::apply("a-person").force(),
                &Patch::Apply(object),
            )
            .await?;
        Ok(())
    }

    /// Asks for one to be deleted.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn delete(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.api(namespace)
            .delete(name, &DeleteParams::default())
            .await
            .with_context(|| format!("SpiffeID {namespace}/{name}"))?;
        Ok(())
    }
}

/// The condition `Registered` of a SpiffeID: its status, its reason and its message.
pub fn registered(resource: &Value) -> Option<(String, String, String)> {
    let conditions = resource["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|c| c["type"] == "Registered")?;
    let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}
