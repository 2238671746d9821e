//! The original's table of crd mode, row by row, on one control plane: what a pod's SpiffeID asks for and its entry has.

use registrar_tests::{Options, PodSpec, eventually};
use serde_json::json;

use super::bench::{Bench, bench, id};

/// One row: the configuration, the pod, and what is to come of it.
struct Row {
    config: &'static str,
    pod: PodSpec,
    name: &'static str,
    path: Option<&'static str>,
    names: &'static [&'static str],
}

const CONTEXT: &str =
    "context { Region = \"EU-DE\"\n ClusterName = \"MYCLUSTER\"\n Domain = \"my-network\" }\n";

fn rows() -> Vec<Row> {
    let row = |config, name: &'static str, path, names| Row {
        config,
        pod: PodSpec::new("apps", name).service_account("web"),
        name,
        path,
        names,
    };
    let labelled = |name, value: &str, path| {
        let mut row = row("identity_template_label = \"use\"", name, path, &[]);
        row.names = if path.is_some() { LABELLED } else { &[] };
        row.pod = row.pod.label("use", value);
        row
    };
    const LABELLED: &[&str] = &["labelled-true"];
    vec![
        row("", "default", Some("/ns/apps/sa/web"), &["default"]),
        row(
            "identity_template = \"ns/{{.Pod.Namespace}}/sa/{{.Pod.ServiceAccount}}/podName/{{.Pod.Name}}\"",
            "with-name",
            Some("/ns/apps/sa/web/podName/with-name"),
            &["with-name"],
        ),
        row(
            "identity_template = \"region/{{.Context.Region}}/cluster/{{.Context.ClusterName}}/podName/{{.Pod.Name}}\"",
            "with-context",
            Some("/region/EU-DE/cluster/MYCLUSTER/podName/with-context"),
            &["with-context"],
        ),
        Row {
            pod: PodSpec::new("apps", "all-fields")
                .service_account("web")
                .hostname("hostname", "svc"),
            ..row(
                "identity_template = \"{{.Pod.Name}}/{{.Pod.Namespace}}/{{.Pod.ServiceAccount}}/{{.Pod.Hostname}}/{{.Pod.NodeName}}\"",
                "all-fields",
                Some("/all-fields/apps/web/hostname/node-1"),
                &["all-fields"],
            )
        },
        row("identity_template_label = \"use\"", "unlabelled", None, &[]),
        labelled("labelled-false", "false", None),
        labelled("labelled-true", "true", Some("/ns/apps/sa/web")),
        Row {
            pod: PodSpec::new("apps", "no-option")
                .service_account("web")
                .label("use", "false"),
            ..row("", "no-option", Some("/ns/apps/sa/web"), &["no-option"])
        },
        // DNS names.
        row(
            "dns_name_templates = []",
            "no-names",
            Some("/ns/apps/sa/web"),
            &[],
        ),
        row(
            "dns_name_templates = [\"my.dns.name\"]",
            "fixed-name",
            Some("/ns/apps/sa/web"),
            &["my.dns.name"],
        ),
        row(
            "dns_name_templates = [\"{{.Pod.ServiceAccount}}.{{.Pod.Namespace}}.svc\"]",
            "fields-name",
            Some("/ns/apps/sa/web"),
            &["web.apps.svc"],
        ),
        row(
            "dns_name_templates = [\"{{.Pod.ServiceAccount}}.{{.Context.Domain}}.svc\"]",
            "context-name",
            Some("/ns/apps/sa/web"),
            &["web.my-network.svc"],
        ),
        row(
            "dns_name_templates = [\"z.{{.Pod.Name}}\", \"a.{{.Pod.Name}}\"]",
            "two-names",
            Some("/ns/apps/sa/web"),
            &["z.two-names", "a.two-names"],
        ),
    ]
}

#[tokio::test]
async fn each_template_of_the_originals_table_gives_the_originals_spiffe_id_and_entry() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    c.service_account("apps", "web").await.expect("an account");
    for row in rows() {
        let uid = c.pod(&row.pod).await.expect("a pod");
        // Its turn shows that the one before was looked at as well.
        let probe = format!("probe-{}", row.name);
        let label = PodSpec::new("apps", &probe)
            .service_account("web")
            .hostname("probe", "svc")
            .label("use", "true");
        c.pod(&label).await.expect("a pod");
        let config = format!("{CONTEXT}{}", row.config);
        let mut registrar = b.registrar(&config).await;
        b.standing("apps", &probe, "True", "Registered").await;
        match row.path {
            Some(path) => {
                let resource = b.standing("apps", row.name, "True", "Registered").await;
                assert_eq!(resource["spec"]["spiffeId"], id(path), "{}", row.name);
                let names = &resource["spec"]["dnsNames"];
                let wanted = if row.names.is_empty() {
                    json!(null)
                } else {
                    json!(row.names)
                };
                assert_eq!(*names, wanted, "{}", row.name);
                let entry_id = resource["status"]["entryId"].as_str().expect("an entry");
                let all = b.private.entries.all().await.expect("entries");
                let entry = all.iter().find(|e| e.id == entry_id).expect("it is there");
                assert_eq!(entry.dns_names, row.names, "{}", row.name);
                assert_eq!(entry.spiffe_id.as_ref().map(|i| &*i.path), Some(path));
            }
            None => {
                let found = b.ids.get("apps", row.name).await.expect("an answer");
                assert!(found.is_none(), "{}: {found:?}", row.name);
            }
        }
        assert_eq!(
            about(&b, &uid).await,
            usize::from(row.path.is_some()),
            "{}",
            row.name
        );
        registrar.process.must_run().expect("runs");
        registrar.process.kill();
        for pod in [row.name, &probe] {
            c.delete_pod("apps", pod).await.expect("deleted");
        }
    }
}

/// How many SpiffeIDs say that they are about this pod.
async fn about(b: &Bench, uid: &str) -> usize {
    let all = b.ids.list("apps").await.expect("all");
    all.iter()
        .filter(|r| r["metadata"]["labels"]["podUid"] == uid)
        .count()
}

#[tokio::test]
async fn label_and_annotation_name_the_identity_and_their_change_follows() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    for (kind, config) in [
        ("labels", "pod_label = \"spiffe\""),
        ("annotations", "pod_annotation = \"spiffe\""),
    ] {
        let with = |value: &str| match kind {
            "labels" => PodSpec::new("apps", kind).label("spiffe", value),
            _ => PodSpec::new("apps", kind).annotation("spiffe", value),
        };
        let uid = c.pod(&with("first")).await.expect("a pod");
        c.pod(&PodSpec::new("apps", &format!("no-{kind}")))
            .await
            .expect("a pod");
        let mut registrar = b.registrar(config).await;
        let first = b.one("/first").await;
        let patch = json!({kind: {"spiffe": "second"}});
        c.patch_pod("apps", kind, patch).await.expect("changed");
        let second = b.one("/second").await;
        assert_eq!(first.id, second.id, "in place");
        b.none("/first").await;
        let resource = b.standing("apps", kind, "True", "Registered").await;
        assert_eq!(resource["spec"]["spiffeId"], id("/second"));
        assert_eq!(about(&b, &uid).await, 1, "exactly one");
        // An illegal value holds what is there, and says so.
        if kind == "annotations" {
            let patch = json!({kind: {"spiffe": "a//b"}});
            c.patch_pod("apps", kind, patch).await.expect("changed");
            eventually("an Event says why", async || {
                let events = c.events("apps", kind).await.map_err(|e| e.to_string())?;
                match events.iter().any(|(reason, _)| reason == "IllegalPath") {
                    true => Ok(()),
                    false => Err(format!("{events:?}")),
                }
            })
            .await;
            assert_eq!(b.one("/second").await.id, second.id);
        }
        let without = b.ids.get("apps", &format!("no-{kind}")).await;
        assert!(without.expect("an answer").is_none());
        // Without it, there is none.
        c.patch_pod("apps", kind, json!({kind: {"spiffe": null}}))
            .await
            .expect("changed");
        b.gone("apps", kind).await;
        b.none("/second").await;
        registrar.process.must_run().expect("runs");
        registrar.process.kill();
    }
}

/// A template that renders no path for one pod holds that one alone.
#[tokio::test]
async fn a_template_that_renders_an_illegal_id_for_one_pod_holds_that_pod_alone() {
    let b = bench(Options::default()).await;
    let c = &b.private.cluster;
    c.pod(&PodSpec::new("apps", "bare")).await.expect("a pod");
    c.pod(&PodSpec::new("apps", "named").hostname("db", "svc"))
        .await
        .expect("a pod");
    let _registrar = b
        .registrar("identity_template = \"host/{{.Pod.Hostname}}\"")
        .await;
    b.one("/host/db").await;
    eventually("an Event says why", async || {
        let events = c.events("apps", "bare").await.map_err(|e| e.to_string())?;
        let says = |(reason, note): &(String, String)| {
            reason == "IllegalPath" && note.contains("path cannot have a trailing slash")
        };
        match events.iter().any(says) {
            true => Ok(()),
            false => Err(format!("{events:?}")),
        }
    })
    .await;
    assert!(
        b.ids
            .get("apps", "bare")
            .await
            .expect("an answer")
            .is_none()
    );
}
