//! From an HTTP request to its answer, without a socket: checks in the original's order and with its texts, then the
//! validator of the path.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::review::{self, AdmissionRequest, Malformed, Verdict};

/// Answers the reviews of one path.
#[async_trait]
pub trait Validator: Send + Sync {
    /// The verdict. It should come well before `request.patience` has passed.
    async fn validate(&self, request: AdmissionRequest) -> Verdict;
}

/// Where the API server does not say how long it waits, it is ten seconds.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);
/// The API server lets no webhook take longer.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// `application/json`, or plain text.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    /// A refusal in one line of plain text.
    pub fn text(status: u16, line: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n"),
        }
    }
}

/// The parts of a request that come before its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `POST`, for example.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The API server appends `timeout=10s`.
    pub query: &'a str,
    /// The header of that name, empty where there is none.
    pub content_type: &'a str,
}

/// The validators by path.
#[derive(Clone, Default)]
pub struct Endpoints(BTreeMap<&'static str, Arc<dyn Validator>>);

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Endpoints {
    /// None yet: every path is answered with 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a validator at this path.
    #[must_use]
    pub fn at(mut self, path: &'static str, validator: Arc<dyn Validator>) -> Self {
        self.0.insert(path, validator);
        self
    }

    /// The validator of a request, if what comes before its body is right.
    ///
    /// # Errors
    /// The answer: 404, 405 or 400.
    pub fn find(&self, head: Head<'_>) -> Result<&Arc<dyn Validator>, Reply> {
        let Some(validator) = self.0.get(head.path) else {
            return Err(Reply::text(404, "Not found"));
        };
        if head.method != "POST" {
            return Err(Reply::text(405, "Expected POST"));
        }
        if !is_json(head.content_type) {
            return Err(Reply::text(400, "Expected JSON content"));
        }
        Ok(validator)
    }

    /// The whole way of a request.
    pub async fn answer(&self, head: Head<'_>, body: &[u8]) -> Reply {
        let validator = match self.find(head) {
            Ok(validator) => validator,
            Err(refusal) => return refusal,
        };
        let (version, mut request) = match review::decode(body) {
            Ok(decoded) => decoded,
            Err(Malformed(text)) => return Reply::text(400, &text),
        };
        request.patience = patience(head.query);
        let uid = request.uid.clone();
        let verdict = validator.validate(request).await;
        match review::encode(version, &uid, &verdict) {
            Ok(body) => Reply {
                status: 200,
                content_type: "application/json",
                body,
            },
            Err(text) => Reply::text(500, &text),
        }
    }
}

/// `application/json`, alone or in UTF-8.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    media.eq_ignore_ascii_case("application/json") && parts.all(utf8)
}

/// How long the API server waits, by the query `timeout=<n>s`.
fn patience(query: &str) -> Duration {
    let seconds = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("timeout="))
        .filter_map(|value| value.strip_suffix('s')?.parse().ok())
        .next();
    seconds
        .map_or(DEFAULT_PATIENCE, Duration::from_secs)
        .min(LONGEST_PATIENCE)
}
