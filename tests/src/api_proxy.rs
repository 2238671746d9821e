//! A proxy before the real API server that answers some requests wrongly: with an error, with half of the answer, or with
//! a garbled one. It speaks plain HTTP to the registrar and is the cluster's administrator to the API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures::StreamExt;
use http::{Request, StatusCode, header};
use kube::Client;
use tokio::sync::watch;

use crate::watch_lines::{reordered, twice};

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// This status, with the API server's usual body for it.
    Status(u16),
    /// The first half of the body, then the connection ends.
    Cut,
    /// The body as this function changes it.
    Garbled(fn(&str) -> String),
    /// It never gets through, and is never answered.
    Lost,
    /// It gets through, and is never answered.
    Unanswered,
    /// A watch: each of its lines twice.
    Twice,
    /// A watch: what is said of different objects in another order. See [`ApiProxy::expire_watches`].
    Reordered,
    /// A list: the answer that the same request had the last time, if it had one.
    Stale,
}

/// Which requests: all whose path and query contain `containing`.
#[derive(Debug, Clone)]
struct Rule {
    containing: String,
    but_not: Option<String>,
    fault: Fault,
}

struct Proxied {
    client: Client,
    rules: Mutex<Vec<Rule>>,
    /// Counts how often all streams were cut.
    cuts: watch::Sender<u64>,
    /// How many requests met a fault.
    met: Mutex<usize>,
    /// The last answer to each list.
    lists: Mutex<BTreeMap<String, Bytes>>,
    /// Kinds, by their paths, whose watch was told since that it is too old; `None` while none need be.
    expired: Mutex<Option<BTreeSet<String>>>,
}

/// A running proxy; it ends with the runtime.
#[derive(Clone)]
pub struct ApiProxy {
    proxied: Arc<Proxied>,
    address: std::net::SocketAddr,
}

impl ApiProxy {
    /// Starts one before the API server that `client` speaks to.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(client: Client) -> anyhow::Result<Self> {
        let proxied = Arc::new(Proxied {
            client,
            rules: Mutex::default(),
            cuts: watch::Sender::new(0),
            met: Mutex::default(),
            lists: Mutex::default(),
            expired: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let app = axum::Router::new()
            .fallback(forward)
            .with_state(proxied.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { proxied, address })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Writes a kubeconfig that leads here.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn kubeconfig(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        plain_kubeconfig(dir, self.port())
    }

    /// From now on, requests whose path and query contain `containing`, and not `but_not`, meet this fault.
    pub fn fault(&self, containing: &str, but_not: Option<&str>, fault: Fault) {
        let rule = Rule {
            containing: containing.to_owned(),
            but_not: but_not.map(str::to_owned),
            fault,
        };
        self.proxied.rules.lock().expect("not poisoned").push(rule);
    }

    /// Ends every stream under way: watches break.
    pub fn cut_streams(&self) {
        self.proxied.cuts.send_modify(|n| *n += 1);
    }

    /// Ends every watch, and makes the next one of each kind too old to be resumed: what came in another order may have left
    /// it at a version before which not everything was seen.
    pub fn expire_watches(&self) {
        *self.proxied.expired.lock().expect("not poisoned") = Some(BTreeSet::new());
        self.cut_streams();
    }

    /// No more faults.
    pub fn heal(&self) {
        self.proxied.rules.lock().expect("not poisoned").clear();
    }

    /// How many requests met a fault so far.
    pub fn met(&self) -> usize {
        *self.proxied.met.lock().expect("not poisoned")
    }
}

/// Writes a kubeconfig of an API server that speaks plain HTTP on this port.
///
/// # Errors
/// If it cannot be written.
pub fn plain_kubeconfig(dir: &Path, port: u16) -> anyhow::Result<PathBuf> {
    let path = dir.join(format!("kubeconfig-proxy-{port}"));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

impl Proxied {
    fn fault_for(&self, request: &Request<Body>) -> Option<Fault> {
        let target = request.uri().to_string();
        if target.contains("watch=")
            && let Some(expired) = &mut *self.expired.lock().expect("not poisoned")
            && expired.insert(request.uri().path().to_owned())
        {
            self.meet();
            return Some(Fault::Status(410));
        }
        let rules = self.rules.lock().expect("not poisoned");
        let rule = rules.iter().find(|r| {
            target.contains(&r.containing)
                && r.but_not.as_ref().is_none_or(|not| !target.contains(not))
        })?;
        let fault = rule.fault;
        // Those that are never answered count once nothing more becomes of them.
        if !matches!(fault, Fault::Lost | Fault::Unanswered) {
            self.meet();
        }
        Some(fault)
    }

    fn meet(&self) {
        *self.met.lock().expect("not poisoned") += 1;
    }

    fn remember(&self, target: String, list: Bytes) {
        let mut lists = self.lists.lock().expect("not poisoned");
        lists.insert(target, list);
    }

    fn last_time(&self, target: &str) -> Option<Bytes> {
        let lists = self.lists.lock().expect("not poisoned");
        lists.get(target).cloned()
    }
}

async fn forward(State(proxied): State<Arc<Proxied>>, mut request: Request<Body>) -> Response {
    let fault = proxied.fault_for(&request);
    if let Some(Fault::Status(code)) = fault {
        let body = format!(
            "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"code\":{code},\
             \"reason\":\"Injected\",\"message\":\"injected by the test's proxy\"}}"
        );
        return answer(code, Body::from(body));
    }
    if matches!(fault, Some(Fault::Lost)) {
        proxied.meet();
        return std::future::pending().await;
    }
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20)
        .await
        .unwrap_or_default();
    let target = parts.uri.to_string();
    let is_watch = target.contains("watch=");
    let is_list = parts.method == http::Method::GET && target.contains('?') && !is_watch;
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let response = match proxied.client.send(request).await {
        Ok(response) => response,
        Err(error) => return answer(502, Body::from(error.to_string())),
    };
    if matches!(fault, Some(Fault::Unanswered)) {
        proxied.meet();
        return std::future::pending().await;
    }
    let (mut parts, body) = response.into_parts();
    let body = Body::new(body);
    let body = match fault {
        None if is_list => {
            parts.headers.remove(header::TRANSFER_ENCODING);
            match axum::body::to_bytes(body, 64 << 20).await {
                Ok(whole) => {
                    proxied.remember(target, whole.clone());
                    Body::from(whole)
                }
                Err(error) => return answer(502, Body::from(error.to_string())),
            }
        }
        None => until_cut(body, proxied.cuts.subscribe()),
        Some(Fault::Twice) if is_watch => twice(until_cut(body, proxied.cuts.subscribe())),
        Some(Fault::Reordered) if is_watch => reordered(until_cut(body, proxied.cuts.subscribe())),
        Some(Fault::Twice | Fault::Reordered) => until_cut(body, proxied.cuts.subscribe()),
        Some(fault) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.remove(header::TRANSFER_ENCODING);
            let whole = axum::body::to_bytes(body, 64 << 20)
                .await
                .unwrap_or_default();
            match fault {
                Fault::Stale if is_list => Body::from(proxied.last_time(&target).unwrap_or(whole)),
                fault => spoilt(&whole, fault),
            }
        }
    };
    Response::from_parts(parts, body)
}

fn answer(code: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn broken() -> std::io::Error {
    std::io::Error::other("cut by the test's proxy")
}

fn spoilt(whole: &Bytes, fault: Fault) -> Body {
    match fault {
        Fault::Garbled(change) => Body::from(change(&String::from_utf8_lossy(whole))),
        Fault::Twice | Fault::Reordered | Fault::Stale => Body::from(whole.clone()),
        Fault::Cut | Fault::Status(_) | Fault::Lost | Fault::Unanswered => {
            let half = Ok(whole.slice(..whole.len() / 2));
            Body::from_stream(futures::stream::iter([half, Err(broken())]))
        }
    }
}

/// The body, until all streams are cut; then the connection breaks, so that nobody takes it for whole.
fn until_cut(body: Body, cuts: watch::Receiver<u64>) -> Body {
    let begin = (body.into_data_stream(), cuts, false);
    Body::from_stream(futures::stream::unfold(
        begin,
        async |(mut parts, mut cuts, over)| {
            if over {
                return None;
            }
            tokio::select! {
                part = parts.next() => {
                    let part = part?.map_err(std::io::Error::other);
                    Some((part, (parts, cuts, false)))
                }
                _ = cuts.changed() => Some((Err(broken()), (parts, cuts, true))),
            }
        },
    ))
}
