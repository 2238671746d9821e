//! The integration tests: each runs on a real API server and a real SPIRE Server.

mod adoption;
mod breaker;
mod crd;
mod definition;
mod deployment;
mod dns_names;
mod election;
mod explain;
mod faults;
mod federation;
mod golden;
mod hostile_values;
mod image;
mod lifecycle;
mod migration;
mod monitoring;
mod outside;
mod over_tcp;
mod plan;
mod plane;
mod reconcile_entries;
mod rest;
mod spire_contract;
mod unreadable;
mod unreadable_lists;
mod webhook;
