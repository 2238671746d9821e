//! `/validate` of webhook mode: reviews of pods.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use registrar_core::{
    admission::{Next, Operation, PodReview, Response, review_pod},
    cluster::{Kind, Object, PodSnapshot},
    policy::{Policy, WantedMetadata},
    sync::{Event, Review},
};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    endpoints::Validator,
    review::{AdmissionRequest, Verdict},
};
use crate::objects::decode;

/// The path of the webhook.
pub const PATH: &str = "/validate";
/// What is left of the API server's patience for the way back.
const WAY_BACK: Duration = Duration::from_millis(500);
/// A pod without a word about it gets this long to end.
const DEFAULT_GRACE: i64 = 30;

/// What the step machine is asked for.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub review: Review,
    /// How long the answer may take.
    pub patience: Duration,
    /// Where the answer goes; an `Err` says in one line why it cannot be granted.
    pub answer: oneshot::Sender<Result<(), Arc<str>>>,
}

/// What there is to tell about a review beside its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<'a> {
    /// Namespace of the request.
    pub namespace: &'a str,
    /// Name of the request; empty where a collection is deleted.
    pub name: &'a str,
    /// `CREATE`, for example.
    pub operation: &'a str,
    /// What was decided without the machine, if it was.
    pub response: &'a Response,
}

type Tell = dyn Fn(Told<'_>) + Send + Sync;

/// Decides reviews of pods, and asks the step machine for what they need.
pub struct PodValidator {
    policy: Policy,
    wanted: WantedMetadata,
    tell: Box<Tell>,
    machine: mpsc::Sender<Asked>,
}

impl fmt::Debug for PodValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PodValidator")
    }
}

impl PodValidator {
    /// A validator under this policy. `tell` is told what was answered without the machine.
    pub fn new(
        policy: Policy,
        tell: impl Fn(Told<'_>) + Send + Sync + 'static,
        machine: mpsc::Sender<Asked>,
    ) -> Self {
        Self {
            wanted: policy.wanted_metadata(),
            policy,
            tell: Box::new(tell),
            machine,
        }
    }

    fn read(&self, object: Option<&str>) -> Result<PodSnapshot, Arc<str>> {
        let json = object.ok_or("there is no object")?;
        let pod = match decode::object(Kind::Pod, json, &self.wanted) {
            Ok(Object::Pod(pod)) => pod,
            Ok(_) => return Err("it is no pod".into()),
            Err(event) => match *event {
                Event::Undecodable { why, .. } => return Err(why),
                _ => return Err("it cannot be read".into()),
            },
        };
        if pod.name.is_empty() || pod.namespace.is_empty() {
            return Err("it has no name or no namespace".into());
        }
        Ok(pod)
    }

    fn operation(&self, request: &AdmissionRequest) -> Operation {
        match &*request.operation {
            "CREATE" => Operation::Create(self.read(request.object.as_deref())),
            "DELETE" => {
                let old = request.old_object.as_deref();
                let grace = request.grace_period_seconds;
                Operation::Delete {
                    pod: self.read(old),
                    grace: grace.unwrap_or_else(|| own_grace(old.unwrap_or_default())),
                }
            }
            _ => Operation::Other,
        }
    }

    async fn ask(&self, review: Review, patience: Duration) -> Verdict {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            review,
            patience: patience.saturating_sub(WAY_BACK),
            answer,
        };
        if self.machine.send(asked).await.is_err() {
            return Verdict::Failed("the registrar is stopping".into());
        }
        match answered.await {
            Ok(Ok(())) => Verdict::allowed(),
            Ok(Err(why)) => Verdict::Failed(format!("unable to register the pod: {why}")),
            Err(_) => Verdict::Failed("the registrar is stopping".into()),
        }
    }
}

/// How long the pod itself wants to be given.
fn own_grace(json: &str) -> i64 {
    #[derive(Deserialize)]
    struct Pod {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        termination_grace_period_seconds: Option<i64>,
    }
    serde_json::from_str::<Pod>(json)
        .ok()
        .and_then(|p| p.spec.termination_grace_period_seconds)
        .unwrap_or(DEFAULT_GRACE)
}

#[async_trait]
impl Validator for PodValidator {
    async fn validate(&self, request: AdmissionRequest) -> Verdict {
        let kind = &request.kind;
        let is_pod = kind.group.is_empty()
            && kind.version == "v1"
            && kind.kind == "Pod"
            && request.sub_resource.is_empty();
        let review = PodReview {
            operation: if is_pod {
                self.operation(&request)
            } else {
                Operation::Other
            },
            dry_run: request.dry_run,
            namespace: request.namespace.as_str().into(),
            is_pod,
        };
        let response = match review_pod(&self.policy, review) {
            Next::Do(review) => return self.ask(review, request.patience).await,
            Next::Respond(response) => response,
        };
        (self.tell)(Told {
            namespace: &request.namespace,
            name: &request.name,
            operation: &request.operation,
            response: &response,
        });
        match response {
            Response::Nothing
            | Response::Skipped(_)
            | Response::Unhandled(_)
            | Response::DryRun => Verdict::allowed(),
            Response::Held(problem) => Verdict::Allowed {
                warnings: vec![format!("this pod gets no SPIFFE identity: {problem}")],
            },
            Response::Failed(why) => Verdict::Failed(why.to_string()),
        }
    }
}
