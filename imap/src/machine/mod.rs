//! The IMAP session without I/O: framing, tags, literals and legal states.
//!
//! What a command does is not here: the machine asks its handler to run it ([`Question`]).

pub mod capability;
pub mod questions;
pub mod session;

mod append;
mod compress;
mod framing;
mod gather;
mod obey;
mod phase;

#[cfg(test)]
mod tests;

pub(crate) use obey::{IMAP4REV2, UTF8_ACCEPT};

pub(crate) use session::channel;

pub use capability::{CAPABILITIES, Privacy};
pub use framing::{
    COMMAND_BYTES_MAX, COMMAND_BYTES_MAX_BEFORE_LOGIN, LITERAL_BYTES_MAX, SKIPPED_LITERAL_BYTES_MAX,
};
pub use questions::{Answer, Event, NewState, Question, Ran};
pub use session::{ImapMachine, PlaintextLogin, Settings};
