//! Webhook mode on the real API server: what `generate-config` makes, used as it is.

use std::{path::Path, process::Command};

use anyhow::Context;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    control_plane::Options,
    process::{Scratch, free_port},
    registrar::program,
};

/// Keys, certificates and objects of one webhook, and its port.
#[derive(Debug)]
pub struct Webhook {
    dir: Scratch,
    port: u16,
}

impl Webhook {
    /// Makes them, with this failurePolicy (`ignore` or `fail`).
    ///
    /// # Errors
    /// As the program says.
    pub fn generate(failure_policy: &str) -> anyhow::Result<Self> {
        Self::generate_at(failure_policy, free_port()?)
    }

    /// As [`Webhook::generate`], for an API server that asks at this port.
    ///
    /// # Errors
    /// As the program says.
    pub fn generate_at(failure_policy: &str, port: u16) -> anyhow::Result<Self> {
        let dir = Scratch::new()?;
        let made = Command::new(program()?)
            .args(["generate-config", "-address", &format!("127.0.0.1:{port}")])
            .args(["-failure-policy", failure_policy, "-out"])
            .arg(dir.path())
            .output()?;
        let text = String::from_utf8_lossy(&made.stderr).into_owned();
        anyhow::ensure!(made.status.success(), "generate-config: {text}");
        Ok(Self { dir, port })
    }

    /// The folder with the files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The port of the webhook.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the API server is started with, so that it shows its certificate.
    pub fn options(&self) -> Options {
        let file = self.dir().join("admission-configuration.yaml");
        Options {
            api_server_flags: vec![format!(
                "--admission-control-config-file={}",
                file.display()
            )],
            ..Options::default()
        }
    }

    /// The lines of the registrar's configuration.
    pub fn config(&self) -> String {
        self.config_at(self.port)
    }

    /// The same for a registrar that listens on another port.
    pub fn config_at(&self, port: u16) -> String {
        let dir = self.dir().display();
        format!(
            "mode = \"webhook\"\naddr = \"127.0.0.1:{port}\"\ncert_path = \"{dir}/server-cert.pem\"\n\
             key_path = \"{dir}/server-key.pem\"\ncacert_path = \"{dir}/cacert.pem\"\n"
        )
    }

    /// Someone who asks the registrar at this port for reviews.
    ///
    /// # Errors
    /// If the certificates cannot be used.
    pub async fn asker(&self, port: u16) -> anyhow::Result<Asker> {
        let users = std::fs::read_to_string(self.dir().join("kubeconfig.yaml"))?;
        let ca = self.dir().join("cacert.pem");
        let whole = format!(
            "{users}clusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:{port}', \
             certificate-authority: {:?}}}\ncontexts:\n- name: c\n  context: {{cluster: c, user: '127.0.0.1:{}'}}\n\
             current-context: c\n",
            ca.display().to_string(),
            self.port
        );
        let kubeconfig = Kubeconfig::from_yaml(&whole)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Asker(Client::try_from(config)?))
    }

    /// Makes the API server ask.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn install(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.dir().join("webhook.yaml"))?;
        let object: ValidatingWebhookConfiguration = serde_yaml::from_str(&text)?;
        let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client());
        api.create(&PostParams::default(), &object)
            .await
            .context("the webhook's configuration")?;
        Ok(())
    }
}

/// Someone who asks for reviews as the API server does: with its client certificate, and on connections that stay.
#[derive(Clone)]
pub struct Asker(Client);

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

/// The review of the creation of a pod of service account `default`.
pub fn create_review(namespace: &str, name: &str) -> Value {
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": name, "operation": "CREATE", "namespace": namespace, "name": name,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "uid": name},
                "spec": {"serviceAccountName": "default", "containers": []},
            },
        },
    })
}

/// The review of a delete of that pod, when it is gone for good; of another one of its name if `uid` is not the name.
pub fn delete_review(namespace: &str, name: &str, uid: &str) -> Value {
    let mut review = create_review(namespace, name);
    let request = &mut review["request"];
    request["operation"] = json!("DELETE");
    request["options"] = json!({"gracePeriodSeconds": 0});
    let mut pod = request["object"].take();
    pod["metadata"]["uid"] = json!(uid);
    request["oldObject"] = pod;
    review
}

impl Asker {
    /// Sends a body; the answer's.
    ///
    /// # Errors
    /// If there is none, or it is no success.
    pub async fn send(&self, body: Vec<u8>) -> anyhow::Result<String> {
        let request = http::Request::post("/validate?timeout=10s")
            .header("Content-Type", "application/json")
            .body(body)?;
        Ok(self.0.request_text(request).await?)
    }

    /// Asks for the creation of a pod, which must be allowed.
    ///
    /// # Errors
    /// If it is not.
    pub async fn create(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let review = create_review(namespace, name);
        let answer = self.send(review.to_string().into_bytes()).await?;
        anyhow::ensure!(answer.contains("\"allowed\":true"), "{answer}");
        Ok(())
    }
}
