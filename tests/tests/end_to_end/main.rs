//! End-to-end tests: everything runs against complete servers with real stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test")]

mod authenticity;
mod binary;
mod certificates;
mod clients;
mod command_line;
mod dane;
mod dialogues;
mod documents;
mod hostile;
mod keys;
mod local;
mod maildrop;
mod moving;
mod peers;
mod queue;
mod races;
mod relay;
mod reports;
mod restart;
mod routes;
mod store;
mod transcripts;
