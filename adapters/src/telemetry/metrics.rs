//! Metrics, in Prometheus' text format. Label values come from closed sets: what tenants write never becomes a label.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};

/// Every name begins with it.
pub const PREFIX: &str = "k8s_workload_registrar";

type FloatGauge = Gauge<f64, AtomicU64>;

/// A gauge for each kind of object.
pub type ByKind = Family<KindLabel, Gauge>;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($field:ident),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            $(#[allow(missing_docs)] pub $field: &'static str),+
        }
    };
}

labels!(
    /// Which kind of object.
    KindLabel { kind }
);
labels!(
    /// What was done, and what came of it.
    OperationLabels { operation, outcome }
);
labels!(
    /// Which method of SPIRE's API.
    MethodLabel { method }
);
labels!(
    /// Which method, and how it ended.
    RpcLabels { method, code }
);
labels!(
    /// Why.
    ReasonLabel { reason }
);
labels!(
    /// How it ended.
    OutcomeLabel { outcome }
);
labels!(
    /// What was found.
    DriftLabel { drift }
);

/// A metric's line in the table of the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// As it is exposed.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static str,
    /// One line.
    pub help: &'static str,
}

/// All metrics. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    described: Arc<Vec<Described>>,
    /// Our entries on the server.
    pub entries: ByKind,
    /// Objects that exist.
    pub objects: ByKind,
    /// Objects held.
    pub held: Family<ReasonLabel, Gauge>,
    /// Objects skipped.
    pub skipped: Family<ReasonLabel, Gauge>,
    /// Objects the server refuses.
    pub refused: Gauge,
    /// What was done.
    pub operations: Family<OperationLabels, Counter>,
    /// From the change that asked for an entry to the entry.
    pub entry_latency: Histogram,
    /// How long calls took.
    pub rpc_seconds: Family<MethodLabel, Histogram>,
    /// How calls ended.
    pub rpcs: Family<RpcLabels, Counter>,
    /// Subjects that wait.
    pub queue_depth: Gauge,
    /// How long the oldest has waited.
    pub queue_oldest: FloatGauge,
    /// Differences found.
    pub drift: Family<DriftLabel, Counter>,
    /// Whether the breaker is open.
    pub breaker_tripped: Gauge,
    /// Deletes it holds back.
    pub breaker_condemned: Gauge,
    /// Whether an operator stopped all writing.
    pub paused: Gauge,
    /// Whether this replica leads.
    pub leader: Gauge,
    /// Requests for the Lease that failed.
    pub lease_failures: Counter,
    /// Lists and watches that failed.
    pub watch_failures: Family<KindLabel, Counter>,
    /// When all entries were last compared.
    pub last_compared: FloatGauge,
    /// Requests to the admission webhook.
    pub admission_requests: Family<OutcomeLabel, Counter>,
    /// How long they took.
    pub admission_seconds: Histogram,
    /// Events that found no room.
    pub events_dropped: Counter,
    /// Calls that write SpiffeIDs, or read their definition.
    pub kube_calls: Family<OperationLabels, Counter>,
    /// Whether the definition of SpiffeIDs is there.
    pub definition: Gauge,
}

struct Builder {
    registry: Registry,
    described: Vec<Described>,
}

impl Builder {
    fn add<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        kind: &'static str,
        labels: &'static str,
        help: &'static str,
        metric: M,
    ) -> M {
        // The library adds _total to counters, and a full stop to every help text.
        let registered = name.strip_suffix("_total").unwrap_or(name);
        self.registry.register(registered, help, metric.clone());
        self.described.push(Described {
            name,
            kind,
            labels,
            help,
        });
        metric
    }
}

fn latency_histogram() -> Histogram {
    // 1 ms to 65 s.
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub fn new() -> Self {
        let mut b = Builder {
            registry: Registry::with_prefix(PREFIX),
            described: Vec::new(),
        };
        let rpc_histograms: Family<MethodLabel, Histogram> =
            Family::new_with_constructor(latency_histogram);
        Self {
            entries: b.add("entries", "gauge", "kind", "Our entries on the SPIRE Server", Family::default()),
            objects: b.add("objects", "gauge", "kind", "Nodes, pods and SpiffeIDs in the cluster", Family::default()),
            held: b.add("held", "gauge", "reason", "Objects that cannot be registered as they are; their entries stay", Family::default()),
            skipped: b.add("skipped", "gauge", "reason", "Objects that get no entry", Family::default()),
            refused: b.add("refused", "gauge", "", "Objects whose entry the SPIRE Server refuses", Gauge::default()),
            operations: b.add("operations_total", "counter", "operation, outcome", "Entries created, updated, deleted, adopted, refused or (dry run) only named", Family::default()),
            entry_latency: b.add("pod_bound_to_entry_seconds", "histogram", "", "From the change of the object that asked for an entry to the server's acknowledgement", latency_histogram()),
            rpc_seconds: b.add("rpc_seconds", "histogram", "method", "Duration of calls to the SPIRE Server", rpc_histograms),
            rpcs: b.add("rpc_total", "counter", "method, code", "Calls to the SPIRE Server: ok, retry, permanent, denied, unknown", Family::default()),
            queue_depth: b.add("queue_depth", "gauge", "", "Objects that wait for a look", Gauge::default()),
            queue_oldest: b.add("queue_oldest_seconds", "gauge", "", "How long the one that waits longest has waited", FloatGauge::default()),
            drift: b.add("drift_found_total", "counter", "drift", "Differences that a comparison with the server found: missing, changed, unknown", Family::default()),
            breaker_tripped: b.add("breaker_tripped", "gauge", "", "1 while the mass-delete breaker holds deletes back", Gauge::default()),
            breaker_condemned: b.add("breaker_condemned", "gauge", "", "Deletes it holds back", Gauge::default()),
            paused: b.add("paused", "gauge", "", "1 while the control ConfigMap stops all writing", Gauge::default()),
            leader: b.add("leader", "gauge", "", "1 on the replica that writes", Gauge::default()),
            lease_failures: b.add("lease_failures_total", "counter", "", "Requests for the Lease that failed", Counter::default()),
            watch_failures: b.add("watch_failures_total", "counter", "kind", "Lists and watches of the Kubernetes API that failed and were tried again", Family::default()),
            last_compared: b.add("last_sync_timestamp_seconds", "gauge", "", "When all entries were last compared with the server, in seconds since 1970", FloatGauge::default()),
            admission_requests: b.add("admission_requests_total", "counter", "outcome", "Requests to the admission webhook: answered, failed (HTTP 500: failurePolicy decides), refused (HTTP 4xx)", Family::default()),
            admission_seconds: b.add("admission_seconds", "histogram", "", "Duration of requests to the admission webhook", latency_histogram()),
            events_dropped: b.add("events_dropped_total", "counter", "", "Kubernetes Events that found no room in the queue, or were too many about an object or a namespace", Counter::default()),
            kube_calls: b.add("kubernetes_calls_total", "counter", "operation, outcome", "Calls to the Kubernetes API that write SpiffeIDs or read their definition (crd mode)", Family::default()),
            definition: b.add("spiffe_id_definition", "gauge", "", "1 while the CustomResourceDefinition of SpiffeIDs is there (crd mode)", Gauge::default()),
            registry: Arc::new(b.registry),
            described: Arc::new(b.described),
        }
    }

    /// The table of all metrics, names without the prefix.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Everything, as `/metrics` shows it (OpenMetrics text).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_described_metric_is_exposed_under_its_name() {
        let metrics = Metrics::new();
        metrics
            .operations
            .get_or_create(&OperationLabels {
                operation: "create",
                outcome: "ok",
            })
            .inc();
        metrics
            .rpcs
            .get_or_create(&RpcLabels {
                method: "ListEntries",
                code: "ok",
            })
            .inc();
        metrics
            .rpc_seconds
            .get_or_create(&MethodLabel {
                method: "ListEntries",
            })
            .observe(0.1);
        for family in [&metrics.entries, &metrics.objects] {
            family.get_or_create(&KindLabel { kind: "pod" }).set(1);
        }
        for family in [&metrics.held, &metrics.skipped] {
            family.get_or_create(&ReasonLabel { reason: "x" }).set(1);
        }
        metrics
            .admission_requests
            .get_or_create(&OutcomeLabel {
                outcome: "answered",
            })
            .inc();
        metrics
            .watch_failures
            .get_or_create(&KindLabel { kind: "pod" })
            .inc();
        metrics
            .drift
            .get_or_create(&DriftLabel { drift: "missing" })
            .inc();
        metrics
            .kube_calls
            .get_or_create(&OperationLabels {
                operation: "apply",
                outcome: "ok",
            })
            .inc();
        let text = metrics.render();
        for metric in metrics.described() {
            let typed = format!(
                "# TYPE {PREFIX}_{} {}",
                metric.name.trim_end_matches("_total"),
                metric.kind
            );
            assert!(text.contains(&typed), "{typed} is not in\n{text}");
        }
        assert!(
            text.contains(r#"operations_total{operation="create",outcome="ok"} 1"#),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
