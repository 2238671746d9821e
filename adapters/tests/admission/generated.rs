//! What `generate-config` makes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registrar_adapters::admission::{
    Clients, ServingCertificate,
    generate::{Generated, KeyAlgorithm, Reached, Wanted, generate},
};
use serde_json::Value;

use crate::pki::named;

fn wanted() -> Wanted {
    Wanted {
        namespace: "spire".into(),
        service: "k8s-workload-registrar".into(),
        keys: [KeyAlgorithm::EcP256; 3],
        ttl: Some(Duration::from_secs(8760 * 3600)),
        reached: Reached::Service,
        failure_policy: "Ignore",
        excluded: vec!["kube-system".into(), "spire".into()],
        kubeconfig_path: "/etc/kubernetes/kubeconfig.yaml".into(),
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock"),
    }
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn checked(generated: &Generated) {
    let serving = ServingCertificate::from_pem(
        named("cert", &generated.server_certificate),
        named("key", &generated.server_key),
    );
    serving.expect("a server's certificate");
    Clients::from_pem(named("ca", &generated.ca_certificate)).expect("a CA");
}

#[test]
fn the_objects_have_the_documented_names_and_fit_together() {
    let generated = generate(&wanted()).expect("made");
    checked(&generated);
    let map = yaml(&generated.config_map);
    assert_eq!(map["metadata"]["name"], "k8s-workload-registrar-certs");
    assert_eq!(map["data"]["server-cert.pem"], generated.server_certificate);
    assert_eq!(map["data"]["cacert.pem"], generated.ca_certificate);
    let secret = yaml(&generated.secret);
    assert_eq!(secret["metadata"]["name"], "k8s-workload-registrar-secret");
    assert_eq!(secret["stringData"]["server-key.pem"], generated.server_key);
    let kubeconfig = yaml(&generated.kubeconfig);
    assert_eq!(
        kubeconfig["users"][0]["name"],
        "k8s-workload-registrar.spire.svc"
    );
    let webhook = yaml(&generated.webhook);
    assert_eq!(
        webhook["metadata"]["name"],
        "k8s-workload-registrar-webhook"
    );
    let only = &webhook["webhooks"][0];
    assert_eq!(only["name"], "k8s-workload-registrar.spire.svc");
    assert_eq!(only["sideEffects"], "NoneOnDryRun");
    assert_eq!(only["failurePolicy"], "Ignore");
    assert_eq!(only["clientConfig"]["service"]["path"], "/validate");
    let expression = &only["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(expression["operator"], "NotIn");
    assert_eq!(
        expression["values"],
        serde_json::json!(["kube-system", "spire"])
    );
    let admission = yaml(&generated.admission_configuration);
    let configuration = &admission["plugins"][0]["configuration"];
    assert_eq!(
        configuration["kubeConfigFile"],
        "/etc/kubernetes/kubeconfig.yaml"
    );
}

#[test]
fn every_key_type_and_an_endless_validity_work() {
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::EcP384] {
        let endless = Wanted {
            keys: [algorithm; 3],
            ttl: None,
            ..wanted()
        };
        checked(&generate(&endless).expect("made"));
    }
}

#[test]
fn names_that_could_not_be_objects_are_refused() {
    for name in ["", "Upper", "a_b", "a\nb", "-a", "a: b", &"x".repeat(64)] {
        let odd = Wanted {
            namespace: name.into(),
            ..wanted()
        };
        let error = generate(&odd).expect_err("refused");
        assert!(error.contains("no DNS label"), "{name:?}: {error}");
    }
    for original in ["rsa-2048", "rsa-4096", "ec-p224", "ec-p521"] {
        let error = KeyAlgorithm::parse(original).expect_err("not made here");
        assert!(
            error.contains(original) && error.contains("ec-p256") && error.contains("another tool"),
            "{error}"
        );
    }
    assert!(
        KeyAlgorithm::parse("dsa")
            .expect_err("none")
            .contains("ec-p256")
    );
}
