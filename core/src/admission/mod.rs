//! Admission reviews: what is answered at once, and what first asks for something of the step machine.

mod pod;

pub use pod::{Next, Operation, PodReview, Response, review_pod};
