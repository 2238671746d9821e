//! What an operator gets wrong: one clear message on standard error, and the documented exit code.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

fn registrar(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_k8s-workload-registrar"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn write(dir: &TempDir, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join("k8s-workload-registrar.conf");
    fs::write(&path, text).expect("written");
    path
}

const MINIMAL: &str = "mode = \"reconcile\"\ntrust_domain = \"example.org\"\ncluster = \"demo\"\n\
                       server_socket_path = \"/nowhere/api.sock\"\nmetrics_addr = \"0\"\n";

#[test]
fn a_file_that_cannot_be_used_is_one_clear_message_and_exit_code_1() {
    let dir = tempfile::tempdir().expect("a folder");
    let unclosed = "context {\n  a = \"b\"\n";
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        (
            "huge",
            vec![b'#'; 50 << 20],
            &["unable to load configuration", "1 MiB"],
        ),
        (
            "nul",
            b"mode = \"crd\"\0".to_vec(),
            &["unable to load configuration", "NUL byte", "offset 12"],
        ),
        (
            "latin1",
            b"cluster = \"\xe9\"".to_vec(),
            &["unable to load configuration", "UTF-8"],
        ),
        (
            "unclosed",
            unclosed.into(),
            &["unable to decode configuration", ":1:", "context {"],
        ),
        (
            "not hcl",
            b"INVALID".to_vec(),
            &["unable to decode configuration"],
        ),
        (
            "unknown mode",
            MINIMAL.replace("reconcile", "reconsile").into(),
            &[
                "invalid mode \"reconsile\", valid values are crd, webhook and reconcile",
                ":1:",
            ],
        ),
        (
            "nothing",
            b"mode = \"reconcile\"".to_vec(),
            &[
                "server_address or server_socket_path must be specified",
                "trust_domain must be specified",
                "cluster must be specified",
            ],
        ),
        (
            "both",
            format!("{MINIMAL}pod_label = \"a\"\npod_annotation = \"b\"\n").into(),
            &["can't specify both pod_label and pod_annotation"],
        ),
    ];
    for (name, content, parts) in cases {
        write(&dir, content);
        for args in [&["run"][..], &["validate"]] {
            let output = registrar(dir.path(), args);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(1), "{name} {args:?}: {said}");
            for part in parts {
                assert!(said.contains(part), "{name} {args:?}: {part:?} in\n{said}");
            }
            assert!(said.len() < 4096, "{name}: {} bytes", said.len());
        }
    }
}

#[test]
fn a_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    for (path, part) in [("missing.conf", "missing.conf"), (".", "is a directory")] {
        let output = registrar(dir.path(), &["-config", path]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("unable to load configuration"), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in [
        &["-no-such-flag"][..],
        &["no-such-command"],
        &["validate", "x", "y"],
    ] {
        let output = registrar(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output));
    }
}

#[test]
fn a_valid_file_is_said_to_be_valid_with_its_warnings() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir, format!("{MINIMAL}pod_lable = \"x\"\n"));
    let output = registrar(dir.path(), &["validate"]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output);
    assert!(
        said.contains("pod_lable") && said.contains("pod_label"),
        "{said}"
    );
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(shown.contains("is valid (reconcile mode)"), "{shown}");
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    write(&dir, MINIMAL);
    fs::write(dir.path().join("garbage"), "{{{").expect("written");
    let context = "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n";
    fs::write(dir.path().join("no-context"), context).expect("written");
    for file in ["absent", "garbage", "no-context"] {
        let output = registrar(dir.path(), &["-kubeconfig", file]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        for part in [file, "cannot be used", "-kubeconfig"] {
            assert!(said.contains(part), "{file}: {part:?} in {said}");
        }
    }
    let output = registrar(dir.path(), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no way to the Kubernetes API") && said.contains("-kubeconfig"),
        "{said}"
    );
}

#[test]
fn an_address_in_use_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    write(&dir, MINIMAL.replace("\"0\"", &format!("{address:?}")));
    let output = registrar(dir.path(), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.contains("metrics_addr"),
        "{said}"
    );
}

#[test]
fn the_version_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in [&["version"][..], &["-version"]] {
        let output = registrar(dir.path(), args);
        assert_eq!(output.status.code(), Some(0));
        let shown = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(shown.contains(env!("CARGO_PKG_VERSION")), "{shown}");
    }
}
