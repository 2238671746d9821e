//! A serving certificate that an authority issues to us, kept young while the server runs.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use registrar_core::spiffe::SpiffeId;
use rustls::pki_types::PrivateKeyDer;

use super::certificates::{CertificateError, Clients, ServingCertificate, Tls};

/// Between two tries, at first; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between two tries, at last.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The clock is looked at again after at most this time: it may be set, and a machine may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Who issues certificates: a SPIRE Server.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// A certificate for a request in DER, with those between it and its CA.
    ///
    /// # Errors
    /// Why there is none, in one line.
    async fn issue(&self, request: Vec<u8>) -> Result<Issued, String>;
}

/// What was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// In DER, ours first.
    pub chain: Vec<Vec<u8>>,
    /// When ours ends.
    pub expires_at: SystemTime,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Try {
    /// There is a new certificate, in use from now on.
    Issued {
        /// When it ends.
        expires_at: SystemTime,
    },
    /// There is none; what was in use stays. Said once a cause.
    Failed(String),
}

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The SPIFFE ID.
    pub id: SpiffeId,
    /// The name that the API server expects.
    pub dns_name: String,
}

/// Asks until there is a certificate, and returns what to serve, and a task (to be spawned) that renews it when half of
/// its life is over, for as long as it takes. Nobody but us ever holds the key; it is never written to a file.
pub async fn issued(
    issuer: Arc<dyn Issuer>,
    named: Named,
    told: impl Fn(Try) + Send + Sync + 'static,
) -> (Tls, impl Future<Output = ()> + Send) {
    let mut keeper = Keeper {
        issuer,
        named,
        told,
        last_failure: None,
    };
    let (tls, expires_at) = keeper
        .until_it_works(|serving| Tls::new(serving, &Clients::Any))
        .await;
    let task = keeper.renew(tls.clone(), expires_at);
    (tls, task)
}

struct Keeper<F> {
    issuer: Arc<dyn Issuer>,
    named: Named,
    told: F,
    last_failure: Option<String>,
}

impl<F: Fn(Try) + Send + Sync + 'static> Keeper<F> {
    async fn renew(mut self, tls: Tls, mut expires_at: SystemTime) {
        loop {
            let half = half_life(SystemTime::now(), expires_at);
            while let Some(rest) = left_until(half) {
                tokio::time::sleep(rest.min(LOOK_EVERY)).await;
            }
            let exchange = |serving: &ServingCertificate| tls.exchange(serving, &Clients::Any);
            ((), expires_at) = self.until_it_works(exchange).await;
        }
    }

    async fn until_it_works<T>(
        &mut self,
        take: impl Fn(&ServingCertificate) -> Result<T, CertificateError>,
    ) -> (T, SystemTime) {
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = self.once().await.and_then(|(serving, expires_at)| {
                let taken = take(&serving).map_err(|e| e.to_string())?;
                Ok((taken, expires_at))
            });
            match tried {
                Ok((taken, expires_at)) => {
                    self.last_failure = None;
                    (self.told)(Try::Issued { expires_at });
                    return (taken, expires_at);
                }
                Err(why) => {
                    if self.last_failure.as_ref() != Some(&why) {
                        self.last_failure = Some(why.clone());
                        (self.told)(Try::Failed(why));
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self) -> Result<(ServingCertificate, SystemTime), String> {
        let (key, request) = request(&self.named)?;
        let issued = self
            .issuer
            .issue(request)
            .await
            .map_err(|why| format!("unable to make Mint SVID Request: {why}"))?;
        if issued.chain.is_empty() {
            return Err("no certificates in Mint SVID Response".into());
        }
        let chain = issued.chain.into_iter().map(Into::into).collect();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let serving = ServingCertificate::from_der(chain, key, "the X509-SVID of the webhook")
            .map_err(|e| e.to_string())?;
        Ok((serving, issued.expires_at))
    }
}

/// A new key, and a request for a certificate of it.
fn request(named: &Named) -> Result<(KeyPair, Vec<u8>), String> {
    let make = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![named.dns_name.clone()])?;
        params.distinguished_name = DistinguishedName::new();
        let id = SanType::URI(named.id.to_string().try_into()?);
        params.subject_alt_names.push(id);
        let request = params.serialize_request(&key)?;
        Ok((key, request.der().to_vec()))
    };
    make().map_err(|e| format!("no certificate request for {:?}: {e}", named.dns_name))
}

/// When half of what is left of a certificate's life is over.
fn half_life(now: SystemTime, expires_at: SystemTime) -> SystemTime {
    let left = expires_at.duration_since(now).unwrap_or_default();
    // One that ends at once is not asked for again at once.
    now + (left / 2).max(Duration::from_secs(1))
}

fn left_until(then: SystemTime) -> Option<Duration> {
    let left = then.duration_since(SystemTime::now()).ok()?;
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use x509_parser::{
        certification_request::X509CertificationRequest,
        extensions::{GeneralName, ParsedExtension},
        prelude::FromDer,
    };

    use super::*;

    fn named() -> Named {
        Named {
            id: SpiffeId::parse("spiffe://example.org/k8s-workload-registrar/demo/webhook")
                .expect("an ID"),
            dns_name: "k8s-workload-registrar.spire.svc".into(),
        }
    }

    #[test]
    fn a_request_names_one_uri_and_one_dns_name() {
        let (_, der) = request(&named()).expect("a request");
        let (_, request) = X509CertificationRequest::from_der(&der).expect("a request in DER");
        request.verify_signature().expect("it is signed");
        let names: Vec<String> = request
            .requested_extensions()
            .expect("extensions")
            .filter_map(|e| match e {
                ParsedExtension::SubjectAlternativeName(san) => Some(&san.general_names),
                _ => None,
            })
            .flatten()
            .map(|name| match name {
                GeneralName::URI(uri) => format!("URI {uri}"),
                GeneralName::DNSName(name) => format!("DNS {name}"),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            names,
            [
                "DNS k8s-workload-registrar.spire.svc",
                "URI spiffe://example.org/k8s-workload-registrar/demo/webhook"
            ]
        );
    }

    #[test]
    fn a_certificate_is_renewed_when_half_of_its_life_is_over_and_never_in_a_tight_loop() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (left, wait) in [(3600, 1800), (10, 5), (1, 1), (0, 1)] {
            let half = half_life(now, now + Duration::from_secs(left));
            assert_eq!(half, now + Duration::from_secs(wait), "{left}");
        }
        let ended = half_life(now, now - Duration::from_secs(5));
        assert_eq!(ended, now + Duration::from_secs(1));
    }

    /// Issues what a test CA signs, after some failures.
    struct TestIssuer {
        failures: std::sync::Mutex<Vec<Result<(), &'static str>>>,
        ca: rcgen::Issuer<'static, KeyPair>,
        life: Duration,
    }

    #[async_trait]
    impl Issuer for TestIssuer {
        async fn issue(&self, request: Vec<u8>) -> Result<Issued, String> {
            let next = self.failures.lock().expect("one thread").pop();
            let chain = match next {
                Some(Err("empty")) => Vec::new(),
                Some(Err(why)) => return Err(why.to_owned()),
                _ => {
                    let der = request.as_slice().into();
                    let params = rcgen::CertificateSigningRequestParams::from_der(&der)
                        .map_err(|e| e.to_string())?;
                    let certificate = params.signed_by(&self.ca).map_err(|e| e.to_string())?;
                    vec![certificate.der().to_vec()]
                }
            };
            Ok(Issued {
                chain,
                expires_at: SystemTime::now() + self.life,
            })
        }
    }

    #[tokio::test]
    async fn it_is_asked_for_until_it_comes_and_each_cause_is_told_once() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = TestIssuer {
            failures: vec![Ok(()), Err("empty"), Err("away"), Err("away")].into(),
            ca: rcgen::Issuer::new(params, key),
            life: Duration::from_secs(3600),
        };
        let (sender, tries) = std::sync::mpsc::channel();
        let told = move |tried| {
            let word = match tried {
                Try::Issued { .. } => "issued".to_owned(),
                Try::Failed(why) => why,
            };
            let _ = sender.send(word);
        };
        let (_, task) = issued(Arc::new(issuer), named(), told).await;
        let seen: Vec<String> = tries.try_iter().collect();
        assert_eq!(
            seen,
            [
                "unable to make Mint SVID Request: away",
                "no certificates in Mint SVID Response",
                "issued"
            ]
        );
        drop(task);
    }
}
