//! The trust domains of the annotation.

use std::collections::BTreeSet;

use registrar_core::{
    policy::FEDERATES_WITH,
    rules::{Bundles, Decision, WhyDropped, federation},
    spiffe::{SpiffeError, TrustDomain},
};

use crate::{bundles, decide, pod, policy};

#[test]
fn federation_takes_what_is_legal_allowed_and_known_and_tells_the_rest() {
    for (annotation, allowed, with, left_out) in [
        ("example.io", None, vec!["example.io"], 0),
        (
            "example.net,example.io",
            None,
            vec!["example.io", "example.net"],
            0,
        ),
        (" example.io , ,example.io,", None, vec!["example.io"], 0),
        ("spiffe://example.io", None, vec!["example.io"], 0),
        ("example.test", None, vec![], 1),
        ("nowhere.test", None, vec![], 1),
        ("EXAMPLE.io,é,a b", None, vec![], 3),
        (
            "example.io,example.net",
            Some("example.net"),
            vec!["example.net"],
            1,
        ),
        ("", None, vec![], 0),
    ] {
        let mut policy = policy();
        policy.federation_allow =
            allowed.map(|td| BTreeSet::from([TrustDomain::new(td).expect("legal")]));
        let mut pod = pod();
        pod.annotations
            .insert(FEDERATES_WITH.into(), annotation.into());
        let Decision::Register { entries, notes } = decide(&policy, &pod) else {
            panic!("the identity is never refused because of federation: {annotation:?}");
        };
        let found: Vec<&str> = entries[0]
            .federates_with
            .iter()
            .map(TrustDomain::as_str)
            .collect();
        assert_eq!(found, with, "{annotation:?}");
        assert_eq!(notes.len(), left_out, "{annotation:?}: {notes:?}");
    }
}

#[test]
fn an_entry_federates_with_at_most_a_hundred_trust_domains_and_names_the_rest() {
    let names: Vec<String> = (0..102).map(|n| format!("td-{n:03}")).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let bundles = bundles(&known);
    // Those that are in already are no more, wherever they are named again.
    let annotation = names.join(",") + ",td-000";
    let found = federation(&policy(), Some(&annotation), &bundles);
    assert_eq!(found.with.len(), 100);
    let dropped: Vec<&str> = found.dropped.iter().map(|d| &*d.written).collect();
    assert_eq!(dropped, ["\"td-100\"", "\"td-101\""]);
    assert!(found.dropped.iter().all(|d| d.why == WhyDropped::TooMany));
}

#[test]
fn of_thousands_of_bad_trust_domains_a_hundred_are_named_each_once() {
    let bad: Vec<String> = (0..1000).map(|n| format!("BAD-{n}")).collect();
    let annotation = format!("BAD-0,{}", bad.join(","));
    let found = federation(&policy(), Some(&annotation), &Bundles::default());
    assert_eq!((found.with.len(), found.dropped.len()), (0, 100));
    assert_eq!(found.dropped[1].written, "\"BAD-1\"");
}

#[test]
fn a_trust_domain_of_more_than_255_bytes_is_none() {
    let (longest, too_long) = ("x".repeat(255), "x".repeat(256));
    let annotation = format!("{longest},{too_long}");
    let found = federation(&policy(), Some(&annotation), &Bundles::default());
    assert_eq!(found.with.len(), 1);
    let why: Vec<_> = found.dropped.iter().map(|d| d.why.clone()).collect();
    assert_eq!(why, [WhyDropped::Illegal(SpiffeError::TooLong(256))]);
}

#[test]
fn a_bundle_that_the_server_refused_is_not_there_and_without_a_list_all_others_may_be_tried() {
    let td = |name: &str| TrustDomain::new(name).expect("legal");
    let mut bundles = bundles(&["example.io"]);
    assert!(bundles.has(&td("example.io")) && !bundles.has(&td("example.net")));
    bundles.missing.insert(td("example.io"));
    assert!(!bundles.has(&td("example.io")));
    bundles.known = None;
    assert!(!bundles.has(&td("example.io")) && bundles.has(&td("example.net")));
}
