//! What is counted in processor instructions, and how it is made ready, which is not counted. The benches of this package
//! name the cases; the tests say that each does what its name says.

#[cfg(feature = "adapters")]
pub mod text;

pub mod machine;
pub mod parts;
