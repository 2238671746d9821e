//! What the codes of gRPC and of batch items mean.

use registrar_core::ports::{Failure, FailureClass, Outcome};
use registrar_core::spiffe::SpiffeId;
use tonic::{Code, Status};

use super::{connect::NoConnection, convert, fence::NotLeading, pb::types};

/// Where a call went, and who made it: what explains a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// As configured.
    pub address: String,
    /// Whether the server knows us by our SVID.
    pub tcp: bool,
    /// Our SVID's.
    pub own_id: Option<SpiffeId>,
}

/// What a failed call means. `write` says whether the call would have changed something.
pub fn failure(reached: &Reached, status: &Status, write: bool) -> Failure {
    let class = match status.code() {
        // Nothing was sent.
        _ if cause::<NoConnection>(status).is_some() || cause::<NotLeading>(status).is_some() => {
            FailureClass::Retry
        }
        _ if is_unprocessed(status) => FailureClass::Retry,
        Code::PermissionDenied | Code::Unauthenticated => FailureClass::Denied,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => FailureClass::Permanent,
        // Deadlines are told as Cancelled; the server may have done part of a batch.
        _ if write => FailureClass::Unknown,
        _ => FailureClass::Retry,
    };
    Failure::new(class, explain(reached, status))
}

/// Whether the server says that it did not look at the call.
pub fn is_unprocessed(status: &Status) -> bool {
    cause::<h2::Error>(status).is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // Only streams beyond the last one that the server takes are told so.
        let beyond = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (refused || beyond)
    })
}

/// The first cause of this type.
fn cause<E: std::error::Error + 'static>(status: &Status) -> Option<&E> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

/// The failure in words: the address, the server's own message, and what may mend it.
fn explain(reached: &Reached, status: &Status) -> String {
    let remedy = match (status.code(), &reached.own_id) {
        (Code::PermissionDenied, Some(own_id)) => format!(
            "; the server knows us as {own_id}, which is no administrator: find our entry with \
             `spire-server entry show -spiffeID {own_id}`, and make it an administrator's with \
             `spire-server entry update -admin -entryID <its ID> -parentID <its parent> -spiffeID {own_id} \
             -selector <each of its selectors>`; or add the ID to the server's admin_ids"
        ),
        (Code::PermissionDenied | Code::Unauthenticated, _) if reached.tcp => {
            "; the registrar needs an SVID of an entry with -admin, or one of the server's admin_ids".into()
        }
        (Code::PermissionDenied, _) => {
            "; the server's authorization policy does not let callers on its Unix socket do this".into()
        }
        (Code::Cancelled | Code::DeadlineExceeded, _) => {
            "; the server did not answer in time".into()
        }
        _ => String::new(),
    };
    let told = match cause::<NoConnection>(status) {
        Some(why) => format!("no connection: {why}"),
        None => format!("{:?}: {}", status.code(), status.message()),
    };
    format!("SPIRE Server {}: {told}{remedy}", reached.address)
}

/// What became of an item of `BatchCreateEntry`.
pub fn created(status: Option<types::Status>, entry: Option<types::Entry>) -> Outcome {
    let Some(status) = status else {
        return unsaid();
    };
    match Code::from_i32(status.code) {
        Code::Ok => Outcome::Ok,
        // Without an entry it is some unique constraint that was violated (a value given twice, an ID taken).
        Code::AlreadyExists => Outcome::AlreadyExists(
            entry
                .and_then(|e| convert::registered(e).ok())
                .map(Box::new),
        ),
        code => refused(code, status.message),
    }
}

/// What became of an item of `BatchUpdateEntry` or `BatchDeleteEntry`.
pub fn changed(status: Option<types::Status>) -> Outcome {
    let Some(status) = status else {
        return unsaid();
    };
    match Code::from_i32(status.code) {
        Code::Ok => Outcome::Ok,
        Code::NotFound => Outcome::NotFound,
        Code::AlreadyExists => Outcome::AlreadyExists(None),
        code => refused(code, status.message),
    }
}

/// An absent status is not code 0: what became of the item must be read.
fn unsaid() -> Outcome {
    let message = "the server's reply does not say what became of it";
    Outcome::Refused(Failure::new(FailureClass::Unknown, message))
}

fn refused(code: Code, message: String) -> Outcome {
    let class = match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            FailureClass::Permanent
        }
        Code::PermissionDenied | Code::Unauthenticated => FailureClass::Denied,
        // Each item is a transaction of its own: what failed inside the server was rolled back, unless the deadline cut it.
        Code::Cancelled | Code::DeadlineExceeded => FailureClass::Unknown,
        _ => FailureClass::Retry,
    };
    Outcome::Refused(Failure::new(class, message))
}
