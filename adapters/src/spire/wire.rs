//! The HTTP/2 connection that calls travel on: made with the first call, and made anew when it is gone, when the server
//! asks us to go (every three minutes over TCP), and when our identity was rotated. A call that was not sent goes on the
//! next connection; nobody notices.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri, uri::Scheme};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use registrar_core::{server_address::HostPort, spiffe::SpiffeId};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use super::{
    connect::{Dialer, NoConnection},
    fence::{MayBegin, NotLeading, Refused, fenced},
    identity::Identity,
    outcome::Reached,
};
use crate::causes::causes;

/// Connections tried for one call at most: each one before went away before the call could be sent.
const CONNECTIONS: usize = 4;
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_WITHIN: Duration = Duration::from_secs(10);

/// Clones share the connection.
#[derive(Clone)]
pub struct Wire {
    shared: Arc<Shared>,
    /// For calls that write.
    fence: Option<MayBegin>,
}

struct Shared {
    dialer: Dialer,
    current: tokio::sync::Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    sender: http2::SendRequest<Body>,
    /// [`super::identity::Identity::number`] when it was made.
    identity: u64,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("dialer", &self.shared.dialer)
            .finish()
    }
}

impl std::fmt::Display for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.dialer.fmt(f)
    }
}

impl Wire {
    /// To the server's private socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(Dialer::Unix(path.into()))
    }

    /// To the first of these addresses that answers with the right identity. Must be called within a runtime.
    pub fn tcp(targets: Vec<HostPort>, identity: Identity) -> Self {
        Self::new(Dialer::tcp(targets, identity))
    }

    fn new(dialer: Dialer) -> Self {
        Self {
            shared: Arc::new(Shared {
                dialer,
                current: tokio::sync::Mutex::default(),
            }),
            fence: None,
        }
    }

    /// For calls that write: each asks `may_begin` before it begins, and as its message is handed over.
    pub(super) fn fenced(&self, may_begin: &MayBegin) -> Self {
        Self {
            shared: self.shared.clone(),
            fence: Some(may_begin.clone()),
        }
    }

    /// Where calls go, and who makes them.
    pub(super) fn reached(&self) -> Reached {
        Reached {
            address: self.to_string(),
            tcp: self.shared.dialer.identity().is_some(),
            own_id: self.own_id(),
        }
    }

    /// Whom the server knows us as.
    pub(super) fn own_id(&self) -> Option<SpiffeId> {
        self.shared.dialer.identity().and_then(Identity::own_id)
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Incoming>, Status> {
        let tls = self.shared.dialer.identity().is_some();
        *request.uri_mut() = absolute(request.uri(), tls)?;
        let mut refused = Refused::default();
        if let Some(may_begin) = self.fence.clone() {
            let (head, body) = request.into_parts();
            let (body, watched) = fenced(body, may_begin);
            request = Request::from_parts(head, body);
            refused = watched;
        }
        for _ in 0..CONNECTIONS {
            let mut connection = self.shared.connection().await.map_err(not_sent)?;
            if connection.sender.ready().await.is_err() {
                continue;
            }
            if self.fence.as_ref().is_some_and(|may_begin| !may_begin()) {
                return Err(NotLeading.into());
            }
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None if refused.is_set() => return Err(NotLeading.into()),
                    None => {
                        let error = error.into_error();
                        let mut status = Status::new(Code::Unavailable, causes(&error));
                        status.set_source(Arc::new(error));
                        return Err(status);
                    }
                },
            }
        }
        Err(not_sent(NoConnection(
            "the server closes every connection before a call can be sent".into(),
        )))
    }
}

fn not_sent(why: NoConnection) -> Status {
    let mut status = Status::new(Code::Unavailable, why.to_string());
    status.set_source(Arc::new(why));
    status
}

/// HTTP/2 wants scheme and authority; the server reads neither.
fn absolute(uri: &Uri, tls: bool) -> Result<Uri, Status> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(http::uri::Authority::from_static("spire-server"));
    Uri::from_parts(parts).map_err(|e| Status::internal(e.to_string()))
}

impl Shared {
    /// The connection that there is, or a new one. One is made at a time; all calls wait for it.
    async fn connection(&self) -> Result<Connection, NoConnection> {
        let mut current = self.current.lock().await;
        let identity = self.dialer.identity().map_or(0, |i| i.number());
        let usable = current.take().filter(|c| !c.sender.is_closed());
        match usable {
            Some(connection) if connection.identity == identity => {
                *current = Some(connection.clone());
                return Ok(connection);
            }
            older => *current = older,
        }
        match self.connect(identity).await {
            Ok(connection) => {
                // An older one ends when the calls on it have ended.
                *current = Some(connection.clone());
                Ok(connection)
            }
            // What a rotated identity cannot reach, the connection of before may still: until it ends, or the next rotation.
            Err(why) => match current.as_mut() {
                Some(older) => {
                    older.identity = identity;
                    Ok(older.clone())
                }
                None => Err(why),
            },
        }
    }

    async fn connect(&self, identity: u64) -> Result<Connection, NoConnection> {
        let stream = self.dialer.dial().await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_WITHIN)
            .handshake(stream)
            .await
            .map_err(|e| NoConnection(causes(&e)))?;
        tokio::spawn(async move {
            // How it ended is told to the calls that were on it.
            let _ = connection.await;
        });
        Ok(Connection { sender, identity })
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
