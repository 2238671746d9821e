//! The harness: a real control plane on this machine, a fake SPIRE Server, and helpers to drive both.
