//! Replies that no good server gives: none of them loses an entry, goes on for ever or stops what can go on.

use std::sync::Arc;

use registrar_adapters::spire::{
    Deadlines, SpireClient, SpireServer, Wire,
    pb::{
        entry::{
            BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest,
            BatchDeleteEntryResponse, BatchUpdateEntryRequest, BatchUpdateEntryResponse,
            CountEntriesRequest, CountEntriesResponse, GetEntryRequest, ListEntriesRequest,
            ListEntriesResponse, batch_delete_entry_response,
            entry_server::{Entry, EntryServer},
        },
        types,
    },
};
use registrar_core::{
    entry::EntryId,
    ports::{FailureClass, Outcome, SpireAnswer, SpireCall},
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// The largest page that this server manages to send.
const LARGEST: i32 = 30;

/// Its list has three pages by the names of their tokens: one good, one with garbage, one that leads to itself.
struct Strange;

fn id(trust_domain: &str, path: &str) -> Option<types::Spiffeid> {
    Some(types::Spiffeid {
        trust_domain: trust_domain.into(),
        path: path.into(),
    })
}

fn entry(name: &str) -> types::Entry {
    types::Entry {
        id: name.into(),
        spiffe_id: id("example.org", "/ns/a/sa/b"),
        parent_id: id("example.org", "/spire/server"),
        ..types::Entry::default()
    }
}

fn garbage() -> types::Entry {
    types::Entry {
        spiffe_id: id("Not A Trust Domain", "no path"),
        ..entry("garbage")
    }
}

#[tonic::async_trait]
impl Entry for Strange {
    async fn count_entries(
        &self,
        _: Request<CountEntriesRequest>,
    ) -> Result<Response<CountEntriesResponse>, Status> {
        Err(Status::unimplemented("the registrar counts no entries"))
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let request = request.into_inner();
        if request.page_size > LARGEST {
            return Err(Status::resource_exhausted("larger than max"));
        }
        let (entries, next) = match &*request.page_token {
            "" => (vec![entry("a"), garbage(), entry("b")], "last"),
            "last" => (vec![], ""),
            same => (vec![entry("c")], same),
        };
        Ok(Response::new(ListEntriesResponse {
            entries,
            next_page_token: next.into(),
        }))
    }

    async fn get_entry(
        &self,
        _: Request<GetEntryRequest>,
    ) -> Result<Response<types::Entry>, Status> {
        Ok(Response::new(garbage()))
    }

    async fn batch_create_entry(
        &self,
        _: Request<BatchCreateEntryRequest>,
    ) -> Result<Response<BatchCreateEntryResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn batch_update_entry(
        &self,
        _: Request<BatchUpdateEntryRequest>,
    ) -> Result<Response<BatchUpdateEntryResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Result<Response<BatchDeleteEntryResponse>, Status> {
        let unsaid = |id| batch_delete_entry_response::Result { status: None, id };
        let results = request.into_inner().ids.into_iter().map(unsaid).collect();
        Ok(Response::new(BatchDeleteEntryResponse { results }))
    }
}

fn strange() -> (SpireClient, TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("api.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let server = tonic::transport::Server::builder().add_service(EntryServer::new(Strange));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    let leads = Arc::new(|| true);
    let client = SpireClient::new(Wire::unix(&socket), Deadlines::default(), leads);
    (client, dir)
}

fn list(token: Option<&str>) -> SpireCall {
    SpireCall::List {
        page_token: token.map(Arc::from),
        page_size: 500,
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_counted_and_spoils_no_page_however_small_pages_must_be() {
    let (client, _dir) = strange();
    let page = client.perform(list(None)).await.expect("a page");
    let SpireAnswer::Page {
        entries,
        unreadable,
        next,
    } = page
    else {
        panic!("{page:?}");
    };
    let ids: Vec<&str> = entries.iter().map(|e| e.id.as_str()).collect();
    assert_eq!((ids, unreadable), (vec!["a", "b"], 1));
    let last = client.perform(list(next.as_deref())).await.expect("a page");
    let none = |page: &SpireAnswer| matches!(page, SpireAnswer::Page { entries, next: None, .. } if entries.is_empty());
    assert!(none(&last), "{last:?}");
}

#[tokio::test]
async fn a_list_that_leads_to_itself_is_given_up() {
    let (client, _dir) = strange();
    let failure = client.perform(list(Some("again"))).await;
    let failure = failure.expect_err("it would never end");
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(failure.message.contains("\"again\""), "{failure:?}");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_not_taken_for_absent() {
    let (client, _dir) = strange();
    let ids = vec![EntryId::new("garbage").expect("an ID")];
    let read = client.perform(SpireCall::Read { ids }).await;
    match read.expect("an answer") {
        SpireAnswer::Read(read) => {
            let failure = read[0].as_ref().expect_err("not absent");
            assert!(failure.message.contains("entry garbage"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_item_without_a_status_is_not_taken_for_done() {
    let (client, _dir) = strange();
    let ids = vec![EntryId::new("a").expect("an ID")];
    let answer = client.perform(SpireCall::Delete { ids }).await;
    match answer.expect("an answer") {
        SpireAnswer::Written(outcomes) => assert!(
            matches!(&outcomes[..], [Outcome::Refused(f)] if f.class == FailureClass::Unknown),
            "{outcomes:?}"
        ),
        other => panic!("{other:?}"),
    }
}
