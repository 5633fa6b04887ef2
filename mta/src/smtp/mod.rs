//! SMTP without I/O: grammar and machines of both sides, the end-of-data recogniser.

pub mod client;
pub mod command;
pub mod data;
mod lines;
pub mod parameters;
pub mod path;
pub mod reply;
pub mod server;
pub mod xclient;
