//! The language of configuration files, against HashiCorp's own parser.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{LazyLock, Mutex},
};

use registrar_adapters::config::hcl::{Item, Node, NodeKind, parse};

/// A value, and before it the keys and labels that lead to it; as `tests/golden/hcl/main.go` says it.
pub type Leaf = Vec<String>;

/// Everything that is in a file, as far as it can be read: a number that the original's parser could not hold cannot.
pub fn hcl_leaves(text: &str) -> Option<Vec<Leaf>> {
    let items = parse(text).ok()?;
    let mut leaves = Vec::new();
    for item in &items {
        item_leaves(item, &[], &mut leaves)?;
    }
    Some(leaves)
}

fn item_leaves(item: &Item, path: &[String], leaves: &mut Vec<Leaf>) -> Option<()> {
    let mut to = path.to_vec();
    to.push(item.key.clone());
    to.extend(item.labels.iter().map(|(label, _)| label.clone()));
    value_leaves(&item.value, to, leaves)
}

fn value_leaves(node: &Node, mut path: Leaf, leaves: &mut Vec<Leaf>) -> Option<()> {
    let value = match &node.kind {
        NodeKind::Text(text) => format!("s:{text}"),
        NodeKind::Bool(value) => format!("b:{value}"),
        NodeKind::Number(text) => number(text)?,
        NodeKind::Object(items) if items.is_empty() => "{}".into(),
        NodeKind::Object(items) => {
            return items
                .iter()
                .try_for_each(|item| item_leaves(item, &path, leaves));
        }
        NodeKind::List(nodes) if nodes.is_empty() => "[]".into(),
        NodeKind::List(nodes) => {
            return nodes.iter().try_for_each(|node| {
                let mut to = path.clone();
                if !matches!(node.kind, NodeKind::Object(_)) {
                    to.push("[]".into());
                }
                value_leaves(node, to, leaves)
            });
        }
    };
    path.push(value);
    leaves.push(path);
    Some(())
}

/// A number by the rules of Go's `ParseInt` with base 0, or `ParseFloat`.
fn number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let whole = |digits: &str, radix| i64::from_str_radix(&format!("{sign}{digits}"), radix).ok();
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let whole = match (hex, digits.bytes().all(|b| b.is_ascii_digit())) {
        (Some(hex), _) => whole(hex, 16)?,
        (None, true) if digits.len() > 1 && digits.starts_with('0') => whole(digits, 8)?,
        (None, true) => whole(digits, 10)?,
        (None, false) => return Some(format!("f:{}", text.parse::<f64>().ok()?.to_bits())),
    };
    Some(format!("i:{whole}"))
}

/// The text in one line, as the Go program reads it.
pub fn hcl_escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\t', "\\t")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\0', "\\0")
}

/// What the Go program answered about a text: nothing if its parser refuses it.
pub fn hcl_answer(result: &str) -> Option<Vec<Leaf>> {
    match result {
        "!" => None,
        json => Some(serde_json::from_str(json).expect("a list of lists")),
    }
}

/// Whether what both read is the same: where one of them refuses there is nothing to compare. In JSON the original's
/// parser changes the order, loses `true` and `false` in lists, and has nothing of the lists in lists but their elements;
/// no key takes such lists.
pub fn hcl_agree(text: &str, ours: Option<Vec<Leaf>>, original: Option<Vec<Leaf>>) -> bool {
    let (Some(mut ours), Some(mut original)) = (ours, original) else {
        return true;
    };
    if text.trim_start().starts_with('{') {
        let nested = |leaf: &Leaf| leaf.windows(2).any(|two| two == ["[]", "[]"]);
        if ours.iter().any(nested) {
            return true;
        }
        ours.retain(|leaf| !matches!(&leaf[..], [.., list, value] if list == "[]" && value.starts_with("b:")));
        ours.sort();
        original.sort();
    }
    ours == original
}

/// The Go program, kept for all inputs.
struct Original {
    _process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Its path is in `HCL_ORIGINAL`; without it nothing is compared.
static ORIGINAL: LazyLock<Option<Mutex<Original>>> = LazyLock::new(|| {
    let program = env::var_os("HCL_ORIGINAL")?;
    let mut process = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program of tests/golden/hcl");
    let ask = process.stdin.take().expect("piped");
    let answers = BufReader::new(process.stdout.take().expect("piped"));
    Some(Mutex::new(Original {
        _process: process,
        ask,
        answers,
    }))
});

fn original(text: &str) -> Option<Vec<Leaf>> {
    let original = ORIGINAL.as_ref()?;
    let mut original = original.lock().expect("whole");
    writeln!(original.ask, "{}", hcl_escaped(text)).expect("it reads");
    let mut line = String::new();
    original.answers.read_line(&mut line).expect("it answers");
    let (_, result) = line.trim_end_matches('\n').split_once('\t')?;
    hcl_answer(result)
}

fn spans_lie_in(text: &str, node: &Node) {
    assert!(text.get(node.span.clone()).is_some(), "{node:?}");
    match &node.kind {
        NodeKind::List(nodes) => nodes.iter().for_each(|node| spans_lie_in(text, node)),
        NodeKind::Object(items) => items
            .iter()
            .for_each(|item| spans_lie_in(text, &item.value)),
        _ => {}
    }
}

/// Any text: what our reader and the original's both take has the same values in it; every place lies in the text.
pub fn hcl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse(text) {
        Ok(items) => items.iter().for_each(|item| {
            assert!(text.get(item.key_span.clone()).is_some(), "{item:?}");
            spans_lie_in(text, &item.value);
        }),
        Err(error) => {
            assert!(error.span.start <= text.len(), "{error:?}");
            assert!(!error.message.is_empty());
        }
    }
    // Its lines end with a newline, and so does an escaped text; a line that begins like this is no text.
    if text.starts_with("## ") {
        return;
    }
    let ours = hcl_leaves(text);
    let original = original(text);
    assert!(
        hcl_agree(text, ours.clone(), original.clone()),
        "{text:?}\n  original {original:?}\n  ours     {ours:?}"
    );
}
