//! What is said of objects, reasons and problems: words for metrics, which are promised to stay, and texts for people.

use registrar_core::{
    cluster::{Kind, ObjectKey, Uid},
    entry::{DnsName, EntryId, Field, FieldMask, Selector, Selectors},
    rules::{
        DroppedName, DroppedTrustDomain, Note, Problem, SkipReason, Subject, WhyDropped,
        awaited_bundles, quoted,
    },
    spiffe::{SpiffeError, TrustDomain},
    sync::WhyNot,
};

#[test]
fn a_subject_is_named_by_its_kind_and_its_name() {
    let (namespace, name) = (|| "apps".into(), || "db".into());
    for (subject, text) in [
        (Subject::Node("".into()), "all nodes"),
        (Subject::Node("n1".into()), "node n1"),
        (Subject::Pod(namespace(), name()), "pod apps/db"),
        (Subject::PodUid(Uid::new("u")), "pod with UID u"),
        (Subject::SpiffeId(namespace(), name()), "SpiffeID apps/db"),
        (Subject::Entry(EntryId::stored("e")), "entry e"),
    ] {
        assert_eq!(format!("{subject} {subject:?}"), format!("{text} {text}"));
    }
}

#[test]
fn an_object_is_named_as_kubernetes_names_it() {
    for (kind, namespace, text) in [
        (Kind::Node, "", "Node x"),
        (Kind::Pod, "apps", "Pod apps/x"),
        (Kind::EndpointSlice, "apps", "EndpointSlice apps/x"),
        (Kind::SpiffeId, "apps", "SpiffeID apps/x"),
    ] {
        let key = ObjectKey::new(kind, namespace, "x");
        assert_eq!(format!("{key} {key:?}"), format!("{text} {text}"));
    }
    assert_eq!(Uid::new("u").to_string(), "u");
}

#[test]
fn every_reason_to_skip_has_its_own_word() {
    for (reason, word) in [
        (SkipReason::NoLabel, "no_label"),
        (SkipReason::NoAnnotation, "no_annotation"),
        (SkipReason::NotLabelled, "not_labelled"),
        (SkipReason::NamespaceDisabled, "namespace_disabled"),
        (SkipReason::NotScheduled, "not_scheduled"),
        (SkipReason::Finished, "finished"),
        (
            SkipReason::MirrorWithoutServiceAccount,
            "mirror_without_service_account",
        ),
        (SkipReason::NodesHaveNone, "nodes_have_none"),
    ] {
        assert_eq!(reason.word(), word);
    }
}

#[test]
fn every_problem_has_its_own_word() {
    let name = || "n1".into();
    for (problem, word) in [
        (Problem::UnknownNode(name()), "UnknownNode"),
        (
            Problem::IllegalNodeName {
                name: name(),
                error: SpiffeError::DotSegment,
            },
            "IllegalNodeName",
        ),
        (
            Problem::Spec {
                word: "Downstream",
                text: String::new(),
            },
            "Downstream",
        ),
        (
            Problem::NameTaken {
                namespace: name(),
                name: name(),
            },
            "NameTaken",
        ),
        (Problem::Undecodable(name()), "Undecodable"),
    ] {
        assert_eq!(problem.word(), word);
    }
}

fn left_out(why: WhyDropped) -> Note {
    Note::TrustDomain(DroppedTrustDomain {
        written: quoted("td"),
        why,
    })
}

#[test]
fn what_was_left_out_of_an_entry_is_told_with_the_reason() {
    let td = TrustDomain::new("td").expect("a name");
    let error = DnsName::new("a..b").expect_err("an empty label");
    let illegal = DroppedName::Illegal {
        name: "a..b".into(),
        error,
    };
    for (note, part) in [
        (
            Note::Name(illegal),
            "DNS name \"a..b\" left out: label is empty",
        ),
        (Note::Name(DroppedName::TooMany(7)), "7 DNS names left out"),
        (
            left_out(WhyDropped::Illegal(SpiffeError::Empty)),
            "not a trust domain",
        ),
        (left_out(WhyDropped::Own), "this trust domain itself"),
        (left_out(WhyDropped::NotAllowed), "not in federation_allow"),
        (left_out(WhyDropped::NoBundle(td)), "no bundle of it"),
        (left_out(WhyDropped::TooMany), "more than 100"),
    ] {
        assert!(note.to_string().contains(part), "{note}");
    }
}

#[test]
fn only_a_missing_bundle_is_waited_for() {
    let td = TrustDomain::new("td").expect("a name");
    let notes = [
        left_out(WhyDropped::Own),
        left_out(WhyDropped::NoBundle(td.clone())),
        Note::Name(DroppedName::TooMany(1)),
    ];
    assert_eq!(awaited_bundles(&notes).collect::<Vec<_>>(), [&td]);
}

#[test]
fn what_a_tenant_wrote_is_quoted_and_cut_at_eighty_characters() {
    assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
    assert_eq!(quoted(&"é".repeat(80)), format!("\"{}\"", "é".repeat(80)));
    assert_eq!(quoted(&"é".repeat(81)), format!("\"{}…\"", "é".repeat(80)));
}

#[test]
fn fields_and_selectors_show_themselves_as_in_the_servers_api() {
    let mask: FieldMask = Field::ALL.into_iter().collect();
    let names = "spiffe_id,parent_id,selectors,dns_names,federates_with,x509_svid_ttl,jwt_svid_ttl,hint,downstream";
    assert_eq!(mask.to_string(), names);
    assert_eq!(format!("{mask:?}"), format!("FieldMask({names})"));
    for field in Field::ALL {
        let only: FieldMask = [field].into_iter().collect();
        assert_eq!(only.iter().collect::<Vec<_>>(), [field]);
        assert!(only.contains(field) && !only.is_empty());
    }
    assert!(FieldMask::default().is_empty());
    let selector = Selector::new("k8s", "ns:apps");
    assert_eq!(
        format!("{selector} {selector:?}"),
        "k8s:ns:apps k8s:ns:apps"
    );
    let selectors = Selectors::new([selector]);
    assert_eq!(format!("{selectors:?}"), "[k8s:ns:apps]");
    let first = selectors.iter().next().expect("one");
    assert_eq!(format!("{first} {first:?}"), "k8s:ns:apps k8s:ns:apps");
}

#[test]
fn however_long_a_value_is_the_problem_that_quotes_it_is_short() {
    let long = "\u{1b}x".repeat(10_000);
    for problem in [
        Problem::UnknownNode(long.as_str().into()),
        Problem::IllegalNodeName {
            name: long.as_str().into(),
            error: SpiffeError::BadPathSegmentChar,
        },
        Problem::ReservedPath {
            what: "label \"x\"".into(),
            path: long,
            rule: "/spire".into(),
        },
    ] {
        let told = problem.to_string();
        assert!(told.len() < 1000, "{} bytes", told.len());
        assert!(!told.chars().any(char::is_control), "{told:?}");
    }
    let short = Problem::UnknownNode("n1".into()).to_string();
    assert!(short.starts_with("node \"n1\" is not known"), "{short}");
}

#[test]
fn why_an_entry_must_stay_is_said_with_what_mends_it() {
    for (why, part) in [
        (
            WhyNot::NotRegistered,
            "run the registrar until `plan -live` has nothing to do",
        ),
        (
            WhyNot::NodeNotRegistered("n1".into()),
            "node \"n1\" has no right entry",
        ),
        (
            WhyNot::Skipped(SkipReason::NoLabel),
            "it gets none by this configuration (the pod has no label that names its SPIFFE ID)",
        ),
        (
            WhyNot::Held("its reason".into()),
            "held and has no entry of ours: its reason",
        ),
        (WhyNot::Unknown, "a pod of the cluster cannot be read"),
    ] {
        assert!(why.to_string().contains(part), "{why}");
    }
}
