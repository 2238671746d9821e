//! The step machine: events in, calls and facts out. It holds the cluster as last seen, a mirror of our entries on the
//! server, and what is under way between the two.
//!
//! A step first *observes* every event, then *acts*: while a slot is free and a subject wants a look, it decides what that
//! subject should have, compares with the mirror, and puts the difference into a batch. Work is in proportion to what
//! changed; nothing walks over all pods but a change of what all depend on.

mod act;
mod aside;
mod awaited;
mod breaker;
mod bundles;
mod definition;
mod endings;
mod event;
mod fact;
mod flight;
mod flurry;
mod gate;
mod ids;
mod kube;
mod mirror;
mod objects;
mod observe;
mod observed;
mod outcome;
mod parents;
mod plan;
mod precedence;
mod preview;
mod queue;
mod rehearsal;
mod reply;
mod resources;
mod retire;
mod review;
mod scan;
mod service_names;
mod slots;
mod spiffe_ids;
mod standing;
mod status;
mod want;
mod writes;

pub use event::{CallId, Event, LookUp, Now, Review, ReviewId, Step, TripId};
pub use fact::{DeleteReason, Drift, Fact};
pub use preview::{Conflict, Plan, Planned, Preview, Removal, Update, Verdict};
pub use rehearsal::{ResourceChange, ResourcePreview};
pub use retire::{Retirement, Uncovered, WhyNot};
pub use status::{NotReady, Status};

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    cluster::{Kind, Uid},
    entry::EntryId,
    index::{Index, IndexSet},
    policy::{NodePolicy, ParentForm, Policy},
    rules::{Bundles, Note, Problem, SkipReason, Subject},
};
use breaker::Breaker;
use bundles::BundlePoll;
use flight::{Flight, Staged};
use flurry::Flurries;
use gate::Gate;
use kube::Kube;
use mirror::Mirror;
use observed::Observed;
use precedence::Precedence;
use queue::{Queue, Urgency};
use resources::resource_of;
use review::Reviews;
use scan::Scan;
use slots::Slots;
use spiffe_ids::Claim;

/// Keeps the entries of one cluster right.
///
/// ```
/// use registrar_core::{policy::Policy, sync::{Event, Reconciler}};
/// use std::time::Duration;
/// let policy = Policy::reconcile("example.org", "demo", "spire-k8s-registrar")?;
/// let mut reconciler = Reconciler::new(policy, 7);
/// let step = reconciler.step(Duration::ZERO, [Event::Leading(true)]);
/// // It begins by reading what the server has.
/// assert!(!step.calls.is_empty() && step.calls.iter().all(|(_, call)| !call.is_write()));
/// # Ok::<(), registrar_core::spiffe::SpiffeError>(())
/// ```
#[derive(Debug)]
pub struct Reconciler {
    policy: Policy,
    nonce: u64,
    /// Counts steps, calls and acknowledgements: what is learnt later has a higher stamp.
    stamp: u64,
    issued_ids: u64,
    observed: Observed,
    mirror: Mirror,
    bundles: Bundles,
    queue: Queue,
    staged: VecDeque<Staged>,
    /// How many of these can wait.
    staged_patient: usize,
    flights: BTreeMap<CallId, Flight>,
    batch_limit: usize,
    slots: Slots,
    precedence: Precedence,
    breaker: Breaker,
    gate: Gate,
    scan: Scan,
    bundle_poll: BundlePoll,
    leading: bool,
    paused: bool,
    began: bool,
    first_sync_done: bool,
    last_compared: Option<Now>,
    held: Index<Subject, Problem>,
    skipped: Index<Subject, SkipReason>,
    notes: Index<Subject, Vec<Note>>,
    federating: IndexSet<Subject>,
    refused: IndexSet<Subject>,
    /// Subjects that were looked at before everything was known, and of which not all could be decided.
    unfinished: IndexSet<Subject>,
    /// Subjects whose object's end was watched, and that may still have entries.
    ended: IndexSet<Subject>,
    /// SpiffeIDs that are gone or going, and when that was seen.
    deaths: Index<Subject, u64>,
    /// What is known of entries that SpiffeIDs' statuses name and that are not ours.
    claims: Index<Subject, Claim>,
    kube: Kube,
    /// Pods that move under a node as soon as its entry is there, by the node's name.
    waiting_for_node: Index<Arc<str>, IndexSet<Subject>>,
    reviews: Reviews,
    flurries: Flurries,
    foreign: IndexSet<EntryId>,
    facts: Vec<Fact>,
    /// How many subjects one step may look at.
    looks_a_step: usize,
    /// Whether this step left some for the next.
    more: bool,
}

impl Reconciler {
    /// A machine that knows nothing yet, is not leading, and writes nothing until it is told to lead.
    ///
    /// `nonce` must differ in every process: entry IDs are made from it.
    pub fn new(policy: Policy, nonce: u64) -> Self {
        let slots = Slots::new(policy.writes_in_flight);
        let mirror = Mirror::new(policy.server_id());
        Self {
            policy,
            nonce,
            stamp: 0,
            issued_ids: 0,
            observed: Observed::default(),
            mirror,
            bundles: Bundles::default(),
            queue: Queue::default(),
            staged: VecDeque::new(),
            staged_patient: 0,
            flights: BTreeMap::new(),
            batch_limit: flight::FIRST_BATCH,
            slots,
            precedence: Precedence::default(),
            breaker: Breaker::default(),
            gate: Gate::default(),
            scan: Scan::default(),
            bundle_poll: BundlePoll::default(),
            leading: false,
            paused: false,
            began: false,
            first_sync_done: false,
            last_compared: None,
            held: Index::new(),
            skipped: Index::new(),
            notes: Index::new(),
            federating: IndexSet::new(),
            refused: IndexSet::new(),
            unfinished: IndexSet::new(),
            ended: IndexSet::new(),
            deaths: Index::new(),
            claims: Index::new(),
            kube: Kube::default(),
            waiting_for_node: Index::new(),
            reviews: Reviews::default(),
            flurries: Flurries::default(),
            foreign: IndexSet::new(),
            facts: Vec::new(),
            looks_a_step: usize::MAX,
            more: false,
        }
    }

    /// Looks at no more than so many objects in a step, so that none lasts: what is left is the next one's, for which
    /// [`Step::wake_at`] is `now`. Without this a step looks at all that want it.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn in_slices(mut self, looks_a_step: usize) -> Self {
        assert!(looks_a_step > 0, "nothing would ever be looked at");
        self.looks_a_step = looks_a_step;
        self
    }

    /// The policy it works by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The kinds of objects that must be watched under this policy.
    pub fn kinds(policy: &Policy) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if let Some(spiffe_ids) = &policy.spiffe_ids {
            kinds.push(Kind::SpiffeId);
            if !spiffe_ids.pod_controller {
                // The names of Services belong on the SpiffeIDs of others as well.
                let slices = policy.pods.dns.reads_slices();
                kinds.extend(slices.then_some(Kind::EndpointSlice));
                return kinds;
            }
        }
        if policy.pods.watched {
            kinds.push(Kind::Pod);
        }
        if matches!(policy.nodes, NodePolicy::ByName | NodePolicy::ByUid)
            || policy.pods.parent == ParentForm::Agent
        {
            kinds.push(Kind::Node);
        }
        if policy.pods.dns.reads_slices() {
            kinds.push(Kind::EndpointSlice);
        }
        kinds
    }

    /// Takes in what happened and says what to do. `now` never goes back.
    pub fn step(&mut self, now: Now, events: impl IntoIterator<Item = Event>) -> Step {
        self.stamp += 1;
        self.slots.wake(now);
        let mut calls = Vec::new();
        for event in events {
            self.observe(now, event);
        }
        self.wake(now);
        self.more = false;
        self.act(now, &mut calls);
        self.feel_for_server(now, &mut calls);
        self.answer_overdue(now);
        Step {
            calls,
            look_ups: std::mem::take(&mut self.reviews.look_ups),
            answers: std::mem::take(&mut self.reviews.answers),
            kube_calls: std::mem::take(&mut self.kube.outbox),
            facts: std::mem::take(&mut self.facts),
            wake_at: self.wake_at(now),
        }
    }

    fn urgency_of(&self, subject: &Subject) -> Urgency {
        if self.gets_resource(subject) {
            return Urgency::Object;
        }
        if self.floor(subject) == Urgency::Asked {
            return Urgency::Asked;
        }
        let exists = match subject {
            Subject::Node(name) => self.observed.node(name).is_some(),
            Subject::SpiffeId(..) => resource_of(subject)
                .and_then(|name| self.observed.resources.get(&name))
                .is_some_and(|r| !r.deleting),
            pod => self.observed.pod(pod).is_some() || self.reviews.expected(pod).next().is_some(),
        };
        match (exists, subject) {
            (false, _) => Urgency::Gone,
            (true, _) if self.mirror.has(subject) => Urgency::Changed,
            (true, Subject::Node(_)) => Urgency::Node,
            (true, Subject::SpiffeId(namespace, _)) if self.is_our_namespace(namespace) => {
                Urgency::Node
            }
            (true, _) => Urgency::New,
        }
    }

    /// What a back-off or a sleep held up wants a look again.
    fn wake(&mut self, now: Now) {
        self.expire(now);
        self.flurries.expire(now);
        let mut queue = std::mem::take(&mut self.queue);
        queue.wake(now, |subject| self.floor(subject));
        self.queue = queue;
    }

    /// One operation for a subject ended.
    fn end(&mut self, subject: &Subject, now: Now) {
        let floor = self.floor(subject);
        self.queue.end(subject, now, floor);
    }

    /// Whether the SpiffeIDs of nodes live there.
    fn is_our_namespace(&self, namespace: &str) -> bool {
        let policy = self.policy.spiffe_ids.as_ref();
        policy.is_some_and(|p| *p.namespace == *namespace)
    }

    /// Wants a look at every subject that has an entry but no object.
    fn look_at_unexplained(&mut self, now: Now) {
        let subjects: Vec<Subject> = self
            .mirror
            .subjects()
            .filter(|s| self.urgency_of(s) == Urgency::Gone)
            .cloned()
            .collect();
        for subject in subjects {
            self.queue.mark(&subject, Urgency::Gone, now);
        }
    }

    /// Whether everything that decisions depend on has been read once.
    fn inputs_complete(&self) -> bool {
        self.scan.has_completed()
            && self.bundle_poll.attempted
            && Self::kinds(&self.policy)
                .into_iter()
                .all(|k| self.observed.is_synced(k))
            && (self.policy.spiffe_ids.is_none() || self.kube.definition.is_known())
    }

    fn wake_at(&self, now: Now) -> Option<Now> {
        if self.more {
            return Some(now);
        }
        // While the server is away it is its gate that wakes; then one call feels its way, and its reply wakes.
        let server = |at: Option<Now>| at.filter(|_| self.gate.is_well());
        let opens = self.gate.opens_at().filter(|at| *at > now);
        let kube = match self.policy.spiffe_ids {
            Some(_) => self.kube.wake_at(self.queue.len() > 0),
            None => None,
        };
        // What stands back and is staged was looked at before; the rest is in the queue.
        let waits = self.staged_patient > 0 || self.queue.len() > 0;
        let goes_on = self.precedence.stands_back_until();
        let grace = self.kube.definition.grace_ends().filter(|end| *end > now);
        [
            self.queue.next_retry(),
            self.breaker.next_expiry(),
            self.reviews
                .next_at(self.gate.failing().map(|(since, _)| *since)),
            kube,
            grace.filter(|_| !self.breaker.is_empty()),
            server(self.scan.next_at()),
            server(self.bundles_due_at()),
            opens,
            goes_on.filter(|at| *at > now && waits),
        ]
        .into_iter()
        .flatten()
        .map(|at| at.max(now + Duration::from_millis(1)))
        .min()
    }

    fn next_entry_id(&mut self, subject: &Subject, owner: &Uid) -> EntryId {
        self.issued_ids += 1;
        let ids = &self.policy.entry_ids;
        match subject {
            Subject::SpiffeId(..) => ids.issue_for(owner, self.nonce, self.issued_ids),
            _ => ids.issue(self.nonce, self.issued_ids),
        }
    }

    fn note_left_out(&mut self, subject: &Subject, uid: &Uid, notes: Vec<Note>) {
        let before = self
            .notes
            .get(subject)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for note in notes.iter().filter(|n| !before.contains(n)) {
            self.facts.push(Fact::LeftOut {
                subject: subject.clone(),
                uid: uid.clone(),
                note: note.clone(),
            });
        }
        if notes.is_empty() {
            self.notes.remove(subject);
        } else {
            self.notes.insert(subject.clone(), notes);
        }
    }

    /// Everything we remember about a subject that has no object any more.
    fn forget(&mut self, subject: &Subject) {
        self.held.remove(subject);
        self.skipped.remove(subject);
        self.notes.remove(subject);
        self.federating.remove(subject);
        self.refused.remove(subject);
        self.ended.remove(subject);
        self.reviews.forget(subject);
        self.deaths.remove(subject);
        self.claims.remove(subject);
        self.flurries.forget(subject);
    }
}
