//! How the server is reached.

use std::{path::PathBuf, time::Duration};

use tonic::transport::{Channel, Endpoint};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// Its private Unix socket: plaintext, and every caller may do everything.
    Unix(PathBuf),
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ServerAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A channel that connects with its first call and again whenever the connection is gone: the socket may appear later,
/// vanish and come back.
///
/// # Errors
/// If the path cannot be part of a URI.
pub fn channel(address: &ServerAddress) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_string())?
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    Ok(endpoint.connect_lazy())
}
