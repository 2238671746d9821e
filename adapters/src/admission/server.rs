//! The HTTPS server: deadlines, limits, and an end that answers what is under way.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use axum_server::{Handle, Server, tls_rustls::RustlsAcceptor};
use futures::StreamExt;
use tokio::{
    net::TcpListener,
    sync::{AcquireError, Semaphore, SemaphorePermit},
};

use super::{
    certificates::Tls,
    endpoints::{Endpoints, Head, Reply},
};
use crate::limit::AtMost;

/// What a client may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body. etcd takes objects of 1.5 MiB; a review holds two.
    pub body: usize,
    /// Bytes of all bodies that are being read or answered. A body waits for room within its own time.
    pub bodies: u32,
    /// From the first byte of a request to the end of its header.
    pub header_within: Duration,
    /// From there to the end of its body.
    pub body_within: Duration,
    /// The TLS handshake.
    pub handshake_within: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// How long requests under way may take after we were told to stop.
    pub drain_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            bodies: 64 << 20,
            header_within: Duration::from_secs(5),
            body_within: Duration::from_secs(10),
            handshake_within: Duration::from_secs(5),
            connections: 1000,
            streams: 1000,
            drain_within: Duration::from_secs(10),
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with a verdict: allowed or denied.
    Answered,
    /// Answered with status 500.
    Failed,
    /// No review that we could read, or none of ours: status 4xx.
    Refused,
}

type Observer = Arc<dyn Fn(Outcome, Duration) + Send + Sync>;

#[derive(Clone)]
struct Shared {
    endpoints: Endpoints,
    limits: Limits,
    /// One permit is one byte of a body.
    room: Arc<Semaphore>,
    observer: Observer,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoints.fmt(f)
    }
}

/// Serves until `stop` resolves and what was under way then is answered, within the limit for it.
///
/// `observer` is told how each request ended and how long it took.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    tls: Tls,
    endpoints: Endpoints,
    limits: Limits,
    observer: impl Fn(Outcome, Duration) + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let handle: Handle<std::net::SocketAddr> = Handle::new();
    let acceptor = RustlsAcceptor::new(tls.config())
        .handshake_timeout(limits.handshake_within)
        .acceptor(AtMost::connections(limits.connections));
    let mut server = Server::from_listener(listener)
        .acceptor(acceptor)
        .handle(handle.clone())
        .first_request_timeout(limits.header_within + limits.body_within);
    server
        .http_builder()
        .http1()
        .header_read_timeout(limits.header_within);
    server
        .http_builder()
        .http2()
        .max_concurrent_streams(limits.streams)
        .keep_alive_interval(Duration::from_secs(30));
    let shared = Shared {
        endpoints,
        limits,
        room: Arc::new(Semaphore::new(limits.bodies as usize)),
        observer: Arc::new(observer),
    };
    let app = Router::new().fallback(handle_request).with_state(shared);
    tokio::spawn(async move {
        stop.await;
        handle.graceful_shutdown(Some(limits.drain_within));
    });
    server.serve(app.into_make_service()).await
}

async fn handle_request(State(shared): State<Shared>, request: Request) -> Response {
    let begun = Instant::now();
    let reply = answer(&shared, request).await;
    let outcome = match reply.status {
        200 => Outcome::Answered,
        500.. => Outcome::Failed,
        _ => Outcome::Refused,
    };
    (shared.observer)(outcome, begun.elapsed());
    response(reply)
}

async fn answer(shared: &Shared, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        content_type: content_type
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default(),
    };
    // What is refused for its header is refused before its body is read.
    if let Err(refusal) = shared.endpoints.find(head) {
        return refusal;
    }
    match read(body, &shared.limits, &shared.room).await {
        Ok((body, _room)) => shared.endpoints.answer(head, &body).await,
        Err(refusal) => refusal,
    }
}

/// The body, and the room that it takes up while it is held.
async fn read<'r>(
    body: Body,
    limits: &Limits,
    room: &'r Semaphore,
) -> Result<(Vec<u8>, SemaphorePermit<'r>), Reply> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut taken = room.acquire_many(0).await.map_err(closed)?;
    let mut size = 0;
    let too_large = || Reply::text(413, &format!("Body larger than {} bytes", limits.body));
    let whole = async {
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Reply::text(400, "Body cannot be read"))?;
            size += chunk.len();
            if size <= limits.body {
                let more = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                taken.merge(room.acquire_many(more).await.map_err(closed)?);
                bytes.extend_from_slice(&chunk);
                continue;
            }
            // What is too much is thrown away, within reason: a client that is cut off while it sends hears no answer.
            bytes = Vec::new();
            taken = room.acquire_many(0).await.map_err(closed)?;
            if size > 2 * limits.body {
                break;
            }
        }
        if size > limits.body {
            return Err(too_large());
        }
        Ok(())
    };
    match tokio::time::timeout(limits.body_within, whole).await {
        Ok(read) => read.map(|()| (bytes, taken)),
        Err(_) if size > limits.body => Err(too_large()),
        Err(_) => {
            let seconds = limits.body_within.as_secs();
            let text = format!("Body not received within {seconds} s");
            Err(Reply::text(408, &text))
        }
    }
}

/// Nobody closes the semaphore; were it closed, the server would be at its end.
fn closed(_: AcquireError) -> Reply {
    Reply::text(500, "Internal error occurred: the registrar is stopping")
}

fn response(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        [(header::CONTENT_TYPE, reply.content_type)],
        reply.body,
    )
        .into_response()
}
