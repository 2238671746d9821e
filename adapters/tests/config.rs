//! What configuration files mean, by table; the texts are the original registrar's where it had them.

use registrar_adapters::config::{Config, Mode, Problems, Severity, parse};
use registrar_core::policy::{DnsPolicy, IdentitySource, MaxDeletes, ParentForm, PodSelector};

const MINIMAL: &str =
    "trust_domain = \"domain.test\"\ncluster = \"CLUSTER\"\nserver_socket_path = \"SOCKETPATH\"\n";

fn read(text: &str) -> Result<(Config, Problems), Problems> {
    parse("registrar.conf", text.to_owned())
}

fn with(extra: &str) -> String {
    format!("{MINIMAL}{extra}\n")
}

fn config(extra: &str) -> Config {
    match read(&with(extra)) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{extra:?} is refused:\n{problems}"),
    }
}

fn errors(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => panic!("{text:?} is accepted"),
        Err(problems) => problems
            .list
            .into_iter()
            .filter(|p| p.severity == Severity::Error)
            .map(|p| p.message)
            .collect(),
    }
}

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
fn what_is_missing_is_said_in_the_originals_words() {
    for (text, expected) in [
        (
            "trust_domain = \"d\"\ncluster = \"c\"",
            "error parsing common config: server_address or server_socket_path must be specified",
        ),
        (
            "trust_domain = \"d\"\ncluster = \"c\"\nserver_address = \"spire:8081\"",
            "error parsing common config: agent_socket_path must be specified if the server is not a local socket",
        ),
        (
            "cluster = \"c\"\nserver_socket_path = \"s\"",
            "error parsing common config: trust_domain must be specified",
        ),
        (
            "trust_domain = \"d\"\nserver_socket_path = \"s\"",
            "error parsing common config: cluster must be specified",
        ),
        (
            &with("pod_label = \"a\"\npod_annotation = \"b\""),
            "error parsing common config: workload registration mode specification is incorrect, can't specify both pod_label and pod_annotation",
        ),
        (
            &with("mode = \"x\""),
            "error parsing common config: invalid mode \"x\", valid values are crd, webhook and reconcile",
        ),
        (
            &with("mode = \"crd\"\nidentity_template = \"a\"\npod_label = \"b\""),
            "workload registration configuration is incorrect, can only use one of identity_template, pod_annotation, or pod_label",
        ),
        (
            &with("mode = \"crd\"\nidentity_template = \"{{ .Context.X }}\""),
            "identity_template references non-existing context",
        ),
        (
            &with("mode = \"crd\"\ndns_name_templates = [\"{{.Context.X}}\"]"),
            "dns_name_template references non-existing context",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let found =
        errors("mode = \"reconcile\"\nlog_level = []\nmax_deletes = \"x\"\ndrift_interval = 5");
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn text_that_is_not_hcl_is_refused() {
    for text in [
        "INVALID",
        "a = ",
        "a = {",
        "a = [1",
        "a = \"x",
        "a = \"x\ny\"",
        "a = foo",
        "a = null",
        "/* x",
        "a = <<EOF\nx",
        "a = [1 2]",
        "}",
        "a = \"${x\"",
        "a = \"\\q\"",
        "; ",
        "\u{feff}x = 1",
    ] {
        let found = errors(text);
        assert!(
            found[0].starts_with("unable to decode configuration"),
            "{text:?}: {found:?}"
        );
    }
}

/// Forms that HCL 1 takes (hashicorp/hcl 1.0.0, run beside this table) and HCL 2 parsers refuse or read differently.
#[test]
fn hcl_1_is_read_by_its_own_rules() {
    for (text, level) in [
        ("\"log_level\" = \"warn\"", "Warn"),
        ("LOG_LEVEL = \"warn\"", "Warn"),
        ("log_level = \"error\" log_level = \"warn\"", "Warn"),
        ("log_level\n=\n\"warn\"", "Warn"),
        ("log_level = \"w\\x61rn\"", "Warn"),
        ("log_level = \"w\\141rn\"", "Warn"),
        (
            "log_level = <<EOF\nwarn\nEOF\nlog_level = \"debug\"",
            "Debug",
        ),
    ] {
        assert_eq!(
            format!("{:?}", config(text).common.log_level),
            level,
            "{text}"
        );
    }
    for (text, port) in [
        ("webhook_port = \"80\"", 80),
        ("webhook_port = 0120", 80),
        ("webhook_port = 0x50", 80),
    ] {
        let Mode::Crd(crd) = config(&format!("mode = \"crd\"\n{text}")).mode else {
            panic!()
        };
        assert_eq!(crd.webhook_port, port, "{text}");
    }
    let context = |text: &str| {
        let Mode::Crd(crd) = config(&format!("mode = \"crd\"\n{text}")).mode else {
            panic!()
        };
        let mut pairs: Vec<String> = crd
            .context
            .unwrap_or_default()
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        pairs.sort();
        pairs.join(" ")
    };
    for (text, expected) in [
        ("context { A = \"1\", B = \"2\" }", "A=1 B=2"),
        ("context { A = \"1\" B = \"2\" }", "A=1 B=2"),
        ("context\n{\nA = 1\n}", "A=1"),
        ("context = { \"A\" = \"1\" }", "A=1"),
        (
            "context { A = 1 }\ncontext { B = 2 }\ncontext = { C = 3 }",
            "A=1 B=2 C=3",
        ),
        (
            "context { A = \"100%{\" B = \"$${foo}\" C = \"a/${foo}/b\" }",
            "A=100%{ B=$${foo} C=a/${foo}/b",
        ),
        ("context { A = \"${x(\"y\")}\" }", "A=${x(\"y\")}"),
    ] {
        assert_eq!(context(text), expected, "{text}");
    }
}

#[test]
fn a_file_may_be_json() {
    let text = r#"{"trust_domain": "domain.test", "cluster": "c", "server_socket_path": "/s",
                   "mode": "crd", "context": {"Region": "eu"}, "dns_name_templates": []}"#;
    let Mode::Crd(crd) = read(text).map(|(c, _)| c).expect("JSON is accepted").mode else {
        panic!("crd mode")
    };
    assert_eq!(
        crd.context
            .and_then(|c| c.get("Region").cloned())
            .as_deref(),
        Some("eu")
    );
    let DnsPolicy::Templates { templates, .. } = crd.dns else {
        panic!("templates")
    };
    assert!(templates.is_empty(), "an explicit empty list is kept");
}

#[test]
fn lists_append_and_a_single_value_is_a_list() {
    let config = config(
        "disabled_namespaces = [\"a\"]\ndisabled_namespaces = [\"b\",]\ndisabled_namespaces = \"c\"",
    );
    for namespace in ["a", "b", "c"] {
        assert!(
            config.common.disabled_namespaces.contains(namespace),
            "{namespace}"
        );
    }
    assert!(!config.common.disabled_namespaces.contains("kube-system"));
    assert!(
        !self::config("disabled_namespaces = []")
            .common
            .disabled_namespaces
            .contains("kube-system")
    );
}

#[test]
fn wrong_types_are_errors() {
    for (text, expected) in [
        ("log_level = []", "log_level must be a string"),
        ("log_level = true", "log_level must be a string"),
        ("dry_run = \"true\"", "dry_run must be true or false"),
        ("dry_run = 1", "dry_run must be true or false"),
        (
            "writes_in_flight = 8e1",
            "writes_in_flight must be a whole number",
        ),
        (
            "writes_in_flight = 0",
            "writes_in_flight is 0, which is not from 1 to 64",
        ),
        (
            "disabled_namespaces = [[\"a\"]]",
            "disabled_namespaces must be a string",
        ),
        ("context = \"x\"\nmode = \"crd\"", "context must be a block"),
        (
            "context \"prod\" { A = \"1\" }\nmode = \"crd\"",
            "context must be a block without a name",
        ),
        (
            "drift_interval = 5",
            "drift_interval is the bare number 5; durations have a unit",
        ),
    ] {
        assert_eq!(errors(&with(text)), [expected], "{text}");
    }
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_known_one() {
    let (_, problems) = read(&with("mode = \"crd\"\nadd_svc_dns_names = false")).expect("starts");
    assert_eq!(problems.list.len(), 1);
    assert_eq!(
        problems.list[0].help.as_deref(),
        Some("did you mean \"add_svc_dns_name\"?")
    );
    let (_, problems) = read(&with("addr = \":1\"\npod_controller = true")).expect("starts");
    assert!(
        problems.list.is_empty(),
        "a key of another mode is accepted silently: {problems}"
    );
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

fn crd(extra: &str) -> registrar_adapters::config::Crd {
    let Mode::Crd(crd) = config(&format!("mode = \"crd\"\n{extra}")).mode else {
        panic!("crd mode")
    };
    crd
}

/// The texts of the templates: of the identity (with its label), and of the DNS names.
fn templates(extra: &str) -> (String, Vec<String>) {
    let crd = crd(extra);
    let identity = match crd.identity {
        IdentitySource::Template { template, label } => {
            format!("{} {}", template.text(), label.as_deref().unwrap_or("-"))
        }
        other => format!("{other:?}"),
    };
    let DnsPolicy::Templates { templates, .. } = crd.dns else {
        panic!("templates")
    };
    let names = templates.iter().map(|t| t.text().to_owned());
    (identity, names.collect())
}

#[test]
fn crd_mode_has_the_originals_templates() {
    for (text, identity, names) in [
        (
            "",
            "ns/{{.Pod.Namespace}}/sa/{{.Pod.ServiceAccount}} -",
            vec!["{{.Pod.Name}}"],
        ),
        (
            "identity_template = \"a\"\nidentity_template = \"b/{{.Pod.Name}}\"\ndns_name_templates = []",
            "b/{{.Pod.Name}} -",
            vec![],
        ),
        (
            "identity_template = \"r/{{ .Context.Region }}\"\nidentity_template_label = \"on\"\n\
             context { Region = \"EU-DE\" }\ndns_name_templates = [\"{{.Pod.Name}}\", \"x.{{ .Pod.Namespace }}\"]",
            "r/{{ .Context.Region }} on",
            vec!["{{.Pod.Name}}", "x.{{ .Pod.Namespace }}"],
        ),
        ("pod_label = \"l\"", "Label(\"l\")", vec!["{{.Pod.Name}}"]),
        (
            "pod_annotation = \"a\"",
            "Annotation(\"a\")",
            vec!["{{.Pod.Name}}"],
        ),
    ] {
        let names = names.into_iter().map(str::to_owned).collect();
        assert_eq!(templates(text), (identity.to_owned(), names), "{text}");
    }
}

#[test]
fn services_are_named_unless_that_is_turned_off() {
    for (text, expected) in [("", true), ("add_svc_dns_name = false", false)] {
        assert_eq!(crd(text).dns.reads_slices(), expected, "{text}");
    }
}

/// The original's table of templates, with its words; a missing key is named.
#[test]
fn templates_are_tried_at_the_start() {
    let context = "context { Region = \"EU-DE\" }\n";
    for (text, expected) in [
        (
            "identity_template = \"region/{{.Context.Zone}}\"",
            "validating identity template: context has no key \"Zone\"",
        ),
        (
            "identity_template = \"{{if false}}{{.Context.Zone}}{{end}}x\"",
            "validating identity template: context has no key",
        ),
        (
            "identity_template = \"{{.Pod.XXXX}}\"",
            "executing identity template: can't evaluate field XXXX",
        ),
        (
            "identity_template = \"{{if false}}{{.Pod.XXXX}}{{end}}x\"",
            "executing identity template: can't evaluate field XXXX",
        ),
        (
            "identity_template = \"spiffe://testdomain/..\"",
            "validating identity template: path segment characters",
        ),
        (
            "identity_template = \"a/..\"",
            "validating identity template: path cannot contain dot segments",
        ),
        (
            "identity_template = \"/x\"",
            "validating identity template: path cannot contain empty segments",
        ),
        (
            "identity_template = \"//x\"",
            "validating identity template: path cannot contain empty segments",
        ),
        (
            "identity_template = \"x/\"",
            "validating identity template: path cannot have a trailing slash",
        ),
        (
            "identity_template = \"{{if}}\"",
            "parsing identity template: missing value for if",
        ),
        (
            "identity_template = \"{{.Pod.Name\"",
            "parsing identity template: unclosed action",
        ),
        (
            "dns_name_templates = [\"{{.Does.Not.Exist}}\"]",
            "executing the dns name template: can't evaluate field Does",
        ),
        (
            "dns_name_templates = [\"$%^&*\"]",
            "validating the dns name template: label \"$%^&*\"",
        ),
        (
            "dns_name_templates = [\"{{\"]",
            "parsing dns name template: unclosed action",
        ),
        (
            "dns_name_templates = [\"a.{{.Context.Zone}}\"]",
            "validating the dns name template: context has no key",
        ),
    ] {
        let found = errors(&with(&format!("mode = \"crd\"\n{context}{text}")));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn a_broken_template_is_shown_with_a_caret_at_the_very_word() {
    let text = with(
        "mode = \"crd\"\ncontext { Region = \"eu\" }\n\
         identity_template = \"ä/{{index .Context \\\"Zone\\\"}}\"\n\
         dns_name_templates = [\"{{.Pod.Name}}\", \"{{.Pod.Nam}}.x\", \"{{if .Pod.Name\"]",
    );
    let Err(problems) = read(&text) else {
        panic!("refused")
    };
    insta::assert_snapshot!(problems.to_string());
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

#[test]
fn files_that_cannot_be_read_are_one_clear_message() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    for (path, part) in [
        (dir.path().join("absent"), "open "),
        (dir.path().to_owned(), "is a directory"),
        (file("nul", b"a = \"\0\""), "NUL byte at offset 5"),
        (file("latin1", b"a = \"\xe9\""), "not UTF-8 at offset 5"),
        (
            file("large", &vec![b' '; (1 << 20) + 1]),
            "larger than 1 MiB",
        ),
    ] {
        let problems = registrar_adapters::config::load(&path).expect_err("refused");
        let text = problems.to_string();
        assert_eq!(problems.list.len(), 1, "{text}");
        assert!(
            text.contains("unable to load configuration: ") && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn problems_are_shown_with_line_column_caret_and_remedy() {
    let text = with(
        "mode = \"reconcile\"\ncontroler_name = \"x\"\nmax_deletes = \"many\"\ndrift_interval = 300",
    );
    let Err(problems) = read(&text) else {
        panic!("refused")
    };
    insta::assert_snapshot!(problems.to_string());
}

#[test]
fn an_unclosed_block_points_at_its_beginning() {
    let Err(problems) = read("trust_domain = \"x\"\ncontext {\n  A = \"1\"\n") else {
        panic!("refused")
    };
    insta::assert_snapshot!(problems.to_string());
}

#[test]
fn nested_input_is_refused_in_linear_time() {
    for text in [
        "[".repeat(100_000),
        "a{".repeat(100_000),
        "b/{b==b/{b==".repeat(10_000),
    ] {
        assert!(read(&format!("a = {text}")).is_err());
    }
}
