//! Where templates end: what is none, in Go's words, and how much one may take.

use std::sync::Arc;

use registrar_core::{
    cluster::{Metadata, PodSnapshot, Uid},
    rules::template::{Context, MAX_OUTPUT, MAX_TEMPLATE, Template, TemplateError},
};

fn pod() -> PodSnapshot {
    PodSnapshot {
        namespace: "prod".into(),
        name: "web-0".into(),
        uid: Uid::new("u"),
        node_name: Some("node-1".into()),
        service_account: Some("blog".into()),
        hostname: None,
        labels: Metadata::new(),
        annotations: Metadata::new(),
        pod_ips: Box::default(),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn parse(text: &str) -> Result<Template, TemplateError> {
    let context: Context = [(Arc::from("Region"), Arc::from("EU"))].into();
    Template::parse("t", text, &context)
}

fn render(text: &str) -> Result<String, String> {
    let rendered = parse(text).and_then(|t| t.render(&pod()));
    rendered.map_err(|error| error.message)
}

#[test]
fn what_is_no_template_is_said_in_words() {
    for (text, message) in [
        ("{{$x : 1}}", "expected :="),
        ("{{.5}}", "only whole numbers are supported"),
        ("{{1e3}}", "only whole numbers are supported"),
        ("{{+_1}}", "bad number syntax"),
        ("{{\"a\nb\"}}", "unterminated quoted string"),
        ("{{\"a}}", "unterminated quoted string"),
        ("{{'a}}", "unterminated character constant"),
        ("{{'ab'}}", "malformed character constant"),
        ("{{\"\\q\"}}", "invalid escape in a string"),
        ("{{1 | 2}}", "non executable command in pipeline stage 2"),
        ("{{1 | .}}", "non executable command in pipeline stage 2"),
        (
            "{{1 | print | \"a\"}}",
            "non executable command in pipeline stage 3",
        ),
        ("{{1 | .Pod.Name}}", "can't give argument to non-function"),
        (
            "{{range $a, $b, $c := 3}}{{end}}",
            "too many declarations in",
        ),
        ("{{call 1}}", "function \"call\" is not supported"),
        ("{{1 , 2}}", "unexpected \",\" in"),
        ("{{print )}}", "unexpected right paren"),
        ("{{define 1}}{{end}}", "the number 1"),
        ("{{#}}", "unexpected character '#' in action"),
        ("{{.Pod.Name\"x\"}}", "bad character '\"'"),
        ("{{.Pod.Name#}}", "bad character '#'"),
        ("{{print#}}", "bad character '#'"),
        ("{{(1}}", "unclosed left paren"),
        ("{{1)}}", "unexpected right paren"),
        ("{{.Pod.Name ", "unclosed action"),
        ("{{/* x", "unclosed comment"),
        ("{{/* x */ }}", "comment ends before closing delimiter"),
        ("{{not}}", "wrong number of args for not: want 1 got 0"),
        (
            "{{eq 1}}",
            "wrong number of args for eq: want at least 2 got 1",
        ),
        ("{{lt 1}}", "wrong number of args for lt: want 2 got 1"),
        (
            "{{slice}}",
            "wrong number of args for slice: want 1 to 3 got 0",
        ),
        (
            "{{slice \"abc\" \"x\"}}",
            "slice takes a string and numbers",
        ),
        ("{{slice 1}}", "can't slice"),
        ("{{len (and 1 2)}}", "len of"),
        ("{{.Pod}}", "cannot be printed"),
        ("{{print .Pod}}", "cannot be printed"),
        ("{{lt true false}}", "invalid type for comparison"),
        ("{{eq .Pod .Pod}}", "invalid type for comparison"),
        (
            "{{range $a, $b := 3}}{{end}}",
            "a range over a number has one variable",
        ),
        ("{{range \"abc\"}}{{end}}", "range can't iterate over"),
        ("{{template \"x\"}}", "template \"x\" not defined"),
        ("{{define \"x\"}}{{len 1}}{{end}}ok", "len of"),
        (
            "{{define \"a\"}}x{{end}}{{define \"b\"}}{{len 1}}{{end}}{{template \"a\"}}",
            "len of",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
    }
}

#[test]
fn what_only_the_values_show_is_an_error_when_the_template_is_rendered() {
    for (text, message) in [
        (
            "{{range $a, $b := (or 0 5 \"x\")}}{{end}}",
            "range can't iterate over",
        ),
        ("{{range (or \"x\" 5)}}{{end}}", "range can't iterate over"),
        ("{{index .Pod.Name 5}}", "index out of range: 5"),
        ("{{slice .Pod.Name 6}}", "index out of range: 6"),
        ("{{slice .Pod.Name 3 2}}", "invalid slice index: 3 > 2"),
        ("{{slice \"ä\" 1}}", "cuts a character in two"),
        ("{{or .Pod 1}}", "cannot be printed"),
    ] {
        assert!(parse(text).is_ok(), "{text}");
        let error = render(text).expect_err(text);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn a_template_that_is_never_called_may_have_any_dot() {
    let text = "{{define \"x\"}}{{.Whatever.There}}{{range .}}{{printf \"%d\" .}}{{end}}{{end}}ok";
    assert_eq!(render(text).as_deref(), Ok("ok"));
}

#[test]
fn escapes_and_numbers_are_gos() {
    for (text, expected) in [
        (r#"{{"\a\b\f\n\r\t\v\\\""}}"#, "\x07\x08\x0c\n\r\t\x0b\\\""),
        (r#"{{"\x41\101\060\u00e9\U0001F600"}}"#, "AA0é😀"),
        (
            "{{0x1e}} {{0x_1f}} {{0b11}} {{0o17}} {{017}} {{1_000}}",
            "30 31 3 15 15 1000",
        ),
        ("{{'a'}} {{-5}} {{+5}} {{`raw\\n`}}", "97 -5 5 raw\\n"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn blocks_one_after_another_are_not_nested() {
    let many = "{{if 1}}a{{end}}{{with 1}}b{{end}}".repeat(100);
    let text = format!("{{{{define \"t\"}}}}x{{{{end}}}}{many}{{{{template \"t\"}}}}");
    assert_eq!(render(&text), Ok("ab".repeat(100) + "x"));
}

#[test]
fn the_blocks_of_a_template_add_to_those_it_is_called_from() {
    let nested = format!("{}x{}", "{{if 1}}".repeat(25), "{{end}}".repeat(25));
    let chain: String = (0..25)
        .map(|n| {
            let next = n + 1;
            format!("{{{{define \"t{n}\"}}}}{{{{template \"t{next}\"}}}}{{{{end}}}}")
        })
        .collect();
    let text = format!("{chain}{{{{define \"t25\"}}}}{nested}{{{{end}}}}{{{{template \"t0\"}}}}");
    assert_eq!(render(&text).as_deref(), Ok("x"));
}

#[test]
fn a_template_may_have_sixteen_kib_and_make_four() {
    let padded = |bytes: usize| format!("{{{{/*{}*/}}}}", " ".repeat(bytes - 8));
    assert_eq!(render(&padded(MAX_TEMPLATE)).as_deref(), Ok(""));
    for bytes in [MAX_TEMPLATE + 1, MAX_TEMPLATE + 2] {
        let error = render(&padded(bytes)).expect_err("too long");
        assert_eq!(
            error,
            format!("the template has {bytes} bytes, more than 16384")
        );
    }
    let too_long = Err("the result is longer than 4096 bytes".to_owned());
    assert_eq!(render(&"x".repeat(MAX_OUTPUT)), Ok("x".repeat(MAX_OUTPUT)));
    assert_eq!(render(&"x".repeat(MAX_OUTPUT + 1)), too_long);
    let inner =
        |bytes: usize| format!("{{{{len (print \"{}\" \"abcd\")}}}}", "x".repeat(bytes - 4));
    assert_eq!(render(&inner(MAX_OUTPUT)).as_deref(), Ok("4096"));
    assert_eq!(render(&inner(MAX_OUTPUT + 1)), too_long);
    let printed = |bytes: usize| format!("{{{{len (printf \"%s\" \"{}\")}}}}", "x".repeat(bytes));
    assert_eq!(render(&printed(MAX_OUTPUT)).as_deref(), Ok("4096"));
    assert_eq!(render(&printed(MAX_OUTPUT + 1)), too_long);
}

#[test]
fn a_call_costs_the_variables_of_the_template_that_is_called() {
    let variables: String = (0..200).map(|n| format!("{{{{$v{n} := 1}}}}")).collect();
    let with_calls = |calls: usize| {
        format!(
            "{{{{define \"t\"}}}}{{{{if false}}}}{variables}{{{{end}}}}{{{{end}}}}\
             {{{{range {calls}}}}}{{{{template \"t\"}}}}{{{{end}}}}"
        )
    };
    assert_eq!(render(&with_calls(50)).as_deref(), Ok(""));
    let error = render(&with_calls(150)).expect_err("too many steps");
    assert_eq!(error, "rendering takes too many steps");
}

#[test]
fn templates_are_the_same_when_their_names_texts_and_contexts_are() {
    let context = |region: &str| -> Context { [(Arc::from("Region"), Arc::from(region))].into() };
    let of = |what: &str, text: &str, region: &str| {
        Template::parse(what, text, &context(region)).expect("parses")
    };
    let template = of("t", "{{.Context.Region}}", "EU");
    assert_eq!(template, of("t", "{{.Context.Region}}", "EU"));
    assert_ne!(template, of("u", "{{.Context.Region}}", "EU"));
    assert_ne!(template, of("t", "{{ .Context.Region}}", "EU"));
    assert_ne!(template, of("t", "{{.Context.Region}}", "US"));
    assert_eq!(
        (template.what(), template.text()),
        ("t", "{{.Context.Region}}")
    );
    assert_eq!(
        format!("{template:?}"),
        "Template(t: \"{{.Context.Region}}\")"
    );
}
