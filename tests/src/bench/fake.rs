//! A SPIRE Server that takes everything at once and remembers nothing: what is left is the registrar's own share.

use std::path::{Path, PathBuf};

use registrar_adapters::spire::pb::{
    bundle::{
        BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
        BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse, GetBundleRequest,
        ListFederatedBundlesRequest, ListFederatedBundlesResponse,
        bundle_server::{Bundle, BundleServer},
    },
    debug::{
        GetInfoRequest, GetInfoResponse,
        debug_server::{Debug, DebugServer},
        get_info_response::Cert,
    },
    entry::{
        BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest,
        BatchDeleteEntryResponse, BatchUpdateEntryRequest, BatchUpdateEntryResponse,
        CountEntriesRequest, CountEntriesResponse, GetEntryRequest, ListEntriesRequest,
        ListEntriesResponse, batch_create_entry_response, batch_delete_entry_response,
        batch_update_entry_response,
        entry_server::{Entry, EntryServer},
    },
    types,
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::entries::id;

/// A running one.
#[derive(Debug)]
pub struct Fake {
    socket: PathBuf,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Fake {
    /// Listens on `<dir>/fake.sock`.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let socket = dir.join("fake.sock");
        let listener = UnixListener::bind(&socket)?;
        let serving = tonic::transport::Server::builder()
            .add_service(EntryServer::new(Forgetful))
            .add_service(BundleServer::new(Forgetful))
            .add_service(DebugServer::new(Forgetful))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Ok(Self {
            socket,
            serving: tokio::spawn(serving),
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Debug, Clone, Copy)]
struct Forgetful;

type Answer<T> = Result<Response<T>, Status>;

fn ok() -> Option<types::Status> {
    Some(types::Status {
        code: 0,
        message: "OK".into(),
    })
}

#[tonic::async_trait]
impl Entry for Forgetful {
    async fn count_entries(&self, _: Request<CountEntriesRequest>) -> Answer<CountEntriesResponse> {
        Ok(Response::new(CountEntriesResponse::default()))
    }

    async fn list_entries(&self, _: Request<ListEntriesRequest>) -> Answer<ListEntriesResponse> {
        Ok(Response::new(ListEntriesResponse::default()))
    }

    async fn get_entry(&self, _: Request<GetEntryRequest>) -> Answer<types::Entry> {
        Err(Status::not_found("entry not found"))
    }

    async fn batch_create_entry(
        &self,
        request: Request<BatchCreateEntryRequest>,
    ) -> Answer<BatchCreateEntryResponse> {
        let entries = request.into_inner().entries.into_iter();
        let results = entries
            .map(|entry| batch_create_entry_response::Result {
                status: ok(),
                entry: Some(entry),
            })
            .collect();
        Ok(Response::new(BatchCreateEntryResponse { results }))
    }

    async fn batch_update_entry(
        &self,
        request: Request<BatchUpdateEntryRequest>,
    ) -> Answer<BatchUpdateEntryResponse> {
        let entries = request.into_inner().entries.into_iter();
        let results = entries
            .map(|entry| batch_update_entry_response::Result {
                status: ok(),
                entry: Some(entry),
            })
            .collect();
        Ok(Response::new(BatchUpdateEntryResponse { results }))
    }

    async fn batch_delete_entry(
        &self,
        request: Request<BatchDeleteEntryRequest>,
    ) -> Answer<BatchDeleteEntryResponse> {
        let ids = request.into_inner().ids.into_iter();
        let results = ids
            .map(|id| batch_delete_entry_response::Result { status: ok(), id })
            .collect();
        Ok(Response::new(BatchDeleteEntryResponse { results }))
    }
}

#[tonic::async_trait]
impl Bundle for Forgetful {
    async fn get_bundle(&self, _: Request<GetBundleRequest>) -> Answer<types::Bundle> {
        Ok(Response::new(types::Bundle {
            trust_domain: crate::control_plane::TRUST_DOMAIN.into(),
            ..types::Bundle::default()
        }))
    }

    async fn list_federated_bundles(
        &self,
        _: Request<ListFederatedBundlesRequest>,
    ) -> Answer<ListFederatedBundlesResponse> {
        Ok(Response::new(ListFederatedBundlesResponse::default()))
    }

    async fn batch_set_federated_bundle(
        &self,
        _: Request<BatchSetFederatedBundleRequest>,
    ) -> Answer<BatchSetFederatedBundleResponse> {
        Err(Status::unimplemented("nothing is remembered"))
    }

    async fn batch_delete_federated_bundle(
        &self,
        _: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Answer<BatchDeleteFederatedBundleResponse> {
        Err(Status::unimplemented("nothing is remembered"))
    }
}

#[tonic::async_trait]
impl Debug for Forgetful {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        Ok(Response::new(GetInfoResponse {
            svid_chain: vec![Cert {
                id: Some(id("/spire/server")),
                ..Cert::default()
            }],
            ..GetInfoResponse::default()
        }))
    }
}
