//! Bodies and headers, without a socket: the documented status and text for each.

use std::{sync::Arc, time::Duration};

use registrar_adapters::admission::{Endpoints, PodValidator, Reply, endpoints::Head, pod::Asked};
use registrar_core::{policy::Policy, sync::Review};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const HEAD: Head<'_> = Head {
    method: "POST",
    path: "/validate",
    query: "timeout=10s",
    content_type: "application/json",
};

/// The webhook, beside a machine that grants everything and notes what it was asked for.
fn webhook(watched: bool) -> (Endpoints, mpsc::UnboundedReceiver<Review>) {
    let mut policy = Policy::webhook("example.org", "demo").expect("legal names");
    policy.pods.watched = watched;
    let (asked_sender, mut asked) = mpsc::channel::<Asked>(8);
    let (note, noted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(asked) = asked.recv().await {
            assert!(asked.patience < Duration::from_secs(10));
            let _ = note.send(asked.review);
            let _ = asked.answer.send(Ok(()));
        }
    });
    let validator = PodValidator::new(policy, |_| {}, asked_sender);
    (Endpoints::new().at("/validate", Arc::new(validator)), noted)
}

async fn answer(head: Head<'_>, body: &[u8]) -> Reply {
    webhook(true).0.answer(head, body).await
}

fn review(request: &Value) -> String {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
        .to_string()
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "apps", "name": "a", "uid": "pod-uid"},
        "spec": {"serviceAccountName": "blog", "terminationGracePeriodSeconds": 7, "nodeName": "n"},
    })
}

fn request(operation: &str) -> Value {
    let mut request = json!({
        "uid": "u", "operation": operation, "namespace": "apps", "name": "a",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "userInfo": {"username": "someone"}, "dryRun": false, "options": null,
        "object": null, "oldObject": null,
    });
    request[if operation == "DELETE" {
        "oldObject"
    } else {
        "object"
    }] = pod();
    request
}

const ADMITTED: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":true}}"#;

#[tokio::test]
async fn what_comes_before_the_body_is_checked_in_the_original_order() {
    for (head, status, text) in [
        (Head { path: "/", ..HEAD }, 404, "Not found\n"),
        (
            Head {
                path: "/validate/",
                ..HEAD
            },
            404,
            "Not found\n",
        ),
        (
            Head {
                path: "/other",
                method: "GET",
                ..HEAD
            },
            404,
            "Not found\n",
        ),
        (
            Head {
                method: "GET",
                ..HEAD
            },
            405,
            "Expected POST\n",
        ),
        (
            Head {
                method: "PUT",
                content_type: "",
                ..HEAD
            },
            405,
            "Expected POST\n",
        ),
        (
            Head {
                content_type: "",
                ..HEAD
            },
            400,
            "Expected JSON content\n",
        ),
        (
            Head {
                content_type: "text/plain",
                ..HEAD
            },
            400,
            "Expected JSON content\n",
        ),
        (
            Head {
                content_type: "application/json; charset=latin1",
                ..HEAD
            },
            400,
            "Expected JSON content\n",
        ),
    ] {
        let reply = answer(head, b"{}").await;
        assert_eq!((reply.status, &*reply.body), (status, text), "{head:?}");
    }
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        let reply = answer(
            Head {
                content_type,
                ..HEAD
            },
            review(&json!({"uid": "u"})).as_bytes(),
        )
        .await;
        assert_eq!(
            (reply.status, &*reply.body),
            (200, ADMITTED),
            "{content_type}"
        );
        assert_eq!(reply.content_type, "application/json");
    }
}

#[tokio::test]
async fn what_is_no_review_is_answered_with_400_and_why() {
    let deep = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":{}1{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let long = format!(r#"{{"x": "{}"}}"#, "y".repeat(1000));
    let version = |v: &str, k: &str| json!({"apiVersion": v, "kind": k, "request": {}}).to_string();
    for (body, expected) in [
        ("", "Malformed JSON body: Object 'Kind' is missing in ''\n"),
        (
            "{}",
            "Malformed JSON body: Object 'Kind' is missing in '{}'\n",
        ),
        (
            r#"{"request":{"uid":"FAILME"}}"#,
            "Malformed JSON body: Object 'Kind' is missing in '{\"request\":{\"uid\":\"FAILME\"}}'\n",
        ),
        (&long, "…'\n"),
        (
            r#"{"kind":"AdmissionReview"}"#,
            "Malformed JSON body: Object 'apiVersion' is missing in",
        ),
        ("{", "Malformed JSON body: EOF"),
        ("null", "Malformed JSON body: "),
        ("[]", "Malformed JSON body: "),
        (
            &version("v1", "Pod"),
            "Unsupported group version kind: /v1, Kind=Pod\n",
        ),
        (
            &version("admission.k8s.io/v1", "Other"),
            "Unsupported group version kind: admission.k8s.io/v1, Kind=Other\n",
        ),
        (
            &version("admission.k8s.io/v2", "AdmissionReview"),
            "Malformed JSON body: no kind \"AdmissionReview\" is registered for version \"admission.k8s.io/v2\"\n",
        ),
        (
            &version("apps/v1", "Deployment"),
            "Malformed JSON body: no kind \"Deployment\"",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            "Malformed JSON body: request is missing\n",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}"#,
            "Malformed JSON body: request is missing\n",
        ),
        (
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":1}}"#,
            "Malformed JSON body: invalid type",
        ),
        (&deep, "Malformed JSON body: "),
    ] {
        let reply = answer(HEAD, body.as_bytes()).await;
        assert_eq!(
            reply.status,
            400,
            "{}: {}",
            &body[..body.len().min(80)],
            reply.body
        );
        assert!(
            reply.body.contains(expected),
            "{expected:?} in {:?}",
            reply.body
        );
        assert!(reply.body.len() < 1000, "short");
        assert_eq!(reply.content_type, "text/plain; charset=utf-8");
    }
    let reply = answer(HEAD, b"{\"kind\":\"\xff\"}").await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.body.starts_with("Malformed JSON body: invalid utf-8"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn a_name_that_no_object_has_is_refused_before_it_fills_the_log() {
    let long = "n".repeat(1 << 20);
    for part in [
        json!({"name": long}),
        json!({"namespace": long}),
        json!({"operation": long}),
        json!({"userInfo": {"username": long}}),
    ] {
        let reply = answer(HEAD, review(&part).as_bytes()).await;
        assert_eq!(reply.status, 400, "{}", reply.body.len());
        let told = reply.body.contains("has 1048576 bytes, more than 1024");
        assert!(told && reply.body.len() < 1024, "{}", reply.body.len());
    }
}

#[tokio::test]
async fn a_deeply_nested_object_is_no_danger() {
    let nested = format!(
        "{}{}",
        r#"{"a":"#.repeat(50_000),
        "1".to_owned() + &"}".repeat(50_000)
    );
    let body = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE","namespace":"apps","kind":{{"version":"v1","kind":"Pod"}},"object":{{"metadata":{{"namespace":"apps","name":"a","uid":"x"}},"spec":{{"serviceAccountName":"s"}},"extra":{nested}}}}}}}"#
    );
    let reply = answer(HEAD, body.as_bytes()).await;
    assert!(matches!(reply.status, 200 | 400 | 500), "{reply:?}");
}

#[tokio::test]
async fn both_versions_are_answered_in_their_own() {
    for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
        let body =
            json!({"apiVersion": version, "kind": "AdmissionReview", "request": request("CREATE")});
        let (endpoints, mut noted) = webhook(true);
        let reply = endpoints.answer(HEAD, body.to_string().as_bytes()).await;
        assert_eq!(reply.body, ADMITTED.replace("admission.k8s.io/v1", version));
        assert!(matches!(noted.recv().await, Some(Review::Created(pod)) if &*pod.name == "a"));
    }
}

#[tokio::test]
async fn what_is_none_of_ours_is_admitted_and_asks_for_nothing() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut request = request("CREATE");
        change(&mut request);
        request
    };
    for (what, request) in [
        ("only a UID", json!({"uid": "u"})),
        ("an update", request("UPDATE")),
        (
            "a service account",
            changed(&|r| r["kind"]["kind"] = json!("ServiceAccount")),
        ),
        (
            "another group",
            changed(&|r| r["kind"]["group"] = json!("apps")),
        ),
        (
            "a subresource",
            changed(&|r| r["subResource"] = json!("eviction")),
        ),
        (
            "kube-system",
            changed(&|r| r["namespace"] = json!("kube-system")),
        ),
        ("a dry run", changed(&|r| r["dryRun"] = json!(true))),
        ("the beginning of a delete", request("DELETE")),
    ] {
        for watched in [true, false] {
            let (endpoints, mut noted) = webhook(watched);
            let reply = endpoints.answer(HEAD, review(&request).as_bytes()).await;
            assert_eq!((reply.status, &*reply.body), (200, ADMITTED), "{what}");
            assert!(noted.try_recv().is_err(), "{what} asks for nothing");
        }
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_read_fails_the_review() {
    for object in [
        json!(null),
        json!({}),
        json!("x"),
        json!({"spec": {}}),
        json!({"metadata": {"name": "", "namespace": "apps", "uid": "u"}}),
    ] {
        let mut request = request("CREATE");
        request["object"] = object;
        let reply = answer(HEAD, review(&request).as_bytes()).await;
        assert_eq!(reply.status, 500, "{reply:?}");
        assert!(
            reply
                .body
                .starts_with("Internal error occurred: unable to unmarshal v1/Pod object: "),
            "{}",
            reply.body
        );
        assert_eq!(reply.body.lines().count(), 1);
    }
}

#[tokio::test]
async fn a_held_pod_is_admitted_with_a_warning() {
    let mut request = request("CREATE");
    request["object"]["spec"]["serviceAccountName"] = json!("a b");
    let reply = answer(HEAD, review(&request).as_bytes()).await;
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    assert_eq!(body["response"]["allowed"], json!(true));
    let warning = body["response"]["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.contains("no SPIFFE identity") && warning.contains("a b"),
        "{warning}"
    );
}

#[tokio::test]
async fn without_a_watch_a_delete_counts_only_if_the_pod_is_gone_for_good() {
    let delete = |change: &dyn Fn(&mut Value)| {
        let mut request = request("DELETE");
        // A collection is deleted without naming the pod.
        request["name"] = json!("");
        change(&mut request);
        request
    };
    for (what, request, counts) in [
        ("the pod's own grace", delete(&|_| {}), false),
        (
            "a grace of 30 s",
            delete(&|r| r["options"] = json!({"gracePeriodSeconds": 30})),
            false,
        ),
        (
            "at once",
            delete(&|r| r["options"] = json!({"gracePeriodSeconds": 0})),
            true,
        ),
        (
            "the pod's own grace is none",
            delete(&|r| r["oldObject"]["spec"]["terminationGracePeriodSeconds"] = json!(0)),
            true,
        ),
        (
            "never scheduled",
            delete(&|r| r["oldObject"]["spec"]["nodeName"] = json!("")),
            true,
        ),
        (
            "finished",
            delete(&|r| r["oldObject"]["status"] = json!({"phase": "Succeeded"})),
            true,
        ),
        (
            "a dry run",
            delete(&|r| {
                r["options"] = json!({"gracePeriodSeconds": 0});
                r["dryRun"] = json!(true)
            }),
            false,
        ),
    ] {
        let (endpoints, mut noted) = webhook(false);
        let reply = endpoints.answer(HEAD, review(&request).as_bytes()).await;
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
        let asked = matches!(noted.try_recv(), Ok(Review::Deleted(pod)) if &*pod.name == "a");
        assert_eq!(asked, counts, "{what}");
        // With a watch it never counts.
        let (endpoints, mut noted) = webhook(true);
        endpoints.answer(HEAD, review(&request).as_bytes()).await;
        assert!(noted.try_recv().is_err(), "{what}");
    }
}
