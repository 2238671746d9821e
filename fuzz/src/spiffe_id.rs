//! SPIFFE IDs and trust domains, against a grammar written down a second time, byte by byte.

use registrar_core::spiffe::{SpiffeId, TrustDomain};

fn is_trust_domain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

fn is_segment(text: &str) -> bool {
    let legal = |b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    !matches!(text, "" | "." | "..") && text.bytes().all(legal)
}

fn is_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let mut parts = rest.split('/');
    parts.next().is_some_and(is_trust_domain) && parts.all(is_segment) && text.len() <= 255
}

/// Any text: it is an ID, or a trust domain, exactly when the grammar says so, and prints as it was written.
pub fn spiffe_id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let id = SpiffeId::parse(&text);
    assert_eq!(id.is_ok(), is_id(&text), "{text:?}: {id:?}");
    if let Ok(id) = id {
        assert_eq!(id.to_string(), text);
    }
    let td = TrustDomain::new(&text);
    assert_eq!(td.is_ok(), is_trust_domain(&text), "{text:?}: {td:?}");
    if let Ok(td) = TrustDomain::from_name_or_id(&text) {
        assert!(is_trust_domain(td.as_str()), "{text:?} gave {td}");
    }
}
