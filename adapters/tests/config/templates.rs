//! Templates of crd mode.

use registrar_adapters::config::Mode;
use registrar_core::policy::{DnsPolicy, IdentitySource};

use crate::read::{config, errors, read, with};

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
