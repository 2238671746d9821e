//! crd mode.

mod bench;
mod by_hand;
mod templates;
mod webhook;
