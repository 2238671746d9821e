//! Kubernetes objects as the API and manifests write them, read into the core's snapshots.
//!
//! The one place that knows the wire form of pods, nodes and EndpointSlices; what watches them and what reads them from
//! files both use it.

pub mod decode;
mod pairs;
pub mod spiffe_id;

/// How much of a reason is told.
const LONGEST_REASON: usize = 300;

/// Why an object cannot be read: such errors repeat values, and those may be as long as their author likes.
pub(crate) fn told(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    let mut reason: String = whole.chars().take(LONGEST_REASON).collect();
    if reason.len() < whole.len() {
        reason.push('…');
    }
    reason
}
