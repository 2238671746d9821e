//! The certificate that we serve, and whose client certificates we accept.

use std::{fmt, sync::Arc};

use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate or key cannot be used. The text names where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Our own certificate and key.
    #[error("unable to load server keypair: {0}")]
    KeyPair(String),
    /// The file of the CA cannot be read.
    #[error("unable to read cacert file: {0}")]
    CaUnreadable(String),
    /// There is no certificate in it.
    #[error("unable to parse cacert file: {0}")]
    CaMalformed(String),
}

/// The certificate that we serve, with its key.
#[derive(Clone)]
pub struct ServingCertificate(Arc<CertifiedKey>);

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServingCertificate({} certificates)", self.0.cert.len())
    }
}

/// Bytes and where they come from: `cert_path "cert.pem"`.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl ServingCertificate {
    /// From PEM: the certificate first, then those between it and its CA.
    ///
    /// # Errors
    /// If there is no certificate or no key, if they do not belong together, or if the certificate is none that a server
    /// can show now.
    pub fn from_pem(certificate: Named<'_>, key: Named<'_>) -> Result<Self, CertificateError> {
        let chain = pem_certificates(certificate).map_err(CertificateError::KeyPair)?;
        let private = PrivateKeyDer::from_pem_slice(key.bytes).map_err(|e| {
            let name = key.name;
            CertificateError::KeyPair(format!("{name} holds no private key in PEM: {e:?}"))
        })?;
        Self::checked(chain, private, certificate.name, key.name)
    }

    /// From memory; `name` is what messages call both.
    ///
    /// # Errors
    /// As [`ServingCertificate::from_pem`].
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        name: &str,
    ) -> Result<Self, CertificateError> {
        Self::checked(chain, key, name, name)
    }

    fn checked(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate_name: &str,
        key_name: &str,
    ) -> Result<Self, CertificateError> {
        let unusable = CertificateError::KeyPair;
        let Some(first) = chain.first() else {
            return Err(unusable(format!("{certificate_name} holds no certificate")));
        };
        serves_now(first).map_err(|why| unusable(format!("{certificate_name}: {why}")))?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|e| unusable(format!("{key_name} holds a key that cannot be used: {e}")))?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match().map_err(|_| {
            unusable(format!(
                "{key_name} does not belong to the certificate of {certificate_name}"
            ))
        })?;
        Ok(Self(Arc::new(pair)))
    }
}

fn pem_certificates(from: Named<'_>) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = from.name;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(from.bytes)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{name} is no certificate in PEM: {e:?}"))?;
    if chain.is_empty() {
        return Err(format!("{name} holds no certificate in PEM"));
    }
    Ok(chain)
}

/// Whether a server can show this certificate now.
fn serves_now(der: &CertificateDer<'_>) -> Result<(), String> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|e| format!("its certificate cannot be read: {e}"))?;
    let validity = certificate.validity();
    if !validity.is_valid() {
        return Err(format!(
            "its certificate is valid from {} to {}, which is not now: make a new one",
            validity.not_before, validity.not_after
        ));
    }
    let usage = certificate
        .extended_key_usage()
        .map_err(|e| format!("its certificate cannot be read: {e}"))?;
    if usage.is_some_and(|u| !u.value.server_auth && !u.value.any) {
        return Err(
            "its certificate is not one for a server (extended key usage serverAuth)".into(),
        );
    }
    Ok(())
}

/// Whose requests are answered.
#[derive(Debug, Clone)]
pub enum Clients {
    /// Anyone's.
    Any,
    /// Those that show a certificate signed by one of these.
    SignedBy(Arc<RootCertStore>),
}

impl Clients {
    /// Those whose certificate is signed by one of the certificates in this PEM.
    ///
    /// # Errors
    /// If there is none in it.
    pub fn from_pem(ca: Named<'_>) -> Result<Self, CertificateError> {
        let certificates = pem_certificates(ca).map_err(CertificateError::CaMalformed)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|e| {
                CertificateError::CaMalformed(format!("{}: not a CA's certificate: {e}", ca.name))
            })?;
        }
        Ok(Clients::SignedBy(Arc::new(roots)))
    }
}

/// What the server shows and asks for; it can be exchanged while the server runs. Clones share it.
#[derive(Clone)]
pub struct Tls(RustlsConfig);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// To begin with.
    ///
    /// # Errors
    /// If the two cannot be used together.
    pub fn new(serving: &ServingCertificate, clients: &Clients) -> Result<Self, CertificateError> {
        Ok(Self(RustlsConfig::from_config(config(serving, clients)?)))
    }

    /// From now on, for new connections.
    ///
    /// # Errors
    /// As [`Tls::new`]; then nothing is exchanged.
    pub fn exchange(
        &self,
        serving: &ServingCertificate,
        clients: &Clients,
    ) -> Result<(), CertificateError> {
        self.0.reload_from_config(config(serving, clients)?);
        Ok(())
    }

    pub(super) fn config(&self) -> RustlsConfig {
        self.0.clone()
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Always {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn config(
    serving: &ServingCertificate,
    clients: &Clients,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| CertificateError::KeyPair(e.to_string()))?;
    let builder = match clients {
        Clients::Any => builder.with_no_client_auth(),
        Clients::SignedBy(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
                .build()
                .map_err(|e| CertificateError::CaMalformed(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Always(serving.0.clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
