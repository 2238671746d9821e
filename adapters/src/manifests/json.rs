//! JSON: objects, lists and arrays, one after the other, read item by item.

use std::{
    fmt,
    io::{BufRead, Read},
};

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    sink::{Header, Sink, Text},
    source::Input,
};

/// Reads everything in `input`; what stands before a fault was taken.
pub(super) fn read(name: &str, mut input: Input, sink: &mut Sink<'_>) {
    skip_mark(&mut input);
    let (mut text, object_ended) = input.into_parts();
    let mut items = 0;
    loop {
        match at_end(&mut text) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return sink.reading.trouble(name.to_owned(), error),
        }
        let mut decoder = serde_json::Deserializer::from_reader(text.by_ref());
        let document = Document {
            name,
            sink,
            object_ended: &object_ended,
            items: &mut items,
        };
        if let Err(error) = decoder.deserialize_any(document) {
            let why = match error.is_eof() {
                true => format!("it ends in the middle: {error}; the objects before were read"),
                false => error.to_string(),
            };
            return sink.reading.trouble(name.to_owned(), why);
        }
        object_ended();
    }
}

fn skip_mark(input: &mut Input) {
    if let Ok(text) = input.text.fill_buf()
        && text.starts_with(b"\xef\xbb\xbf")
    {
        input.text.consume(3);
    }
}

/// Skips white space; whether nothing else is left.
fn at_end(text: &mut impl BufRead) -> std::io::Result<bool> {
    loop {
        let buffer = text.fill_buf()?;
        let white = buffer
            .iter()
            .take_while(|b| b.is_ascii_whitespace())
            .count();
        let (all, empty) = (buffer.len(), buffer.is_empty());
        text.consume(white);
        if white < all || empty {
            return Ok(empty);
        }
    }
}

/// One JSON value: an object, a list of objects, or an array of them.
struct Document<'s, 'o> {
    name: &'s str,
    sink: &'s mut Sink<'o>,
    object_ended: &'s dyn Fn(),
    /// Items that were read from this file.
    items: &'s mut usize,
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object or a list of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, seq: A) -> Result<(), A::Error> {
        let none = Header::default();
        let mut later = Vec::new();
        Items {
            document: self.reborrow(),
            list: &none,
            later: &mut later,
        }
        .visit_seq(seq)?;
        self.take(&later, &none);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
        let mut header = Header::default();
        let mut is_list = false;
        // Items without a kind of their own, of a list whose kind is not known yet.
        let mut later: Vec<Box<RawValue>> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" && header.may_be_list() {
                is_list = true;
                map.next_value_seed(Items {
                    document: self.reborrow(),
                    list: &header,
                    later: &mut later,
                })?;
                continue;
            }
            let value: Box<RawValue> = map.next_value()?;
            header.note(&key, value.get());
            if !is_list {
                fields.push((key, value));
            }
        }
        if is_list {
            self.sink.list(&header);
            self.take(&later, &header);
            return Ok(());
        }
        let mut whole = String::from("{");
        for (n, (key, value)) in fields.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let key = serde_json::Value::from(key.as_str());
            whole.push_str(&format!("{comma}{key}:{value}"));
        }
        whole.push('}');
        let none = Header::default();
        self.sink
            .object(self.name.to_owned(), Text::Json(&whole), &none);
        Ok(())
    }
}

impl<'o> Document<'_, 'o> {
    /// Items whose kind is known, or not, now that the whole list was read.
    fn take(&mut self, items: &[Box<RawValue>], list: &Header) {
        for item in items {
            let text = Text::Json(item.get());
            self.sink.object(self.name.to_owned(), text, list);
        }
    }

    fn reborrow(&mut self) -> Document<'_, 'o> {
        Document {
            name: self.name,
            sink: self.sink,
            object_ended: self.object_ended,
            items: self.items,
        }
    }
}

struct Items<'s, 'o> {
    document: Document<'s, 'o>,
    list: &'s Header,
    later: &'s mut Vec<Box<RawValue>>,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let document = self.document;
        while let Some(item) = seq.next_element::<Box<RawValue>>()? {
            (document.object_ended)();
            *document.items += 1;
            let text = Text::Json(item.get());
            if text.header().is_empty() && self.list.is_empty() {
                self.later.push(item);
                continue;
            }
            let place = format!("{}, item {}", document.name, document.items);
            document.sink.object(place, text, self.list);
        }
        Ok(())
    }
}
