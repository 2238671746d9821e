//! At most so many connections at a time.

use std::{
    future::Ready,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Closes connections beyond a number, before their handshake.
#[derive(Debug, Clone)]
pub(super) struct AtMost(Arc<Semaphore>);

impl AtMost {
    pub(super) fn connections(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }
}

impl<S> Accept<TcpStream, S> for AtMost {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let permit = self.0.clone().try_acquire_owned();
        let counted = permit.map_err(io::Error::other).and_then(|permit| {
            stream.set_nodelay(true)?;
            Ok((
                Counted {
                    _permit: permit,
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
pub(super) struct Counted {
    // Dropped first: when the client sees the end of the connection, there is room for another one.
    _permit: OwnedSemaphorePermit,
    stream: TcpStream,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
