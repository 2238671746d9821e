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
use crate::causes::causes;

/// For one address: the connection and the handshake.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);
/// The next address is tried as soon as one failed, and beside those before it after this long.
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
            } => secured(targets, identity, last).await,
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

/// A connection to the server, at whichever of its addresses.
async fn secured(
    targets: &[HostPort],
    identity: &Identity,
    last: &Mutex<Option<SocketAddr>>,
) -> Result<Connected, NoConnection> {
    let tls = TlsConnector::from(identity.tls().await.map_err(NoConnection)?);
    let look_up = |target: HostPort| async move {
        let found = lookup_host((target.host.as_str(), target.port)).await?;
        Ok(found.collect())
    };
    let attempt = |address, target: HostPort| {
        let tls = tls.clone();
        async move { handshake(address, &target, &tls).await }
    };
    match first_of(targets, last, look_up, attempt).await {
        Ok(stream) => Ok(TokioIo::new(stream)),
        Err(why) if why.contains("not authorized") => Err(NoConnection(format!(
            "{why}. server_id is {}: only a server that presents exactly this ID is trusted; write the server's own \
             ID into server_id, or name the right server",
            identity.server_id()
        ))),
        Err(why) => Err(NoConnection(why)),
    }
}

/// The first connection that comes about; if none does, why, for every address. A name may have several.
async fn first_of<S, L, A, Looked, Attempted>(
    targets: &[HostPort],
    last: &Mutex<Option<SocketAddr>>,
    look_up: L,
    attempt: A,
) -> Result<S, String>
where
    L: Fn(HostPort) -> Looked,
    Looked: Future<Output = std::io::Result<Vec<SocketAddr>>>,
    A: Fn(SocketAddr, HostPort) -> Attempted,
    Attempted: Future<Output = Result<S, String>>,
{
    let mut refusals = Vec::new();
    let mut addresses: Vec<(SocketAddr, &HostPort)> = Vec::new();
    for target in targets {
        match look_up(target.clone()).await {
            Ok(found) => addresses.extend(found.into_iter().map(|a| (a, target))),
            Err(error) => refusals.push(format!("{target} cannot be looked up: {error}")),
        }
    }
    let before = *last.lock().unwrap_or_else(PoisonError::into_inner);
    // Stable: what went well last time first, the rest in the order in which it was written and found.
    addresses.sort_by_key(|(address, _)| Some(*address) != before);
    addresses.truncate(MOST_ADDRESSES);
    let mut waiting = addresses.into_iter();
    let mut under_way = FuturesUnordered::new();
    loop {
        let ended = if let Some((address, target)) = waiting.next() {
            let attempt = attempt(address, target.clone());
            under_way.push(async move {
                match tokio::time::timeout(CONNECTS_WITHIN, attempt).await {
                    Ok(Ok(stream)) => Ok((address, stream)),
                    Ok(Err(why)) => Err(format!("{address}: {why}")),
                    Err(_) => Err(format!("{address} does not answer")),
                }
            });
            // One that fails before is no reason to wait.
            tokio::time::timeout(NEXT_AFTER, under_way.next()).await
        } else {
            Ok(under_way.next().await)
        };
        match ended {
            Ok(Some(Ok((address, stream)))) => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
                return Ok(stream);
            }
            Ok(Some(Err(why))) => refusals.push(why),
            Ok(None) => break,
            // It says nothing yet.
            Err(_) => {}
        }
    }
    Err(refusals.join("; "))
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What a name has: `10.0.0.<n>` for each number.
    fn records(numbers: &[u8], port: u16) -> Vec<SocketAddr> {
        let address = |n: &u8| SocketAddr::from(([10, 0, 0, *n], port));
        numbers.iter().map(address).collect()
    }

    /// Dials `names`, of which each has its own records; 10.0.0.<n> is alive, dead (refuses) or silent.
    async fn dial(
        names: &[(&str, &[u8])],
        alive: &[u8],
        silent: &[u8],
        last: &Mutex<Option<SocketAddr>>,
    ) -> (Result<u8, String>, Vec<u8>) {
        let targets: Vec<HostPort> = names
            .iter()
            .map(|(name, _)| format!("{name}:8081").parse().expect("an address"))
            .collect();
        let tried = RefCell::new(Vec::new());
        let look_up = |target: HostPort| {
            let found = names.iter().find(|(name, _)| *name == target.host);
            let found = found.map(|(_, numbers)| records(numbers, target.port));
            async move {
                let found = found.filter(|f| !f.is_empty());
                found.ok_or_else(|| std::io::Error::other("no such name"))
            }
        };
        let attempt = |address: SocketAddr, _| {
            let n = match address.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(_) => 0,
            };
            let tried = &tried;
            async move {
                tried.borrow_mut().push(n);
                if silent.contains(&n) {
                    std::future::pending::<()>().await;
                }
                match alive.contains(&n) {
                    true => Ok(n),
                    false => Err("refused".to_owned()),
                }
            }
        };
        let found = first_of(&targets, last, look_up, attempt).await;
        (found, tried.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn every_record_of_a_name_is_tried_until_one_answers() {
        let last = Mutex::default();
        let (found, tried) = dial(&[("spire", &[1, 2, 3])], &[3], &[2], &last).await;
        assert_eq!(
            (found, tried),
            (Ok(3), vec![1, 2, 3]),
            "2 says nothing and holds nobody up"
        );
        assert_eq!(*last.lock().expect("whole"), Some(records(&[3], 8081)[0]));
        let (found, tried) = dial(&[("spire", &[1, 2, 3])], &[1, 2, 3], &[], &last).await;
        assert_eq!(
            (found, tried),
            (Ok(3), vec![3]),
            "what went well last time comes first"
        );
        let (found, _) = dial(&[("spire", &[4, 5])], &[5], &[], &last).await;
        assert_eq!(
            found,
            Ok(5),
            "records change: every connection looks the name up anew"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_the_next_one_no_time() {
        let begun = tokio::time::Instant::now();
        let (found, tried) = dial(&[("spire", &[1, 2, 3])], &[3], &[], &Mutex::default()).await;
        assert_eq!((found, tried), (Ok(3), vec![1, 2, 3]));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let (found, _) = dial(&[("spire", &[1, 2])], &[2], &[1], &Mutex::default()).await;
        assert_eq!((found, begun.elapsed()), (Ok(2), NEXT_AFTER));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_unknown_does_not_stand_in_the_way_of_another() {
        let last = Mutex::default();
        let (found, _) = dial(&[("gone", &[]), ("spire", &[7])], &[7], &[], &last).await;
        assert_eq!(found, Ok(7));
        let (found, _) = dial(&[("gone", &[]), ("spire", &[8, 9])], &[], &[9], &last).await;
        assert_eq!(
            found.expect_err("none answers"),
            "gone:8081 cannot be looked up: no such name; 10.0.0.8:8081: refused; 10.0.0.9:8081 does not answer"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_with_any_number_of_records_is_bounded_and_keeps_the_one_that_answered() {
        let many: Vec<u8> = (1..=200).collect();
        let last = Mutex::new(Some(records(&[200], 8081)[0]));
        let (found, tried) = dial(&[("spire", &many)], &[200], &[], &last).await;
        assert_eq!((found, tried), (Ok(200), vec![200]));
        let (found, tried) = dial(&[("spire", &many)], &[], &[], &last).await;
        assert!(found.is_err());
        assert_eq!(tried.len(), MOST_ADDRESSES);
    }
}
