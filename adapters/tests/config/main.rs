//! Configuration files: what is read, and what is said of it.

mod language;
mod problems;
mod read;
mod templates;
mod values;
