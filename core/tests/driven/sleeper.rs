//! A machine before servers that answer at once, driven only when it asked for it or something happened.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use registrar_core::{
    cluster::{Kind, NodeSnapshot, Object, PodSnapshot, SpiffeIdSnapshot, Uid},
    policy::Policy,
    ports::{Failure, FailureClass, KubeAnswer, KubeCall, Outcome, SpireAnswer, SpireCall},
    sync::{CallId, Event, Fact, LookUp, Reconciler, ReviewId},
    testing::{ModelApi, ModelServer, bound_pod},
};

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn pod(n: usize) -> PodSnapshot {
    let (name, uid) = (format!("pod-{n}"), format!("uid-{n}"));
    bound_pod("apps", &name, &uid, "n1", "blog")
}

pub fn reconcile() -> Policy {
    Policy::reconcile("example.org", "demo", "registrar").expect("legal names")
}

pub fn crd() -> Policy {
    Policy::crd("example.org", "demo", "spire").expect("legal names")
}

/// A machine before servers that answer at once, driven only when it asked for it or something happened.
pub struct Sleeper {
    pub machine: Reconciler,
    pub server: ModelServer,
    pub api: ModelApi,
    pub now: Duration,
    pub wake_at: Option<Duration>,
    /// Whether the server does not answer.
    pub away: bool,
    /// Whether the server refuses to tell its bundles.
    pub bundles_denied: bool,
    /// Pages of entries that were asked for, and readings of single ones.
    pub pages: usize,
    pub reads: usize,
    /// Creates of entries with this selector are refused.
    pub refused: Option<&'static str>,
    pub steps: usize,
    /// What the Kubernetes API answers to every write, if it does not do it.
    pub kube_failure: Option<Failure>,
    pub kube_writes: Vec<KubeCall>,
    pub spire_writes: Vec<SpireCall>,
    /// Calls to the server that are not answered before [`Sleeper::answer_late`].
    pub late: fn(&SpireCall) -> bool,
    waiting: Vec<(CallId, SpireCall)>,
    /// Whether the watch shows what is written.
    pub shows: bool,
    /// Writes to the Kubernetes API that are under way for ever.
    pub unanswered: fn(&KubeCall) -> bool,
    /// What the Kubernetes API makes of what it stores, in its answers and for the watch.
    pub spoil: fn(&KubeCall, &mut SpiffeIdSnapshot),
    /// When the definition was asked for, and what is answered instead of it.
    pub definition_read: Vec<Duration>,
    pub definition_failure: Option<Failure>,
    /// What a look-up of a pod finds, and how many there were.
    pub looked_up: LookUp,
    pub look_ups: usize,
    pub facts: Vec<Fact>,
    pub answers: BTreeMap<ReviewId, Result<(), Arc<str>>>,
}

impl Sleeper {
    pub fn new(policy: Policy) -> Self {
        let mut api = ModelApi::default();
        api.install();
        Self {
            machine: Reconciler::new(policy, 7),
            server: ModelServer::default(),
            api,
            now: seconds(50),
            wake_at: None,
            away: false,
            bundles_denied: false,
            pages: 0,
            reads: 0,
            refused: None,
            steps: 0,
            kube_failure: None,
            kube_writes: Vec::new(),
            spire_writes: Vec::new(),
            late: |_| false,
            waiting: Vec::new(),
            shows: true,
            unanswered: |_| false,
            spoil: |_, _| (),
            definition_read: Vec::new(),
            definition_failure: None,
            looked_up: LookUp::Absent,
            look_ups: 0,
            facts: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    pub fn started(policy: Policy, pods: usize) -> Self {
        let mut sleeper = Self::new(policy);
        sleeper.start(pods);
        sleeper
    }

    pub fn start(&mut self, pods: usize) {
        self.tell(vec![Event::Leading(true), Event::Answering]);
        self.list_all(pods);
    }

    /// All lists are there.
    pub fn list_all(&mut self, pods: usize) {
        let node = NodeSnapshot {
            name: "n1".into(),
            uid: Uid::new("node-uid"),
            annotations: Default::default(),
        };
        self.list(Kind::Node, [Object::Node(node)]);
        let there = self.api.objects.values().cloned();
        let there: Vec<_> = there.map(|o| Object::SpiffeId(Box::new(o))).collect();
        self.list(Kind::SpiffeId, there);
        self.list(Kind::Pod, (0..pods).map(|n| Object::Pod(pod(n))));
    }

    /// Another process on what this one left.
    pub fn restart(&mut self, pods: usize) {
        self.replace();
        self.start(pods);
    }

    /// Another process that has seen nothing yet.
    pub fn replace(&mut self) {
        self.machine = Reconciler::new(self.machine.policy().clone(), 8);
        self.facts.clear();
        self.pages = 0;
    }

    pub fn list(&mut self, kind: Kind, objects: impl IntoIterator<Item = Object>) {
        let mut events = vec![Event::RelistBegan(kind)];
        events.extend(objects.into_iter().map(Event::Listed));
        events.push(Event::RelistDone(kind));
        self.tell(events);
    }

    /// A list of the SpiffeIDs as they are.
    pub fn show_all(&mut self) {
        let events = self.api.list();
        self.tell(events);
    }

    /// What the watch of the SpiffeIDs has to show, and what that leads to, until there is no more.
    pub fn show_changes(&mut self) {
        while !self.api.changes.is_empty() {
            let events = std::mem::take(&mut self.api.changes);
            self.tell(events);
        }
    }

    fn reply(&mut self, call: &SpireCall) -> Result<SpireAnswer, Failure> {
        self.pages += usize::from(matches!(call, SpireCall::List { .. }));
        self.reads += usize::from(matches!(call, SpireCall::Read { .. }));
        let failure = |why| Failure::new(FailureClass::Retry, why);
        if self.away {
            return Err(failure("connection refused"));
        }
        if self.bundles_denied && *call == SpireCall::ListBundles {
            return Err(Failure::new(FailureClass::Denied, "permission denied"));
        }
        let mut answer = self.server.perform(call, usize::MAX);
        if let (SpireCall::Create { entries }, SpireAnswer::Written(outcomes)) = (call, &mut answer)
        {
            for ((id, entry), outcome) in entries.iter().zip(outcomes) {
                if entry
                    .selectors
                    .iter()
                    .any(|s| Some(s.value) == self.refused)
                {
                    self.server.remove(id);
                    *outcome = Outcome::Refused(failure("database is locked"));
                }
            }
        }
        Ok(answer)
    }

    /// Something happened; everything that it leads to is done at once.
    pub fn tell(&mut self, mut events: Vec<Event>) {
        loop {
            let step = self.machine.step(self.now, events);
            self.steps += 1;
            assert!(self.steps < 100_000, "it turns in circles");
            self.wake_at = step.wake_at;
            self.facts.extend(step.facts);
            self.answers.extend(step.answers);
            events = Vec::new();
            for (id, call) in step.calls {
                if call.is_write() {
                    self.spire_writes.push(call.clone());
                }
                if (self.late)(&call) {
                    self.waiting.push((id, call));
                    continue;
                }
                events.push(Event::Replied(id, self.reply(&call)));
            }
            for (id, call) in step.kube_calls {
                if call.is_write() {
                    self.kube_writes.push(call.clone());
                }
                if (self.unanswered)(&call) {
                    continue;
                }
                let failure = match call.is_write() {
                    true => &self.kube_failure,
                    false => &self.definition_failure,
                };
                let mut reply = match failure {
                    Some(failure) => Err(failure.clone()),
                    None => self.api.perform(&call),
                };
                if let Ok(KubeAnswer::Written(object)) = &mut reply {
                    (self.spoil)(&call, object);
                }
                if call == KubeCall::ReadDefinition {
                    self.definition_read.push(self.now);
                }
                let seen = match &reply {
                    Ok(KubeAnswer::Written(object)) if self.shows => Some(object.clone()),
                    _ => None,
                };
                events.push(Event::KubeReplied(id, reply));
                events.extend(seen.map(|o| Event::Applied(Object::SpiffeId(o))));
            }
            for key in step.look_ups {
                self.look_ups += 1;
                events.push(Event::LookedUp(key, self.looked_up.clone()));
            }
            if events.is_empty() {
                return;
            }
        }
    }

    /// What waited is done and answered, and nothing is late any more.
    pub fn answer_late(&mut self) {
        self.late = |_| false;
        for (id, call) in std::mem::take(&mut self.waiting) {
            let reply = self.reply(&call);
            self.tell(vec![Event::Replied(id, reply)]);
        }
    }

    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            assert!(at > self.now, "it wants to be woken at once: {at:?}");
            self.now = at;
            self.tell(Vec::new());
        }
        self.now = end;
    }

    pub fn registered(&self, n: usize) -> bool {
        let (by_name, by_uid) = (format!("pod-name:pod-{n}"), format!("pod-uid:uid-{n}"));
        self.server.entries().any(|e| {
            let mut selectors = e.selectors.iter();
            selectors.any(|s| s.value == by_name || s.value == by_uid)
        })
    }
}
