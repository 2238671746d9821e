//! The configuration file: reading, parsing, checking.
//!
//! Keys, defaults, the order of checks and the texts of errors are those of the original registrar where it had them.

mod check;
mod common;
mod diagnostics;
mod fields;
pub mod hcl;
pub mod keys;
mod load;
mod modes;
mod settings;
mod templates;

pub use diagnostics::{Problem, Problems, Severity};
pub use fields::duration;
pub use load::{load, parse};
pub use settings::{Common, Config, Crd, LogFormat, LogLevel, Mode, Reconcile, Webhook};
