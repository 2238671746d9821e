//! Listening on an address of the configuration.

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not `host:port`.
    #[error(
        "{key} is {address:?}, which is no address to listen on: {why}; write \":8080\" or \"127.0.0.1:8080\""
    )]
    Malformed {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        address: String,
        /// Why.
        why: String,
    },
    /// The system will not.
    #[error("{key} {address:?} cannot be listened on: {why}; choose another address{or_off}")]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        address: String,
        /// Why.
        why: std::io::Error,
        /// How to do without, where one can.
        or_off: &'static str,
    },
}

/// Listens on `address` (`:8080`: every address of this machine; `127.0.0.1:8080`), the value of `key`.
///
/// # Errors
/// If the address is malformed or taken; `or_off` says how to do without.
pub async fn listen(
    key: &'static str,
    address: &str,
    or_off: &'static str,
) -> Result<(TcpListener, SocketAddr), ListenError> {
    let full = match address.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => address.to_owned(),
    };
    let resolved: Vec<SocketAddr> = tokio::net::lookup_host(&full)
        .await
        .map_err(|e| ListenError::Malformed {
            key,
            address: address.to_owned(),
            why: e.to_string(),
        })?
        .collect();
    let mut listener = TcpListener::bind(&*resolved).await;
    if listener.is_err() && address.starts_with(':') {
        // A machine without IPv6.
        listener = TcpListener::bind(format!("0.0.0.0{address}")).await;
    }
    let bind_error = |why| ListenError::Bind {
        key,
        address: address.to_owned(),
        why,
        or_off,
    };
    let listener = listener.map_err(bind_error)?;
    let bound = listener.local_addr().map_err(bind_error)?;
    Ok((listener, bound))
}
