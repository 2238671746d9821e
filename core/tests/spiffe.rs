//! SPIFFE IDs, paths, trust domains, DNS names and entry IDs: by table, and against grammars written down independently.

use proptest::prelude::*;
use registrar_core::{
    entry::{DnsName, EntryId},
    spiffe::{SpiffeError, SpiffeId, TrustDomain, is_segment, is_under, validate_path},
};

#[test]
fn a_path_is_refused_with_the_servers_own_reason() {
    use SpiffeError::*;
    for (path, expected) in [
        ("", None),
        ("/x", None),
        ("/ns/production/sa/blog", None),
        ("/...", None),
        ("/.x/..y/-/_", None),
        ("x", Some(NoLeadingSlash)),
        ("/", Some(TrailingSlash)),
        ("/x/", Some(TrailingSlash)),
        ("//x", Some(EmptySegment)),
        ("/x//y", Some(EmptySegment)),
        ("/.", Some(DotSegment)),
        ("/./x", Some(DotSegment)),
        ("/x/..", Some(DotSegment)),
        ("/x y", Some(BadPathSegmentChar)),
        ("/x%20y", Some(BadPathSegmentChar)),
        ("/ä", Some(BadPathSegmentChar)),
        ("/x\n", Some(BadPathSegmentChar)),
        ("/x\0", Some(BadPathSegmentChar)),
        ("/x:y", Some(BadPathSegmentChar)),
    ] {
        assert_eq!(validate_path(path).err(), expected, "{path:?}");
    }
}

#[test]
fn a_trust_domain_is_never_repaired() {
    for name in ["example.org", "a", "1.2.3.4", "-x", "a..b", "a_b"] {
        assert!(TrustDomain::new(name).is_ok(), "{name:?}");
    }
    for name in [
        "",
        "Example.org",
        "example.org:443",
        "user@x",
        "ex%20",
        "é",
        "a b",
        "a/b",
    ] {
        assert!(TrustDomain::new(name).is_err(), "{name:?}");
    }
    for (text, expected) in [
        ("example.org", Some("example.org")),
        ("spiffe://example.org", Some("example.org")),
        ("spiffe://example.org/a/b", Some("example.org")),
        ("http://example.org", None),
        ("", None),
        ("example.org/a", None),
        ("spiffe://", None),
        ("spiffe://Example.org", None),
    ] {
        let found = TrustDomain::from_name_or_id(text).ok();
        assert_eq!(
            found.as_ref().map(TrustDomain::as_str),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn an_id_has_at_most_255_bytes() {
    let longest = format!("spiffe://example.org/{}", "x".repeat(234));
    assert_eq!(longest.len(), 255);
    assert!(SpiffeId::parse(&longest).is_ok());
    assert_eq!(
        SpiffeId::parse(&format!("{longest}x")),
        Err(SpiffeError::TooLong(256))
    );
}

#[test]
fn an_id_that_is_put_together_has_at_most_255_bytes_too_unless_the_server_stores_it_already() {
    let td = TrustDomain::new("example.org").expect("legal");
    let path = |bytes: usize| format!("/{}", "x".repeat(bytes - "spiffe://example.org/".len()));
    let longest = SpiffeId::new(td.clone(), path(255)).expect("255 bytes");
    assert_eq!((longest.len(), longest.is_empty()), (255, false));
    let too_long = SpiffeId::new(td.clone(), path(256));
    assert_eq!(too_long, Err(SpiffeError::TooLong(256)));
    assert_eq!(longest.child("y"), Err(SpiffeError::TooLong(257)));
    let stored = SpiffeId::stored(td.clone(), path(300)).expect("the server has it");
    assert_eq!(SpiffeId::parse_unbounded(&stored.to_string()), Ok(stored));
    for path in ["x", "/x/", "/..", "/x y"] {
        assert!(SpiffeId::new(td.clone(), path).is_err(), "{path:?}");
        assert!(SpiffeId::stored(td.clone(), path).is_err(), "{path:?}");
    }
}

#[test]
fn a_child_is_one_legal_segment_below() {
    let id = SpiffeId::parse("spiffe://example.org/node").expect("an ID");
    let child = id.child("a").expect("a segment");
    assert_eq!(child.to_string(), "spiffe://example.org/node/a");
    assert!(child.is_under(&id) && id.is_under(&id) && !id.is_under(&child));
    let elsewhere = SpiffeId::parse("spiffe://example.com/node/a").expect("an ID");
    assert!(!elsewhere.is_under(&id), "another trust domain");
    for segment in ["", ".", "..", "a b"] {
        assert!(id.child(segment).is_err(), "{segment:?}");
    }
}

#[test]
fn a_segment_is_what_can_stand_between_two_slashes() {
    for (segment, legal) in [
        ("a", true),
        ("A.b_c-9", true),
        ("...", true),
        ("", false),
        (".", false),
        ("..", false),
        ("a/b", false),
        ("a b", false),
        ("ä", false),
    ] {
        assert_eq!(is_segment(segment), legal, "{segment:?}");
    }
}

#[test]
fn ids_and_names_show_themselves() {
    let id: SpiffeId = "spiffe://example.org/x".parse().expect("an ID");
    assert_eq!(
        format!("{id} {id:?}"),
        "spiffe://example.org/x SpiffeId(spiffe://example.org/x)"
    );
    assert!("example.org/x".parse::<SpiffeId>().is_err());
    let td: TrustDomain = "example.org".parse().expect("a name");
    assert_eq!(
        format!("{td} {td:?}"),
        "example.org TrustDomain(example.org)"
    );
    assert_eq!((id.trust_domain(), id.path()), (&td, "/x"));
    assert!("Example.org".parse::<TrustDomain>().is_err());
    let id = EntryId::new("a.b").expect("an ID");
    assert_eq!(
        format!("{id} {id:?} {}", id.as_str()),
        "a.b EntryId(a.b) a.b"
    );
    let name = DnsName::stored("A_b");
    assert_eq!(format!("{name} {name:?} {}", name.as_str()), "A_b A_b A_b");
}

#[test]
fn an_id_is_parsed_with_the_servers_own_reason() {
    use SpiffeError::*;
    for (text, expected) in [
        ("spiffe://example.org/x", None),
        ("spiffe://example.org", None),
        ("", Some(Empty)),
        ("example.org/x", Some(WrongScheme)),
        ("SPIFFE://example.org/x", Some(WrongScheme)),
        ("spiffe:///x", Some(MissingTrustDomain)),
        ("spiffe://example.org?x=y", Some(BadTrustDomainChar)),
        ("spiffe://example.org/x#y", Some(BadPathSegmentChar)),
        ("spiffe://example.org/x?y", Some(BadPathSegmentChar)),
        ("spiffe://example.org/", Some(TrailingSlash)),
    ] {
        assert_eq!(SpiffeId::parse(text).err(), expected, "{text:?}");
    }
}

#[test]
fn being_under_counts_whole_segments() {
    for (path, ancestor, expected) in [
        ("/a/node", "/a/node", true),
        ("/a/node/x", "/a/node", true),
        ("/a/node2", "/a/node", false),
        ("/a/nod", "/a/node", false),
        ("/a", "/a/node", false),
    ] {
        assert_eq!(is_under(path, ancestor), expected, "{path} {ancestor}");
    }
}

#[test]
fn a_generated_dns_name_is_one_that_every_server_takes() {
    let label = "x".repeat(63);
    for name in [
        "a",
        "a.b",
        "10-0-0-1.ns.pod.cluster.local",
        "abc--d",
        "a--b",
        "fd00--5",
        &label,
    ] {
        assert!(DnsName::new(name).is_ok(), "{name:?}");
    }
    let too_long_label = "x".repeat(64);
    let too_long = [&label[..61]; 5].join(".");
    for name in [
        "",
        " ",
        ".a",
        "a.",
        "a..b",
        "-a",
        "a-",
        "--1",
        "fe80--",
        "ab--cd",
        "xn--bcher-kva",
        "A",
        "a_b",
        "a b",
        " a",
        "*.a",
        "ä",
        "a\n",
        &too_long_label,
        &too_long,
    ] {
        assert!(DnsName::new(name).is_err(), "{name:?}");
    }
}

#[test]
fn an_entry_id_follows_the_servers_rule() {
    for id in ["a", "A.b_c-9", &"x".repeat(255)] {
        assert!(EntryId::new(id).is_ok(), "{id:?}");
    }
    for id in ["", "a/b", "a b", "ä", "a:b", &"x".repeat(256)] {
        assert!(EntryId::new(id).is_err(), "{id:?}");
    }
}

/// The grammar of an ID, written as a regular expression and two exclusions.
fn is_id_by_grammar(text: &str) -> bool {
    let grammar =
        regex::Regex::new(r"\Aspiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*\z").expect("a grammar");
    grammar.is_match(text)
        && text.len() <= 255
        && !text[9..].split('/').skip(1).any(|s| s == "." || s == "..")
}

fn almost_an_id() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        "spiffe://[a-z.]{1,10}(/[a-zA-Z0-9._-]{0,3}){0,4}",
        "spiffe://[a-zA-Z0-9.:@%_-]{0,10}(/[a-zA-Z0-9._ %é-]{0,3}){0,4}[/?#]?",
        "(spiffe|SPIFFE|http)://[a-z]{1,3}(/[.]{1,3}){0,3}",
    ]
}

proptest! {
    #[test]
    fn the_parser_accepts_exactly_the_grammar(text in almost_an_id()) {
        prop_assert_eq!(SpiffeId::parse(&text).is_ok(), is_id_by_grammar(&text), "{:?}", text);
    }

    #[test]
    fn what_is_parsed_prints_as_it_was_written(text in almost_an_id()) {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.to_string(), text.clone());
            prop_assert_eq!(id.len(), text.len());
        }
    }

    #[test]
    fn nothing_is_under_what_it_does_not_begin_with(a in "(/[ab]{1,2}){0,4}", b in "(/[ab]{1,2}){0,4}") {
        let segments = |p: &str| p.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
        let by_segments = segments(&a).starts_with(&segments(&b));
        prop_assert_eq!(is_under(&a, &b), by_segments);
    }
}
