//! Outside of the cluster, on a laptop for example: a kubeconfig with several contexts says where the API server is.

use std::path::{Path, PathBuf};

use registrar_tests::{
    Options, PodSpec, Registrar, eventually,
    process::{Process, free_port},
    registrar::program,
};

use crate::plane::{Private, private};

/// A kubeconfig whose current context leads nowhere, and whose context `right` leads to the control plane.
fn two_contexts(p: &Private) -> PathBuf {
    let path = p.plane.dir().join("two-contexts");
    let text = std::fs::read_to_string(p.plane.kubeconfig()).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let mut context = config["contexts"][0].clone();
    context["name"] = "right".into();
    context["context"]["namespace"] = "apps".into();
    config["contexts"]
        .as_array_mut()
        .expect("a list")
        .push(context);
    let mut nowhere = config["clusters"][0].clone();
    nowhere["name"] = "nowhere".into();
    let port = free_port().expect("a port");
    nowhere["cluster"]["server"] = format!("https://127.0.0.1:{port}").into();
    config["clusters"]
        .as_array_mut()
        .expect("a list")
        .push(nowhere);
    config["contexts"][0]["context"]["cluster"] = "nowhere".into();
    std::fs::write(&path, config.to_string()).expect("written");
    path
}

/// Runs it with exactly this environment.
fn start(
    p: &Private,
    name: &str,
    lines: &str,
    args: &[&str],
    kubeconfig: Option<&Path>,
) -> Process {
    let config = p.plane.dir().join(format!("{name}.conf"));
    let text = format!(
        "mode = \"reconcile\"\ntrust_domain = \"example.org\"\ncluster = \"{name}\"\nmetrics_addr = \"0\"\n\
         server_socket_path = \"{}\"\n{lines}\n",
        p.plane.spire_socket().display()
    );
    std::fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let mut all = vec!["run", "-config", &config];
    all.extend(args);
    let kubeconfig = kubeconfig.map(|k| k.display().to_string());
    let env = [
        ("NO_COLOR", "1"),
        ("KUBECONFIG", kubeconfig.as_deref().unwrap_or_default()),
    ];
    let log = p.plane.dir().join(format!("{name}.log"));
    Process::start(&program().expect("built"), all, &env, &log).expect("starts")
}

async fn registers(p: &Private, process: &mut Process, name: &str) {
    let root = format!("/spire-k8s-registrar/{name}/node");
    eventually("the pod has its entry", async || {
        process.must_run().map_err(|e| e.to_string())?;
        let found = p.entries.selecting(&root, &["k8s:pod-name:a"]).await;
        match found.map_err(|e| e.to_string())?.len() {
            1 => Ok(()),
            other => Err(format!("{other} entries")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_context_of_a_kubeconfig_says_where_the_api_server_is() {
    let p = private(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await;
    p.cluster
        .pod(&PodSpec::new("apps", "a"))
        .await
        .expect("pod");
    let file = two_contexts(&p);
    let shown = file.display().to_string();
    let context = "kube_context = \"right\"\n";
    let key = format!("{context}kubeconfig = \"{shown}\"\nleader_election = true");
    let mut by_key = start(&p, "by-key", &key, &[], None);
    registers(&p, &mut by_key, "by-key").await;
    let log = by_key.log();
    assert!(
        log.contains("namespace=apps"),
        "our namespace is the context's: {log}"
    );
    let mut by_variable = start(&p, "by-variable", context, &[], Some(&file));
    registers(&p, &mut by_variable, "by-variable").await;
    let wrong = format!("{context}kubeconfig = \"/nowhere\"");
    let mut by_flag = start(&p, "by-flag", &wrong, &["-kubeconfig", &shown], None);
    registers(&p, &mut by_flag, "by-flag").await;

    // The current context is taken where none is named: this one leads nowhere, and is waited for.
    let mut registrar =
        Registrar::start_with(&p.plane, &file, &p.plane.spire_socket(), "nowhere", "")
            .expect("starts");
    eventually("the probe says that nothing is listed", async || {
        registrar.process.must_run().map_err(|e| e.to_string())?;
        match registrar.get("/readyz").await {
            Ok((503, text)) if text.contains("Pod objects are not listed") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    for (name, lines, args, variable, place) in [
        (
            "key",
            format!("kube_context = \"left\"\nkubeconfig = \"{shown}\""),
            vec![],
            None,
            shown.as_str(),
        ),
        (
            "flag",
            "kube_context = \"left\"".to_owned(),
            vec!["-kubeconfig", &shown],
            None,
            &shown,
        ),
        (
            "variable",
            "kube_context = \"left\"".to_owned(),
            vec![],
            Some(file.as_path()),
            "KUBECONFIG",
        ),
    ] {
        let mut process = start(&p, name, &lines, &args, variable);
        let status = eventually("it ends", async || process.ended().ok_or("still running")).await;
        assert_eq!(status.code(), Some(1));
        let said = process.log();
        for words in ["kube_context is \"left\"", place, "it has: c, right"] {
            assert!(said.contains(words), "{name}: {words:?} in {said}");
        }
    }
}
