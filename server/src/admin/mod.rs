//! Administration: what the commands do to a store, in the running server (over `STATE/waypost.sock`) or without one.

pub mod request;
pub mod socket;

pub use request::{AccountLine, QueueLine, Request, Response, execute, may_be_added};
