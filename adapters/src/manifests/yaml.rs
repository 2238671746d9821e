//! YAML: documents, and of lists in the form in which kubectl writes them, one item at a time.

use std::io::BufRead;

use serde_yaml::Value;

use super::{
    sink::{Header, Sink, Text},
    source::Input,
};

/// Reads everything in `input`; a document or item that is broken does not spoil the others.
pub(super) fn read(name: &str, mut input: Input, sink: &mut Sink<'_>) {
    let mut documents = Documents {
        name,
        sink,
        line: 0,
        head: Part::default(),
        items: None,
        item: Part::default(),
        later: Vec::new(),
    };
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match input.text.read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                documents.trouble(documents.line + 1, error);
                break;
            }
        }
        documents.line += 1;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match std::str::from_utf8(text) {
            Ok(line) => {
                if documents.take(line) {
                    input.object_ended();
                }
            }
            Err(_) => documents.trouble(documents.line, "not UTF-8"),
        }
    }
    documents.end();
}

/// Lines that belong together, and where they begin.
#[derive(Default)]
struct Part {
    text: String,
    line: usize,
}

impl Part {
    fn push(&mut self, line: &str, number: usize) {
        if self.text.is_empty() {
            self.line = number;
        }
        self.text.push_str(line);
        if !line.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn is_blank(&self) -> bool {
        self.text.lines().all(is_blank)
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// Blank, or a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn indent(line: &str) -> usize {
    line.bytes().take_while(|b| *b == b' ').count()
}

fn is_dash(line: &str) -> bool {
    line.trim_start_matches(' ')
        .strip_prefix('-')
        .is_some_and(|rest| rest.trim_end().is_empty() || rest.starts_with(' '))
}

/// Where the items of the list under way stand.
enum Items {
    /// `items:` was read, nothing of what follows.
    Expected,
    /// Each begins with a dash at this column.
    At(usize),
    /// They ended.
    Over,
}

struct Documents<'s, 'o> {
    name: &'s str,
    sink: &'s mut Sink<'o>,
    line: usize,
    /// The document, without the items that are read one by one.
    head: Part,
    items: Option<Items>,
    item: Part,
    /// Items without a kind of their own, of a list whose kind is not known yet.
    later: Vec<(usize, Value)>,
}

impl Documents<'_, '_> {
    fn trouble(&mut self, line: usize, why: impl ToString) {
        let place = format!("{}, line {line}", self.name);
        self.sink.reading.trouble(place, why);
    }

    /// Takes one line; whether a document or an item ended before it.
    ///
    /// That a line begins at column 0, or at the column of the items, is enough to know its place: no scalar of an item
    /// can have a line there.
    fn take(&mut self, line: &str) -> bool {
        let marker = |m: &str| {
            line.strip_prefix(m)
                .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r', '\t']))
        };
        if let Some(rest) = marker("---").or_else(|| marker("...")) {
            self.end();
            if !is_blank(rest) {
                self.head.push(rest.trim_start(), self.line);
            }
            return true;
        }
        if line.starts_with('%') && self.head.is_blank() {
            return false;
        }
        match self.items {
            Some(Items::Expected) if !is_blank(line) => {
                if is_dash(line) {
                    self.items = Some(Items::At(indent(line)));
                    self.item.push(line, self.line);
                } else {
                    self.items = Some(Items::Over);
                    self.head.push("items:", self.line);
                    self.head.push(line, self.line);
                }
                false
            }
            Some(Items::At(column)) => {
                if is_blank(line) || indent(line) > column {
                    self.item.push(line, self.line);
                    return false;
                }
                self.end_item();
                if indent(line) == column && is_dash(line) {
                    self.item.push(line, self.line);
                } else {
                    self.items = Some(Items::Over);
                    self.head.push(line, self.line);
                }
                true
            }
            None if is_items(line) => {
                self.items = Some(Items::Expected);
                false
            }
            _ => {
                self.head.push(line, self.line);
                false
            }
        }
    }

    fn end_item(&mut self) {
        let part = self.item.take();
        if part.is_blank() {
            return;
        }
        let item = match parse(&part.text) {
            Ok(Value::Sequence(mut one)) if one.len() == 1 => one.remove(0),
            Ok(_) => return self.trouble(part.line, "not an item of a list"),
            Err(why) => return self.trouble(part.line, why),
        };
        if Text::Yaml(&item).header().is_empty() {
            self.later.push((part.line, item));
        } else {
            self.object(part.line, &item, &Header::default());
        }
    }

    fn object(&mut self, line: usize, object: &Value, list: &Header) {
        let place = format!("{}, line {line}", self.name);
        self.sink.object(place, Text::Yaml(object), list);
    }

    /// The document ends.
    fn end(&mut self) {
        self.end_item();
        let part = self.head.take();
        let was_list = self.items.take().is_some();
        let later = std::mem::take(&mut self.later);
        if part.is_blank() && !was_list {
            return;
        }
        let mut head = match parse(&part.text) {
            Ok(head) => head,
            Err(why) => return self.trouble(part.line, why),
        };
        let header = Text::Yaml(&head).header();
        if was_list && header.may_be_list() {
            self.sink.list(&header);
            for (line, item) in later {
                self.object(line, &item, &header);
            }
            return;
        }
        // A list in flow form, or under another key than at the document's left edge.
        let items = match &mut head {
            Value::Mapping(map) if header.may_be_list() => map.remove("items"),
            Value::Sequence(items) => Some(Value::Sequence(std::mem::take(items))),
            _ => None,
        };
        match items {
            Some(Value::Sequence(items)) => {
                self.sink.list(&header);
                for item in items {
                    self.object(part.line, &item, &header);
                }
            }
            Some(_) => self.sink.list(&header),
            None => self.object(part.line, &head, &Header::default()),
        }
    }
}

fn is_items(line: &str) -> bool {
    line.strip_prefix("items:").is_some_and(is_blank)
}

/// Brackets that are open at once: the parser's work grows with their square, and no object has a hundred.
const DEEPEST: usize = 5_000;

/// One document; keys given twice are an error, as the API server has it.
fn parse(text: &str) -> Result<Value, String> {
    let mut open: usize = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST {
            return Err(format!("more than {DEEPEST} brackets are open at once"));
        }
    }
    let mut value: Value = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    if text.contains("<<") {
        value.apply_merge().map_err(|e| e.to_string())?;
    }
    Ok(value)
}
