//! What the end-to-end tests stand on: servers with a domain each, transcripts, real clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]

pub mod client;
pub mod disk;
pub mod machine;
pub mod message;
pub mod process;
pub mod qresync;
pub mod script;
pub mod scripted;
pub mod signed_dns;
pub mod sink;
pub mod site;

pub use client::Client;
pub use disk::{Lying, Sync};
pub use machine::{not_run, say};
pub use message::{after_added_fields, sample};
pub use process::{Process, program};
pub use script::{Script, Transport};
pub use scripted::{Act, Manners, ScriptedSink, Seen, Stage};
pub use sink::sink;
pub use site::{Site, SiteBuilder, World};
