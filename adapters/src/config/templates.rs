//! The templates of crd mode, tried at the start with a made-up pod, in the original's order and with its words.

use std::{collections::BTreeMap, sync::Arc};

use registrar_core::{
    cluster::{Metadata, PodSnapshot, Uid},
    entry::DnsName,
    rules::{
        Template,
        template::{Context, Phase, TemplateError},
    },
    spiffe::SpiffeId,
};

use super::fields::{Fields, Spanned};

/// What the original filled into every field but the UID.
const VALUE: &str = "xx";

/// How the original called a kind of template in its errors.
struct Words {
    parsing: &'static str,
    executing: &'static str,
    validating: &'static str,
}

const IDENTITY: Words = Words {
    parsing: "parsing identity template",
    executing: "executing identity template",
    validating: "validating identity template",
};

const DNS_NAME: Words = Words {
    parsing: "parsing dns name template",
    executing: "executing the dns name template",
    validating: "validating the dns name template",
};

/// The values that templates may name.
pub(super) fn context(map: Option<&BTreeMap<String, String>>) -> Context {
    let pairs = map.into_iter().flatten();
    pairs
        .map(|(k, v)| (k.as_str().into(), v.as_str().into()))
        .collect()
}

/// `identity_template`: what it renders must be a path without its leading slash.
pub(super) fn identity(
    fields: &mut Fields,
    text: &Spanned<String>,
    context: &Context,
) -> Option<Template> {
    let parsed = Template::parse("identity_template", &text.value, context);
    let (template, rendered) = tried(fields, text, parsed, &IDENTITY)?;
    if let Err(error) = SpiffeId::parse(&format!("spiffe://testdomain/{rendered}")) {
        let help = format!(
            "for a pod with every field {VALUE:?} it renders {rendered:?}; \
             it must render segments of a path, without a leading slash"
        );
        let message = format!("{}: {error}", IDENTITY.validating);
        fields.reject(text.span.clone(), message, &help);
        return None;
    }
    Some(template)
}

/// One of `dns_name_templates`.
pub(super) fn dns_name(
    fields: &mut Fields,
    text: &Spanned<String>,
    context: &Context,
) -> Option<Template> {
    let parsed = Template::without_spaces("dns_name_templates", &text.value, context);
    let (template, rendered) = tried(fields, text, parsed, &DNS_NAME)?;
    if let Err(error) = DnsName::new(&rendered) {
        let help = format!(
            "for a pod with every field {VALUE:?} it renders {rendered:?}, which is no DNS name"
        );
        let message = format!("{}: {error}", DNS_NAME.validating);
        fields.reject(text.span.clone(), message, &help);
        return None;
    }
    Some(template)
}

/// The template, and what it renders for the made-up pod.
fn tried(
    fields: &mut Fields,
    text: &Spanned<String>,
    parsed: Result<Template, TemplateError>,
    words: &Words,
) -> Option<(Template, String)> {
    let result = parsed.and_then(|template| {
        let rendered = template.render(&made_up_pod())?;
        Ok((template, rendered))
    });
    result
        .map_err(|error| {
            let words = match error.phase {
                Phase::Parsing => words.parsing,
                Phase::Executing => words.executing,
                // The original rendered `<no value>`, which then was no legal name.
                Phase::Context => words.validating,
            };
            let message = format!("{words}: {}", error.message);
            let help = match error.phase {
                Phase::Context => "add the key to the context block, or correct its name",
                _ => "templates are Go's text/template over .Pod and .Context; see the README",
            };
            fields.reject_within(text, error.offset, message, help);
        })
        .ok()
}

fn made_up_pod() -> PodSnapshot {
    let value: Arc<str> = VALUE.into();
    PodSnapshot {
        namespace: value.clone(),
        name: value.clone(),
        uid: Uid::new("123"),
        node_name: Some(value.clone()),
        service_account: Some(value.clone()),
        hostname: Some(value),
        labels: Metadata::new(),
        annotations: Metadata::new(),
        pod_ips: Box::default(),
        mirror: false,
        terminating: false,
        finished: false,
    }
}
