//! Calls that write end as not done when the lead is over before they are sent to their end, however late that is.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use registrar_adapters::spire::{Deadlines, MayBegin, SpireClient, SpireServer, Wire};
use registrar_core::{
    entry::EntryId,
    ports::{Failure, FailureClass, SpireCall},
};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// What arrived of each message, in bytes, and whether it was whole.
type Arrived = Arc<Mutex<Vec<(usize, bool)>>>;

/// A server that reads what is sent to it, and refuses what arrives whole.
fn server() -> (std::path::PathBuf, Arrived, TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let arrived = Arrived::default();
    let told = arrived.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, told.clone()));
        }
    });
    (socket, arrived, dir)
}

async fn serve(stream: UnixStream, arrived: Arrived) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let arrived = arrived.clone();
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut whole = Vec::new();
            while let Some(Ok(part)) = body.data().await {
                let _ = body.flow_control().release_capacity(part.len());
                whole.extend_from_slice(&part);
            }
            // A byte that says whether it is compressed, then its length.
            let length = whole
                .get(1..5)
                .map(|b| u32::from_be_bytes(b.try_into().expect("four")));
            let is_whole = length.is_some_and(|l| whole.len() == l as usize + 5);
            arrived.lock().expect("whole").push((whole.len(), is_whole));
            let refused = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "7")
                .body(());
            let _ = answer.send_response(refused.expect("an answer"), true);
        });
    }
}

/// Open for the first so many questions, and how many were asked.
fn closes_after(questions: usize) -> (MayBegin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let may_begin = move || counted.fetch_add(1, Ordering::SeqCst) < questions;
    (Arc::new(may_begin), asked)
}

async fn delete(client: &SpireClient, count: usize) -> Failure {
    let ids = (0..count).map(|n| EntryId::new(&format!("an-entry-{n:040}")).expect("an ID"));
    let ids = ids.collect();
    let deleted = client.perform(SpireCall::Delete { ids }).await;
    deleted.expect_err("nothing is ever deleted here")
}

#[tokio::test]
async fn a_call_whose_fence_closes_before_its_last_piece_is_sent_is_certainly_not_done() {
    // Some fifty kilobytes: several pieces.
    const ITEMS: usize = 1000;
    let (socket, arrived, _dir) = server();
    for questions in 0.. {
        let (may_begin, asked) = closes_after(questions);
        let client = SpireClient::new(Wire::unix(&socket), Deadlines::default(), may_begin);
        let failure = delete(&client, ITEMS).await;
        if failure.class == FailureClass::Denied {
            assert_eq!(
                asked.load(Ordering::SeqCst),
                questions,
                "the last one asked"
            );
            assert!(questions > 3, "asked again and again: {questions}");
            break;
        }
        assert_eq!(
            failure.class,
            FailureClass::Retry,
            "{questions}: {failure:?}"
        );
        assert!(failure.message.contains("does not lead"), "{failure:?}");
    }
    // What is cut short may be seen late, but never becomes whole.
    let arrived = arrived.lock().expect("whole").clone();
    let whole = arrived.iter().filter(|(_, is_whole)| *is_whole).count();
    assert_eq!(whole, 1, "{arrived:?}");
}

#[tokio::test]
async fn a_fence_that_closes_between_the_call_and_its_message_leaves_the_connection_to_others() {
    let (socket, arrived, _dir) = server();
    let (may_begin, asked) = closes_after(1);
    let client = SpireClient::new(Wire::unix(&socket), Deadlines::default(), may_begin);
    let failure = delete(&client, 1).await;
    assert_eq!(failure.class, FailureClass::Retry, "{failure:?}");
    assert_eq!(
        asked.load(Ordering::SeqCst),
        2,
        "before the call, and before its message"
    );
    // Reading goes on, on the same connection.
    let denied = tokio::time::timeout(Duration::from_secs(60), client.trust_domain());
    let denied = denied.await.expect("an answer").expect_err("refused");
    assert_eq!(denied.class, FailureClass::Denied, "{denied:?}");
    let arrived = arrived.lock().expect("whole").clone();
    assert!(
        arrived
            .iter()
            .all(|(bytes, is_whole)| !is_whole || *bytes == 5),
        "{arrived:?}"
    );
}
