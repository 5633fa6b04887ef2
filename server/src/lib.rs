//! The Waypost server as a library: wiring, signals, the administration socket, the demo.
//!
//! [`Server::start`] may be called several times in one process: nothing here is global.

pub mod admin;
pub mod agent;
pub mod certificates;
pub mod cli;
pub mod demo;
pub mod directory;
mod issuer;
pub mod port;
mod precaution;
mod secret;
pub mod start;
pub mod zone;

pub use start::{Parts, Running, Server, StartError};
