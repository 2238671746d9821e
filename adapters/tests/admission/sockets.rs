//! Odd requests on their whole way, over TLS and HTTP: each has its documented status and text, and a review that comes
//! beside it is answered.

use std::sync::Arc;

use registrar_adapters::admission::{Limits, PodValidator, pod::Asked};
use registrar_core::policy::Policy;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::pki::{Running, post};

/// The webhook of webhook mode, whose machine grants everything.
async fn webhook() -> Running {
    let policy = Policy::webhook("example.org", "demo").expect("legal names");
    let (asked_sender, mut asked) = mpsc::channel::<Asked>(8);
    tokio::spawn(async move {
        while let Some(asked) = asked.recv().await {
            let _ = asked.answer.send(Ok(()));
        }
    });
    let validator = PodValidator::new(policy, |_| {}, asked_sender);
    Running::serving(Limits::default(), Arc::new(validator), false).await
}

fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn json_post(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/validate", "application/json", body.as_ref())
}

/// The review of a pod, changed.
fn review(change: impl FnOnce(&mut Value)) -> String {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-7", "operation": "CREATE", "namespace": "apps", "name": "a",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "apps", "name": "a", "uid": "pod-uid"},
                "spec": {"serviceAccountName": "blog"},
            },
        },
    });
    change(&mut review);
    review.to_string()
}

const ADMITTED: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u-7","allowed":true}}"#;
const NO_JSON: &str = "Expected JSON content\n";
const NO_POST: &str = "Expected POST\n";

#[tokio::test]
async fn every_odd_request_has_its_documented_answer_and_others_are_answered_beside_it() {
    let server = webhook().await;
    let usual = review(|_| {});
    let deep = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":{}1{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let deep_object = review(|_| {}).replace(
        r#"{"serviceAccountName":"blog"}"#,
        &format!(
            "{}1{}",
            r#"{"serviceAccountName":"#.repeat(50_000),
            "}".repeat(50_000)
        ),
    );
    let unreadable = "Internal error occurred: unable to unmarshal v1/Pod object: ";
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("the usual", json_post(&usual), 200, ADMITTED),
        (
            "empty",
            json_post(""),
            400,
            "Malformed JSON body: Object 'Kind' is missing in ''\n",
        ),
        (
            "nothing in it",
            json_post("{}"),
            400,
            "Malformed JSON body: Object 'Kind' is missing in '{}'\n",
        ),
        (
            "no request",
            json_post(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#),
            400,
            "Malformed JSON body: request is missing\n",
        ),
        (
            "another kind",
            json_post(review(|r| r["kind"] = json!("Other"))),
            400,
            "Unsupported group version kind: admission.k8s.io/v1, Kind=Other\n",
        ),
        (
            "another version",
            json_post(review(|r| r["apiVersion"] = json!("admission.k8s.io/v2"))),
            400,
            "no kind \"AdmissionReview\" is registered for version \"admission.k8s.io/v2\"\n",
        ),
        ("deep", json_post(&deep), 400, "Malformed JSON body: "),
        ("a deep object", json_post(&deep_object), 500, unreadable),
        (
            "no UTF-8",
            json_post(b"{\"kind\":\"\xff\"}"),
            400,
            "Malformed JSON body: invalid utf-8",
        ),
        (
            "a pod without metadata",
            json_post(review(|r| r["request"]["object"] = json!({"spec": {}}))),
            500,
            unreadable,
        ),
        (
            "another resource",
            json_post(review(|r| {
                r["request"]["kind"]["kind"] = json!("ServiceAccount");
            })),
            200,
            ADMITTED,
        ),
        (
            "with its character set",
            request(
                "POST",
                "/validate?timeout=10s",
                "application/json; charset=utf-8",
                usual.as_bytes(),
            ),
            200,
            ADMITTED,
        ),
        (
            "of another character set",
            request(
                "POST",
                "/validate",
                "application/json; charset=latin1",
                usual.as_bytes(),
            ),
            400,
            NO_JSON,
        ),
        (
            "no JSON",
            request("POST", "/validate", "text/plain", usual.as_bytes()),
            400,
            NO_JSON,
        ),
        (
            "GET",
            request("GET", "/validate", "application/json", b""),
            405,
            NO_POST,
        ),
        (
            "PUT",
            request("PUT", "/validate", "application/json", usual.as_bytes()),
            405,
            NO_POST,
        ),
        (
            "another path",
            request("POST", "/validate/", "application/json", usual.as_bytes()),
            404,
            "Not found\n",
        ),
        (
            "no path",
            request("GET", "/", "application/json", b""),
            404,
            "Not found\n",
        ),
    ];
    for (what, bytes, status, text) in cases {
        let beside = post(&usual);
        let (odd, other) = tokio::join!(server.talk(&bytes), server.talk(beside.as_bytes()));
        let odd = odd.unwrap_or_else(|e| panic!("{what}: {e}"));
        let other = other.unwrap_or_else(|e| panic!("beside {what}: {e}"));
        assert!(
            odd.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {odd}"
        );
        let (_, body) = odd.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(body.contains(text), "{what}: {text:?} in {body:?}");
        assert!(other.ends_with(ADMITTED), "beside {what}: {other}");
    }
}

#[tokio::test]
async fn what_is_no_http_at_all_costs_its_own_connection_only() {
    let server = webhook().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00",
        b"POST /validate HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzz\r\n",
        &[b'A'; 100_000],
    ] {
        // Whether there is an answer to such a thing does not matter; it is none that admits.
        let answer = server.talk_and_close(bytes).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
        let other = server.talk(post(&review(|_| {})).as_bytes()).await;
        assert!(other.expect("answered").ends_with(ADMITTED));
    }
}
