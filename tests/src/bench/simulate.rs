//! A cluster too large for this machine's API server: its pods as text, through decoding and the step machine, against a
//! server that takes everything. Shows time and memory of our own part alone.

use std::time::{Duration, Instant};

use anyhow::bail;
use registrar_adapters::objects::decode;
use registrar_core::{
    cluster::{Kind, Object},
    entry::RegisteredEntry,
    policy::Policy,
    ports::{Outcome, SpireAnswer, SpireCall},
    sync::{Event, Reconciler, Step},
};
use serde_json::json;

use super::probe;

/// What a simulated cluster cost.
#[derive(Debug)]
pub struct Simulated {
    /// Decoding all pods' text.
    pub decoding: Duration,
    /// All steps until every pod has its entry.
    pub steps: Duration,
    /// Resident memory at rest, in MiB, and before the first pod.
    pub memory: (f64, f64),
    /// Bytes of one pod's text.
    pub text: usize,
}

/// A pod as an API server writes it: owner, labels, two containers with probes, volumes, conditions, managed fields.
pub(super) fn pod_text(n: usize) -> String {
    let (namespace, node) = (format!("ns-{}", n % 1000), format!("node-{}", n % 5000));
    let name = format!("workload-{}-7d9c5b8f6d-{n:07}", n % 20_000);
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example.org/team/service:v1.2.3", "imagePullPolicy": "IfNotPresent",
            "env": (0..8).map(|n| json!({"name": format!("SETTING_{n}"), "value": "a value of usual length"})).collect::<Vec<_>>(),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "svid", "mountPath": "/run/svid"}],
        })
    };
    let field = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}, "f:env": {}}}}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("{n:08x}-0000-4000-8000-{n:012x}"),
            "resourceVersion": "12345678", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "workload", "pod-template-hash": "7d9c5b8f6d", "team": "a", "version": "v1.2.3"},
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": "0123456789abcdef0123456789abcdef"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "workload", "uid": "u", "controller": true}],
            "managedFields": [
                {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": field},
                {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": field},
            ],
        },
        "spec": {
            "nodeName": node, "serviceAccountName": format!("account-{}", n % 50),
            "containers": [container("main"), container("sidecar")],
            "volumes": [{"name": "config", "configMap": {"name": "config"}}, {"name": "svid", "emptyDir": {}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
        "status": {
            "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], "hostIP": "10.0.0.1",
            "conditions": (0..5).map(|_| json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"})).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

fn answer(call: SpireCall) -> anyhow::Result<SpireAnswer> {
    let written = |n: usize| SpireAnswer::Written(vec![Outcome::Ok; n]);
    Ok(match call {
        SpireCall::List { .. } => SpireAnswer::Page {
            entries: Vec::<RegisteredEntry>::new(),
            unreadable: 0,
            next: None,
        },
        SpireCall::ListBundles => SpireAnswer::Bundles(Default::default()),
        SpireCall::Create { entries } | SpireCall::Update { entries, .. } => written(entries.len()),
        SpireCall::Delete { ids } => written(ids.len()),
        other => bail!("nobody should ask {other:?}"),
    })
}

fn drive(machine: &mut Reconciler, begun: Instant, events: Vec<Event>) -> anyhow::Result<()> {
    let mut step: Step = machine.step(begun.elapsed(), events);
    while !step.calls.is_empty() {
        let replies = std::mem::take(&mut step.calls)
            .into_iter()
            .map(|(id, call)| Ok(Event::Replied(id, Ok(answer(call)?))))
            .collect::<anyhow::Result<Vec<_>>>()?;
        step = machine.step(begun.elapsed(), replies);
    }
    Ok(())
}

/// Lists `pods` pods to a machine and lets it register them all.
///
/// # Errors
/// If it does not come to rest.
pub fn simulate(pods: usize) -> anyhow::Result<Simulated> {
    let policy = Policy::reconcile("example.org", "simulated", "spire-k8s-registrar")?;
    let wanted = policy.wanted_metadata();
    let mut machine = Reconciler::new(policy, 1);
    let begun = Instant::now();
    let before = probe::memory(std::process::id())?.resident;
    let listed = |kind| vec![Event::RelistBegan(kind), Event::RelistDone(kind)];
    drive(&mut machine, begun, vec![Event::Leading(true)])?;
    drive(&mut machine, begun, listed(Kind::Node))?;
    drive(&mut machine, begun, vec![Event::RelistBegan(Kind::Pod)])?;
    let (mut decoding, mut steps, mut text) = (Duration::ZERO, Duration::ZERO, 0);
    for page in 0..pods.div_ceil(500) {
        // As from a list: a page of text, then its objects; the text does not outlive the page.
        let page: Vec<String> = (page * 500..pods.min((page + 1) * 500))
            .map(pod_text)
            .collect();
        text = page.first().map_or(text, String::len);
        let from = Instant::now();
        let events = page
            .iter()
            .map(|json| match decode::object(Kind::Pod, json, &wanted) {
                Ok(object @ Object::Pod(_)) => Ok(Event::Listed(object)),
                other => bail!("not a pod: {other:?}"),
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        decoding += from.elapsed();
        let from = Instant::now();
        drive(&mut machine, begun, events)?;
        steps += from.elapsed();
    }
    let from = Instant::now();
    drive(&mut machine, begun, vec![Event::RelistDone(Kind::Pod)])?;
    steps += from.elapsed();
    let status = machine.status(begun.elapsed());
    if status.entries.1 != pods || status.busy != 0 {
        bail!(
            "{} of {pods} pods have entries: {status:#?}",
            status.entries.1
        );
    }
    Ok(Simulated {
        decoding,
        steps,
        memory: (probe::memory(std::process::id())?.resident, before),
        text,
    })
}
