//! What the codes of gRPC and of batch items mean.

use registrar_core::ports::{Failure, FailureClass, Outcome};
use tonic::{Code, Status};

use super::{convert, pb::types};

/// What a failed call means. `write` says whether the call would have changed something.
pub fn failure(address: &str, status: &Status, write: bool) -> Failure {
    let class = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => FailureClass::Denied,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => FailureClass::Permanent,
        // Nothing was sent where no connection was made.
        Code::Unavailable if !connected(status) => FailureClass::Retry,
        // tonic reports its own time-outs as Cancelled; the server may have done part of a batch.
        _ if write => FailureClass::Unknown,
        _ => FailureClass::Retry,
    };
    Failure::new(class, explain(address, status))
}

/// Whether the call reached a connection.
fn connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::PermissionDenied
            )
        {
            return false;
        }
        source = error.source();
    }
    true
}

/// The failure in words: the address, the server's own message, the innermost cause, and what may mend it.
fn explain(address: &str, status: &Status) -> String {
    let mut cause = None;
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        cause = Some(error.to_string());
        source = error.source();
    }
    let message = match cause {
        Some(cause) if cause != status.message() => format!("{}: {cause}", status.message()),
        _ => status.message().to_owned(),
    };
    let remedy = match status.code() {
        Code::Unavailable if !connected(status) => {
            "; is the SPIRE Server running, and its socket mounted and readable here?"
        }
        Code::PermissionDenied => {
            "; the registrar needs the server's Unix socket, or an SVID of an admin entry"
        }
        Code::Cancelled | Code::DeadlineExceeded => "; the server did not answer in time",
        _ => "",
    };
    format!(
        "SPIRE Server {address}: {:?}: {message}{remedy}",
        status.code()
    )
}

/// What became of an item of `BatchCreateEntry`.
pub fn created(status: Option<types::Status>, entry: Option<types::Entry>) -> Outcome {
    let status = status.unwrap_or_default();
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
    let status = status.unwrap_or_default();
    match Code::from_i32(status.code) {
        Code::Ok => Outcome::Ok,
        Code::NotFound => Outcome::NotFound,
        Code::AlreadyExists => Outcome::AlreadyExists(None),
        code => refused(code, status.message),
    }
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
