//! The rules by which Kubernetes pods get SPIRE registration entries, and the step machine that keeps those entries right.
//!
//! Everything here is a value: snapshots and replies go in, decisions and effects come out. There is no I/O, no clock,
//! no logging and no `async`.
//!
//! # The flow
//!
//! 1. What was configured is a [`policy::Policy`]; the mode is a part of it.
//! 2. Objects of the cluster come as snapshots ([`cluster`]), with just the fields that rules read.
//! 3. [`rules`] turn policy, snapshot and look-ups into a [`rules::Decision`]: an [`entry::Entry`], a reason to skip, or a
//!    problem that holds the object.
//! 4. [`sync::Reconciler::step`] takes in what happened ([`sync::Event`]) and says what to do ([`ports::SpireCall`]) and
//!    what there is to tell ([`sync::Fact`]). Whoever drives it performs the calls and feeds the replies back.
//! 5. [`sync::Reconciler::plan`] says what the machine would do, without doing it; [`sync::Reconciler::rehearse`] lets it do
//!    that to models of the servers, where SpiffeIDs stand between objects and entries.
//!
//! ```
//! use registrar_core::{cluster::{Kind, NodeSnapshot, Object, Uid}, policy::Policy, sync::{Event, Reconciler}};
//! use registrar_core::ports::{SpireAnswer, SpireCall};
//! use std::{collections::BTreeSet, time::Duration};
//!
//! let policy = Policy::reconcile("example.org", "demo", "spire-k8s-registrar")?;
//! let mut machine = Reconciler::new(policy, 7);
//! let node = NodeSnapshot { name: "node-1".into(), uid: Uid::new("u"), annotations: Default::default() };
//! let mut events = vec![
//!     Event::RelistBegan(Kind::Node),
//!     Event::Listed(Object::Node(node)),
//!     Event::RelistDone(Kind::Node),
//!     Event::RelistBegan(Kind::Pod),
//!     Event::RelistDone(Kind::Pod),
//! ];
//! // The machine asks for what the server has; here it has nothing.
//! loop {
//!     let calls = machine.step(Duration::ZERO, std::mem::take(&mut events)).calls;
//!     if calls.is_empty() {
//!         break;
//!     }
//!     for (id, call) in calls {
//!         let answer = match call {
//!             SpireCall::List { .. } => SpireAnswer::Page { entries: vec![], unreadable: 0, next: None },
//!             _ => SpireAnswer::Bundles(BTreeSet::new()),
//!         };
//!         events.push(Event::Replied(id, Ok(answer)));
//!     }
//! }
//! let plan = machine.plan(&[]);
//! assert_eq!(plan.create.len(), 1, "the node's entry");
//! # Ok::<(), registrar_core::spiffe::SpiffeError>(())
//! ```
//!
//! # Promises
//!
//! The crate follows Semantic Versioning. The feature `testing` is for tests and may change at any time. Functions are
//! total: what a tenant wrote is a value like any other and never a panic.

pub mod admission;
pub mod cluster;
pub mod entry;
mod index;
mod intern;
pub mod leader;
pub mod model;
pub mod policy;
pub mod ports;
pub mod rules;
pub mod server_address;
pub mod spiffe;
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;

// What its README shows is compiled as well.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
