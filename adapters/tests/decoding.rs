//! What decoding allocates: a small constant an event, whatever else the object's text holds. Counted, not timed: the same on
//! every machine.

use std::alloc::System;

use registrar_adapters::objects::decode;
use registrar_core::{
    cluster::{Kind, Object},
    policy::{IdentitySource, Policy, WantedMetadata},
};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// For the text of one pod of usual size, of which two annotations are read.
const USUAL: usize = 24;
/// Beyond that for one that is a hundred times as large: two lists that grow by doubling.
const LARGE: usize = 16;

/// A pod with `times` times the usual labels, annotations, containers and managed fields.
fn pod(times: usize) -> String {
    let pairs = |word: &str, of_each: usize| -> Value {
        (0..of_each * times)
            .map(|n| {
                (
                    format!("{word}.example.org/{n}"),
                    "a value of usual length".into(),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mut annotations = pairs("annotation", 4);
    annotations["id"] = "team/a".into();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "blog-7d9c5b8f6d-x2x2x", "namespace": "apps", "uid": "00000001-0000-4000-8000-000000000001",
            "labels": pairs("label", 4), "annotations": annotations,
            "managedFields": (0..2 * times).map(|_| json!({
                "manager": "kubelet", "fieldsV1": {"f:status": {"k:{\"type\":\"Ready\"}": {".": {}}}},
            })).collect::<Vec<_>>(),
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "blog",
            "containers": (0..2 * times).map(|n| json!({
                "name": format!("c{n}"), "image": "registry.example.org/a:1", "args": ["\"quoted\""],
            })).collect::<Vec<_>>(),
        },
        "status": {
            "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}],
            "conditions": (0..5 * times).map(|_| json!({"type": "Ready", "status": "True"})).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

fn wanted() -> WantedMetadata {
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Annotation("id".into());
    policy.wanted_metadata()
}

fn allocations(text: &str, wanted: &WantedMetadata) -> (usize, Object) {
    let region = Region::new(ALLOCATOR);
    let object = decode::object(Kind::Pod, text, wanted).expect("a pod");
    let change = region.change();
    (change.allocations + change.reallocations, object)
}

// One test: the allocator counts for the whole process.
#[test]
fn a_pod_takes_few_allocations_to_read_and_one_with_a_hundred_times_the_text_hardly_more() {
    let wanted = wanted();
    assert!(wanted.annotations.contains("id"));
    let (small, object) = allocations(&pod(1), &wanted);
    let (large, same) = allocations(&pod(100), &wanted);
    println!("{small} allocations for a usual pod, {large} for a hundred times as much");
    assert_eq!(object, same, "what is kept is the same");
    assert!(small <= USUAL, "{small}");
    assert!(large <= small + LARGE, "{small} and {large}");
}
