//! Performs the core's calls and brings the replies back, each exactly once.

use std::{sync::Arc, time::Instant};

use registrar_adapters::{
    kubernetes::KubeApi,
    spire::SpireServer,
    telemetry::{
        Metrics,
        metrics::{MethodLabel, OperationLabels, RpcLabels},
    },
};
use registrar_core::{
    ports::{Failure, FailureClass, KubeAnswer, KubeCall, SpireCall},
    sync::{CallId, Event},
};
use tokio::{sync::mpsc, task::JoinSet};

/// Calls under way.
pub struct Calls {
    server: Arc<dyn SpireServer>,
    kube: Option<Arc<dyn KubeApi>>,
    metrics: Metrics,
    replies: mpsc::Sender<Event>,
    under_way: JoinSet<()>,
}

impl Calls {
    /// None yet; replies go to `replies`.
    pub fn new(
        server: Arc<dyn SpireServer>,
        kube: Option<Arc<dyn KubeApi>>,
        metrics: Metrics,
        replies: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            server,
            kube,
            metrics,
            replies,
            under_way: JoinSet::new(),
        }
    }

    /// Performs a call in the background.
    pub fn start(&mut self, id: CallId, call: SpireCall) {
        while self.under_way.try_join_next().is_some() {}
        let method = method(&call);
        let (server, replies, metrics) = (
            self.server.clone(),
            self.replies.clone(),
            self.metrics.clone(),
        );
        self.under_way.spawn(async move {
            let begun = Instant::now();
            // A task of its own, so that even a panic becomes a reply.
            let reply = tokio::spawn(async move { server.perform(call).await })
                .await
                .unwrap_or_else(|e| Err(Failure::new(FailureClass::Unknown, e.to_string())));
            metrics
                .rpc_seconds
                .get_or_create(&MethodLabel { method })
                .observe(begun.elapsed().as_secs_f64());
            let code = reply.as_ref().err().map_or("ok", |f| class_word(f.class));
            metrics
                .rpcs
                .get_or_create(&RpcLabels { method, code })
                .inc();
            // Without a receiver the program is ending.
            let _ = replies.send(Event::Replied(id, reply)).await;
        });
    }

    /// Performs a call to the Kubernetes API in the background.
    pub fn start_kube(&mut self, id: CallId, call: KubeCall) {
        while self.under_way.try_join_next().is_some() {}
        let operation = call.word();
        let (kube, replies, metrics) = (
            self.kube.clone(),
            self.replies.clone(),
            self.metrics.clone(),
        );
        self.under_way.spawn(async move {
            let performed = tokio::spawn(async move {
                match kube {
                    Some(kube) => kube.perform(call).await,
                    None => Err(Failure::new(
                        FailureClass::Permanent,
                        "this mode does not write to the Kubernetes API",
                    )),
                }
            });
            let reply = performed
                .await
                .unwrap_or_else(|e| Err(Failure::new(FailureClass::Unknown, e.to_string())));
            let outcome = match &reply {
                Ok(KubeAnswer::Written(_) | KubeAnswer::Definition(_)) => "ok",
                Ok(KubeAnswer::Gone) => "gone",
                Ok(KubeAnswer::Conflict) => "conflict",
                Err(failure) => class_word(failure.class),
            };
            metrics
                .kube_calls
                .get_or_create(&OperationLabels { operation, outcome })
                .inc();
            let _ = replies.send(Event::KubeReplied(id, reply)).await;
        });
    }

    /// Waits until none is under way.
    pub async fn drain(&mut self) {
        while self.under_way.join_next().await.is_some() {}
    }
}

fn method(call: &SpireCall) -> &'static str {
    match call {
        SpireCall::List { .. } | SpireCall::Find { .. } => "ListEntries",
        SpireCall::Read { .. } => "GetEntry",
        SpireCall::Create { .. } => "BatchCreateEntry",
        SpireCall::Update { .. } => "BatchUpdateEntry",
        SpireCall::Delete { .. } => "BatchDeleteEntry",
        SpireCall::ListBundles => "ListFederatedBundles",
    }
}

fn class_word(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Retry => "retry",
        FailureClass::Permanent => "permanent",
        FailureClass::Denied => "denied",
        FailureClass::Unknown => "unknown",
    }
}
