//! The language of the file: HCL 1, or JSON.

use registrar_adapters::config::Mode;
use registrar_core::policy::DnsPolicy;

use crate::read::{config, errors, read};

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
fn nested_input_is_refused_in_linear_time() {
    for text in [
        "[".repeat(100_000),
        "a{".repeat(100_000),
        "b/{b==b/{b==".repeat(10_000),
    ] {
        assert!(read(&format!("a = {text}")).is_err());
    }
}
