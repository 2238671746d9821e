//! The connections of a client: the library's own, except that small requests leave at once.
//!
//! The library's connections wait with a small piece of data until the other side has acknowledged the one before, and the
//! other side waits up to 40 ms with that: each new connection would lose so much between its handshake and its first request.

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config, Error,
    client::{Body, ConfigExt},
};
use tower::{BoxError, ServiceBuilder};

/// A client for this configuration. It tries nothing again by itself: whoever asks knows when to ask again, says so meanwhile,
/// and may not write any more by then.
pub(super) fn client_of(mut config: Config) -> Result<Client, Error> {
    config.default_retry = false;
    if config.proxy_url.is_some() {
        // The library says which proxies it knows.
        return Client::try_from(config);
    }
    let https = config.rustls_https_connector_with_connector(tcp())?;
    let mut connector = TimeoutConnector::new(https);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let connections: legacy::Client<_, Body> =
        legacy::Builder::new(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(connections);
    Ok(Client::new(service, config.default_namespace))
}

/// What connects to the API server.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn small_requests_leave_at_once() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let address = listener.and_then(|l| l.local_addr().map(|a| (l, a)));
        let (_listener, address) = address.expect("a port");
        let uri = format!("https://{address}").parse().expect("a URI");
        let stream = tcp().oneshot(uri).await.expect("connected");
        let nodelay = stream.inner().nodelay();
        assert!(nodelay.expect("an option of the socket"));
    }
}
