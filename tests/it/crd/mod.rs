//! crd mode.

mod bench;
mod by_hand;
mod ends;
mod original;
mod pods;
mod services;
mod templates;
mod webhook;
