//! A body on its whole way through the webhook, without a socket: checks, decoding, rules, and the step machine against a
//! model of the SPIRE Server.

use std::{sync::Arc, time::Duration};

use registrar_adapters::admission::{
    Endpoints, PodValidator, Reply,
    endpoints::Head,
    pod::{Asked, PATH},
    review::decode,
};
use registrar_core::{
    cluster::Kind,
    entry::{Entry, EntryId, RegisteredEntry, Selector, Selectors},
    policy::Policy,
    ports::SpireCall,
    spiffe::SpiffeId,
    sync::{Event, Reconciler, ReviewId},
    testing::ModelServer,
};
use tokio::{runtime, sync::mpsc};

const HEAD: Head<'_> = Head {
    method: "POST",
    path: PATH,
    query: "timeout=10s",
    content_type: "application/json",
};

/// Whatever the body is: the answer is a valid review that echoes the UID, or a documented status with one line of text; a
/// dry run asks for nothing; nothing outside our root is written.
pub fn admission(data: &[u8]) {
    for watched in [true, false] {
        let mut policy = Policy::webhook("example.org", "demo").expect("legal names");
        policy.pods.watched = watched;
        let mut machine = Machine::new(policy.clone());
        let (asked_sender, mut asked) = mpsc::channel::<Asked>(1);
        let validator = PodValidator::new(policy, |_| {}, asked_sender);
        let endpoints = Endpoints::new().at(PATH, Arc::new(validator));
        let mut count = 0;
        let runtime = runtime::Builder::new_current_thread().build();
        let reply = runtime.expect("a runtime").block_on(async {
            let mut answer = std::pin::pin!(endpoints.answer(HEAD, data));
            loop {
                tokio::select! {
                    reply = &mut answer => break reply,
                    Some(asked) = asked.recv() => {
                        count += 1;
                        machine.grant(asked);
                    }
                }
            }
        });
        check(data, &reply, count);
        machine.check();
    }
}

fn check(data: &[u8], reply: &Reply, asked: usize) {
    let request = decode(data).ok().map(|(_, request)| request);
    match (reply.status, &request) {
        (200, Some(request)) => {
            let uid = serde_json::to_string(&request.uid).expect("text");
            let begun = format!(",\"response\":{{\"uid\":{uid},\"allowed\":true");
            assert!(reply.body.contains(&begun), "{}", reply.body);
            let body: Result<serde_json::Value, _> = serde_json::from_str(&reply.body);
            assert!(body.is_ok(), "{}", reply.body);
        }
        (400, None) | (500, Some(_)) => {
            // One line, but for those of the body that it echoes.
            let echoed = data.iter().filter(|b| **b == b'\n').count();
            let lines = reply.body.matches('\n').count();
            assert!(
                reply.body.ends_with('\n') && lines <= 1 + echoed,
                "{}",
                reply.body
            );
            assert!(reply.content_type.starts_with("text/plain"));
        }
        other => panic!("{other:?}: {reply:?}"),
    }
    if request.is_none_or(|r| r.dry_run) {
        assert_eq!(asked, 0, "nothing is asked for");
    }
}

/// A machine in step with a server that has an entry of somebody else's, with selectors like ours.
struct Machine {
    reconciler: Reconciler,
    server: ModelServer,
    policy: Policy,
    foreign: RegisteredEntry,
    reviews: u64,
}

impl Machine {
    fn new(policy: Policy) -> Self {
        let id = |path: &str| SpiffeId::new(policy.trust_domain.clone(), path).expect("a path");
        let selectors = ["ns:apps", "pod-name:a"].map(|s| Selector::new("k8s", s));
        let entry = Entry::new(id("/somewhere"), id("/else"), Selectors::new(selectors));
        let foreign = RegisteredEntry::created(EntryId::stored("foreign"), &entry);
        let mut server = ModelServer::default();
        server.put(foreign.clone());
        let mut machine = Self {
            reconciler: Reconciler::new(policy.clone(), 1),
            server,
            policy,
            foreign,
            reviews: 0,
        };
        machine.step(vec![
            Event::Leading(true),
            Event::Answering,
            Event::RelistBegan(Kind::Pod),
            Event::RelistDone(Kind::Pod),
        ]);
        machine
    }

    /// Steps until no call is under way.
    fn step(&mut self, mut events: Vec<Event>) -> Vec<(ReviewId, Result<(), Arc<str>>)> {
        let mut answers = Vec::new();
        loop {
            let step = self.reconciler.step(Duration::ZERO, events);
            answers.extend(step.answers);
            if step.calls.is_empty() {
                return answers;
            }
            events = step
                .calls
                .into_iter()
                .map(|(id, call)| {
                    self.check_call(&call);
                    Event::Replied(id, Ok(self.server.perform(&call, usize::MAX)))
                })
                .collect();
        }
    }

    fn grant(&mut self, asked: Asked) {
        self.reviews += 1;
        let id = ReviewId(self.reviews);
        let reviewed = Event::Reviewed {
            id,
            review: asked.review,
            patience: asked.patience,
        };
        let answers = self.step(vec![reviewed]);
        let answer = answers.into_iter().find(|(i, _)| *i == id);
        let (_, answer) = answer.expect("a server that answers leaves no review without an answer");
        let _ = asked.answer.send(answer);
    }

    fn check_call(&self, call: &SpireCall) {
        let ours = |parent: &SpiffeId, id: &SpiffeId| {
            *parent == self.policy.root
                || (*parent == self.policy.server_id() && *id == self.policy.root)
        };
        match call {
            SpireCall::Create { entries } | SpireCall::Update { entries, .. } => {
                for (_, entry) in entries {
                    assert!(ours(&entry.parent_id, &entry.spiffe_id), "{entry:?}");
                }
            }
            SpireCall::Delete { ids } => {
                for stored in ids.iter().filter_map(|id| self.server.get(id)) {
                    assert!(ours(&stored.parent_id, &stored.spiffe_id), "{stored:?}");
                }
            }
            _ => {}
        }
    }

    fn check(&self) {
        assert_eq!(self.server.get(&self.foreign.id), Some(&self.foreign));
    }
}
