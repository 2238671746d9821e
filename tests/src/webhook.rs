//! Webhook mode on the real API server: what `generate-config` makes, used as it is.

use std::{path::Path, process::Command};

use anyhow::Context;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, api::PostParams};

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
        let dir = Scratch::new()?;
        let port = free_port()?;
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
        let dir = self.dir().display();
        format!(
            "mode = \"webhook\"\naddr = \"127.0.0.1:{}\"\ncert_path = \"{dir}/server-cert.pem\"\n\
             key_path = \"{dir}/server-key.pem\"\ncacert_path = \"{dir}/cacert.pem\"\n",
            self.port
        )
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
