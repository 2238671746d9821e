//! What tests of this crate, and of others, need: strategies, a model of the SPIRE Server, a simulated world.
