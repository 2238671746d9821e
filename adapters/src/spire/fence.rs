//! The fence before calls that write: asked before a call begins, and again for every piece of its message. Whoever was
//! frozen in between, for longer than its lead lasts, sends no message to its end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use hyper::body::{Bytes, Frame};
use tonic::{Code, Status, body::Body};

/// Whether a call that writes may begin now: asked as late as possible.
pub type MayBegin = Arc<dyn Fn() -> bool + Send + Sync>;

/// This replica does not lead: nothing was sent, or less than a whole message.
#[derive(Debug, thiserror::Error)]
#[error("not begun: this replica does not lead any more")]
pub struct NotLeading;

impl From<NotLeading> for Status {
    fn from(why: NotLeading) -> Self {
        let mut status = Status::new(Code::Aborted, why.to_string());
        status.set_source(Arc::new(why));
        status
    }
}

/// What is handed over at once: small enough for a message not to lie ready in whole while a server takes nothing.
const PIECE: usize = 16 << 10;

/// Whether a body was refused: the server has not got its message, so nothing was done.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused(Arc<AtomicBool>);

impl Refused {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A request's body that fails, before the end of its message, once it may not be sent any more.
struct Fenced {
    body: Body,
    may_begin: MayBegin,
    /// What is still to be handed over.
    rest: Bytes,
    refused: Refused,
}

/// The same body behind the fence, and whether it was refused.
pub(super) fn fenced(body: Body, may_begin: MayBegin) -> (Body, Refused) {
    let refused = Refused::default();
    let fenced = Fenced {
        body,
        may_begin,
        rest: Bytes::new(),
        refused: refused.clone(),
    };
    (Body::new(fenced), refused)
}

impl hyper::body::Body for Fenced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) if !data.is_empty() => self.rest = data,
                Ok(nothing) => return Poll::Ready(Some(Ok(Frame::data(nothing)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        if !(self.may_begin)() {
            self.refused.0.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(NotLeading.into())));
        }
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}
