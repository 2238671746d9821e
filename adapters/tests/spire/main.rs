//! The pure halves of the SPIRE adapter: messages to values and back, and what codes mean.

mod meanings;
mod messages;
