//! Facts become log lines, metrics and Kubernetes Events.

use std::time::{Instant, SystemTime};

use registrar_adapters::{
    kubernetes::{CONTROL_CONFIG_MAP, EventNote, EventPublisher, Regarding},
    telemetry::{
        Metrics,
        metrics::{DriftLabel, KindLabel, OperationLabels, ReasonLabel},
    },
};
use registrar_core::{
    rules::Subject,
    sync::{Drift, Fact, Reconciler, Status},
};
use tracing::{debug, error, info, warn};

use crate::throttle::Throttle;

/// Where facts go.
pub struct Reporter {
    metrics: Metrics,
    events: EventPublisher,
    namespace: String,
    lines: Throttle,
    events_of_namespace: Throttle,
    events_of_object: Throttle,
}

impl Reporter {
    /// A reporter; `namespace` is our own, where Events about the registrar itself appear.
    pub fn new(metrics: Metrics, events: EventPublisher, namespace: String) -> Self {
        Self {
            metrics,
            events,
            namespace,
            lines: Throttle::by_namespace(),
            events_of_namespace: Throttle::by_namespace(),
            events_of_object: Throttle::by_object(),
        }
    }

    /// Tells one fact.
    pub fn tell(&self, machine: &Reconciler, fact: &Fact) {
        match fact {
            Fact::Created {
                subject,
                id,
                spiffe_id,
                waited,
            } => {
                self.count("create", "ok");
                let is_node = spiffe_id.is_under(&machine.policy().root);
                if !is_node {
                    self.metrics.entry_latency.observe(waited.as_secs_f64());
                }
                info!(%subject, entry_id = %id, %spiffe_id, waited_ms = waited.as_millis() as u64, "Created entry");
            }
            Fact::Adopted { subject, id } => {
                self.count("create", "found");
                info!(%subject, entry_id = %id, "Found existing entry");
            }
            Fact::Updated {
                subject,
                id,
                spiffe_id,
                fields,
            } => {
                self.count("update", "ok");
                info!(%subject, entry_id = %id, %spiffe_id, %fields, "Updated entry");
            }
            Fact::Deleted {
                subject,
                id,
                reason,
            } => {
                self.count("delete", "ok");
                info!(%subject, entry_id = %id, %reason, "Deleted entry");
            }
            Fact::WouldWrite {
                subject,
                operation,
                id,
            } => {
                self.count(operation, "dry_run");
                let id = id.as_ref().map(ToString::to_string).unwrap_or_default();
                info!(%subject, operation, entry_id = id, "Dry run: would write");
            }
            Fact::Refused {
                subject,
                failure,
                retry_in,
                ..
            } => {
                self.count("write", "refused");
                let text = format!("the SPIRE Server refuses its entry: {}", failure.message);
                if self.is_heard(machine, subject) {
                    warn!(%subject, reason = %failure.message, retry_in_s = retry_in.as_secs(), "Server refuses entry");
                }
                self.event(machine, subject, "EntryRefused", text);
            }
            Fact::ResourceWritten {
                subject,
                name,
                operation,
            } => {
                info!(%subject, namespace = %name.namespace, name = %name.name, operation, "Wrote SpiffeID");
            }
            Fact::WriteRefused {
                subject,
                failure,
                retry_in,
            } => {
                self.count("write_spiffe_id", "refused");
                let text = format!("the API server refuses its SpiffeID: {}", failure.message);
                if self.is_heard(machine, subject) {
                    warn!(%subject, reason = %failure.message, retry_in_s = retry_in.as_secs(), "API server refuses SpiffeID");
                }
                self.event(machine, subject, "SpiffeIDRefused", text);
            }
            Fact::Held {
                subject, problem, ..
            } => {
                if self.is_heard(machine, subject) {
                    warn!(%subject, reason = problem.word(), %problem, "Held: its entry stays as it is");
                }
                self.event(machine, subject, problem.word(), problem.to_string());
            }
            Fact::Released { subject } if self.is_heard(machine, subject) => {
                info!(%subject, "No longer held");
            }
            Fact::Released { .. } => {}
            Fact::LeftOut { subject, note, .. } => {
                if self.is_heard(machine, subject) {
                    warn!(%subject, %note, "Left out of its entry");
                }
                self.event(machine, subject, "LeftOut", note.to_string());
            }
            Fact::Foreign { id, parent_id } => {
                warn!(entry_id = %id, %parent_id, "An entry under our root is not ours; it is left alone");
            }
            Fact::Drifted { subject, id, drift } => {
                let drift = drift_word(*drift);
                self.metrics
                    .drift
                    .get_or_create(&DriftLabel { drift })
                    .inc();
                info!(%subject, entry_id = %id, drift, "Server differs");
            }
            other => self.tell_of_ourselves(other),
        }
    }

    /// Whether one more line about what a tenant wrote may be written.
    fn is_heard(&self, machine: &Reconciler, subject: &Subject) -> bool {
        let object = machine.object_of(subject);
        let namespace = object.as_ref().map_or("", |(key, _)| &key.namespace);
        self.lines.admits(namespace, Instant::now())
    }

    fn tell_of_ourselves(&self, fact: &Fact) {
        match fact {
            Fact::Synced(kind) => info!(kind = kind.name(), "Listed"),
            Fact::Compared { total, owned } => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                self.metrics
                    .last_compared
                    .set(now.unwrap_or_default().as_secs_f64());
                debug!(total, owned, "Compared with the server");
            }
            Fact::FirstSyncDone => info!("First sync done"),
            Fact::BreakerTripped {
                trip,
                condemned,
                limit,
            } => {
                let text = format!(
                    "{condemned} entries are to be deleted, more than the {limit} that may be within a minute \
                     (max_deletes). Nothing is deleted. If this is meant, write confirm-deletes: {trip} into \
                     the ConfigMap {CONTROL_CONFIG_MAP} of namespace {}, or send the registrar SIGUSR1",
                    self.namespace
                );
                error!(%trip, condemned, limit, "Mass-delete breaker tripped: {text}");
                self.own_event("MassDelete", text, true);
            }
            Fact::BreakerClosed { confirmed } => {
                info!(confirmed, "Mass-delete breaker closed");
                self.own_event("MassDeleteOver", "deletes go on".into(), false);
            }
            Fact::UnknownTrip(trip) => {
                warn!(%trip, "confirm-deletes names no trip of the breaker that there is");
            }
            Fact::ServerFailed {
                method,
                failure,
                retry_in,
            } => {
                warn!(method, reason = %failure.message, retry_in_ms = retry_in.as_millis() as u64, "SPIRE Server failed");
            }
            Fact::KubernetesFailed {
                operation,
                failure,
                retry_in,
            } => {
                warn!(operation, reason = %failure.message, retry_in_ms = retry_in.as_millis() as u64, "Kubernetes API failed");
            }
            Fact::DefinitionServing => info!("The CustomResourceDefinition of SpiffeIDs is there"),
            Fact::DefinitionOld(schema) => {
                let conditions = if schema.conditions {
                    ""
                } else {
                    ": SpiffeIDs cannot say why they have no entry (status.conditions)"
                };
                let sets = if schema.sets {
                    ""
                } else {
                    ": DNS names and trust domains that people add to SpiffeIDs of pods do not stay, and those of people \
                     get no names of Services (listType set)"
                };
                warn!(
                    "The CustomResourceDefinition of SpiffeIDs is an old one{conditions}{sets}; \
                     apply what the command crd prints"
                );
            }
            Fact::DefinitionTerminating => {
                warn!(
                    "The CustomResourceDefinition of SpiffeIDs is being deleted: finalizers are released, entries stay"
                );
            }
            Fact::DefinitionMissing => {
                warn!(
                    "The CustomResourceDefinition of SpiffeIDs is not installed: nothing is registered until it is (see the command crd)"
                );
            }
            Fact::ServerBack => info!("SPIRE Server answers again"),
            Fact::BundleArrived(td) => info!(trust_domain = %td, "Bundle is there"),
            Fact::BundleGone(td) => warn!(trust_domain = %td, "Bundle is gone"),
            Fact::Blind { kind, why } => {
                error!(kind = kind.name(), %why, "An object cannot be read at all: entries of its kind are not deleted for being absent");
            }
            _ => {}
        }
    }

    fn count(&self, operation: &'static str, outcome: &'static str) {
        self.metrics
            .operations
            .get_or_create(&OperationLabels { operation, outcome })
            .inc();
    }

    fn event(&self, machine: &Reconciler, subject: &Subject, reason: &str, note: String) {
        let Some((object, uid)) = machine.object_of(subject) else {
            return;
        };
        // Most facts are told once: a large namespace that has many at a time loses no Event while nobody else wants the room.
        // The object last: of those whose Events are left out for their namespace's sake nothing is remembered.
        let (now, kind) = (Instant::now(), format!("{object} {reason}"));
        let within = self.events_of_namespace.admits(&object.namespace, now);
        let heard = (within || self.events.has_room()) && self.events_of_object.admits(&kind, now);
        if !heard {
            self.metrics.events_dropped.inc();
            return;
        }
        self.publish(EventNote {
            object: Regarding::from(&object),
            uid,
            warning: true,
            reason: reason.to_owned(),
            note,
        });
    }

    fn own_event(&self, reason: &str, note: String, warning: bool) {
        self.publish(EventNote {
            object: Regarding {
                api_version: "v1",
                kind: "ConfigMap",
                namespace: self.namespace.clone(),
                name: CONTROL_CONFIG_MAP.to_owned(),
            },
            uid: None,
            warning,
            reason: reason.to_owned(),
            note,
        });
    }

    fn publish(&self, note: EventNote) {
        if !self.events.publish(note) {
            self.metrics.events_dropped.inc();
        }
    }

    /// Shows where the machine stands.
    pub fn show(&self, status: &Status) {
        let now = Instant::now();
        self.events_of_namespace.ended(now);
        self.events_of_object.ended(now);
        for (namespace, lines) in self.lines.ended(now) {
            warn!(
                namespace,
                lines, "Left out lines about objects of a namespace that gives cause for too many"
            );
        }
        let m = &self.metrics;
        let set = |family: &registrar_adapters::telemetry::metrics::ByKind, kind, n: usize| {
            family.get_or_create(&KindLabel { kind }).set(n as i64);
        };
        set(&m.entries, "node", status.entries.0);
        set(&m.entries, "pod", status.entries.1);
        set(&m.objects, "node", status.objects.0);
        set(&m.objects, "pod", status.objects.1);
        if let Some(serving) = status.definition {
            set(&m.objects, "spiffe_id", status.spiffe_ids);
            m.definition.set(i64::from(serving));
        }
        m.held.clear();
        for (reason, n) in &status.held {
            m.held.get_or_create(&ReasonLabel { reason }).set(*n as i64);
        }
        m.skipped.clear();
        for (reason, n) in &status.skipped {
            m.skipped
                .get_or_create(&ReasonLabel { reason })
                .set(*n as i64);
        }
        m.refused.set(status.refused as i64);
        m.queue_depth.set(status.queued as i64);
        m.queue_oldest
            .set(status.oldest.unwrap_or_default().as_secs_f64());
        m.paused.set(i64::from(status.paused));
        m.leader.set(i64::from(status.leading));
        m.breaker_tripped.set(i64::from(status.tripped.is_some()));
        m.breaker_condemned
            .set(status.tripped.as_ref().map_or(0, |(_, n)| *n as i64));
    }
}

fn drift_word(drift: Drift) -> &'static str {
    match drift {
        Drift::Missing => "missing",
        Drift::Changed => "changed",
        Drift::Unknown => "unknown",
    }
}
