//! What reviews of SpiffeIDs ask of others.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use registrar_adapters::admission::{
    AdmissionRequest, LookUps, SpiffeIdValidator, Validator, Verdict,
};
use registrar_core::{
    entry::{Entry, EntryId, RegisteredEntry},
    policy::Policy,
};
use tokio::sync::Semaphore;

use crate::spiffe_id_request;

/// Counts who waits for an answer, and answers when it may.
#[derive(Default)]
struct Slow {
    waiting: AtomicUsize,
    most: AtomicUsize,
    may: Option<Semaphore>,
}

#[async_trait]
impl LookUps for Slow {
    async fn similar(&self, _: &Entry) -> Result<Vec<RegisteredEntry>, String> {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(waiting, Ordering::SeqCst);
        let may = self.may.as_ref().expect("it is slow");
        let _turn = may.acquire().await.expect("never closed");
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    async fn is_named(&self, _: &str, _: &EntryId) -> Result<bool, String> {
        Ok(false)
    }

    fn own_user(&self) -> Option<String> {
        None
    }
}

fn request(n: usize) -> AdmissionRequest {
    let object = serde_json::json!({
        "metadata": {"namespace": "apps", "name": format!("id-{n}"), "uid": format!("u-{n}")},
        "spec": {
            "parentId": "spiffe://example.org/nodes", "spiffeId": format!("spiffe://example.org/{n}"),
            "selector": {"namespace": "apps"},
        },
    });
    spiffe_id_request("CREATE", Some(object))
}

#[tokio::test]
async fn however_many_ask_only_a_few_look_up_at_a_time() {
    let slow = Arc::new(Slow {
        may: Some(Semaphore::new(0)),
        ..Slow::default()
    });
    let policy = Policy::crd("example.org", "demo", "spire").expect("legal");
    let validator = Arc::new(SpiffeIdValidator::new(policy, slow.clone(), |_| {}));
    let asked: Vec<_> = (0..200)
        .map(|n| {
            let validator = validator.clone();
            tokio::spawn(async move { validator.validate(request(n)).await })
        })
        .collect();
    // One thread runs all of them: each gets as far as it can before this goes on.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.waiting.load(Ordering::SeqCst), 8);
    slow.may.as_ref().expect("slow").add_permits(200);
    for asked in asked {
        assert_eq!(asked.await.expect("answered"), Verdict::allowed());
    }
    assert_eq!(slow.most.load(Ordering::SeqCst), 8);
}
