//! `/metrics`, `/livez` and `/readyz`.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use axum_server::Server;

use super::Metrics;
use crate::{
    limit::AtMost,
    listen::{ListenError, listen},
};

/// The loop is taken for stuck when it has not turned for this long.
const STUCK: Duration = Duration::from_secs(60);

/// Connections at a time: anybody on the network may make them.
const CONNECTIONS: usize = 256;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 16;
/// From a connection's beginning, or the last answer on it, to the end of a request's header.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// Every answer is there at once, so whoever takes longer to read it takes up a place.
const LONGEST_CONNECTION: Duration = Duration::from_secs(30);

/// What the probes tell; the driver keeps it true. Clones share it.
#[derive(Debug, Clone)]
pub struct Health(Arc<Mutex<HealthState>>);

#[derive(Debug)]
struct HealthState {
    /// What is missing for readiness; `None` before anything is known.
    missing: Option<Vec<String>>,
    /// What else is missing, whatever the loop says.
    awaited: BTreeSet<&'static str>,
    turned: Instant,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(HealthState {
            missing: None,
            awaited: BTreeSet::new(),
            turned: Instant::now(),
        })))
    }
}

impl Health {
    fn state(&self) -> std::sync::MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop turned, and this is what is missing for readiness.
    pub fn turned(&self, missing: Vec<String>) {
        let mut state = self.state();
        state.turned = Instant::now();
        state.missing = Some(missing);
    }

    /// Not ready until [`Health::came`] is told of the same.
    pub fn awaits(&self, what: &'static str) {
        self.state().awaited.insert(what);
    }

    /// What was awaited is there.
    pub fn came(&self, what: &'static str) {
        self.state().awaited.remove(what);
    }

    fn ready(&self) -> (StatusCode, String) {
        let state = self.state();
        let Some(missing) = &state.missing else {
            return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".into());
        };
        let missing = missing.iter().map(String::as_str);
        let missing: Vec<&str> = missing.chain(state.awaited.iter().copied()).collect();
        match missing.is_empty() {
            true => (StatusCode::OK, "ok\n".into()),
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {}\n", missing.join("; ")),
            ),
        }
    }

    fn live(&self) -> (StatusCode, String) {
        match self.state().turned.elapsed() {
            idle if idle < STUCK => (StatusCode::OK, "ok\n".into()),
            idle => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the loop has not turned for {} s\n", idle.as_secs()),
            ),
        }
    }
}

/// Listens on `address` (`:8080`, `127.0.0.1:8080`) and serves until the returned future is dropped.
///
/// # Errors
/// If the address is malformed or taken.
pub async fn serve(
    address: &str,
    metrics: Metrics,
    health: Health,
) -> Result<
    (
        SocketAddr,
        impl Future<Output = std::io::Result<()>> + use<>,
    ),
    ListenError,
> {
    let (listener, bound) = listen("metrics_addr", address, ", or \"0\" for none").await?;
    let app = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(async |State(s): State<Shared>| s.1.live()))
        .route("/healthz", get(async |State(s): State<Shared>| s.1.live()))
        .route("/readyz", get(async |State(s): State<Shared>| s.1.ready()))
        .with_state((metrics, health));
    let acceptor = AtMost::connections(CONNECTIONS).lasting(LONGEST_CONNECTION);
    let mut server = Server::<SocketAddr>::from_listener(listener)
        .acceptor(acceptor)
        .first_request_timeout(HEADER_WITHIN);
    server
        .http_builder()
        .http1()
        .header_read_timeout(HEADER_WITHIN);
    server
        .http_builder()
        .http2()
        .max_concurrent_streams(STREAMS);
    Ok((bound, server.serve(app.into_make_service())))
}

type Shared = (Metrics, Health);

async fn render(State((metrics, _)): State<Shared>) -> impl IntoResponse {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], metrics.render())
}
