//! What the server issues to ourselves: an X509-SVID, and the bundle that it is checked with.

use registrar_core::ports::Failure;

use super::{
    client::SpireClient,
    pb::{
        bundle,
        svid::{self, svid_client::SvidClient},
        types,
    },
};

/// An X509-SVID that the server minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintedSvid {
    /// In DER, the SVID first.
    pub chain: Vec<Vec<u8>>,
    /// In seconds since 1970.
    pub expires_at: i64,
}

impl SpireClient {
    /// Mints an X509-SVID for a certificate request in DER, with the server's default lifetime.
    ///
    /// # Errors
    /// As the server says.
    pub async fn mint_x509_svid(&self, csr: Vec<u8>) -> Result<MintedSvid, Failure> {
        let message = svid::MintX509svidRequest { csr, ttl: 0 };
        let reply = self
            .within(self.deadlines.write, message, |r| {
                let mut client = SvidClient::new(self.wire.clone());
                async move { client.mint_x509svid(r).await }
            })
            .await
            .map_err(|status| self.failure(&status, false))?;
        let svid = reply.svid.unwrap_or_default();
        Ok(MintedSvid {
            chain: svid.cert_chain,
            expires_at: svid.expires_at,
        })
    }

    /// The CA certificates of the server's own trust domain, in DER.
    ///
    /// # Errors
    /// As the server says.
    pub async fn x509_authorities(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let message = bundle::GetBundleRequest {
            output_mask: Some(types::BundleMask {
                x509_authorities: true,
                ..types::BundleMask::default()
            }),
        };
        let reply = self
            .within(self.deadlines.write, message, |r| {
                let mut client = self.bundles();
                async move { client.get_bundle(r).await }
            })
            .await
            .map_err(|status| self.failure(&status, false))?;
        let authorities = reply.x509_authorities.into_iter();
        Ok(authorities.map(|a| a.asn1).collect())
    }
}
