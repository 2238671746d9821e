//! What an event is made of: a pod's text.

use registrar_adapters::objects::decode;
use registrar_core::{
    cluster::{Kind, Object},
    policy::WantedMetadata,
};

use crate::machine::policy;

/// A pod as an API server writes it: owner, labels, two containers with probes, volumes, conditions, managed fields.
const POD: &str = include_str!("../pod.json");

/// A pod's text, and what is wanted of it.
#[derive(Debug)]
pub struct Text {
    json: &'static str,
    wanted: WantedMetadata,
}

impl Text {
    /// Made ready.
    pub fn ready() -> Self {
        Self {
            json: POD.trim_end(),
            wanted: policy().wanted_metadata(),
        }
    }

    /// Decodes it.
    pub fn decode(&self) -> Option<Object> {
        decode::object(Kind::Pod, self.json, &self.wanted).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_a_pod_of_usual_size() {
        let text = Text::ready();
        let bytes = text.json.len();
        assert!((3_000..4_000).contains(&bytes), "{bytes}");
        assert!(matches!(text.decode(), Some(Object::Pod(_))));
    }
}
