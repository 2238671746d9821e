//! Templates do what Go's own `text/template` does, and none of them is dangerous.

use std::sync::Arc;

use registrar_core::{
    cluster::{Metadata, PodSnapshot, Uid},
    rules::template::{Context, MAX_OUTPUT, MAX_TEMPLATE, Phase, Template, TemplateError},
};

/// Made by `tests/golden/template/main.go`, which has the same pods and the same context.
const GOLDEN: &str = include_str!("../../tests/golden/template/golden.tsv");

fn pod(values: [&str; 6]) -> PodSnapshot {
    let [uid, name, namespace, account, hostname, node] = values;
    let some = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    PodSnapshot {
        namespace: namespace.into(),
        name: name.into(),
        uid: Uid::new(uid),
        node_name: some(node),
        service_account: some(account),
        hostname: some(hostname),
        labels: Metadata::new(),
        annotations: Metadata::new(),
        pod_ips: Box::default(),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn pods() -> [PodSnapshot; 2] {
    [
        pod([
            "8c4ddf2e-01f2-4b26-b4dd-bd2bf1f3a9a1",
            "web-0",
            "prod",
            "blog",
            "",
            "node-1",
        ]),
        pod([
            "b1946ac9-2492-4d34-8f3e-0a2b1c3d4e5f",
            "db-1",
            "default",
            "default",
            "db-host",
            "node-2.example",
        ]),
    ]
}

fn context() -> Context {
    [
        ("Region", "EU-DE"),
        ("ClusterName", "MYCLUSTER"),
        ("Empty", ""),
        ("prod", "production"),
        ("ä", "umlaut"),
        ("Markup", "<a href=\"x\">&'</a>"),
    ]
    .map(|(k, v)| (k.into(), v.into()))
    .into()
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('0') => '\0',
                Some('\\') => '\\',
                other => panic!("escape {other:?} in {text:?}"),
            },
            c => c,
        });
    }
    out
}

fn render(text: &str, pod: &PodSnapshot) -> Result<String, TemplateError> {
    Template::parse("t", text, &context())?.render(pod)
}

#[test]
fn templates_render_what_go_renders() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for line in GOLDEN.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [kind, text, results @ ..] = &columns[..] else {
            panic!("columns of {line:?}")
        };
        let text = unescaped(text);
        for (pod, golden) in pods().iter().zip(results) {
            let ours = render(&text, pod);
            let right = match (*kind, golden.strip_prefix('='), &ours) {
                ("same", Some(expected), Ok(rendered)) => unescaped(expected) == *rendered,
                ("same", None, Err(_)) | ("strict", _, Err(_)) => true,
                _ => false,
            };
            compared += 1;
            if !right {
                wrong.push(format!(
                    "{kind} {text:?}\n  Go   {golden:?}\n  ours {ours:?}"
                ));
            }
        }
    }
    assert!(compared > 1000, "{compared} comparisons");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn errors_say_where_and_what() {
    for (text, phase, place, message) in [
        (
            "{{.Pod.XXXX}}",
            Phase::Executing,
            (1, 7),
            "can't evaluate field XXXX in",
        ),
        (
            "ä\n b {{.Does.Not}}",
            Phase::Executing,
            (2, 6),
            "can't evaluate field Does in",
        ),
        (
            "a/{{.Context.Zone}}",
            Phase::Context,
            (1, 13),
            "context has no key \"Zone\"; it has ClusterName",
        ),
        (
            "{{if .Pod.Name}}x",
            Phase::Parsing,
            (1, 1),
            "has no {{end}}",
        ),
        ("a{{end}}", Phase::Parsing, (1, 2), "unexpected {{end}}"),
        (
            "{{lower .Pod.Name}}",
            Phase::Parsing,
            (1, 3),
            "function \"lower\" is not defined",
        ),
        ("{{.Pod.Name", Phase::Parsing, (1, 1), "unclosed action"),
        (
            "{{$x}}",
            Phase::Parsing,
            (1, 3),
            "undefined variable \"$x\"",
        ),
        (
            "{{.Pod.Name | eq 1}}",
            Phase::Executing,
            (1, 15),
            "incompatible types",
        ),
        (
            "{{printf \"%d\" .Pod.Name}}",
            Phase::Executing,
            (1, 3),
            "%d does not print a string",
        ),
    ] {
        let error = Template::parse("identity_template", text, &context()).expect_err(text);
        assert_eq!(
            (error.phase, (error.line, error.column)),
            (phase, place),
            "{text}: {error}"
        );
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(
            error.to_string().starts_with("identity_template:"),
            "{error}"
        );
    }
}

#[test]
fn what_one_pod_cannot_give_is_an_error_for_that_pod_alone() {
    let template = Template::parse("t", "{{index .Pod.Hostname 0}}", &context()).expect("parses");
    let [without, with] = pods();
    assert!(template.render(&without).is_err());
    assert_eq!(template.render(&with).as_deref(), Ok("100"));
}

#[test]
fn a_template_knows_whether_it_reads_the_service_account() {
    for (text, reads) in [
        ("{{.Pod.ServiceAccount}}", true),
        ("{{with .Pod}}{{.ServiceAccount}}{{end}}", true),
        ("{{if false}}{{.Pod.ServiceAccount}}{{end}}", true),
        ("{{.Pod.Name}}", false),
    ] {
        let template = Template::parse("t", text, &context()).expect("parses");
        assert_eq!(template.reads_service_account(), reads, "{text}");
    }
}

#[test]
fn spaces_between_actions_can_be_dropped_and_those_within_them_count() {
    let template = Template::without_spaces(
        "t",
        " {{ .Pod.Name }} . {{ if eq .Pod.Namespace \"prod\" }} p {{ else }} d {{ end }} . svc",
        &context(),
    )
    .expect("parses");
    let [prod, default] = pods();
    assert_eq!(template.render(&prod).as_deref(), Ok("web-0.p.svc"));
    assert_eq!(template.render(&default).as_deref(), Ok("db-1.d.svc"));
}

/// Each of these would end the process or stall it, if nothing were bounded.
#[test]
fn hostile_templates_are_errors() {
    let doubled = (0..40).fold("{{$x := \"xxxxxxxx\"}}".to_owned(), |text, _| {
        text + "{{$x = print $x $x}}"
    });
    let calls = (0..60).fold("{{define \"t0\"}}x{{end}}".to_owned(), |text, n| {
        let inner = n;
        let outer = n + 1;
        text + &format!(
            "{{{{define \"t{outer}\"}}}}{{{{template \"t{inner}\"}}}}{{{{template \"t{inner}\"}}}}{{{{end}}}}"
        )
    }) + "{{template \"t60\"}}";
    let tower = (0..20).fold("{{define \"t0\"}}x{{end}}".to_owned(), |text, n| {
        let inner = n;
        let outer = n + 1;
        text + &format!(
            "{{{{define \"t{outer}\"}}}}{{{{template \"t{inner}\"}}}}{{{{template \"t{inner}\"}}}}{{{{end}}}}"
        )
    }) + "{{template \"t20\"}}";
    let variables = (0..900).fold(String::new(), |text, n| text + &format!("{{{{$v{n}:=1}}}}"))
        + "{{range 1000000000}}{{end}}";
    for text in [
        "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}".to_owned(),
        "{{define \"x\"}}{{template \"y\"}}{{end}}{{define \"y\"}}{{template \"x\"}}{{end}}{{template \"x\"}}"
            .to_owned(),
        "{{range 1000000000}}{{end}}".to_owned(),
        "{{range 1000000000}}xxxxxxxxxxxxxxxxxxxxxxxx{{end}}".to_owned(),
        "{{range 100000}}{{range 100000}}{{range 100000}}x{{end}}{{end}}{{end}}".to_owned(),
        "{{range 9223372036854775807}}{{.}}{{end}}".to_owned(),
        doubled,
        calls,
        tower,
        variables,
        format!("{{{{{}1{}}}}}", "(".repeat(1000), ")".repeat(1000)),
        format!("{{{{{}", "(".repeat(10_000)),
        format!("{{{{print {}1{}}}}}", "(print ".repeat(1000), ")".repeat(1000)),
        format!("{}x{}", "{{if 1}}".repeat(1000), "{{end}}".repeat(1000)),
        format!("{}x{}", "{{with 1}}".repeat(800), "{{end}}".repeat(800)),
        format!("{}x{}", "{{range 2}}".repeat(700), "{{end}}".repeat(700)),
        "{{if 1}}".repeat(2000),
        "{{define \"x\"}}".repeat(1000),
        format!("{{{{printf \"%{}d\" 1}}}}", 1_000_000_000_u64),
        format!("{{{{printf \"%{}d\" 1}}}}", "9".repeat(10_000)),
        format!("{{{{printf \"%.{}d\" 1}}}}", 1_000_000),
        format!("{{{{printf \"{}\" {}}}}}", "%4000d".repeat(1000), "1 ".repeat(1000)),
        "x".repeat(1 << 20),
        "{{.Pod.Name}}".repeat(1 << 16),
        "x".repeat(MAX_OUTPUT + 1),
        format!("{{{{.Pod{}}}}}", ".Name".repeat(3000)),
        format!("{{{{html \"{}\"}}}}", "<".repeat(4000)),
        "\0{{\0}}".to_owned(),
        "{{\u{202e}}}".to_owned(),
    ] {
        assert!(render(&text, &pods()[0]).is_err(), "{:.60}", text);
    }
}

#[test]
fn long_but_harmless_templates_are_rendered() {
    let elses = format!("{{{{if 0}}}}a{}{{{{end}}}}", "{{else if 0}}b".repeat(1000));
    let steps = format!("{{{{print \"a\"{}}}}}", " | print".repeat(1000));
    for (text, expected) in [
        (elses, ""),
        (steps, "a"),
        (format!("{}ok", "{{/* c */}}".repeat(1400)), "ok"),
        (format!("{}ok", " ".repeat(0)), "ok"),
    ] {
        assert!(text.len() <= MAX_TEMPLATE);
        assert_eq!(render(&text, &pods()[0]).as_deref(), Ok(expected));
    }
}

/// Parsing, checking and rendering stay within a small stack even at the limits of nesting.
#[test]
fn the_deepest_template_needs_a_small_stack() {
    let nested: [fn(usize) -> String; 3] = [
        |n| format!("{}x{}", "{{if 1}}".repeat(n), "{{end}}".repeat(n)),
        |n| format!("{{{{{}1{}}}}}", "(".repeat(n), ")".repeat(n)),
        |n| {
            let chain: String = (0..n)
                .map(|inner| {
                    let outer = inner + 1;
                    let call = format!("{{{{template \"t{inner}\" ((((1))))}}}}");
                    format!("{{{{define \"t{outer}\"}}}}{{{{if 1}}}}{{{{with 1}}}}{call}{{{{end}}}}{{{{end}}}}{{{{end}}}}")
                })
                .collect();
            format!("{{{{define \"t0\"}}}}x{{{{end}}}}{chain}{{{{template \"t{n}\"}}}}")
        },
    ];
    let texts = nested.map(|nested| {
        (1..200)
            .map(nested)
            .take_while(|text| render(text, &pods()[0]).is_ok())
            .last()
            .expect("one level is allowed")
    });
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let run = move || texts.map(|text| render(&text, &pods()[0]).map(|r| r.len()));
    let results = thread
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no overflow");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}
