//! Certificates in files, looked at again and again: Kubernetes exchanges the files of a Secret under our feet.

use std::{path::PathBuf, time::Duration};

use tokio::io::AsyncReadExt;

use super::certificates::{CertificateError, Clients, Named, ServingCertificate, Tls};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// Larger files hold no certificates.
const LARGEST: u64 = 1 << 20;

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Key `cert_path`.
    pub certificate: PathBuf,
    /// Key `key_path`.
    pub key: PathBuf,
    /// Key `cacert_path`; `None` lets anyone in, and the file is not even read.
    pub ca: Option<PathBuf>,
}

/// What a look at the files found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Their content changed, and is in use from now on.
    Exchanged,
    /// Their content cannot be used; what was in use stays. Said once a cause.
    Kept(CertificateError),
}

#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

impl CertificateFiles {
    /// Reads the files and says what to serve, and a task (to be spawned) that looks at them again and again and exchanges
    /// what is served; it tells `told`.
    ///
    /// # Errors
    /// If a file is missing, or what is in them cannot be used.
    pub async fn load(
        self,
        told: impl Fn(News) + Send + 'static,
    ) -> Result<(Tls, impl Future<Output = ()> + Send), CertificateError> {
        let contents = self.read().await?;
        let (serving, clients) = self.parse(&contents)?;
        let tls = Tls::new(&serving, &clients)?;
        let task = self.watch(tls.clone(), contents, told);
        Ok((tls, task))
    }

    async fn watch(self, tls: Tls, mut current: Contents, told: impl Fn(News) + Send) {
        let mut last_told = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let seen = match self.read().await {
                Ok(seen) if seen == current => {
                    last_told = None;
                    continue;
                }
                Ok(seen) => self
                    .parse(&seen)
                    .and_then(|(serving, clients)| tls.exchange(&serving, &clients))
                    .map(|()| seen),
                Err(error) => Err(error),
            };
            match seen {
                Ok(seen) => {
                    current = seen;
                    last_told = None;
                    told(News::Exchanged);
                }
                Err(error) => {
                    if last_told.as_ref() != Some(&error) {
                        last_told = Some(error.clone());
                        told(News::Kept(error));
                    }
                }
            }
        }
    }

    fn names(&self) -> (String, String, String) {
        let name = |key: &str, path: &PathBuf| format!("{key} {:?}", path.display().to_string());
        (
            name("cert_path", &self.certificate),
            name("key_path", &self.key),
            self.ca
                .as_ref()
                .map(|p| name("cacert_path", p))
                .unwrap_or_default(),
        )
    }

    async fn read(&self) -> Result<Contents, CertificateError> {
        let (certificate_name, key_name, ca_name) = self.names();
        let pair = |name: &str, e| CertificateError::KeyPair(format!("{name} cannot be read: {e}"));
        let certificate = read(&self.certificate)
            .await
            .map_err(|e| pair(&certificate_name, e))?;
        let key = read(&self.key).await.map_err(|e| pair(&key_name, e))?;
        let ca = match &self.ca {
            Some(path) => Some(read(path).await.map_err(|e| {
                CertificateError::CaUnreadable(format!("{ca_name} cannot be read: {e}"))
            })?),
            None => None,
        };
        Ok(Contents {
            certificate,
            key,
            ca,
        })
    }

    fn parse(
        &self,
        contents: &Contents,
    ) -> Result<(ServingCertificate, Clients), CertificateError> {
        let (certificate_name, key_name, ca_name) = self.names();
        let named = |name, bytes| Named { name, bytes };
        let serving = ServingCertificate::from_pem(
            named(&certificate_name, &contents.certificate),
            named(&key_name, &contents.key),
        )?;
        let clients = match &contents.ca {
            Some(ca) => Clients::from_pem(named(&ca_name, ca))?,
            None => Clients::Any,
        };
        Ok((serving, clients))
    }
}

async fn read(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
