//! Certificates to test with.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use registrar_adapters::admission::{
    AdmissionRequest, Clients, Endpoints, Limits, ServingCertificate, Tls, Validator, Verdict,
    certificates::Named, serve,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// A certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: String,
}

/// What a certificate is for, and when.
#[derive(Clone, Copy)]
pub enum Made {
    Server,
    Client,
    ExpiredServer,
    ExpiredClient,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub fn issue(&self, made: Made) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.extended_key_usages = vec![match made {
            Made::Server | Made::ExpiredServer => ExtendedKeyUsagePurpose::ServerAuth,
            Made::Client | Made::ExpiredClient => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if matches!(made, Made::ExpiredServer | Made::ExpiredClient) {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

pub fn named<'a>(name: &'a str, text: &'a str) -> Named<'a> {
    Named {
        name,
        bytes: text.as_bytes(),
    }
}

/// Admits everything.
pub struct Admits;

#[async_trait]
impl Validator for Admits {
    async fn validate(&self, _: AdmissionRequest) -> Verdict {
        Verdict::allowed()
    }
}

/// A server that runs, and how to reach it.
pub struct Running {
    pub address: SocketAddr,
    pub ca: Ca,
    pub client: Pair,
    pub stop: Option<oneshot::Sender<()>>,
    pub ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub async fn with(limits: Limits, anyone: bool) -> Self {
        Self::serving(limits, Arc::new(Admits), anyone).await
    }

    pub async fn serving(limits: Limits, validator: Arc<dyn Validator>, anyone: bool) -> Self {
        let ca = Ca::new("test CA");
        let pair = ca.issue(Made::Server);
        let serving = ServingCertificate::from_pem(
            named("certificate", &pair.certificate),
            named("key", &pair.key),
        )
        .expect("a server's certificate");
        let clients = match anyone {
            true => Clients::Any,
            false => Clients::from_pem(named("ca", &ca.certificate)).expect("a CA"),
        };
        let tls = Tls::new(&serving, &clients).expect("both fit");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoints = Endpoints::new().at("/validate", validator);
        let stopped = async {
            let _ = stopped.await;
        };
        let serving = serve(listener, tls, endpoints, limits, |_, _| {}, stopped);
        Self {
            address,
            client: ca.issue(Made::Client),
            ca,
            stop: Some(stop),
            ended: tokio::spawn(serving),
        }
    }

    pub async fn usual() -> Self {
        Self::with(Limits::default(), false).await
    }

    /// Sends these bytes, says that there will be no more, and reads what comes back, if anything does.
    pub async fn talk_and_close(&self, bytes: &[u8]) -> String {
        let stream = self.connect(Some(&self.client), &[]).await;
        let mut stream = stream.expect("connected");
        // The server may have closed already.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection, with this client certificate or none.
    pub async fn connect(
        &self,
        client: Option<&Pair>,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.certificate.as_bytes()).expect("PEM");
        roots.add(ca).expect("a CA");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                builder
                    .with_client_auth_cert(vec![der], key)
                    .expect("a pair")
            }
        };
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Sends these bytes and reads until the server closes.
    pub async fn talk(&self, bytes: &[u8]) -> std::io::Result<String> {
        self.talk_as(Some(&self.client), bytes).await
    }

    pub async fn talk_as(&self, client: Option<&Pair>, bytes: &[u8]) -> std::io::Result<String> {
        let mut stream = self.connect(client, &[]).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            // A server need not say good-bye in TLS.
            Err(e) if answer.is_empty() => return Err(e),
            _ => {}
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

pub const REVIEW: &str =
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1"}}"#;
pub const ADMITTED: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u-1","allowed":true}}"#;

/// A whole HTTP/1.1 request that closes its connection.
pub fn post(body: &str) -> String {
    format!(
        "POST /validate?timeout=10s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
