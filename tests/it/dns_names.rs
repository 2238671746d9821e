//! DNS names: every form, in the original's order.

use registrar_tests::{PodSpec, eventually};

use crate::plane::{Bench, shared};

const DNS: &str = "add_pod_dns_names = true";

async fn has_names(b: &Bench, pod: &str, expected: &[String]) {
    let selectors = [format!("k8s:ns:{}", b.name), format!("k8s:pod-name:{pod}")];
    let selectors: Vec<&str> = selectors.iter().map(String::as_str).collect();
    eventually(&format!("{pod} has the names {expected:#?}"), async || {
        let found = b
            .entries
            .selecting(&b.root(), &selectors)
            .await
            .map_err(|e| e.to_string())?;
        let names = found
            .into_iter()
            .next()
            .map(|e| e.dns_names)
            .unwrap_or_default();
        if names == expected {
            Ok(())
        } else {
            Err(names.join("\n"))
        }
    })
    .await;
}

fn own(ip: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{ip}.{namespace}.pod.cluster.local"),
        format!("{ip}.{namespace}.pod"),
    ]
}

/// The four forms of each prefix, all sorted.
fn through(prefixes: &[&str], namespace: &str) -> Vec<String> {
    let mut names: Vec<String> = prefixes
        .iter()
        .flat_map(|p| {
            [
                format!("{p}.{namespace}.svc.cluster.local"),
                format!("{p}.{namespace}.svc"),
                format!("{p}.{namespace}"),
                (*p).to_owned(),
            ]
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_pod_gets_its_own_names_then_those_of_its_services_and_loses_them_again() {
    let b = shared("dns").await;
    let _registrar = b.registrar(DNS).await;
    b.cluster
        .pod(&PodSpec::new("dns", "foo"))
        .await
        .expect("pod");
    has_names(&b, "foo", &[]).await;
    b.cluster
        .pod_runs("dns", "foo", &["123.123.123.124"])
        .await
        .expect("runs");
    let own = own("123-123-123-124", "dns");
    has_names(&b, "foo", &own).await;
    b.cluster.service("dns", "foo-svc").await.expect("service");
    let endpoint = [("123.123.123.123", None, "foo")];
    b.cluster
        .slice("dns", "foo-svc-1", "foo-svc", &endpoint)
        .await
        .expect("slice");
    let prefixes = ["foo-svc", "foo.foo-svc", "123-123-123-123.foo-svc"];
    let all = [own.clone(), through(&prefixes, "dns")].concat();
    assert_eq!(all.len(), 14);
    has_names(&b, "foo", &all).await;
    b.cluster
        .delete_slice("dns", "foo-svc-1")
        .await
        .expect("deleted");
    has_names(&b, "foo", &own).await;
}

#[tokio::test]
async fn dotted_names_of_pods_and_services_make_no_host_names() {
    let b = shared("dotted").await;
    let _registrar = b.registrar(DNS).await;
    b.cluster
        .pod(&PodSpec::new("dotted", "foo.3.0.0.woo"))
        .await
        .expect("pod");
    b.cluster
        .pod_runs("dotted", "foo.3.0.0.woo", &["10.0.0.1"])
        .await
        .expect("runs");
    let endpoint = [("10.0.0.1", None, "foo.3.0.0.woo")];
    b.cluster
        .slice("dotted", "s-1", "foo-svc", &endpoint)
        .await
        .expect("slice");
    b.cluster
        .slice("dotted", "s-2", "foo-svc.3.0.0", &endpoint)
        .await
        .expect("slice");
    let prefixes = ["foo-svc", "10-0-0-1.foo-svc"];
    let all = [own("10-0-0-1", "dotted"), through(&prefixes, "dotted")].concat();
    assert_eq!(all.len(), 10);
    has_names(&b, "foo.3.0.0.woo", &all).await;
}

#[tokio::test]
async fn a_statefulsets_pod_is_known_by_its_host_name_under_a_headless_service() {
    let b = shared("stateful").await;
    let _registrar = b.registrar(DNS).await;
    b.cluster.service("stateful", "db").await.expect("service");
    b.cluster
        .pod(&PodSpec::new("stateful", "db-0").hostname("db-0", "db"))
        .await
        .expect("pod");
    b.cluster
        .pod_runs("stateful", "db-0", &["10.0.0.2"])
        .await
        .expect("runs");
    let endpoint = [("10.0.0.2", Some("db-0"), "db-0")];
    b.cluster
        .slice("stateful", "db-1", "db", &endpoint)
        .await
        .expect("slice");
    let all = [
        own("10-0-0-2", "stateful"),
        through(&["db", "db-0.db"], "stateful"),
    ]
    .concat();
    has_names(&b, "db-0", &all).await;
}

#[tokio::test]
async fn every_address_of_a_dual_stack_pod_counts() {
    let b = shared("dual").await;
    let _registrar = b.registrar(DNS).await;
    b.cluster
        .pod(&PodSpec::new("dual", "a"))
        .await
        .expect("pod");
    b.cluster
        .pod_runs("dual", "a", &["10.0.0.3", "fd00:1::2:3"])
        .await
        .expect("runs");
    b.cluster
        .slice("dual", "v4", "svc", &[("10.0.0.3", None, "a")])
        .await
        .expect("slice");
    b.cluster
        .slice("dual", "v6", "svc", &[("fd00:1::2:3", None, "a")])
        .await
        .expect("slice");
    let prefixes = ["svc", "a.svc", "10-0-0-3.svc", "fd00-1--2-3.svc"];
    let all = [
        own("10-0-0-3", "dual"),
        own("fd00-1--2-3", "dual"),
        through(&prefixes, "dual"),
    ];
    has_names(&b, "a", &all.concat()).await;
}

#[tokio::test]
async fn a_name_that_no_server_takes_is_left_out_and_the_rest_stays() {
    let b = shared("bad-names").await;
    let _registrar = b.registrar(DNS).await;
    // An address that ends in :: makes a label that ends in a hyphen.
    b.cluster
        .pod(&PodSpec::new("bad-names", "a"))
        .await
        .expect("pod");
    b.cluster
        .pod_runs("bad-names", "a", &["10.0.0.4", "fd00::"])
        .await
        .expect("runs");
    has_names(&b, "a", &own("10-0-0-4", "bad-names")).await;
    eventually("an Event tells what was left out", async || {
        let events = b
            .cluster
            .events("bad-names", "a")
            .await
            .map_err(|e| e.to_string())?;
        let told = events
            .iter()
            .any(|(reason, note)| reason == "LeftOut" && note.contains("fd00--"));
        if told {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
}
