//! Making connections: to the Unix socket, or to the first of several addresses that answers with the right identity.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use hyper_util::rt::TokioIo;
use registrar_core::server_address::{HostPort, ServerAddress};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::identity::Identity;

/// For one address: the connection and the handshake.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);
/// The next address is tried beside the ones before it after this long.
const NEXT_AFTER: Duration = Duration::from_millis(250);
/// Addresses tried at most: a name may have any number of records.
const MOST_ADDRESSES: usize = 16;

/// A connection's two directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, ready for HTTP/2.
pub(super) type Connected = TokioIo<Box<dyn Stream>>;

/// Makes connections to one server.
#[derive(Debug)]
pub(super) enum Dialer {
    Unix(std::path::PathBuf),
    Tcp {
        targets: Vec<HostPort>,
        identity: Identity,
        /// Where the last connection went: tried first.
        last: Mutex<Option<SocketAddr>>,
    },
}

/// Nothing was sent: why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoConnection(pub String);

impl Dialer {
    pub(super) fn tcp(targets: Vec<HostPort>, identity: Identity) -> Self {
        Dialer::Tcp {
            targets,
            identity,
            last: Mutex::new(None),
        }
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        match self {
            Dialer::Unix(_) => None,
            Dialer::Tcp { identity, .. } => Some(identity),
        }
    }

    pub(super) async fn dial(&self) -> Result<Connected, NoConnection> {
        match self {
            Dialer::Unix(path) => {
                match tokio::time::timeout(CONNECTS_WITHIN, UnixStream::connect(path)).await {
                    Ok(Ok(stream)) => Ok(TokioIo::new(Box::new(stream))),
                    Ok(Err(error)) => Err(NoConnection(format!(
                        "{error}; is the SPIRE Server running, and its socket mounted and readable here?"
                    ))),
                    Err(_) => Err(NoConnection(
                        "the socket does not accept connections".into(),
                    )),
                }
            }
            Dialer::Tcp {
                targets,
                identity,
                last,
            } => first_of(targets, identity, last).await,
        }
    }
}

impl std::fmt::Display for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dialer::Unix(path) => ServerAddress::Unix(path.clone()).fmt(f),
            Dialer::Tcp { targets, .. } => ServerAddress::Tcp(targets.clone()).fmt(f),
        }
    }
}

/// The first connection that comes about; if none does, why, for every address.
async fn first_of(
    targets: &[HostPort],
    identity: &Identity,
    last: &Mutex<Option<SocketAddr>>,
) -> Result<Connected, NoConnection> {
    let tls = TlsConnector::from(identity.tls().await.map_err(NoConnection)?);
    let mut refusals = Vec::new();
    let mut addresses: Vec<(SocketAddr, &HostPort)> = Vec::new();
    for target in targets {
        match lookup_host((target.host.as_str(), target.port)).await {
            Ok(found) => addresses.extend(found.map(|a| (a, target))),
            Err(error) => refusals.push(format!("{target} cannot be looked up: {error}")),
        }
    }
    let before = *last.lock().unwrap_or_else(PoisonError::into_inner);
    // Stable: what went well last time first, the rest in the order in which it was written and found.
    addresses.sort_by_key(|(address, _)| Some(*address) != before);
    addresses.truncate(MOST_ADDRESSES);
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0u32..)
        .map(|((address, target), n)| {
            let tls = tls.clone();
            async move {
                tokio::time::sleep(NEXT_AFTER * n).await;
                let attempt =
                    tokio::time::timeout(CONNECTS_WITHIN, handshake(address, target, &tls));
                match attempt.await {
                    Ok(Ok(stream)) => Ok((address, stream)),
                    Ok(Err(why)) => Err(format!("{address}: {why}")),
                    Err(_) => Err(format!("{address} does not answer")),
                }
            }
        })
        .collect();
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok((address, stream)) => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
                return Ok(TokioIo::new(stream));
            }
            Err(why) => refusals.push(why),
        }
    }
    let mut why = refusals.join("; ");
    if why.contains("not authorized") {
        why = format!(
            "{why}. server_id is {}: only a server that presents exactly this ID is trusted; write the server's own \
             ID into server_id, or name the right server",
            identity.server_id()
        );
    }
    Err(NoConnection(why))
}

async fn handshake(
    address: SocketAddr,
    target: &HostPort,
    tls: &TlsConnector,
) -> Result<Box<dyn Stream>, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|e| e.to_string())?;
    // Whether that works makes a difference in latency alone.
    let _ = stream.set_nodelay(true);
    // Who the server is says its SPIFFE ID; the name only has to be one.
    let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
    let stream = tls.connect(name, stream).await.map_err(|e| causes(&e))?;
    Ok(Box::new(stream))
}

/// An error with everything that caused it.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
