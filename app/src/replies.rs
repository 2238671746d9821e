//! Performs the core's calls and brings the replies back, each exactly once.

use std::{sync::Arc, time::Instant};

use registrar_adapters::{
    spire::SpireServer,
    telemetry::{
        Metrics,
        metrics::{MethodLabel, RpcLabels},
    },
};
use registrar_core::{
    ports::{Failure, FailureClass, SpireCall, SpireReply},
    sync::CallId,
};
use tokio::{sync::mpsc, task::JoinSet};

/// Calls under way.
pub struct Calls {
    server: Arc<dyn SpireServer>,
    metrics: Metrics,
    replies: mpsc::Sender<(CallId, SpireReply)>,
    under_way: JoinSet<()>,
}

impl Calls {
    /// None yet; replies go to `replies`.
    pub fn new(
        server: Arc<dyn SpireServer>,
        metrics: Metrics,
        replies: mpsc::Sender<(CallId, SpireReply)>,
    ) -> Self {
        Self {
            server,
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
            let _ = replies.send((id, reply)).await;
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
