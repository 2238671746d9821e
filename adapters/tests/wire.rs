//! A server that closes its connections by age, as SPIRE does over TCP: nobody notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use registrar_adapters::spire::{
    Deadlines, SpireClient, SpireServer, Wire,
    pb::{
        debug::{
            GetInfoRequest, GetInfoResponse,
            debug_server::{Debug, DebugServer},
            get_info_response,
        },
        types,
    },
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

#[derive(Default)]
struct Server(Arc<AtomicUsize>);

#[tonic::async_trait]
impl Debug for Server {
    async fn get_info(
        &self,
        _: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        // What a call takes: the server closes connections by age, and some of that falls while one is under way.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let id = types::Spiffeid {
            trust_domain: "example.org".into(),
            path: "/spire/server".into(),
        };
        Ok(Response::new(GetInfoResponse {
            svid_chain: vec![get_info_response::Cert {
                id: Some(id),
                ..Default::default()
            }],
            ..GetInfoResponse::default()
        }))
    }
}

/// So many connections show that the server closes them.
const SEVERAL: usize = 5;
const CEILING: Duration = Duration::from_secs(60);

#[tokio::test]
async fn connections_that_the_server_closes_by_age_fail_no_call_and_repeat_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("api.sock");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).expect("a socket")).inspect(
        move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        },
    );
    let served = Arc::new(AtomicUsize::new(0));
    let server = tonic::transport::Server::builder()
        .max_connection_age(Duration::from_millis(40))
        .add_service(DebugServer::new(Server(served.clone())))
        .serve_with_incoming(incoming);
    tokio::spawn(server);
    let client = Arc::new(SpireClient::new(
        Wire::unix(&socket),
        Deadlines::default(),
        Arc::new(|| true),
    ));
    let begun = Instant::now();
    let callers = (0..4).map(|_| {
        let (client, connections) = (client.clone(), connections.clone());
        tokio::spawn(async move {
            let mut made = 0;
            while connections.load(Ordering::SeqCst) <= SEVERAL {
                let elapsed = begun.elapsed();
                assert!(elapsed < CEILING, "connections are not closed");
                client.trust_domain().await.expect("every call succeeds");
                made += 1;
            }
            made
        })
    });
    let made: usize = futures::future::join_all(callers)
        .await
        .into_iter()
        .map(|made| made.expect("no caller fails"))
        .sum();
    assert_eq!(
        served.load(Ordering::SeqCst),
        made,
        "every call was served once"
    );
}

#[tokio::test]
async fn without_a_server_nothing_is_sent_and_the_remedy_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("api.sock");
    let client = SpireClient::new(Wire::unix(&socket), Deadlines::default(), Arc::new(|| true));
    let failure = client.trust_domain().await.expect_err("nobody listens");
    assert_eq!(failure.class, registrar_core::ports::FailureClass::Retry);
    let told = failure.message.to_string();
    assert!(
        told.contains("api.sock") && told.contains("mounted"),
        "{told}"
    );
}

#[tokio::test]
async fn a_call_that_writes_does_not_begin_behind_the_fence() {
    use registrar_core::{entry::EntryId, ports::SpireCall};
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("api.sock");
    let server = tonic::transport::Server::builder()
        .add_service(DebugServer::new(Server::default()))
        .serve_with_incoming(UnixListenerStream::new(
            UnixListener::bind(&socket).expect("a socket"),
        ));
    tokio::spawn(server);
    let client = SpireClient::new(
        Wire::unix(&socket),
        Deadlines::default(),
        Arc::new(|| false),
    );
    client.trust_domain().await.expect("reading goes on");
    let ids = vec![EntryId::new("a").expect("an ID")];
    let failure = client
        .perform(SpireCall::Delete { ids })
        .await
        .expect_err("it is fenced");
    assert_eq!(failure.class, registrar_core::ports::FailureClass::Retry);
    assert!(
        failure.message.contains("does not lead"),
        "{}",
        failure.message
    );
}
