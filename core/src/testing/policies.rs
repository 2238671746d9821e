//! Policies for histories.

use std::time::Duration;

use crate::policy::{IdentitySource, MaxDeletes, Policy};

/// The policy of a mode, made so that much happens in a short history: annotation `id` says who a pod is, nothing holds deletes
/// back, and comparisons and orphans' ends come within seconds.
pub fn lively(mut policy: Policy) -> Policy {
    policy.pods.identity = IdentitySource::Annotation("id".into());
    // Zero stays: of modes where nothing outlives its pod.
    policy.pods.orphan_grace = policy.pods.orphan_grace.min(Duration::from_secs(2));
    policy.max_deletes = MaxDeletes::Percent(100);
    policy.drift_interval = Duration::from_secs(10);
    policy
}
