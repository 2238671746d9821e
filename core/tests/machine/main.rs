//! The step machine by itself: what it asks for, in which order, and what it never asks for.

mod breaker;
mod held;
mod order;
mod outcomes;
mod plans;
mod readings;
mod rig;
mod seen;
mod similar;
mod slices;
mod standby;
