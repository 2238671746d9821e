//! The SPIRE side: the server's entries as an operator sees and changes them, with every field.

use std::path::Path;

use anyhow::Context;
use registrar_adapters::spire::{
    Wire,
    pb::{
        bundle::{self, batch_delete_federated_bundle_request::Mode, bundle_client::BundleClient},
        entry::{self, entry_client::EntryClient},
        types,
    },
};

pub use types::{Entry, Selector};

/// A client of the Entry and Bundle APIs, without the registrar's own adapter between.
#[derive(Debug, Clone)]
pub struct Entries {
    entries: EntryClient<Wire>,
    bundles: BundleClient<Wire>,
}

/// `spiffe://example.org<path>`, as the API has it.
pub fn id(path: &str) -> types::Spiffeid {
    types::Spiffeid {
        trust_domain: crate::control_plane::TRUST_DOMAIN.into(),
        path: path.into(),
    }
}

/// An entry of this parent, SPIFFE ID and selectors (`type:value`).
pub fn entry(parent: &str, spiffe_id: &str, selectors: &[&str]) -> Entry {
    Entry {
        parent_id: Some(id(parent)),
        spiffe_id: Some(id(spiffe_id)),
        selectors: selectors
            .iter()
            .map(|s| {
                let (kind, value) = s.split_once(':').unwrap_or((s, ""));
                Selector {
                    r#type: kind.into(),
                    value: value.into(),
                }
            })
            .collect(),
        ..Entry::default()
    }
}

/// An entry in one line: parent, SPIFFE ID, selectors; for comparing and for failures.
pub fn line(entry: &Entry) -> String {
    let path = |id: &Option<types::Spiffeid>| id.clone().unwrap_or_default().path;
    let selectors: Vec<String> = entry
        .selectors
        .iter()
        .map(|s| format!("{}:{}", s.r#type, s.value))
        .collect();
    format!(
        "{} <- {} [{}]",
        path(&entry.spiffe_id),
        path(&entry.parent_id),
        selectors.join(" ")
    )
}

impl Entries {
    /// Of the server at this socket.
    ///
    /// # Errors
    /// If the path cannot be part of a URI.
    pub fn new(socket: &Path) -> anyhow::Result<Self> {
        let channel = Wire::unix(socket);
        Ok(Self {
            entries: EntryClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            bundles: BundleClient::new(channel),
        })
    }

    /// All entries but those that were planted as others', with every field, in the server's order.
    ///
    /// # Errors
    /// As the server says.
    pub async fn all(&self) -> Result<Vec<Entry>, tonic::Status> {
        let mut entries = self.with_planted().await?;
        entries.retain(|e| !e.id.starts_with(crate::foreign::PREFIX));
        Ok(entries)
    }

    /// All entries, those that were planted as others' among them.
    ///
    /// # Errors
    /// As the server says.
    pub async fn with_planted(&self) -> Result<Vec<Entry>, tonic::Status> {
        let mut request = tonic::Request::new(entry::ListEntriesRequest::default());
        request.set_timeout(std::time::Duration::from_secs(10));
        let reply = self.entries.clone().list_entries(request).await?;
        Ok(reply.into_inner().entries)
    }

    /// The entries whose parent is at or under `root` (a path), or whose SPIFFE ID is.
    ///
    /// # Errors
    /// As the server says.
    pub async fn under(&self, root: &str) -> Result<Vec<Entry>, tonic::Status> {
        let below = |id: &Option<types::Spiffeid>| {
            id.as_ref()
                .is_some_and(|i| registrar_core::spiffe::is_under(&i.path, root))
        };
        let all = self.all().await?;
        Ok(all
            .into_iter()
            .filter(|e| below(&e.parent_id) || below(&e.spiffe_id))
            .collect())
    }

    /// The entries with this selector (`type:value`) whose parent is at or under `root`.
    ///
    /// # Errors
    /// As the server says.
    pub async fn selecting(
        &self,
        root: &str,
        selectors: &[&str],
    ) -> Result<Vec<Entry>, tonic::Status> {
        let has = |e: &Entry, wanted: &str| {
            e.selectors
                .iter()
                .any(|s| format!("{}:{}", s.r#type, s.value) == wanted)
        };
        let under = self.under(root).await?;
        Ok(under
            .into_iter()
            .filter(|e| selectors.iter().all(|s| has(e, s)))
            .collect())
    }

    /// Creates an entry; returns its ID.
    ///
    /// # Errors
    /// As the server says, for the call or for the entry.
    pub async fn create(&self, entry: Entry) -> anyhow::Result<String> {
        let made = self.create_all(vec![entry]).await?;
        made.into_iter().next().context("an ID")
    }

    /// Creates entries in one call; returns their IDs.
    ///
    /// # Errors
    /// As the server says, for the call or for an entry.
    pub async fn create_all(&self, entries: Vec<Entry>) -> anyhow::Result<Vec<String>> {
        let request = entry::BatchCreateEntryRequest {
            entries,
            output_mask: None,
        };
        let reply = self.entries.clone().batch_create_entry(request).await?;
        let results = reply.into_inner().results.into_iter().map(|result| {
            let status = result.status.unwrap_or_default();
            anyhow::ensure!(status.code == 0, "not created: {}", status.message);
            Ok(result.entry.unwrap_or_default().id)
        });
        results.collect()
    }

    /// Writes the masked fields of an entry.
    ///
    /// # Errors
    /// As the server says, for the call or for the entry.
    pub async fn update(&self, entry: Entry, mask: types::EntryMask) -> anyhow::Result<()> {
        let request = entry::BatchUpdateEntryRequest {
            entries: vec![entry],
            input_mask: Some(mask),
            output_mask: None,
        };
        let reply = self
            .entries
            .clone()
            .batch_update_entry(request)
            .await?
            .into_inner();
        let status = reply
            .results
            .into_iter()
            .next()
            .and_then(|r| r.status)
            .unwrap_or_default();
        anyhow::ensure!(status.code == 0, "not updated: {}", status.message);
        Ok(())
    }

    /// Deletes an entry.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete(&self, id: &str) -> anyhow::Result<()> {
        self.delete_all(vec![id.to_owned()]).await
    }

    /// Deletes entries in one call.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete_all(&self, ids: Vec<String>) -> anyhow::Result<()> {
        let request = entry::BatchDeleteEntryRequest { ids };
        self.entries.clone().batch_delete_entry(request).await?;
        Ok(())
    }

    /// Gives the server a bundle of another trust domain.
    ///
    /// # Errors
    /// As the server says.
    pub async fn set_bundle(&self, trust_domain: &str) -> anyhow::Result<()> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        let bundle = types::Bundle {
            trust_domain: trust_domain.into(),
            x509_authorities: vec![types::X509Certificate {
                asn1: certificate.der().to_vec(),
                tainted: false,
            }],
            ..types::Bundle::default()
        };
        let request = bundle::BatchSetFederatedBundleRequest {
            bundle: vec![bundle],
            output_mask: None,
        };
        let reply = self
            .bundles
            .clone()
            .batch_set_federated_bundle(request)
            .await?
            .into_inner();
        let status = reply
            .results
            .into_iter()
            .next()
            .and_then(|r| r.status)
            .unwrap_or_default();
        anyhow::ensure!(status.code == 0, "bundle not set: {}", status.message);
        Ok(())
    }

    /// Takes the bundle of another trust domain away; entries that name it are changed or deleted with it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete_bundle(&self, trust_domain: &str, mode: Mode) -> anyhow::Result<()> {
        let request = bundle::BatchDeleteFederatedBundleRequest {
            trust_domains: vec![trust_domain.into()],
            mode: mode.into(),
        };
        let reply = self
            .bundles
            .clone()
            .batch_delete_federated_bundle(request)
            .await?
            .into_inner();
        let status = reply
            .results
            .into_iter()
            .next()
            .and_then(|r| r.status)
            .unwrap_or_default();
        anyhow::ensure!(status.code == 0, "bundle not deleted: {}", status.message);
        Ok(())
    }
}
