//! Admission: reviews of pods, what is answered at once and what first asks for something of the step machine; and what
//! SpiffeIDs may ask for.

mod pod;
mod spiffe_id;

pub use pod::{Next, Operation, PodReview, Response, review_pod};
pub use spiffe_id::{DUPLICATE, PermittedIds, permitted, review_spiffe_id};
