//! crd mode.

mod bench;
mod by_hand;
mod ends;
mod from_webhook;
mod given_certificate;
mod kills;
mod names;
mod original;
mod plan;
mod pods;
mod replicas;
mod rest;
mod rows;
mod services;
mod static_pods;
mod templates;
mod tenants;
mod webhook;
