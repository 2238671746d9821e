//! Requests to the Kubernetes API go out once each, and those that write only while we lead.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{Method, Uri},
};
use registrar_adapters::kubernetes::{KubeApi, KubeSettings, SpiffeIds, connect, look_up};
use registrar_core::{
    cluster::{Kind, ObjectKey, Uid},
    policy::WantedMetadata,
    ports::{Failure, FailureClass, KubeCall, ResourceName},
    sync::LookUp,
};
use tempfile::TempDir;

/// The methods of the requests that came.
type Came = Arc<Mutex<Vec<Method>>>;

/// An API server that has the same object under every name but `odd`, which cannot be read, and answers every write with 503.
async fn server() -> (kube::Client, Came, TempDir) {
    let came = Came::default();
    let app = Router::new().fallback(answer).with_state(came.clone());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let dir = tempfile::tempdir().expect("a folder");
    let kubeconfig = dir.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).expect("written");
    let settings = KubeSettings {
        kubeconfig: Some(kubeconfig),
        ..KubeSettings::default()
    };
    let (client, _) = connect(&settings).await.expect("a client");
    (client, came, dir)
}

async fn answer(State(came): State<Came>, method: Method, uri: Uri) -> (http::StatusCode, String) {
    came.lock().expect("whole").push(method.clone());
    let status = |code: u16| http::StatusCode::from_u16(code).expect("a status");
    match method {
        Method::GET if uri.path().ends_with("/odd") => (
            status(200),
            r#"{"metadata":{"namespace":"apps","name":"odd","uid":"u2"},"spec":7}"#.into(),
        ),
        Method::GET => (
            status(200),
            r#"{"metadata":{"namespace":"apps","name":"blog","uid":"u1","resourceVersion":"7"}}"#
                .into(),
        ),
        _ => (
            status(503),
            r#"{"kind":"Status","status":"Failure","code":503,"message":"overloaded"}"#.into(),
        ),
    }
}

/// Takes an object over, which is a request that reads and one that writes, behind a fence that opens so many times.
async fn take_over(opens: usize) -> (Failure, Vec<Method>) {
    let (client, came, _dir) = server().await;
    let asked = AtomicUsize::new(0);
    let may_begin = move || asked.fetch_add(1, Ordering::SeqCst) < opens;
    let api = SpiffeIds::new(client, Arc::new(may_begin));
    let call = KubeCall::TakeOver(ResourceName::new("apps", "blog"), Uid::new("u1"));
    let failure = api.perform(call).await.expect_err("it is never done");
    let came = came.lock().expect("whole").clone();
    (failure, came)
}

#[tokio::test]
async fn a_write_is_not_sent_when_the_lead_ended_while_its_object_was_read() {
    let (failure, came) = take_over(0).await;
    assert_eq!(failure.class, FailureClass::Retry);
    assert!(failure.message.contains("does not lead"), "{failure:?}");
    assert_eq!(came, [Method::GET]);
}

#[tokio::test]
async fn a_write_that_an_overloaded_server_refuses_is_not_tried_again_behind_the_fence() {
    let (failure, came) = take_over(usize::MAX).await;
    assert_eq!(failure.class, FailureClass::Retry);
    assert!(failure.message.contains("overloaded"), "{failure:?}");
    assert_eq!(came, [Method::GET, Method::PATCH]);
}

#[tokio::test]
async fn a_pod_is_looked_up_as_it_is_and_where_it_cannot_be_read_it_has_a_uid_at_least() {
    let (client, _, _dir) = server().await;
    let find = async |name| {
        let key = ObjectKey::new(Kind::Pod, "apps", name);
        look_up(&client, &key, &WantedMetadata::default()).await
    };
    let LookUp::There(uid, Some(pod)) = find("blog").await else {
        panic!("it can be read");
    };
    assert_eq!((&uid, &*pod.name), (&pod.uid, "blog"));
    assert_eq!(find("odd").await, LookUp::There(Uid::new("u2"), None));
}
