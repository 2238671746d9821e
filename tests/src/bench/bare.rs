//! A bare client of the SPIRE Server: the limit that a registrar can reach.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::{StreamExt, TryStreamExt, stream};
use registrar_adapters::spire::pb::{
    entry::{
        BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest,
        ListEntriesRequest, entry_client::EntryClient,
    },
    types::EntryMask,
};
use tonic::transport::{Channel, Endpoint};

use super::numbers::Samples;
use crate::entries::{Entry, entry};

/// How entries are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Items in a call.
    pub batch: usize,
    /// Calls in flight.
    pub in_flight: usize,
}

/// The client.
#[derive(Debug, Clone)]
pub struct Bare(EntryClient<Channel>);

/// The entry of a pod as reconcile mode makes it by default, under another root.
pub fn pod_entry(namespace: &str, name: &str, node: &str) -> Entry {
    entry(
        &format!("/bare/bench/node/{node}"),
        &format!("/ns/{namespace}/sa/default"),
        &[
            &format!("k8s:ns:{namespace}"),
            &format!("k8s:pod-name:{name}"),
        ],
    )
}

/// The entry of a pod as crd mode makes it by default, under another root.
pub fn pod_entry_of_crd(namespace: &str, name: &str, node: &str) -> Entry {
    entry(
        &format!("/bare/bench/node/{node}"),
        &format!("/ns/{namespace}/sa/default"),
        &[
            &format!("k8s:pod-uid:{name}"),
            &format!("k8s:ns:{namespace}"),
            &format!("k8s:node-name:{node}"),
        ],
    )
}

impl Bare {
    /// Of the server at this socket.
    ///
    /// # Errors
    /// If the path cannot be part of a URI.
    pub fn new(socket: &std::path::Path) -> anyhow::Result<Self> {
        let address = format!("unix://{}", socket.display());
        let channel = Endpoint::from_shared(address)?.connect_lazy();
        Ok(Self(
            EntryClient::new(channel).max_decoding_message_size(256 << 20),
        ))
    }

    pub(super) async fn create_batch(&self, entries: Vec<Entry>) -> anyhow::Result<Vec<String>> {
        let request = BatchCreateEntryRequest {
            entries,
            output_mask: Some(Default::default()),
        };
        let reply = self.0.clone().batch_create_entry(request).await?;
        let results = reply.into_inner().results;
        results
            .into_iter()
            .map(|r| {
                let status = r.status.unwrap_or_default();
                ensure!(status.code == 0, "not created: {}", status.message);
                Ok(r.entry.unwrap_or_default().id)
            })
            .collect()
    }

    /// Creates all of them; their IDs, and how long it took.
    ///
    /// # Errors
    /// As the server says.
    pub async fn create(
        &self,
        entries: Vec<Entry>,
        shape: Shape,
    ) -> anyhow::Result<(Vec<String>, Duration)> {
        let begun = Instant::now();
        let batches: Vec<Vec<Entry>> = entries.chunks(shape.batch).map(<[_]>::to_vec).collect();
        let ids: Vec<Vec<String>> = stream::iter(batches)
            .map(|batch| self.create_batch(batch))
            .buffer_unordered(shape.in_flight)
            .try_collect()
            .await?;
        Ok((ids.into_iter().flatten().collect(), begun.elapsed()))
    }

    /// Deletes entries.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete(&self, ids: &[String]) -> anyhow::Result<()> {
        for ids in ids.chunks(200) {
            let request = BatchDeleteEntryRequest { ids: ids.to_vec() };
            self.0.clone().batch_delete_entry(request).await?;
        }
        Ok(())
    }

    /// Gives all entries this lifetime of certificates; how many they are.
    ///
    /// # Errors
    /// As the server says.
    pub async fn update_all(&self, x509_svid_ttl: i32, shape: Shape) -> anyhow::Result<usize> {
        let mut all = Vec::new();
        self.pages(|page| all.extend(page)).await?;
        let batches: Vec<Vec<Entry>> = all.chunks(shape.batch).map(<[_]>::to_vec).collect();
        stream::iter(batches)
            .map(async |mut entries| {
                for entry in &mut entries {
                    entry.x509_svid_ttl = x509_svid_ttl;
                }
                let request = BatchUpdateEntryRequest {
                    entries,
                    input_mask: Some(EntryMask {
                        x509_svid_ttl: true,
                        ..EntryMask::default()
                    }),
                    output_mask: Some(EntryMask::default()),
                };
                let reply = self.0.clone().batch_update_entry(request).await?;
                for result in reply.into_inner().results {
                    let status = result.status.unwrap_or_default();
                    ensure!(status.code == 0, "not updated: {}", status.message);
                }
                Ok(())
            })
            .buffer_unordered(shape.in_flight)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await?;
        Ok(all.len())
    }

    /// Reads all entries in pages of 1000, with every field; how many, and how long it took.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list(&self) -> anyhow::Result<(usize, Duration)> {
        let begun = Instant::now();
        let mut count = 0;
        self.pages(|page| count += page.len()).await?;
        Ok((count, begun.elapsed()))
    }

    async fn pages(&self, mut each: impl FnMut(Vec<Entry>)) -> anyhow::Result<()> {
        let mut page_token = String::new();
        loop {
            let request = ListEntriesRequest {
                page_size: 1000,
                page_token,
                ..ListEntriesRequest::default()
            };
            let page = self.0.clone().list_entries(request).await?.into_inner();
            each(page.entries);
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            page_token = page.next_page_token;
        }
    }

    /// Creates entries one by one at this rate (or one after the other without one), whatever the answers take, and
    /// deletes them again; how long each took, from when it was due.
    ///
    /// # Errors
    /// As the server says.
    pub async fn single(&self, entries: Vec<Entry>, rate: Option<f64>) -> anyhow::Result<Samples> {
        let begun = Instant::now();
        let mut samples = Samples::default();
        let mut made = Vec::new();
        match rate {
            None => {
                for entry in entries {
                    let due = Instant::now();
                    made.extend(self.create_batch(vec![entry]).await?);
                    samples.add_ms(due.elapsed());
                }
            }
            Some(rate) => {
                let calls = entries.into_iter().enumerate().map(|(n, entry)| {
                    let due = begun + Duration::from_secs_f64(n as f64 / rate);
                    let client = self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep_until(due.into()).await;
                        let ids = client.create_batch(vec![entry]).await?;
                        anyhow::Ok((ids, due.elapsed()))
                    })
                });
                for call in calls.collect::<Vec<_>>() {
                    let (ids, took) = call.await??;
                    made.extend(ids);
                    samples.add_ms(took);
                }
            }
        }
        self.delete(&made).await?;
        Ok(samples)
    }
}

/// The fastest of the usual shapes for a few entries each.
///
/// # Errors
/// As the server says.
pub async fn best_shape(bare: &Bare, some: impl Fn(usize) -> Vec<Entry>) -> anyhow::Result<Shape> {
    const EACH: usize = 500;
    let mut best: Option<(Shape, f64)> = None;
    for batch in [50, 200, 500] {
        for in_flight in [1, 4, 8] {
            let shape = Shape { batch, in_flight };
            let (ids, took) = bare.create(some(EACH), shape).await?;
            bare.delete(&ids).await?;
            let rate = ids.len() as f64 / took.as_secs_f64();
            println!("   bare client, batches of {batch}, {in_flight} in flight: {rate:.0}/s");
            if best.is_none_or(|(_, most)| rate > most) {
                best = Some((shape, rate));
            }
        }
    }
    let best = best.map(|(shape, _)| shape);
    best.ok_or_else(|| anyhow::anyhow!("no shape was tried"))
}
