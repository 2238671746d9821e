//! What codes mean: whether something may have been done, whether it is worth another attempt, and what may mend it.

use std::sync::Arc;

use registrar_adapters::spire::{
    connect::NoConnection,
    convert,
    fence::NotLeading,
    outcome::{Reached, changed, created, failure, is_unprocessed},
    pb::types,
};
use registrar_core::{
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    ports::{
        FailureClass::{self, Denied, Permanent, Retry, Unknown},
        Outcome,
    },
    spiffe::SpiffeId,
};
use tonic::{Code, Status};

/// Every code that a server may answer with.
const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

fn by_socket() -> Reached {
    Reached {
        address: "/run/api.sock".into(),
        tcp: false,
        own_id: None,
    }
}

fn by_tcp(own_id: Option<&str>) -> Reached {
    Reached {
        address: "server:8081".into(),
        tcp: true,
        own_id: own_id.map(|id| id.parse().expect("a legal ID")),
    }
}

fn told(reached: &Reached, code: Code) -> String {
    let status = Status::new(code, "its words");
    failure(reached, &status, false).message.to_string()
}

#[test]
fn a_read_that_failed_is_tried_again_unless_the_server_will_never_answer_it() {
    for code in CODES {
        let class = match code {
            Code::PermissionDenied | Code::Unauthenticated => Denied,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unimplemented => Permanent,
            _ => Retry,
        };
        let got = failure(&by_socket(), &Status::new(code, ""), false).class;
        assert_eq!(got, class, "{code:?}");
    }
}

#[test]
fn a_write_that_the_server_did_not_refuse_in_plain_words_may_have_been_done() {
    for code in CODES {
        let read = failure(&by_socket(), &Status::new(code, ""), false).class;
        let write = failure(&by_socket(), &Status::new(code, ""), true).class;
        let expected = if read == Retry { Unknown } else { read };
        assert_eq!(write, expected, "{code:?}");
    }
}

#[test]
fn a_write_that_never_left_is_certainly_not_done() {
    for code in CODES {
        let mut without = Status::new(code, "");
        without.set_source(Arc::new(NoConnection("refused".into())));
        let fenced = Status::from(NotLeading);
        for status in [without, fenced] {
            assert_eq!(
                failure(&by_socket(), &status, true).class,
                Retry,
                "{code:?}"
            );
        }
    }
}

#[test]
fn a_cause_is_found_however_deep_it_lies() {
    #[derive(Debug, thiserror::Error)]
    #[error("around it")]
    struct Around(#[source] NoConnection);
    let mut status = Status::unknown("transport error");
    status.set_source(Arc::new(Around(NoConnection("it is away".into()))));
    let failure = failure(&by_socket(), &status, true);
    assert_eq!(failure.class, Retry);
    assert_eq!(
        &*failure.message,
        "SPIRE Server /run/api.sock: no connection: it is away"
    );
}

#[test]
fn only_what_the_server_says_that_it_did_not_look_at_counts_as_not_looked_at() {
    // Errors of HTTP/2 that come from the peer are seen in `tests/wire.rs`; one of our own says nothing of the server.
    let with = |error: h2::Error| {
        let mut status = Status::unknown("h2");
        status.set_source(Arc::new(error));
        status
    };
    for reason in [h2::Reason::REFUSED_STREAM, h2::Reason::NO_ERROR] {
        assert!(!is_unprocessed(&with(reason.into())), "{reason:?}");
    }
    assert!(!is_unprocessed(&Status::unknown("no cause")));
}

#[test]
fn who_is_denied_is_told_what_mends_it() {
    let own = "spiffe://example.org/registrar";
    let known = told(&by_tcp(Some(own)), Code::PermissionDenied);
    for part in [
        "SPIRE Server server:8081: PermissionDenied: its words",
        "the server knows us as spiffe://example.org/registrar",
        "entry show -spiffeID spiffe://example.org/registrar",
        "admin_ids",
    ] {
        assert!(known.contains(part), "{part:?} is not in {known:?}");
    }
    for code in [Code::PermissionDenied, Code::Unauthenticated] {
        let unknown = told(&by_tcp(None), code);
        assert!(unknown.contains("needs an SVID of an entry with -admin"));
    }
    let by_socket_told = told(&by_socket(), Code::PermissionDenied);
    assert!(by_socket_told.contains("callers on its Unix socket"));
    assert_eq!(
        told(&by_socket(), Code::Unauthenticated),
        format!(
            "SPIRE Server /run/api.sock: {:?}: its words",
            Code::Unauthenticated
        )
    );
}

#[test]
fn a_deadline_is_told_as_one_and_other_failures_in_the_servers_words() {
    for code in [Code::Cancelled, Code::DeadlineExceeded] {
        assert!(told(&by_socket(), code).ends_with("its words; the server did not answer in time"));
    }
    assert_eq!(
        told(&by_socket(), Code::Internal),
        "SPIRE Server /run/api.sock: Internal: its words"
    );
}

fn item(code: Code) -> Option<types::Status> {
    Some(types::Status {
        code: code.into(),
        message: "its words".into(),
    })
}

fn class_of_item(code: Code) -> FailureClass {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => Permanent,
        Code::PermissionDenied | Code::Unauthenticated => Denied,
        Code::Cancelled | Code::DeadlineExceeded => Unknown,
        _ => Retry,
    }
}

#[test]
fn what_became_of_an_item_is_what_its_code_says() {
    for code in CODES {
        let refused = |outcome: &Outcome| match outcome {
            Outcome::Refused(failure) => {
                assert_eq!(&*failure.message, "its words");
                failure.class == class_of_item(code)
            }
            _ => false,
        };
        let (created, changed) = (created(item(code), None), changed(item(code)));
        match code {
            Code::Ok => assert_eq!((created, changed), (Outcome::Ok, Outcome::Ok)),
            Code::AlreadyExists => {
                let none = Outcome::AlreadyExists(None);
                assert_eq!((&created, &changed), (&none, &none));
            }
            Code::NotFound => {
                assert!(refused(&created), "nothing is looked for in a create");
                assert_eq!(changed, Outcome::NotFound);
            }
            _ => assert!(refused(&created) && refused(&changed), "{code:?}"),
        }
    }
}

#[test]
fn an_item_without_a_status_may_have_been_done() {
    for outcome in [created(None, None), changed(None)] {
        assert!(
            matches!(&outcome, Outcome::Refused(f) if f.class == Unknown),
            "{outcome:?}"
        );
    }
}

#[test]
fn the_similar_entry_that_a_create_meets_is_read_if_it_can_be() {
    let id = |text: &str| SpiffeId::parse(text).expect("a legal ID");
    let entry = Entry::new(
        id("spiffe://example.org/a"),
        id("spiffe://example.org/node"),
        Selectors::new([Selector::new("k8s", "ns:apps")]),
    );
    let entry_id = EntryId::stored("theirs");
    let stored = convert::entry(&entry_id, &entry);
    let similar = RegisteredEntry::created(entry_id, &entry);
    assert_eq!(
        created(item(Code::AlreadyExists), Some(stored.clone())),
        Outcome::AlreadyExists(Some(Box::new(similar)))
    );
    let unreadable = types::Entry {
        spiffe_id: None,
        ..stored.clone()
    };
    assert_eq!(
        created(item(Code::AlreadyExists), Some(unreadable)),
        Outcome::AlreadyExists(None)
    );
    // An entry beside another code says nothing.
    assert_eq!(created(item(Code::Ok), Some(stored)), Outcome::Ok);
}
