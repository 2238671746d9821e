//! `plan` as a person runs it, offline.

mod compared;
mod crd_mode;
mod desk;
mod from_scm;
mod input;
mod offline;
mod reasons;
mod schema;
