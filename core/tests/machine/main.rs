//! The step machine by itself: what it asks for, in which order, and what it never asks for.

mod batches;
mod breaker;
mod endpoints;
mod failures;
mod former;
mod held;
mod leads;
mod order;
mod outcomes;
mod passes;
mod plans;
mod readings;
mod rig;
mod seen;
mod similar;
mod slices;
mod standby;
