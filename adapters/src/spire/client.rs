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
    spiffe::TrustDomain,
};
use tonic::{Code, Request, Response, Status, transport::Channel};

use super::{
    connect::{ServerAddress, channel},
    convert, outcome,
    pb::{
        bundle::{self, bundle_client::BundleClient},
        debug::{self, debug_client::DebugClient},
        entry::{self, entry_client::EntryClient, list_entries_request::Filter},
        types,
    },
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

/// Whether a call that writes may begin now: asked immediately before each.
pub type MayBegin = Arc<dyn Fn() -> bool + Send + Sync>;

/// Speaks to one SPIRE Server.
pub struct SpireClient {
    address: String,
    pub(super) channel: Channel,
    pub(super) deadlines: Deadlines,
    may_begin: MayBegin,
    /// Pages are asked for with at most this size, once a larger one was too large.
    page_cap: AtomicU32,
}

impl SpireClient {
    /// A client that connects with its first call.
    ///
    /// # Errors
    /// If the address cannot be part of a URI.
    pub fn new(
        address: &ServerAddress,
        deadlines: Deadlines,
        may_begin: MayBegin,
    ) -> Result<Self, tonic::transport::Error> {
        Ok(Self {
            address: address.to_string(),
            channel: channel(address)?,
            deadlines,
            may_begin,
            page_cap: AtomicU32::new(u32::MAX),
        })
    }

    fn entries(&self) -> EntryClient<Channel> {
        EntryClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_REPLY)
    }

    /// Performs a call within a deadline, which the server is told too so that it stops as well.
    pub(super) async fn within<T, R>(
        &self,
        deadline: Duration,
        write: bool,
        message: T,
        call: impl AsyncFnOnce(Request<T>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let mut request = Request::new(message);
        request.set_timeout(deadline);
        if write && !(self.may_begin)() {
            let message = "not begun: this replica does not lead any more";
            return Err(Failure::new(FailureClass::Retry, message));
        }
        let answer = self.in_time(deadline, call(request)).await;
        answer.map_err(|status| outcome::failure(&self.address, &status, write))
    }

    async fn in_time<R>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<R, Status> {
        // The transport's own time-out does not cover the time in which a connection is made.
        match tokio::time::timeout(deadline + Duration::from_millis(100), call).await {
            Ok(answer) => answer.map(Response::into_inner),
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
            let mut client = self.entries();
            let message = entry::ListEntriesRequest {
                filter: filter.clone(),
                output_mask: Some(convert::output_mask()),
                page_size: size as i32,
                page_token: page_token.as_deref().unwrap_or_default().to_owned(),
            };
            let mut request = Request::new(message);
            request.set_timeout(self.deadlines.list);
            match self
                .in_time(self.deadlines.list, client.list_entries(request))
                .await
            {
                Ok(reply) => {
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
                Err(status) => return Err(outcome::failure(&self.address, &status, false)),
            }
        }
    }

    async fn read(&self, ids: Vec<EntryId>) -> SpireReply {
        let results = stream::iter(ids)
            .map(|id| self.read_one(id))
            .buffered(READS_AT_ONCE)
            .collect()
            .await;
        Ok(SpireAnswer::Read(results))
    }

    async fn read_one(&self, id: EntryId) -> Result<Option<RegisteredEntry>, Failure> {
        let mut client = self.entries();
        let message = entry::GetEntryRequest {
            id: id.as_str().to_owned(),
            output_mask: Some(convert::output_mask()),
        };
        let mut request = Request::new(message);
        request.set_timeout(self.deadlines.write);
        match self
            .in_time(self.deadlines.write, client.get_entry(request))
            .await
        {
            Ok(found) => Ok(convert::registered(found).ok()),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(outcome::failure(&self.address, &status, false)),
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
        let mut client = self.entries();
        let reply = self
            .within(self.deadlines.write, true, message, async |r| {
                client.batch_create_entry(r).await
            })
            .await?;
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
        let mut client = self.entries();
        let reply = self
            .within(self.deadlines.write, true, message, async |r| {
                client.batch_update_entry(r).await
            })
            .await?;
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
        let mut client = self.entries();
        let reply = self
            .within(self.deadlines.write, true, message, async |r| {
                client.batch_delete_entry(r).await
            })
            .await?;
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
            let mut client =
                BundleClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_REPLY);
            let reply = self
                .within(self.deadlines.list, false, message, async |r| {
                    client.list_federated_bundles(r).await
                })
                .await?;
            known.extend(
                reply
                    .bundles
                    .iter()
                    .filter_map(|b| TrustDomain::new(&b.trust_domain).ok()),
            );
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
        let mut client = DebugClient::new(self.channel.clone());
        let info = self
            .within(
                self.deadlines.write,
                false,
                debug::GetInfoRequest {},
                async |r| client.get_info(r).await,
            )
            .await?;
        let name = info
            .svid_chain
            .first()
            .and_then(|c| c.id.as_ref())
            .map(|id| &*id.trust_domain);
        TrustDomain::new(name.unwrap_or_default()).map_err(|e| {
            let message = format!("SPIRE Server {}: its own trust domain: {e}", self.address);
            Failure::new(FailureClass::Permanent, message)
        })
    }
}
