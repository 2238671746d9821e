//! Templates, and the pods that they are rendered for.

use registrar_core::{
    cluster::{Metadata, PodSnapshot, Uid},
    policy::{DnsPolicy, IdentitySource, Policy},
    rules::{
        Decision, Template, TemplateError, pod_dns_names, pod_path,
        template::{Context, MAX_OUTPUT},
    },
};

/// A thread of the program has at least four times as much.
const STACK: usize = 512 << 10;

fn pod(fields: &[&str]) -> PodSnapshot {
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    PodSnapshot {
        name: field(0).into(),
        namespace: field(1).into(),
        uid: Uid::new("uid"),
        service_account: some(field(2)),
        hostname: some(field(3)),
        node_name: some(field(4)),
        labels: Metadata::new(),
        annotations: Metadata::new(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn context() -> Context {
    [("Region", "eu"), ("Empty", "")]
        .map(|(k, v)| (k.into(), v.into()))
        .into()
}

/// An error names a place in the text.
fn checked<T>(text: &str, result: Result<T, TemplateError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(text.get(error.offset..).is_some(), "{text:?}: {error:?}");
            assert!(error.line > 0 && error.column > 0 && !error.message.is_empty());
            None
        }
    }
}

fn render(text: &str, pod: &PodSnapshot) {
    let identity = checked(text, Template::parse("t", text, &context()));
    let name = checked(text, Template::without_spaces("t", text, &context()));
    assert_eq!(identity.is_some(), name.is_some(), "{text:?}");
    let (Some(identity), Some(name)) = (identity, name) else {
        return;
    };
    for template in [&identity, &name] {
        let rendered = checked(text, template.render(pod));
        assert_eq!(rendered, template.render(pod).ok(), "the same again");
        assert!(rendered.is_none_or(|r| r.len() <= MAX_OUTPUT));
    }
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Template {
        template: identity,
        label: None,
    };
    match pod_path(&policy, pod) {
        Ok(id) => assert_eq!(policy.reserved.find(id.path()), None, "{id}"),
        Err(decision) => assert!(!matches!(decision, Decision::Register { .. })),
    }
    let dns = DnsPolicy::Templates {
        templates: [name].into(),
        services: true,
    };
    let (names, dropped) = pod_dns_names(&dns, pod, &[]);
    assert_eq!(names.len() + dropped.len(), 1, "{names:?} {dropped:?}");
}

/// A template, NUL, and the pod's name, namespace, service account, host name and node: rendered within a small stack, or
/// refused with a place in the text; what is rendered is bounded, and no identity outside of the rules.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let run = move || {
        let mut fields = text.split('\0');
        let template = fields.next().unwrap_or_default();
        let fields: Vec<&str> = fields.collect();
        render(template, &pod(&fields));
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
    let ended = thread.expect("a thread").join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
