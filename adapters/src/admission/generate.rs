//! What `generate-config` makes: keys and certificates for the API server and for us, and the objects that carry them.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm, date_time_ymd,
};

/// The name of the ValidatingWebhookConfiguration.
pub const WEBHOOK_NAME: &str = "k8s-workload-registrar-webhook";
/// A clock that is behind ours still takes the certificates.
const BACKDATED: Duration = Duration::from_secs(300);

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// `ec-p256`
    EcP256,
    /// `ec-p384`
    EcP384,
}

impl KeyAlgorithm {
    /// By its name.
    ///
    /// # Errors
    /// If it is none, or none that can be made here.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "ec-p256" => Ok(KeyAlgorithm::EcP256),
            "ec-p384" => Ok(KeyAlgorithm::EcP384),
            "rsa-2048" | "rsa-4096" | "ec-p224" | "ec-p521" => Err(format!(
                "keys of type {name:?} are not made here, because the cryptography in this program makes none: use \
                 \"ec-p256\" or \"ec-p384\", or make key and certificate with another tool; RSA keys are served as well"
            )),
            _ => Err(format!(
                "{name:?} is no type of key; use \"ec-p256\" or \"ec-p384\""
            )),
        }
    }

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            KeyAlgorithm::EcP256 => &PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcP384 => &PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// How the API server reaches us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Through the Service, on port 443.
    Service,
    /// Directly: host and port.
    Url {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Our namespace.
    pub namespace: String,
    /// Our Service.
    pub service: String,
    /// Of the CA, of the server, of the client.
    pub keys: [KeyAlgorithm; 3],
    /// How long the certificates are valid; `None` is for ever.
    pub ttl: Option<Duration>,
    /// How the API server reaches us.
    pub reached: Reached,
    /// `Ignore` or `Fail`.
    pub failure_policy: &'static str,
    /// Namespaces that the webhook leaves alone, ours among them.
    pub excluded: Vec<String>,
    /// Where the API server will find the kubeconfig.
    pub kubeconfig_path: String,
    /// Now, since 1970.
    pub now: Duration,
}

/// Everything that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Our certificate, PEM.
    pub server_certificate: String,
    /// Our key, PEM.
    pub server_key: String,
    /// The certificate of the CA of both sides, PEM.
    pub ca_certificate: String,
    /// The ConfigMap with the certificates.
    pub config_map: String,
    /// The Secret with our key.
    pub secret: String,
    /// The kubeconfig with the API server's client certificate and key.
    pub kubeconfig: String,
    /// The AdmissionConfiguration that makes the API server use it.
    pub admission_configuration: String,
    /// The ValidatingWebhookConfiguration.
    pub webhook: String,
}

/// Makes all of it.
///
/// # Errors
/// If a name is none, or a key or certificate cannot be made.
pub fn generate(wanted: &Wanted) -> Result<Generated, String> {
    for (what, name) in [
        ("namespace", &wanted.namespace),
        ("service", &wanted.service),
    ] {
        if !is_label(name) {
            return Err(format!(
                "{what} {name:?} is no DNS label: use lower case letters, digits and dashes"
            ));
        }
    }
    if let Some(odd) = wanted.excluded.iter().find(|n| !is_label(n)) {
        return Err(format!("excluded namespace {odd:?} is no DNS label"));
    }
    if wanted.kubeconfig_path.chars().any(char::is_control) {
        return Err(format!(
            "the path {:?} cannot be written into a file",
            wanted.kubeconfig_path
        ));
    }
    let service_host = format!("{}.{}.svc", wanted.service, wanted.namespace);
    let (host, user) = match &wanted.reached {
        Reached::Service => (service_host.clone(), service_host.clone()),
        Reached::Url { host, port } => (host.clone(), format!("{host}:{port}")),
    };
    let failed = |e: rcgen::Error| format!("a certificate cannot be made: {e}");
    let made = certificates(wanted, &host).map_err(failed)?;
    Ok(Generated {
        config_map: format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: k8s-workload-registrar-certs\n  \
             namespace: {}\ndata:\n  server-cert.pem: |\n{}  cacert.pem: |\n{}",
            wanted.namespace,
            indented(&made.server, 4),
            indented(&made.ca, 4)
        ),
        secret: format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: k8s-workload-registrar-secret\n  \
             namespace: {}\ntype: Opaque\nstringData:\n  server-key.pem: |\n{}",
            wanted.namespace,
            indented(&made.server_key, 4)
        ),
        kubeconfig: format!(
            "# The API server shows this certificate to the webhook.\napiVersion: v1\nkind: Config\nusers:\n\
             - name: {user:?}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            base64(made.client.as_bytes()),
            base64(made.client_key.as_bytes())
        ),
        admission_configuration: format!(
            "# The API server's --admission-control-config-file.\n\
             apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
             - name: ValidatingAdmissionWebhook\n  configuration:\n    \
             apiVersion: apiserver.config.k8s.io/v1\n    kind: WebhookAdmissionConfiguration\n    \
             kubeConfigFile: {:?}\n",
            wanted.kubeconfig_path
        ),
        webhook: webhook(wanted, &service_host, &made.ca),
        server_certificate: made.server,
        server_key: made.server_key,
        ca_certificate: made.ca,
    })
}

fn webhook(wanted: &Wanted, name: &str, ca: &str) -> String {
    let target = match &wanted.reached {
        Reached::Service => format!(
            "    service:\n      namespace: {}\n      name: {}\n      path: /validate\n",
            wanted.namespace, wanted.service
        ),
        Reached::Url { host, port } => {
            let url = match host.contains(':') {
                true => format!("https://[{host}]:{port}/validate"),
                false => format!("https://{host}:{port}/validate"),
            };
            format!("    url: {url:?}\n")
        }
    };
    let excluded: String = wanted
        .excluded
        .iter()
        .map(|n| format!("      - {n:?}\n"))
        .collect();
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata:\n  \
         name: {WEBHOOK_NAME}\nwebhooks:\n- name: {name}\n  admissionReviewVersions: [v1, v1beta1]\n  \
         clientConfig:\n{target}    caBundle: {}\n  failurePolicy: {}\n  sideEffects: NoneOnDryRun\n  \
         timeoutSeconds: 10\n  namespaceSelector:\n    matchExpressions:\n    \
         - key: kubernetes.io/metadata.name\n      operator: NotIn\n      values:\n{excluded}  rules:\n  \
         - apiGroups: [\"\"]\n    apiVersions: [v1]\n    operations: [CREATE, DELETE]\n    \
         resources: [pods]\n    scope: Namespaced\n",
        base64(ca.as_bytes()),
        wanted.failure_policy,
    )
}

struct Made {
    ca: String,
    server: String,
    server_key: String,
    client: String,
    client_key: String,
}

fn certificates(wanted: &Wanted, host: &str) -> Result<Made, rcgen::Error> {
    let [ca_key, server_key, client_key] = wanted.keys;
    let ca_key = KeyPair::generate_for(ca_key.algorithm())?;
    let mut ca = params(wanted, "K8S WORKLOAD REGISTRAR CA", Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let leaf = |name, names, algorithm: KeyAlgorithm, usage| {
        let key = KeyPair::generate_for(algorithm.algorithm())?;
        let mut leaf = params(wanted, name, names)?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![usage];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&key, &issuer)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    let (server, server_key) = leaf(
        "K8S WORKLOAD REGISTRAR SERVER",
        vec![host.to_owned()],
        server_key,
        ExtendedKeyUsagePurpose::ServerAuth,
    )?;
    let (client, client_key) = leaf(
        "K8S WORKLOAD REGISTRAR CLIENT",
        Vec::new(),
        client_key,
        ExtendedKeyUsagePurpose::ClientAuth,
    )?;
    Ok(Made {
        ca: ca_certificate.pem(),
        server,
        server_key,
        client,
        client_key,
    })
}

fn params(
    wanted: &Wanted,
    common_name: &str,
    names: Vec<String>,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + wanted.now.saturating_sub(BACKDATED);
    params.not_after = match wanted.ttl {
        Some(ttl) => epoch + (wanted.now + ttl),
        // RFC 5280: no well-defined end.
        None => date_time_ymd(9999, 12, 31) + Duration::from_secs(86_399),
    };
    Ok(params)
}

fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn indented(text: &str, by: usize) -> String {
    text.lines()
        .map(|line| format!("{:by$}{line}\n", ""))
        .collect()
}

/// As Kubernetes writes bytes into JSON: base64, quoted.
fn base64(bytes: &[u8]) -> String {
    let bytes = k8s_openapi::ByteString(bytes.to_vec());
    serde_json::to_string(&bytes).unwrap_or_default()
}
