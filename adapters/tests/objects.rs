//! Objects as the API server writes them, to the fields that the rules read.

use registrar_adapters::objects::decode::{self, stands_in};
use registrar_core::{
    cluster::{
        EndpointSnapshot, EndpointsSnapshot, Kind, NodeSnapshot, Object, ObjectKey, PodSnapshot,
        Uid,
    },
    policy::WantedMetadata,
    sync::Event,
};
use serde_json::{Value, json};

fn wanted() -> WantedMetadata {
    WantedMetadata {
        labels: ["app".into()].into(),
        annotations: ["id".into()].into(),
        addresses: true,
        endpoint_uids: true,
    }
}

fn read(kind: Kind, object: &Value) -> Object {
    let read = decode::object(kind, &object.to_string(), &wanted());
    read.unwrap_or_else(|event| panic!("{event:?}"))
}

fn pod(object: &Value) -> PodSnapshot {
    match read(Kind::Pod, object) {
        Object::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

fn slice(object: &Value) -> EndpointsSnapshot {
    match read(Kind::EndpointSlice, object) {
        Object::EndpointSlice(slice) => slice,
        other => panic!("{other:?}"),
    }
}

fn whole_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "blog", "namespace": "apps", "uid": "u1",
            "labels": {"app": "blog", "tier": "front"},
            "annotations": {"id": "x", "note": "y"},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {"nodeName": "n1", "serviceAccountName": "sa", "hostname": "h", "containers": [{}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
    })
}

#[test]
fn of_a_pod_exactly_what_rules_read_is_kept() {
    let expected = PodSnapshot {
        namespace: "apps".into(),
        name: "blog".into(),
        uid: Uid::new("u1"),
        node_name: Some("n1".into()),
        service_account: Some("sa".into()),
        hostname: Some("h".into()),
        labels: [("app".into(), "blog".into())].into(),
        annotations: [("id".into(), "x".into())].into(),
        pod_ips: Box::new(["10.0.0.1".into(), "fd00::1".into()]),
        mirror: false,
        terminating: false,
        finished: false,
    };
    assert_eq!(pod(&whole_pod()), expected);
}

#[test]
fn addresses_are_kept_only_where_names_are_made_of_them() {
    let wanted = WantedMetadata {
        addresses: false,
        ..wanted()
    };
    match decode::object(Kind::Pod, &whole_pod().to_string(), &wanted) {
        Ok(Object::Pod(pod)) => assert!(pod.pod_ips.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_counts_once_in_the_order_of_the_api_and_an_empty_one_not() {
    for (status, expected) in [
        (json!({"podIP": "10.0.0.2"}), vec!["10.0.0.2"]),
        (json!({"podIPs": [{"ip": "10.0.0.2"}]}), vec!["10.0.0.2"]),
        (
            json!({"podIP": "b", "podIPs": [{"ip": "a"}, {"ip": "b"}, {"ip": ""}, {}, {"ip": "c"}]}),
            vec!["b", "a", "c"],
        ),
        (json!({"podIP": "", "podIPs": null}), vec![]),
        (Value::Null, vec![]),
    ] {
        let mut object = whole_pod();
        object["status"] = status;
        let ips = pod(&object).pod_ips;
        assert_eq!(ips.iter().map(|ip| &**ip).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_pod_is_told_from_its_end_and_from_a_static_one() {
    let with = |pointer: &str, key: &str, value: &str| {
        let mut object = whole_pod();
        let parent = object.pointer_mut(pointer).expect("there");
        parent[key] = value.into();
        pod(&object)
    };
    let mirror = with("/metadata/annotations", "kubernetes.io/config.mirror", "");
    assert!(mirror.mirror && !mirror.terminating && !mirror.finished);
    assert!(with("/metadata", "deletionTimestamp", "2026-01-02T03:04:05Z").terminating);
    for (phase, finished) in [
        ("Succeeded", true),
        ("Failed", true),
        ("Pending", false),
        ("Unknown", false),
    ] {
        assert_eq!(
            with("/status", "phase", phase).finished,
            finished,
            "{phase}"
        );
    }
}

#[test]
fn what_is_empty_or_null_is_as_if_absent() {
    let bare = json!({"metadata": {"name": "a", "namespace": "b", "uid": "c"}});
    let expected = pod(&bare);
    assert_eq!(
        (expected.node_name.clone(), &*expected.pod_ips),
        (None, &[][..])
    );
    let empty = json!({
        "metadata": {"name": "a", "namespace": "b", "uid": "c", "labels": null, "annotations": null,
                     "deletionTimestamp": null},
        "spec": {"nodeName": "", "serviceAccountName": "", "hostname": ""}, "status": null,
    });
    assert_eq!(pod(&empty), expected);
    let null = json!({"metadata": {"name": "a", "namespace": "b", "uid": "c"}, "spec": null});
    assert_eq!(pod(&null), expected);
}

#[test]
fn of_a_node_its_name_uid_and_annotations_are_kept() {
    let object = json!({"metadata": {"name": "n1", "uid": "u", "annotations": {"id": "x", "other": "y"},
                                     "labels": {"app": "no"}}});
    let expected = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("u"),
        annotations: [("id".into(), "x".into())].into(),
    };
    assert_eq!(read(Kind::Node, &object), Object::Node(expected));
}

fn endpoint(pod: &str) -> Value {
    json!({"addresses": ["10.0.0.1", "10.0.0.9"], "targetRef": {"kind": "Pod", "name": pod}})
}

fn slice_of(endpoints: Value) -> Value {
    json!({"metadata": {"name": "s-1", "namespace": "apps", "uid": "u",
                        "labels": {"kubernetes.io/service-name": "s"}}, "endpoints": endpoints})
}

#[test]
fn of_a_slice_the_endpoints_that_are_pods_are_kept() {
    let mut whole = endpoint("a");
    whole["hostname"] = "h".into();
    whole["conditions"] = json!({"ready": false, "serving": true});
    whole["targetRef"]["namespace"] = "others".into();
    whole["targetRef"]["uid"] = "u-a".into();
    let strangers = [
        json!({"addresses": ["10.0.0.3"]}),
        json!({"addresses": ["10.0.0.3"], "targetRef": {"kind": "Node", "name": "n"}}),
        json!({"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod"}}),
        json!({"addresses": [], "targetRef": {"kind": "Pod", "name": "c"}}),
        json!({"targetRef": {"kind": "Pod", "name": "c"}}),
    ];
    let mut endpoints = vec![whole, endpoint("b")];
    endpoints.extend(strangers);
    let expected = EndpointsSnapshot {
        namespace: "apps".into(),
        name: "s-1".into(),
        service: Some("s".into()),
        endpoints: Box::new([
            EndpointSnapshot {
                address: "10.0.0.1".into(),
                hostname: Some("h".into()),
                pod_name: "a".into(),
                pod_namespace: "others".into(),
                pod_uid: Some(Uid::new("u-a")),
                ready: false,
            },
            EndpointSnapshot {
                address: "10.0.0.1".into(),
                hostname: None,
                pod_name: "b".into(),
                pod_namespace: "apps".into(),
                pod_uid: None,
                ready: true,
            },
        ]),
    };
    assert_eq!(slice(&slice_of(endpoints.into())), expected);
}

#[test]
fn an_endpoint_is_ready_unless_it_says_that_it_is_not() {
    for (conditions, ready) in [
        (Value::Null, true),
        (json!({}), true),
        (json!({"ready": null}), true),
        (json!({"ready": true}), true),
        (json!({"ready": false}), false),
    ] {
        let mut endpoint = endpoint("a");
        endpoint["conditions"] = conditions.clone();
        let read = slice(&slice_of(json!([endpoint])));
        assert_eq!(read.endpoints[0].ready, ready, "{conditions}");
    }
}

#[test]
fn a_slice_without_endpoints_or_service_is_read_and_uids_only_where_they_are_wanted() {
    let mut bare = slice_of(Value::Null);
    bare["metadata"]["labels"] = Value::Null;
    let read = slice(&bare);
    assert_eq!((read.service, read.endpoints.len()), (None, 0));
    let mut named = endpoint("a");
    named["targetRef"]["uid"] = "u-a".into();
    let named = slice_of(json!([named])).to_string();
    let wanted = WantedMetadata::default();
    match decode::object(Kind::EndpointSlice, &named, &wanted) {
        Ok(Object::EndpointSlice(slice)) => assert_eq!(slice.endpoints[0].pod_uid, None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_read_says_which_object_it_is_as_far_as_that_can_be_told() {
    let key = |kind, namespace: &str, name: &str| Some(ObjectKey::new(kind, namespace, name));
    for (kind, text, expected, uid) in [
        (Kind::Pod, "", None, None),
        (Kind::Pod, "[]", None, None),
        (Kind::Pod, r#"{"metadata": 5}"#, None, None),
        (
            Kind::Pod,
            r#"{"metadata": {"name": "a", "namespace": "b", "uid": "u"}, "spec": {"nodeName": 5}}"#,
            key(Kind::Pod, "b", "a"),
            Some("u"),
        ),
        (
            Kind::Pod,
            r#"{"metadata": {"name": "a", "namespace": "", "uid": ""}, "spec": 5}"#,
            None,
            None,
        ),
        (
            Kind::Pod,
            r#"{"metadata": {"name": "a", "namespace": "b", "uid": 7}}"#,
            key(Kind::Pod, "b", "a"),
            None,
        ),
        (
            Kind::Node,
            r#"{"metadata": {"name": "n"}}"#,
            key(Kind::Node, "", "n"),
            None,
        ),
        (
            Kind::EndpointSlice,
            r#"{"metadata": {"name": "s", "namespace": "b", "uid": "u"}, "endpoints": {}}"#,
            key(Kind::EndpointSlice, "b", "s"),
            Some("u"),
        ),
        (
            Kind::SpiffeId,
            r#"{"metadata": {"name": "i", "namespace": "b", "uid": "u", "generation": "x"}}"#,
            key(Kind::SpiffeId, "b", "i"),
            Some("u"),
        ),
        (
            Kind::Node,
            r#"{"metadata": {"name": "n", "uid": "u"}} {}"#,
            None,
            None,
        ),
    ] {
        match decode::object(kind, text, &wanted()).map_err(|event| *event) {
            Err(Event::Undecodable {
                kind: of,
                key,
                uid: found,
                why,
            }) => {
                assert_eq!((of, key), (kind, expected), "{text}");
                assert_eq!(found, uid.map(Uid::new), "{text}");
                assert!(!why.is_empty());
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn an_object_of_the_api_has_a_uid() {
    for uid in [Value::Null, "".into()] {
        let mut object = whole_pod();
        object["metadata"]["uid"] = uid;
        let event = decode::object(Kind::Pod, &object.to_string(), &wanted());
        match event.map_err(|event| *event) {
            Err(Event::Undecodable { why, uid: None, .. }) => assert!(why.contains("uid"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

fn manifest(kind: Kind, object: Value) -> Result<Object, String> {
    decode::manifest(kind, object, &wanted()).map_err(|e| e.to_string())
}

#[test]
fn a_manifest_is_completed_as_the_api_server_would() {
    let Ok(Object::Pod(pod)) = manifest(Kind::Pod, json!({"metadata": {"name": "a"}})) else {
        panic!("a pod")
    };
    assert_eq!(
        (&*pod.namespace, pod.service_account.as_deref()),
        ("default", Some("default"))
    );
    assert!(
        stands_in(&pod.uid) && pod.uid.as_str().ends_with("default.a"),
        "{:?}",
        pod.uid
    );
    let empty = json!({"metadata": {"name": "a", "namespace": "b", "uid": ""}, "spec": {"serviceAccountName": ""}});
    let Ok(Object::Pod(pod)) = manifest(Kind::Pod, empty) else {
        panic!("a pod")
    };
    assert_eq!(
        (&*pod.namespace, pod.service_account.as_deref()),
        ("b", Some("default"))
    );
    let Ok(Object::Pod(pod)) = manifest(Kind::Pod, whole_pod()) else {
        panic!("a pod")
    };
    assert_eq!(
        (pod.uid.as_str(), pod.service_account.as_deref()),
        ("u1", Some("sa"))
    );
    assert!(!stands_in(&pod.uid));
    let Ok(Object::Node(node)) = manifest(Kind::Node, json!({"metadata": {"name": "n"}})) else {
        panic!("a node")
    };
    assert_eq!(node.uid.as_str(), "uid-of-n", "a node has no namespace");
}

#[test]
fn a_static_pods_image_has_no_service_account() {
    let mirror =
        json!({"metadata": {"name": "a", "annotations": {"kubernetes.io/config.mirror": "x"}}});
    let Ok(Object::Pod(pod)) = manifest(Kind::Pod, mirror) else {
        panic!("a pod")
    };
    assert_eq!(pod.service_account, None);
}

#[test]
fn a_manifest_of_a_spiffe_id_may_hold_anything_below_its_metadata() {
    let odd = json!({"metadata": {"name": "a", "namespace": "b", "uid": "u"}, "spec": 5});
    match manifest(Kind::SpiffeId, odd) {
        Ok(Object::SpiffeId(read)) => assert!(read.spec.is_err()),
        other => panic!("{other:?}"),
    }
    assert!(manifest(Kind::SpiffeId, json!({"spec": {}})).is_err());
}

#[test]
fn a_manifest_without_a_name_is_refused() {
    for kind in [Kind::Pod, Kind::Node, Kind::EndpointSlice] {
        let why = manifest(kind, json!({"metadata": {"name": ""}})).expect_err("no name");
        assert!(why.contains("metadata.name"), "{why}");
    }
}

#[test]
fn however_long_a_value_is_the_reason_for_which_it_cannot_be_read_is_short() {
    let long = "é".repeat(10_000);
    let pod = json!({"metadata": {"name": "a", "namespace": "b", "uid": "u"}, "spec": long});
    let event = decode::object(Kind::Pod, &pod.to_string(), &wanted());
    match event.map_err(|event| *event) {
        Err(Event::Undecodable { why, .. }) => assert!(why.len() < 1000, "{} bytes", why.len()),
        other => panic!("{other:?}"),
    }
    match read(Kind::SpiffeId, &pod) {
        Object::SpiffeId(read) => {
            let why = read.spec.expect_err("no object");
            assert!(
                why.len() < 1000 && why.ends_with('…'),
                "{} bytes",
                why.len()
            );
        }
        other => panic!("{other:?}"),
    }
}
