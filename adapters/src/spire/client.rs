//! The client: one method a kind of call, each with a deadline.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use registrar_core::{
    entry::{Entry, EntryId, FieldMask, RegisteredEntry},
    ports::{Failure, FailureClass, Outcome, SpireAnswer, SpireCall, SpireReply},
    spiffe::{SpiffeId, TrustDomain},
};
use tonic::{Code, Request, Response, Status};

use super::{
    convert,
    fence::MayBegin,
    outcome,
    pb::{
        agent::agent_client::AgentClient,
        bundle::{self, bundle_client::BundleClient},
        debug::{self, debug_client::DebugClient},
        entry::{self, entry_client::EntryClient, list_entries_request::Filter},
        types,
    },
    wire::Wire,
};

/// Replies up to this size are read: a page of 1000 large entries fits many times over.
pub(super) const LARGEST_REPLY: usize = 32 << 20;
/// Entries with the same parent and selectors that are read at once.
const FOUND_AT_MOST: u32 = 500;
/// Reads of single entries under way at once.
const READS_AT_ONCE: usize = 8;

/// A SPIRE Server, as the driver sees it.
#[async_trait]
pub trait SpireServer: Send + Sync {
    /// Performs one call of the core; see [`registrar_core::ports`] for the contract.
    async fn perform(&self, call: SpireCall) -> SpireReply;
    /// The server's own trust domain.
    async fn trust_domain(&self) -> Result<TrustDomain, Failure>;
    /// Our own SPIFFE ID, where the server knows us by one.
    fn own_id(&self) -> Option<SpiffeId> {
        None
    }
}

/// How long calls may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Every call that writes, and reads of single entries. Below lease duration minus renew deadline, so that a replica
    /// that lost its lease unknowingly ends its writes before another one begins.
    pub write: Duration,
    /// A page of a list.
    pub list: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            write: Duration::from_secs(4),
            list: Duration::from_secs(10),
        }
    }
}

/// Attempts at a call that the server says it did not look at, as it does with calls that cross its request to go.
const ATTEMPTS: usize = 3;

/// What the server knows of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttestedAgent {
    /// Whether an operator banned it.
    pub banned: bool,
    /// Until when its SVID is valid, in seconds since 1970. One that lives renews it long before.
    pub expires_at: i64,
}

/// Speaks to one SPIRE Server.
#[derive(Debug)]
pub struct SpireClient {
    pub(super) wire: Wire,
    /// The same connections, behind the fence.
    writing: Wire,
    pub(super) deadlines: Deadlines,
    /// Pages are asked for with at most this size, once a larger one was too large.
    page_cap: AtomicU32,
}

impl SpireClient {
    /// A client that connects with its first call. `may_begin` is asked before each call that writes.
    pub fn new(wire: Wire, deadlines: Deadlines, may_begin: MayBegin) -> Self {
        Self {
            writing: wire.fenced(&may_begin),
            wire,
            deadlines,
            page_cap: AtomicU32::new(u32::MAX),
        }
    }

    fn entries(&self) -> EntryClient<Wire> {
        EntryClient::new(self.wire.clone()).max_decoding_message_size(LARGEST_REPLY)
    }

    fn writes(&self) -> EntryClient<Wire> {
        EntryClient::new(self.writing.clone()).max_decoding_message_size(LARGEST_REPLY)
    }

    pub(super) fn bundles(&self) -> BundleClient<Wire> {
        BundleClient::new(self.wire.clone()).max_decoding_message_size(LARGEST_REPLY)
    }

    pub(super) fn failure(&self, status: &Status, write: bool) -> Failure {
        outcome::failure(&self.wire.reached(), status, write)
    }

    /// Performs a call within a deadline, which the server is told too so that it stops as well.
    pub(super) async fn within<T: Clone, R, F>(
        &self,
        deadline: Duration,
        message: T,
        call: impl Fn(Request<T>) -> F,
    ) -> Result<R, Status>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let attempts = async {
            let ends = tokio::time::Instant::now() + deadline;
            for attempt in 1.. {
                let mut request = Request::new(message.clone());
                request.set_timeout(ends.saturating_duration_since(tokio::time::Instant::now()));
                match call(request).await {
                    Err(status) if attempt < ATTEMPTS && outcome::is_unprocessed(&status) => {}
                    answer => return answer.map(Response::into_inner),
                }
            }
            Err(Status::internal("attempts are counted"))
        };
        match tokio::time::timeout(deadline, attempts).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::cancelled("deadline exceeded")),
        }
    }

    async fn list(
        &self,
        filter: Option<Filter>,
        page_token: Option<Arc<str>>,
        page_size: u32,
    ) -> SpireReply {
        let mut size = page_size.min(self.page_cap.load(Ordering::Relaxed));
        loop {
            let message = entry::ListEntriesRequest {
                filter: filter.clone(),
                output_mask: Some(convert::output_mask()),
                page_size: size as i32,
                page_token: page_token.as_deref().unwrap_or_default().to_owned(),
            };
            let listed = self.within(self.deadlines.list, message, |r| {
                let mut client = self.entries();
                async move { client.list_entries(r).await }
            });
            match listed.await {
                Ok(reply) => {
                    self.goes_on(page_token.as_deref(), &reply.next_page_token)?;
                    let before = reply.entries.len();
                    let entries: Vec<RegisteredEntry> = reply
                        .entries
                        .into_iter()
                        .filter_map(|e| convert::registered(e).ok())
                        .collect();
                    let unreadable = (before - entries.len()) as u32;
                    // SPIRE sets the token on every page that is not empty; only the last has none.
                    let next =
                        (!reply.next_page_token.is_empty()).then(|| reply.next_page_token.into());
                    return Ok(SpireAnswer::Page {
                        entries,
                        unreadable,
                        next,
                    });
                }
                Err(status) if too_large(&status) && size > 1 => {
                    size /= 2;
                    self.page_cap.store(size, Ordering::Relaxed);
                }
                Err(status) => return Err(self.failure(&status, false)),
            }
        }
    }

    /// A page that leads to itself would be asked for without an end.
    fn goes_on(&self, token: Option<&str>, next: &str) -> Result<(), Failure> {
        if next.is_empty() || token != Some(next) {
            return Ok(());
        }
        let message = format!(
            "SPIRE Server {}: the page of a list after token {next:?} has the same token again",
            self.wire
        );
        Err(Failure::new(FailureClass::Permanent, message))
    }

    async fn read(&self, ids: Vec<EntryId>) -> SpireReply {
        let results = stream::iter(ids)
            .map(|id| self.read_one(id))
            .buffered(READS_AT_ONCE)
            .collect()
            .await;
        Ok(SpireAnswer::Read(results))
    }

    /// The agent with this ID; `None` if none was attested under it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn agent(&self, id: &SpiffeId) -> Result<Option<AttestedAgent>, Failure> {
        let read = self.within(self.deadlines.write, convert::agent_request(id), |r| {
            let mut client = AgentClient::new(self.wire.clone());
            async move { client.get_agent(r).await }
        });
        match read.await {
            Ok(agent) => Ok(Some(AttestedAgent {
                banned: agent.banned,
                expires_at: agent.x509svid_expires_at,
            })),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failure(&status, false)),
        }
    }

    async fn read_one(&self, id: EntryId) -> Result<Option<RegisteredEntry>, Failure> {
        let message = entry::GetEntryRequest {
            id: id.as_str().to_owned(),
            output_mask: Some(convert::output_mask()),
        };
        let read = self.within(self.deadlines.write, message, |r| {
            let mut client = self.entries();
            async move { client.get_entry(r).await }
        });
        match read.await {
            Ok(found) => convert::registered(found).map(Some).map_err(|error| {
                let message = format!("entry {id} on the server cannot be read: {error}");
                Failure::new(FailureClass::Permanent, message)
            }),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failure(&status, false)),
        }
    }

    async fn create(&self, entries: Vec<(EntryId, Arc<Entry>)>) -> SpireReply {
        let message = entry::BatchCreateEntryRequest {
            entries: entries
                .iter()
                .map(|(id, e)| convert::entry(id, e))
                .collect(),
            // A similar entry that the server has already comes back under this mask: all we read of it.
            output_mask: Some(convert::output_mask()),
        };
        let reply = self
            .within(self.deadlines.write, message, |r| {
                let mut client = self.writes();
                async move { client.batch_create_entry(r).await }
            })
            .await
            .map_err(|status| self.failure(&status, true))?;
        let results = reply
            .results
            .into_iter()
            .map(|r| outcome::created(r.status, r.entry));
        Ok(written(results))
    }

    async fn update(&self, mask: FieldMask, entries: Vec<(EntryId, Arc<Entry>)>) -> SpireReply {
        let message = entry::BatchUpdateEntryRequest {
            entries: entries
                .iter()
                .map(|(id, e)| convert::entry(id, e))
                .collect(),
            input_mask: Some(convert::input_mask(mask)),
            output_mask: Some(types::EntryMask::default()),
        };
        let reply = self
            .within(self.deadlines.write, message, |r| {
                let mut client = self.writes();
                async move { client.batch_update_entry(r).await }
            })
            .await
            .map_err(|status| self.failure(&status, true))?;
        Ok(written(
            reply
                .results
                .into_iter()
                .map(|r| outcome::changed(r.status)),
        ))
    }

    async fn delete(&self, ids: Vec<EntryId>) -> SpireReply {
        let message = entry::BatchDeleteEntryRequest {
            ids: ids.iter().map(|id| id.as_str().to_owned()).collect(),
        };
        let reply = self
            .within(self.deadlines.write, message, |r| {
                let mut client = self.writes();
                async move { client.batch_delete_entry(r).await }
            })
            .await
            .map_err(|status| self.failure(&status, true))?;
        Ok(written(
            reply
                .results
                .into_iter()
                .map(|r| outcome::changed(r.status)),
        ))
    }

    async fn list_bundles(&self) -> SpireReply {
        let mut known = BTreeSet::new();
        let mut page_token = String::new();
        loop {
            let message = bundle::ListFederatedBundlesRequest {
                output_mask: Some(types::BundleMask::default()),
                page_size: 500,
                page_token: page_token.clone(),
            };
            let reply = self
                .within(self.deadlines.list, message, |r| {
                    let mut client = self.bundles();
                    async move { client.list_federated_bundles(r).await }
                })
                .await
                .map_err(|status| self.failure(&status, false))?;
            known.extend(
                reply
                    .bundles
                    .iter()
                    .filter_map(|b| TrustDomain::new(&b.trust_domain).ok()),
            );
            self.goes_on(Some(&page_token), &reply.next_page_token)?;
            page_token = reply.next_page_token;
            if page_token.is_empty() {
                return Ok(SpireAnswer::Bundles(known));
            }
        }
    }
}

fn written(outcomes: impl Iterator<Item = Outcome>) -> SpireAnswer {
    SpireAnswer::Written(outcomes.collect())
}

/// Whether a page must be asked for with fewer entries.
fn too_large(status: &Status) -> bool {
    matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted)
}

#[async_trait]
impl SpireServer for SpireClient {
    async fn perform(&self, call: SpireCall) -> SpireReply {
        match call {
            SpireCall::List {
                page_token,
                page_size,
            } => self.list(None, page_token, page_size).await,
            // More than a page of entries that differ in their SPIFFE ID alone are nobody's.
            SpireCall::Find { parent, selectors } => {
                let filter = convert::exactly(&parent, &selectors);
                match self.list(Some(filter), None, FOUND_AT_MOST).await? {
                    SpireAnswer::Page {
                        entries,
                        unreadable,
                        ..
                    } => Ok(SpireAnswer::Page {
                        entries,
                        unreadable,
                        next: None,
                    }),
                    other => Ok(other),
                }
            }
            SpireCall::Read { ids } => self.read(ids).await,
            SpireCall::Create { entries } => self.create(entries).await,
            SpireCall::Update { mask, entries } => self.update(mask, entries).await,
            SpireCall::Delete { ids } => self.delete(ids).await,
            SpireCall::ListBundles => self.list_bundles().await,
        }
    }

    async fn trust_domain(&self) -> Result<TrustDomain, Failure> {
        let read = match self.wire.reached().tcp {
            // Only on the Unix socket does the server tell about itself.
            false => self.trust_domain_by_info().await,
            true => self.trust_domain_by_bundle().await,
        };
        let name = read.map_err(|status| self.failure(&status, false))?;
        TrustDomain::new(&name).map_err(|e| {
            let message = format!("SPIRE Server {}: its own trust domain: {e}", self.wire);
            Failure::new(FailureClass::Permanent, message)
        })
    }

    fn own_id(&self) -> Option<SpiffeId> {
        self.wire.own_id()
    }
}

impl SpireClient {
    async fn trust_domain_by_info(&self) -> Result<String, Status> {
        let message = debug::GetInfoRequest {};
        let info = self
            .within(self.deadlines.write, message, |r| {
                let mut client = DebugClient::new(self.wire.clone());
                async move { client.get_info(r).await }
            })
            .await?;
        let id = info.svid_chain.into_iter().next().and_then(|c| c.id);
        Ok(id.unwrap_or_default().trust_domain)
    }

    async fn trust_domain_by_bundle(&self) -> Result<String, Status> {
        let message = bundle::GetBundleRequest {
            output_mask: Some(types::BundleMask::default()),
        };
        let bundle = self
            .within(self.deadlines.write, message, |r| {
                let mut client = self.bundles();
                async move { client.get_bundle(r).await }
            })
            .await?;
        Ok(bundle.trust_domain)
    }
}
