//! AdmissionReview, `admission.k8s.io/v1` and `v1beta1`, as far as we read and write it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A group, version and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    #[serde(default)]
    pub group: String,
    /// `v1`, for example.
    #[serde(default)]
    pub version: String,
    /// `Pod`, for example.
    #[serde(default)]
    pub kind: String,
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// What a review asks about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdmissionRequest {
    /// Echoed in the answer.
    pub uid: String,
    /// Of the object.
    pub kind: GroupVersionKind,
    /// `status`, for example; empty for the object itself.
    pub sub_resource: String,
    /// Empty on `deletecollection`.
    pub name: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Who asks.
    pub user: String,
    /// Whether nothing may be written.
    pub dry_run: bool,
    /// The object as it is to be, as JSON; `None` on DELETE.
    pub object: Option<String>,
    /// The object as it is, as JSON; on UPDATE and DELETE.
    pub old_object: Option<String>,
    /// Of the options of a DELETE.
    pub grace_period_seconds: Option<i64>,
    /// How long the API server waits for the answer.
    pub patience: Duration,
}

/// The answer to a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The operation may go on; the person who asked sees the warnings.
    Allowed {
        /// One line each.
        warnings: Vec<String>,
    },
    /// It may not.
    Denied {
        /// What the person who asked sees.
        message: String,
        /// In CamelCase, one of the API's reasons such as `Invalid`; may be empty.
        reason: String,
    },
    /// We cannot tell: HTTP 500, so that the webhook's failurePolicy decides. One line.
    Failed(String),
}

impl Verdict {
    /// Allowed, without a warning.
    pub fn allowed() -> Self {
        Verdict::Allowed {
            warnings: Vec::new(),
        }
    }
}

/// The versions of AdmissionReview that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `admission.k8s.io/v1`
    V1,
    /// `admission.k8s.io/v1beta1`
    V1Beta1,
}

impl ReviewVersion {
    fn api_version(self) -> &'static str {
        match self {
            ReviewVersion::V1 => "admission.k8s.io/v1",
            ReviewVersion::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Why a body is no review: what HTTP status 400 says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    kind: Option<GroupVersionKind>,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    operation: Option<String>,
    #[serde(default)]
    user_info: Option<UserInfo>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_object: Option<&'a RawValue>,
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Deserialize)]
struct UserInfo {
    #[serde(default)]
    username: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(default)]
    grace_period_seconds: Option<i64>,
}

/// The longest part of a body that an answer repeats.
const LONGEST_ECHO: usize = 200;

fn echoed(body: &str) -> String {
    let mut text: String = body.chars().take(LONGEST_ECHO).collect();
    if text.len() < body.len() {
        text.push('…');
    }
    text
}

/// The longest name that anything in the API has, and then some: longer ones would fill the log.
const LONGEST_NAME: usize = 1024;

/// Reads the body of a request.
///
/// # Errors
/// The text of the answer with status 400.
pub fn decode(body: &[u8]) -> Result<(ReviewVersion, AdmissionRequest), Malformed> {
    let malformed = |why: &dyn fmt::Display| Malformed(format!("Malformed JSON body: {why}"));
    let text = std::str::from_utf8(body).map_err(|e| malformed(&e))?;
    let missing = |field: &str| {
        malformed(&format!(
            "Object '{field}' is missing in '{}'",
            echoed(text)
        ))
    };
    if text.trim().is_empty() {
        return Err(missing("Kind"));
    }
    let meta: TypeMeta = serde_json::from_str(text).map_err(|e| malformed(&e))?;
    if meta.kind.is_empty() {
        return Err(missing("Kind"));
    }
    if meta.api_version.is_empty() {
        return Err(missing("apiVersion"));
    }
    let version = match (&*meta.api_version, &*meta.kind) {
        ("admission.k8s.io/v1", "AdmissionReview") => ReviewVersion::V1,
        ("admission.k8s.io/v1beta1", "AdmissionReview") => ReviewVersion::V1Beta1,
        // Kinds that a client may well have, only not here.
        ("v1" | "admission.k8s.io/v1" | "admission.k8s.io/v1beta1", kind) => {
            let (group, version) = meta
                .api_version
                .split_once('/')
                .unwrap_or(("", &meta.api_version));
            let gvk = GroupVersionKind {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: echoed(kind),
            };
            return Err(Malformed(format!("Unsupported group version kind: {gvk}")));
        }
        (version, kind) => {
            let (kind, version) = (echoed(kind), echoed(version));
            return Err(malformed(&format!(
                "no kind {kind:?} is registered for version {version:?}"
            )));
        }
    };
    let Body { request } = serde_json::from_str(text).map_err(|e| malformed(&e))?;
    let request = request.ok_or_else(|| malformed(&"request is missing"))?;
    let user = request.user_info.and_then(|u| u.username);
    for (field, name) in [
        ("name", &request.name),
        ("namespace", &request.namespace),
        ("operation", &request.operation),
        ("userInfo.username", &user),
    ] {
        let length = name.as_ref().map_or(0, String::len);
        if length > LONGEST_NAME {
            let why = format!("request.{field} has {length} bytes, more than {LONGEST_NAME}");
            return Err(malformed(&why));
        }
    }
    let json = |raw: Option<&RawValue>| raw.map(|r| r.get().to_owned()).filter(|t| t != "null");
    let request = AdmissionRequest {
        uid: request.uid,
        kind: request.kind.unwrap_or_default(),
        sub_resource: request.sub_resource.unwrap_or_default(),
        name: request.name.unwrap_or_default(),
        namespace: request.namespace.unwrap_or_default(),
        operation: request.operation.unwrap_or_default(),
        user: user.unwrap_or_default(),
        dry_run: request.dry_run.unwrap_or(false),
        object: json(request.object),
        old_object: json(request.old_object),
        grace_period_seconds: request.options.and_then(|o| o.grace_period_seconds),
        patience: Duration::ZERO,
    };
    Ok((version, request))
}

#[derive(Serialize)]
struct Answer<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    code: u16,
}

/// The body of the answer, in the version of the request; `Err` is the text of status 500.
///
/// # Errors
/// If the verdict is a failure.
pub fn encode(version: ReviewVersion, uid: &str, verdict: &Verdict) -> Result<String, String> {
    let response = match verdict {
        Verdict::Allowed { warnings } => Response {
            uid,
            allowed: true,
            status: None,
            warnings,
        },
        Verdict::Denied { message, reason } => Response {
            uid,
            allowed: false,
            status: Some(Status {
                status: "Failure",
                message,
                reason,
                code: if reason == "Invalid" { 422 } else { 403 },
            }),
            warnings: &[],
        },
        Verdict::Failed(why) => {
            let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(format!("Internal error occurred: {line}"));
        }
    };
    let answer = Answer {
        kind: "AdmissionReview",
        api_version: version.api_version(),
        response,
    };
    serde_json::to_string(&answer).map_err(|e| format!("Internal error occurred: {e}"))
}
