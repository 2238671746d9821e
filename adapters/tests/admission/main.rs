//! The admission server: what it answers, whom it lets in, and what it does not let happen to it.

mod bodies;
mod certificates;
mod clients;
mod generated;
mod limits;
mod look_ups;
mod pki;
mod sockets;
mod spiffe_ids;
