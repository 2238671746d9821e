//! At most so many connections at a time, and none for ever.

use std::{
    future::Ready,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// Closes connections beyond a number, before their handshake.
#[derive(Debug, Clone)]
pub(crate) struct AtMost {
    permits: Arc<Semaphore>,
    lasting: Option<Duration>,
}

impl AtMost {
    pub(crate) fn connections(limit: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limit)),
            lasting: None,
        }
    }

    /// None lasts longer, whatever is under way on it: for requests that are answered at once.
    pub(crate) fn lasting(self, longest: Duration) -> Self {
        Self {
            lasting: Some(longest),
            ..self
        }
    }
}

impl<S> Accept<TcpStream, S> for AtMost {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let permit = self.permits.clone().try_acquire_owned();
        let counted = permit.map_err(io::Error::other).and_then(|permit| {
            stream.set_nodelay(true)?;
            Ok((
                Counted {
                    _permit: permit,
                    ends: self.lasting.map(|longest| Box::pin(sleep(longest))),
                    stream,
                },
                service,
            ))
        });
        std::future::ready(counted)
    }
}

/// A connection that counts as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted {
    // Dropped first: when the client sees the end of the connection, there is room for another one.
    _permit: OwnedSemaphorePermit,
    ends: Option<Pin<Box<Sleep>>>,
    stream: TcpStream,
}

impl Counted {
    /// Pending as long as it may last.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(ends) = &mut self.ends else {
            return Poll::Pending;
        };
        ready!(ends.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_end(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_end(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
