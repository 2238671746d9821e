//! The model server behind a socket.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use registrar_adapters::spire::pb::{
    bundle::{
        BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
        BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse, GetBundleRequest,
        ListFederatedBundlesRequest, ListFederatedBundlesResponse,
        batch_set_federated_bundle_response,
        bundle_server::{Bundle, BundleServer},
    },
    entry::{
        self, BatchCreateEntryRequest, BatchCreateEntryResponse, BatchDeleteEntryRequest,
        BatchDeleteEntryResponse, BatchUpdateEntryRequest, BatchUpdateEntryResponse,
        CountEntriesRequest, CountEntriesResponse, GetEntryRequest, ListEntriesRequest,
        ListEntriesResponse,
        entry_server::{Entry, EntryServer},
    },
    types,
};
use registrar_core::{entry::EntryId, ports::SpireCall, spiffe::TrustDomain};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::{
    filter,
    memory::{Memory, one, status, told},
};

/// A running one.
pub struct Model {
    memory: Arc<Mutex<Memory>>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Model {
    pub fn start(socket: &Path) -> Self {
        let memory = Arc::<Mutex<Memory>>::default();
        let listener = UnixListener::bind(socket).expect("a socket");
        let serving = tonic::transport::Server::builder()
            .add_service(EntryServer::new(Serving(memory.clone())))
            .add_service(BundleServer::new(Serving(memory.clone())))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Self {
            memory,
            serving: tokio::spawn(serving),
        }
    }

    /// Makes a row what no entry can be.
    pub fn spoil(&self, id: &str) {
        lock(&self.memory).spoilt.insert(EntryId::stored(id));
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Serving(Arc<Mutex<Memory>>);

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer<T> = Result<Response<T>, Status>;
#[tonic::async_trait]
impl Entry for Serving {
    async fn count_entries(&self, r: Request<CountEntriesRequest>) -> Answer<CountEntriesResponse> {
        let filter = r.into_inner().filter.map(filter::of_count);
        let count = lock(&self.0).matching(filter.as_ref())?.len() as i32;
        Ok(Response::new(CountEntriesResponse { count }))
    }

    async fn list_entries(&self, r: Request<ListEntriesRequest>) -> Answer<ListEntriesResponse> {
        let request = r.into_inner();
        let mut found = lock(&self.0).matching(request.filter.as_ref())?;
        let mut next_page_token = String::new();
        if request.page_size > 0 {
            let after: u64 = match &*request.page_token {
                "" => 0,
                token => token.parse().map_err(|_| {
                    let why = format!("failed to list entries: could not parse token '{token}'");
                    Status::internal(why)
                })?,
            };
            found.retain(|(number, _)| *number > after);
            found.truncate(request.page_size as usize);
            next_page_token = found.last().map_or(String::new(), |(n, _)| n.to_string());
        }
        let mask = request.output_mask.as_ref();
        let entries = found.into_iter().map(|(_, e)| filter::masked(e, mask));
        Ok(Response::new(ListEntriesResponse {
            entries: entries.collect(),
            next_page_token,
        }))
    }

    async fn get_entry(&self, r: Request<GetEntryRequest>) -> Answer<types::Entry> {
        let request = r.into_inner();
        if request.id.is_empty() {
            return Err(Status::invalid_argument("missing ID"));
        }
        let memory = lock(&self.0);
        let found = memory.shown(&EntryId::stored(&request.id), request.output_mask.as_ref());
        found
            .map(Response::new)
            .ok_or_else(|| Status::not_found("entry not found"))
    }

    async fn batch_create_entry(
        &self,
        r: Request<BatchCreateEntryRequest>,
    ) -> Answer<BatchCreateEntryResponse> {
        let request = r.into_inner();
        let mut results = Vec::new();
        for entry in &request.entries {
            // One transaction an item: a deadline ends the batch between two of them.
            if request.entries.len() > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (status, entry) = lock(&self.0).create(entry, request.output_mask.as_ref());
            let status = Some(status);
            results.push(entry::batch_create_entry_response::Result { status, entry });
        }
        Ok(Response::new(BatchCreateEntryResponse { results }))
    }

    async fn batch_update_entry(
        &self,
        r: Request<BatchUpdateEntryRequest>,
    ) -> Answer<BatchUpdateEntryResponse> {
        let request = r.into_inner();
        let (input, output) = (request.input_mask.as_ref(), request.output_mask.as_ref());
        let mut memory = lock(&self.0);
        let told = request
            .entries
            .iter()
            .map(|e| memory.update(e, input, output));
        let results = told
            .map(
                |(status, entry)| entry::batch_update_entry_response::Result {
                    status: Some(status),
                    entry,
                },
            )
            .collect();
        Ok(Response::new(BatchUpdateEntryResponse { results }))
    }

    async fn batch_delete_entry(
        &self,
        r: Request<BatchDeleteEntryRequest>,
    ) -> Answer<BatchDeleteEntryResponse> {
        let mut memory = lock(&self.0);
        let results = r.into_inner().ids.into_iter().map(|id| {
            let ids = vec![EntryId::stored(&id)];
            let outcome = one(memory
                .server
                .perform(&SpireCall::Delete { ids }, usize::MAX));
            entry::batch_delete_entry_response::Result {
                status: Some(told("delete", &outcome)),
                id,
            }
        });
        let results = results.collect();
        Ok(Response::new(BatchDeleteEntryResponse { results }))
    }
}

#[tonic::async_trait]
impl Bundle for Serving {
    async fn get_bundle(&self, _: Request<GetBundleRequest>) -> Answer<types::Bundle> {
        Err(Status::unimplemented("no case asks for it"))
    }

    async fn list_federated_bundles(
        &self,
        _: Request<ListFederatedBundlesRequest>,
    ) -> Answer<ListFederatedBundlesResponse> {
        let memory = lock(&self.0);
        let bundles = memory.server.bundles.iter().map(|td| types::Bundle {
            trust_domain: td.to_string(),
            ..types::Bundle::default()
        });
        Ok(Response::new(ListFederatedBundlesResponse {
            bundles: bundles.collect(),
            next_page_token: String::new(),
        }))
    }

    async fn batch_set_federated_bundle(
        &self,
        r: Request<BatchSetFederatedBundleRequest>,
    ) -> Answer<BatchSetFederatedBundleResponse> {
        let mut memory = lock(&self.0);
        let mut results = Vec::new();
        for bundle in r.into_inner().bundle {
            let td = TrustDomain::new(&bundle.trust_domain).expect("legal");
            memory.server.bundles.insert(td);
            results.push(batch_set_federated_bundle_response::Result {
                status: Some(status(tonic::Code::Ok, "OK")),
                bundle: Some(bundle),
            });
        }
        Ok(Response::new(BatchSetFederatedBundleResponse { results }))
    }

    async fn batch_delete_federated_bundle(
        &self,
        _: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Answer<BatchDeleteFederatedBundleResponse> {
        Err(Status::unimplemented("no case asks for it"))
    }
}
