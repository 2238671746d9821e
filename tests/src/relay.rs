//! A SPIRE Server's Unix socket of one replica's own: every call is passed on, and every write is written down with who
//! began it, in the order of arrival.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use registrar_adapters::spire::{
    Wire,
    pb::{
        bundle::{
            BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
            BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse, GetBundleRequest,
            ListFederatedBundlesRequest, ListFederatedBundlesResponse,
            bundle_client::BundleClient,
            bundle_server::{Bundle, BundleServer},
        },
        debug::{
            GetInfoRequest, GetInfoResponse,
            debug_client::DebugClient,
            debug_server::{Debug, DebugServer},
        },
        entry::{
            BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest,
            BatchDeleteEntryResponse, BatchUpdateEntryRequest, BatchUpdateEntryResponse,
            GetEntryRequest, ListEntriesRequest, ListEntriesResponse,
            entry_client::EntryClient,
            entry_server::{Entry, EntryServer},
        },
        types,
    },
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Who wrote, in order: shared by the relays of all replicas.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<&'static str>>>);

impl Record {
    /// The writers so far, one for each call that writes.
    pub fn writers(&self) -> Vec<&'static str> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The writers so far, each named once for a row of calls of its own.
    pub fn turns(&self) -> Vec<&'static str> {
        let mut writers = self.writers();
        writers.dedup();
        writers
    }
}

/// One replica's way to the server.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    serving: JoinHandle<()>,
}

impl Relay {
    /// Listens on `<dir>/<name>.sock` and passes on to the server at `target`.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(
        dir: &Path,
        name: &'static str,
        target: &Path,
        record: Record,
    ) -> anyhow::Result<Self> {
        let socket = dir.join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket)?;
        let server = Passing {
            name,
            record,
            server: Wire::unix(target),
        };
        let serving = tokio::spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(EntryServer::new(server.clone()))
                .add_service(BundleServer::new(server.clone()))
                .add_service(DebugServer::new(server))
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await;
            if let Err(error) = served {
                eprintln!("relay {name} ended: {error}");
            }
        });
        Ok(Self { socket, serving })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Debug, Clone)]
struct Passing {
    name: &'static str,
    record: Record,
    server: Wire,
}

impl Passing {
    fn wrote(&self) -> EntryClient<Wire> {
        self.record
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.name);
        self.entries()
    }

    fn entries(&self) -> EntryClient<Wire> {
        EntryClient::new(self.server.clone()).max_decoding_message_size(64 << 20)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Entry for Passing {
    async fn list_entries(&self, r: Request<ListEntriesRequest>) -> Answer<ListEntriesResponse> {
        self.entries().list_entries(r.into_inner()).await
    }

    async fn get_entry(&self, r: Request<GetEntryRequest>) -> Answer<types::Entry> {
        self.entries().get_entry(r.into_inner()).await
    }

    async fn batch_create_entry(
        &self,
        r: Request<BatchCreateEntryRequest>,
    ) -> Answer<BatchCreateEntryResponse> {
        self.wrote().batch_create_entry(r.into_inner()).await
    }

    async fn batch_update_entry(
        &self,
        r: Request<BatchUpdateEntryRequest>,
    ) -> Answer<BatchUpdateEntryResponse> {
        self.wrote().batch_update_entry(r.into_inner()).await
    }

    async fn batch_delete_entry(
        &self,
        r: Request<BatchDeleteEntryRequest>,
    ) -> Answer<BatchDeleteEntryResponse> {
        self.wrote().batch_delete_entry(r.into_inner()).await
    }
}

#[tonic::async_trait]
impl Bundle for Passing {
    async fn get_bundle(&self, r: Request<GetBundleRequest>) -> Answer<types::Bundle> {
        BundleClient::new(self.server.clone())
            .get_bundle(r.into_inner())
            .await
    }

    async fn list_federated_bundles(
        &self,
        r: Request<ListFederatedBundlesRequest>,
    ) -> Answer<ListFederatedBundlesResponse> {
        BundleClient::new(self.server.clone())
            .list_federated_bundles(r.into_inner())
            .await
    }

    async fn batch_set_federated_bundle(
        &self,
        _: Request<BatchSetFederatedBundleRequest>,
    ) -> Answer<BatchSetFederatedBundleResponse> {
        Err(Status::unimplemented("the registrar sets no bundles"))
    }

    async fn batch_delete_federated_bundle(
        &self,
        _: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Answer<BatchDeleteFederatedBundleResponse> {
        Err(Status::unimplemented("the registrar deletes no bundles"))
    }
}

#[tonic::async_trait]
impl Debug for Passing {
    async fn get_info(&self, r: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        DebugClient::new(self.server.clone())
            .get_info(r.into_inner())
            .await
    }
}
