//! What the values of a file mean, and what they are where it does not say.

use registrar_adapters::config::Mode;
use registrar_core::policy::{MaxDeletes, ParentForm, PodSelector};

use crate::read::{MINIMAL, config, errors, read, with};

#[test]
fn a_minimal_file_has_the_originals_defaults() {
    let config = config("");
    assert_eq!(
        config.common.server_address.to_string(),
        "unix://SOCKETPATH"
    );
    assert_eq!(config.common.metrics_addr.as_deref(), Some(":8080"));
    assert!(config.common.disabled_namespaces.contains("kube-system"));
    assert!(config.common.disabled_namespaces.contains("kube-public"));
    assert!(
        !config
            .common
            .disabled_namespaces
            .contains("kube-node-lease")
    );
    let Mode::Webhook(webhook) = config.mode else {
        panic!("webhook is the default mode")
    };
    assert_eq!(
        (
            &*webhook.addr,
            &*webhook.cert_path,
            &*webhook.key_path,
            &*webhook.cacert_path
        ),
        (":8443", "cert.pem", "key.pem", "cacert.pem")
    );
    assert!(!webhook.insecure_skip_client_verification);
}

#[test]
fn reconcile_mode_has_the_originals_defaults() {
    let config = config("mode = \"reconcile\"");
    let Mode::Reconcile(reconcile) = config.mode else {
        panic!("reconcile mode")
    };
    assert_eq!(reconcile.controller_name, "spire-k8s-registrar");
    let policy = reconcile.policy;
    assert_eq!(
        policy.root.to_string(),
        "spiffe://domain.test/spire-k8s-registrar/CLUSTER/node"
    );
    assert_eq!(policy.pods.parent, ParentForm::NodeAlias);
    assert_eq!(
        &*policy.pods.selectors,
        [PodSelector::Namespace, PodSelector::PodName]
    );
    assert_eq!(policy.max_deletes, MaxDeletes::Percent(30));
}

#[test]
fn an_old_lock_kind_is_taken_with_one_warning() {
    let text = with("leader_election = true\nleader_election_resource_lock = \"configmaps\"");
    let (config, problems) = read(&text).expect("starts");
    assert!(config.common.leader_election);
    assert_eq!(problems.list.len(), 1, "{problems}");
}

#[test]
fn a_server_address_is_a_socket_or_one_or_several_hosts_with_ports() {
    let tcp = |address: &str| {
        with(&format!(
            "agent_socket_path = \"/run/agent.sock\"\nserver_address = \"{address}\""
        ))
    };
    for address in [
        "spire:8081",
        "10.0.0.1:1,[fd00::1]:2",
        "unix:///run/api.sock",
    ] {
        let (config, _) = read(&tcp(address)).expect(address);
        assert_eq!(config.common.server_address.to_string(), address);
    }
    for address in ["spire", "https://spire:8081", "spire:0", "a:1,,b:1"] {
        let found = errors(&tcp(address));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("server_address: "), "{found:?}");
    }
}

#[test]
fn a_lock_that_is_none_and_a_name_that_no_lease_can_have_are_refused() {
    let lock = with("leader_election_resource_lock = \"zookeeper\"");
    let found = errors(&lock);
    assert_eq!(found, ["leader_election_resource_lock is \"zookeeper\""]);
    let named = |name: &str, elected: bool| {
        with(&format!(
            "mode = \"reconcile\"\ncontroller_name = \"{name}\"\nleader_election = {elected}"
        ))
    };
    for name in ["Registrar", "my_registrar", "-a", "a..b"] {
        let found = errors(&named(name, true));
        assert_eq!(found.len(), 1, "{found:?}");
        let wanted = format!("{name}-leader-election");
        assert!(
            found[0].contains(&wanted) && found[0].contains("controller_name"),
            "{found:?}"
        );
        assert!(
            read(&named(name, false)).is_ok(),
            "{name} without an election"
        );
    }
    assert!(read(&named("registrar.eu-1", true)).is_ok());
}

#[test]
fn a_trust_domain_may_be_written_as_an_id() {
    let text = MINIMAL.replace("domain.test", "spiffe://domain.test");
    let (config, _) = read(&text).expect("starts");
    assert_eq!(config.common.trust_domain.as_str(), "domain.test");
}

#[test]
fn pod_selectors_must_name_one_pod() {
    for (text, ok) in [
        ("pod_selectors = [\"pod-uid\"]", true),
        (
            "pod_selectors = [\"ns\", \"pod-name\", \"sa\", \"node-name\"]",
            true,
        ),
        ("pod_selectors = [\"pod-name\"]", false),
        ("pod_selectors = [\"ns\", \"sa\"]", false),
        ("pod_selectors = []", false),
        ("pod_selectors = [\"pod-uid\", \"image\"]", false),
    ] {
        assert_eq!(
            read(&with(&format!("mode = \"reconcile\"\n{text}"))).is_ok(),
            ok,
            "{text}"
        );
    }
    assert!(
        read(&with("pod_selectors = [\"pod-uid\", \"node-name\"]")).is_err(),
        "webhook mode"
    );
}

#[test]
fn every_example_file_is_valid() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut checked = 0;
    for name in ["seed.conf", "webhook", "reconcile", "crd"] {
        let mut path = std::path::Path::new(examples).join(name);
        if path.is_dir() {
            path.push("k8s-workload-registrar.conf");
        }
        let (_, problems) =
            registrar_adapters::config::load(&path).unwrap_or_else(|p| panic!("{p}"));
        assert!(problems.list.is_empty(), "{problems}");
        checked += 1;
    }
    assert_eq!(checked, 4);
}
