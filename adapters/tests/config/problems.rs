//! What is wrong with a file, in the words of the original, with place and remedy.

use crate::read::{errors, read, with};

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
        (
            "x509_svid_ttl = \"1500ms\"",
            "x509_svid_ttl is 1.5s; SPIRE stores whole seconds",
        ),
        (
            "jwt_svid_ttl = \"0.5s\"",
            "jwt_svid_ttl is 500ms; SPIRE stores whole seconds",
        ),
        (
            "x509_svid_ttl = \"700000h\"",
            "x509_svid_ttl is 2520000000s; SPIRE stores whole seconds",
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
