//! crd mode.

mod bench;
mod by_hand;
mod ends;
mod pods;
mod templates;
mod webhook;
