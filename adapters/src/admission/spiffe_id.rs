//! Reviews of SpiffeIDs in crd mode.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use registrar_core::{
    admission::{DUPLICATE, review_spiffe_id},
    cluster::SpiffeIdSnapshot,
    entry::{Entry, EntryId, RegisteredEntry},
    policy::Policy,
    rules::{Bundles, Decision, Tuple, decide_spiffe_id},
};
use tokio::sync::Semaphore;

use super::{
    endpoints::Validator,
    review::{AdmissionRequest, Verdict},
};
use crate::objects::{spiffe_id::snapshot, told};

/// The path of the webhook.
pub const PATH: &str = "/validate-spiffeid-spiffe-io-v1beta1-spiffeid";

/// Reviews that look something up at a time. The API server shows no certificate here, so anybody may ask: that must not
/// become a load on the SPIRE Server.
const LOOK_UPS: usize = 8;

/// What the webhook looks up.
#[async_trait]
pub trait LookUps: Send + Sync {
    /// All entries with the parent and the selectors of this one.
    ///
    /// # Errors
    /// Why that cannot be told, in one line.
    async fn similar(&self, entry: &Entry) -> Result<Vec<RegisteredEntry>, String>;
    /// Whether a living SpiffeID of this namespace names this entry as its own.
    ///
    /// # Errors
    /// Why that cannot be told, in one line.
    async fn is_named(&self, namespace: &str, entry: &EntryId) -> Result<bool, String>;
    /// The user that the registrar is to the API server, if that is known.
    fn own_user(&self) -> Option<String>;
}

/// What there is to tell of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Of the object.
    pub namespace: &'a str,
    /// Of the object.
    pub name: &'a str,
    /// Who asked.
    pub user: &'a str,
    /// Why it was refused.
    pub why: &'a str,
}

type Tell = dyn Fn(Refused<'_>) + Send + Sync;

/// Decides reviews of SpiffeIDs.
pub struct SpiffeIdValidator {
    policy: Policy,
    look_ups: Arc<dyn LookUps>,
    turns: Semaphore,
    tell: Box<Tell>,
}

impl fmt::Debug for SpiffeIdValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpiffeIdValidator")
    }
}

impl SpiffeIdValidator {
    /// A validator under this policy of crd mode. `tell` is told of what was refused.
    pub fn new(
        policy: Policy,
        look_ups: Arc<dyn LookUps>,
        tell: impl Fn(Refused<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            policy,
            look_ups,
            turns: Semaphore::new(LOOK_UPS),
            tell: Box::new(tell),
        }
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), String> {
        let object = request.object.as_deref().ok_or("there is no object")?;
        let mut resource =
            snapshot(object).map_err(|e| format!("it cannot be read: {}", told(&e)))?;
        // What is being deleted, and what does not ask for anything new, may always be changed: a finalizer must come off.
        let asks_the_same = || old(request).is_some_and(|old| old.spec == resource.spec);
        if resource.deleting || request.operation == "UPDATE" && asks_the_same() {
            return Ok(());
        }
        resource.namespace = request.namespace.as_str().into();
        let spec = match &resource.spec {
            Ok(spec) => spec.clone(),
            Err(why) => return Err(format!("spec cannot be read: {why}")),
        };
        review_spiffe_id(&self.policy, &resource.namespace, &spec).map_err(|p| p.to_string())?;
        match &*request.operation {
            "CREATE" => self.check_duplicate(&resource).await,
            _ => Ok(()),
        }
    }

    async fn check_duplicate(&self, resource: &SpiffeIdSnapshot) -> Result<(), String> {
        let entry = match decide_spiffe_id(&self.policy, resource, &Bundles::default()) {
            Decision::Register { mut entries, .. } if !entries.is_empty() => entries.remove(0),
            Decision::Invalid(problem) => return Err(problem.to_string()),
            _ => return Ok(()),
        };
        let wanted = Tuple::wanted(&entry);
        let own = resource.status.entry_id.as_deref();
        let unable = |why: String| format!("unable to look for duplicates: {why}");
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|closed| unable(closed.to_string()))?;
        let similar = self.look_ups.similar(&entry).await.map_err(unable)?;
        for stored in similar {
            if Tuple::stored(&stored) != wanted || Some(stored.id.as_str()) == own {
                continue;
            }
            // An entry of ours without a SpiffeID waits for one: its definition was away, or a backup comes back.
            let waits = self.policy.entry_ids.made(&stored.id)
                && !self
                    .look_ups
                    .is_named(&resource.namespace, &stored.id)
                    .await
                    .map_err(unable)?;
            if !waits {
                return Err(DUPLICATE.into());
            }
        }
        Ok(())
    }
}

fn old(request: &AdmissionRequest) -> Option<SpiffeIdSnapshot> {
    snapshot(request.old_object.as_deref()?).ok()
}

#[async_trait]
impl Validator for SpiffeIdValidator {
    async fn validate(&self, request: AdmissionRequest) -> Verdict {
        let kind = &request.kind;
        let is_spiffe_id = kind.group == "spiffeid.spiffe.io" && kind.kind == "SpiffeID";
        let writes = matches!(&*request.operation, "CREATE" | "UPDATE");
        // We must not depend on ourselves; and what we write is held to the same rules when it becomes an entry.
        let ours = self
            .look_ups
            .own_user()
            .is_some_and(|us| us == request.user);
        if !is_spiffe_id || !writes || !request.sub_resource.is_empty() || ours {
            return Verdict::allowed();
        }
        match self.check(&request).await {
            Ok(()) => Verdict::allowed(),
            Err(why) => {
                (self.tell)(Refused {
                    namespace: &request.namespace,
                    name: &request.name,
                    user: &request.user,
                    why: &why,
                });
                // The original wrote the text into the reason, where older clients look for it.
                Verdict::Denied {
                    message: why.clone(),
                    reason: why,
                }
            }
        }
    }
}
