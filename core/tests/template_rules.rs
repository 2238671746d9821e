//! What templates make of pods: SPIFFE IDs and DNS names of crd mode.

use std::sync::Arc;

use registrar_core::{
    cluster::{EndpointSnapshot, EndpointsSnapshot, Metadata, PodSnapshot, Uid},
    policy::{DnsPolicy, IdentitySource, Policy},
    rules::{Decision, Problem, SkipReason, Template, pod_dns_names, pod_path, template::Context},
};

fn pod() -> PodSnapshot {
    PodSnapshot {
        namespace: "default".into(),
        name: "test-pod".into(),
        uid: Uid::new("uid-1"),
        node_name: Some("test-node".into()),
        service_account: Some("serviceAccount".into()),
        hostname: Some("hostname".into()),
        labels: Metadata::new(),
        annotations: Metadata::new(),
        pod_ips: Box::default(),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn context() -> Context {
    [
        ("Region", "EU-DE"),
        ("ClusterName", "MYCLUSTER"),
        ("Network", "my-network"),
    ]
    .map(|(k, v)| (k.into(), v.into()))
    .into()
}

fn policy(template: &str, label: Option<&str>) -> Policy {
    let mut policy = Policy::reconcile("example.org", "test-cluster", "registrar").expect("legal");
    policy.pods.identity = IdentitySource::Template {
        template: Template::parse("identity_template", template, &context()).expect("parses"),
        label: label.map(Arc::from),
    };
    policy
}

fn path(template: &str, label: Option<&str>, pod: &PodSnapshot) -> Result<String, Decision> {
    pod_path(&policy(template, label), pod).map(|id| id.path().to_owned())
}

#[test]
fn a_template_names_the_path() {
    for (template, expected) in [
        (
            "ns/{{.Pod.Namespace}}/sa/{{.Pod.ServiceAccount}}",
            "/ns/default/sa/serviceAccount",
        ),
        (
            "region/{{.Context.Region}}/cluster/{{.Context.ClusterName}}/podName/{{.Pod.Name}}",
            "/region/EU-DE/cluster/MYCLUSTER/podName/test-pod",
        ),
        (
            "{{.Pod.Name}}/{{.Pod.Namespace}}/{{.Pod.ServiceAccount}}/{{.Pod.Hostname}}/{{.Pod.NodeName}}",
            "/test-pod/default/serviceAccount/hostname/test-node",
        ),
    ] {
        assert_eq!(
            path(template, None, &pod()).as_deref(),
            Ok(expected),
            "{template}"
        );
    }
}

#[test]
fn with_a_label_only_pods_that_have_it_true_get_an_entry() {
    let labelled = |value: &str| {
        let mut pod = pod();
        pod.labels.insert("on".into(), value.into());
        pod
    };
    let skipped = Err(Decision::Skip(SkipReason::NotLabelled));
    assert_eq!(path("x", Some("on"), &pod()), skipped);
    assert_eq!(path("x", Some("on"), &labelled("false")), skipped);
    assert_eq!(path("x", Some("on"), &labelled("")), skipped);
    assert_eq!(
        path("x", Some("on"), &labelled("true")).as_deref(),
        Ok("/x")
    );
    assert_eq!(
        path("x", Some("on"), &labelled("True")).as_deref(),
        Ok("/x")
    );
    assert_eq!(path("x", None, &labelled("false")).as_deref(), Ok("/x"));
    assert!(
        policy("x", Some("on"))
            .wanted_metadata()
            .labels
            .contains("on")
    );
}

#[test]
fn a_pod_for_which_the_template_fails_is_held() {
    let mut without = pod();
    without.hostname = None;
    for (template, reason) in [
        ("a/{{.Pod.Hostname}}", "IllegalPath"),
        ("{{.Pod.Hostname}}/a", "IllegalPath"),
        ("{{index .Pod.Hostname 0}}", "TemplateFailed"),
        ("{{if .Pod.Hostname}}a{{else}}a b{{end}}", "IllegalPath"),
        ("{{if .Pod.Hostname}}a{{else}}/a{{end}}", "IllegalPath"),
        (
            "{{if .Pod.Hostname}}a{{else}}spire/agent{{end}}",
            "ReservedPath",
        ),
        (
            "{{if .Pod.Hostname}}a{{else}}k8s-workload-registrar/x{{end}}",
            "ReservedPath",
        ),
        (
            "{{if .Pod.Hostname}}a{{else}}{{printf \"%0300d\" 1}}{{end}}",
            "IllegalPath",
        ),
    ] {
        match path(template, None, &without) {
            Err(Decision::Invalid(problem)) => assert_eq!(problem.word(), reason, "{template}"),
            other => panic!("{template}: {other:?}"),
        }
        assert!(
            path(template, None, &pod()).is_ok(),
            "{template} for another pod"
        );
    }
}

#[test]
fn a_mirror_pod_is_skipped_where_the_template_reads_the_service_account() {
    let mut mirror = pod();
    (mirror.mirror, mirror.service_account) = (true, None);
    let skipped = Err(Decision::Skip(SkipReason::MirrorWithoutServiceAccount));
    assert_eq!(path("sa/{{.Pod.ServiceAccount}}", None, &mirror), skipped);
    assert_eq!(
        path("{{.Pod.Name}}", None, &mirror).as_deref(),
        Ok("/test-pod")
    );
    let mut empty = mirror.clone();
    empty.service_account = Some("".into());
    assert_eq!(path("sa/{{.Pod.ServiceAccount}}", None, &empty), skipped);
    empty.service_account = Some("blog".into());
    let found = path("sa/{{.Pod.ServiceAccount}}", None, &empty);
    assert_eq!(found.as_deref(), Ok("/sa/blog"));
    let mut plain = mirror;
    plain.mirror = false;
    let held = path("sa/{{.Pod.ServiceAccount}}", None, &plain);
    assert!(
        matches!(held, Err(Decision::Invalid(Problem::IllegalPath { .. }))),
        "{held:?}"
    );
}

fn slice(namespace: &str, service: &str, pods: &[(&str, bool)]) -> EndpointsSnapshot {
    EndpointsSnapshot {
        namespace: namespace.into(),
        name: format!("{service}-x").into(),
        service: Some(service.into()),
        endpoints: pods
            .iter()
            .map(|(pod, ready)| EndpointSnapshot {
                address: "10.0.0.1".into(),
                hostname: None,
                pod_name: (*pod).into(),
                pod_namespace: "default".into(),
                pod_uid: None,
                ready: *ready,
            })
            .collect(),
    }
}

fn names(templates: &[&str], services: bool, slices: &[&EndpointsSnapshot]) -> (String, usize) {
    let parse = |text: &&str| Template::without_spaces("t", text, &context()).expect("parses");
    let policy = DnsPolicy::Templates {
        templates: templates.iter().map(parse).collect(),
        services,
    };
    let (names, dropped) = pod_dns_names(&policy, &pod(), slices);
    let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
    (names.join(" "), dropped.len())
}

#[test]
fn templates_name_the_pod_in_their_order_and_services_follow() {
    let b = slice("default", "b", &[("test-pod", true), ("other", true)]);
    let a = slice("default", "a", &[("test-pod", true)]);
    let again = slice("default", "a", &[("test-pod", true)]);
    let unready = slice("default", "c", &[("test-pod", false)]);
    let foreign = slice("other", "d", &[("test-pod", true)]);
    let slices = [&b, &a, &again, &unready, &foreign];
    for (templates, services, expected, dropped) in [
        (vec![], false, "", 0),
        (vec!["my.dns.name"], false, "my.dns.name", 0),
        (
            vec![" {{ .Pod.Name }} . {{ .Context.Network }} . svc"],
            false,
            "test-pod.my-network.svc",
            0,
        ),
        (
            vec!["z", "{{.Pod.Name}}"],
            true,
            "z test-pod a.default.svc b.default.svc",
            0,
        ),
        (vec![], true, "a.default.svc b.default.svc", 0),
        (
            vec!["x", "x", "a.default.svc"],
            true,
            "x a.default.svc b.default.svc",
            0,
        ),
        (vec!["{{.Pod.ServiceAccount}}", "x"], false, "x", 1),
        (vec!["{{index .Pod.Name 100}}", "x"], false, "x", 1),
        (vec!["{{printf \"%0300d\" 1}}", "x"], false, "x", 1),
    ] {
        let found = names(&templates, services, &slices);
        assert_eq!(found, (expected.to_owned(), dropped), "{templates:?}");
    }
}
