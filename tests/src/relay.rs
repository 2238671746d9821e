//! A SPIRE Server's Unix socket of one replica's own: every call is passed on, and every write is written down with who
//! began it, in the order of arrival. Writes can be held, and calls can meet a bad fate.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
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
            CountEntriesRequest, CountEntriesResponse, GetEntryRequest, ListEntriesRequest,
            ListEntriesResponse, batch_create_entry_response, batch_delete_entry_response,
            batch_update_entry_response,
            entry_client::EntryClient,
            entry_server::{Entry, EntryServer},
        },
        types,
    },
};
use tokio::{net::UnixListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::fate::{Fate, Fates};

/// Who wrote, in order: shared by the relays of all replicas.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<(&'static str, SystemTime)>>>);

impl Record {
    /// The calls so far that write: who began each, and when it arrived.
    pub fn writes(&self) -> Vec<(&'static str, SystemTime)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One replica's way to the server.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    serving: JoinHandle<()>,
    gate: Arc<Gate>,
    fates: Arc<Fates>,
}

/// Where writes wait while they are held.
#[derive(Debug)]
struct Gate {
    closed: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl Gate {
    async fn pass(&self, items: usize) {
        let mut closed = self.closed.subscribe();
        if !*closed.borrow_and_update() {
            return;
        }
        self.waiting.fetch_add(items, Ordering::SeqCst);
        // It closes never for good: the sender is ours.
        let _ = closed.wait_for(|closed| !closed).await;
        self.waiting.fetch_sub(items, Ordering::SeqCst);
    }
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
        Self::with_seed(dir, name, target, record, 0)
    }

    /// As [`Relay::start`]; the seed repeats what becomes of calls.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn with_seed(
        dir: &Path,
        name: &'static str,
        target: &Path,
        record: Record,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let socket = dir.join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket)?;
        let fates = Arc::new(Fates::new(seed));
        let gate = Arc::new(Gate {
            closed: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
        });
        let server = Passing {
            name,
            record,
            server: Wire::unix(target),
            gate: gate.clone(),
            fates: fates.clone(),
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
        Ok(Self {
            socket,
            serving,
            gate,
            fates,
        })
    }

    /// What becomes of calls.
    pub fn fates(&self) -> &Fates {
        &self.fates
    }

    /// From now on calls that write wait.
    pub fn hold(&self) {
        self.gate.closed.send_replace(true);
    }

    /// They wait no more.
    pub fn release(&self) {
        self.gate.closed.send_replace(false);
    }

    /// How many items of such calls wait now.
    pub fn waiting(&self) -> usize {
        self.gate.waiting.load(Ordering::SeqCst)
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
    gate: Arc<Gate>,
    fates: Arc<Fates>,
}

/// What a batch is split into: the items that are passed on, and what is answered for the others.
enum Split {
    All,
    /// Every second item, the first among them, is kept from the server.
    Half(Code),
    /// Every second item is passed on, and answered with this.
    AllBut(Code),
}

fn is_struck(n: usize) -> bool {
    n.is_multiple_of(2)
}

impl Split {
    fn passed<T>(&self, items: Vec<T>) -> Vec<T> {
        let kept = |n: usize| !matches!(self, Split::Half(_)) || !is_struck(n);
        let numbered = items.into_iter().enumerate();
        numbered
            .filter(|(n, _)| kept(*n))
            .map(|(_, item)| item)
            .collect()
    }

    /// The answers of all `count` items.
    fn answered<T>(
        &self,
        count: usize,
        answers: Vec<T>,
        struck: impl Fn(usize, types::Status) -> T,
    ) -> Vec<T> {
        let mut answers = answers.into_iter();
        let status = |code: Code| types::Status {
            code: code as i32,
            message: Fate::status(code).message().to_owned(),
        };
        let one = |n: usize| match self {
            Split::Half(code) if is_struck(n) => Some(struck(n, status(*code))),
            Split::AllBut(code) if is_struck(n) => {
                answers.next();
                Some(struck(n, status(*code)))
            }
            _ => answers.next(),
        };
        (0..count).filter_map(one).collect()
    }
}

impl Passing {
    /// Performs a call as its fate is.
    async fn met<T>(&self, call: impl Future<Output = Answer<T>>) -> Answer<T> {
        match self.fates.next() {
            Fate::Passed => call.await,
            Fate::Late(by) => {
                tokio::time::sleep(by).await;
                call.await
            }
            Fate::Refused(code) | Fate::PartlyRefused(code) => Err(Fate::status(code)),
            Fate::Lost(code) | Fate::PartlyLost(code) => {
                // As if the answer never came.
                let _ = call.await;
                Err(Fate::status(code))
            }
        }
    }

    /// The same for a call that writes items.
    async fn met_in_parts<T>(&self, call: impl AsyncFnOnce(Split) -> Answer<T>) -> Answer<T> {
        match self.fates.next() {
            Fate::Passed => call(Split::All).await,
            Fate::Late(by) => {
                tokio::time::sleep(by).await;
                call(Split::All).await
            }
            Fate::Refused(code) => Err(Fate::status(code)),
            Fate::Lost(code) => {
                let _ = call(Split::All).await;
                Err(Fate::status(code))
            }
            Fate::PartlyRefused(code) => call(Split::Half(code)).await,
            Fate::PartlyLost(code) => call(Split::AllBut(code)).await,
        }
    }

    async fn wrote(&self, items: usize) -> EntryClient<Wire> {
        self.gate.pass(items).await;
        self.record
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((self.name, SystemTime::now()));
        self.entries()
    }

    fn entries(&self) -> EntryClient<Wire> {
        EntryClient::new(self.server.clone()).max_decoding_message_size(64 << 20)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Entry for Passing {
    async fn count_entries(&self, r: Request<CountEntriesRequest>) -> Answer<CountEntriesResponse> {
        let mut server = self.entries();
        self.met(server.count_entries(r.into_inner())).await
    }

    async fn list_entries(&self, r: Request<ListEntriesRequest>) -> Answer<ListEntriesResponse> {
        let mut server = self.entries();
        self.met(server.list_entries(r.into_inner())).await
    }

    async fn get_entry(&self, r: Request<GetEntryRequest>) -> Answer<types::Entry> {
        let mut server = self.entries();
        self.met(server.get_entry(r.into_inner())).await
    }

    async fn batch_create_entry(
        &self,
        r: Request<BatchCreateEntryRequest>,
    ) -> Answer<BatchCreateEntryResponse> {
        let mut request = r.into_inner();
        let count = request.entries.len();
        let mut server = self.wrote(count).await;
        self.met_in_parts(async |split| {
            request.entries = split.passed(std::mem::take(&mut request.entries));
            let mut answer = server.batch_create_entry(request).await?;
            let reply = answer.get_mut();
            let struck = |_, status| batch_create_entry_response::Result {
                status: Some(status),
                entry: None,
            };
            reply.results = split.answered(count, std::mem::take(&mut reply.results), struck);
            Ok(answer)
        })
        .await
    }

    async fn batch_update_entry(
        &self,
        r: Request<BatchUpdateEntryRequest>,
    ) -> Answer<BatchUpdateEntryResponse> {
        let mut request = r.into_inner();
        let count = request.entries.len();
        let mut server = self.wrote(count).await;
        self.met_in_parts(async |split| {
            request.entries = split.passed(std::mem::take(&mut request.entries));
            let mut answer = server.batch_update_entry(request).await?;
            let reply = answer.get_mut();
            let struck = |_, status| batch_update_entry_response::Result {
                status: Some(status),
                entry: None,
            };
            reply.results = split.answered(count, std::mem::take(&mut reply.results), struck);
            Ok(answer)
        })
        .await
    }

    async fn batch_delete_entry(
        &self,
        r: Request<BatchDeleteEntryRequest>,
    ) -> Answer<BatchDeleteEntryResponse> {
        let mut request = r.into_inner();
        let ids = request.ids.clone();
        let mut server = self.wrote(ids.len()).await;
        self.met_in_parts(async |split| {
            request.ids = split.passed(std::mem::take(&mut request.ids));
            let mut answer = server.batch_delete_entry(request).await?;
            let reply = answer.get_mut();
            let struck = |n: usize, status| batch_delete_entry_response::Result {
                status: Some(status),
                id: ids[n].clone(),
            };
            reply.results = split.answered(ids.len(), std::mem::take(&mut reply.results), struck);
            Ok(answer)
        })
        .await
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
        let mut server = BundleClient::new(self.server.clone());
        self.met(server.list_federated_bundles(r.into_inner()))
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
        let mut server = DebugClient::new(self.server.clone());
        self.met(server.get_info(r.into_inner())).await
    }
}
