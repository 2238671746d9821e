//! Labels and annotations as they stand in an object's text: nothing is copied but what a rule reads. How many an object has is
//! its author's choice; what reading it costs should not be.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

/// Keys and values, in the text's order.
#[derive(Debug, Default)]
pub(super) struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Pairs<'_> {
    /// The value of a key; of several, the last.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut from_the_end = self.0.iter().rev();
        from_the_end.find(|(k, _)| k.0 == key).map(|(_, v)| &*v.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Vec<(Text<'de>, Text<'de>)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        decoder.deserialize_map(Whole).map(Pairs)
    }
}

/// A string that is borrowed from the text unless it is escaped there. Within a map, `Cow` itself is always a copy.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text))
            }
        }
        decoder.deserialize_str(Whole).map(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_key_that_stands_there_twice_the_last_value_counts() {
        let pairs: Pairs<'_> = serde_json::from_str(r#"{"a":"1","b":"2","a":"3"}"#).expect("read");
        assert_eq!((pairs.get("a"), pairs.get("c")), (Some("3"), None));
    }

    #[test]
    fn what_is_escaped_is_read_as_it_is_meant() {
        let pairs: Pairs<'_> = serde_json::from_str(r#"{"\u0061":"x\ny"}"#).expect("read");
        assert_eq!(pairs.get("a"), Some("x\ny"));
    }

    #[test]
    fn what_is_no_string_is_an_error() {
        for text in [r#"{"a":1}"#, r#"{"a":null}"#, "[]", r#""a""#] {
            assert!(serde_json::from_str::<Pairs<'_>>(text).is_err(), "{text}");
        }
    }
}
