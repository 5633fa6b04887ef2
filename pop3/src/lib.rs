//! POP3 (RFC 1939) over the store.
//!
//! `wire` is the grammar, with the texts for people, `body` a message as it travels, `listing` the numbers of a session's messages, `machine` the session without I/O,
//! `maildrop` the exclusive hold of INBOX that a session has, `session` the handler that answers the machine from the store, `expiry` what becomes of retrieved messages.

mod body;
mod expiry;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod machine;
mod maildrop;
mod session;
mod wire;

pub use expiry::expire;
pub use session::{Context, serve};
