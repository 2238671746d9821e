//! The step machine.
