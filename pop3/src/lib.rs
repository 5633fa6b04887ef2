//! POP3 (RFC 1939) over the store.
//!
//! `wire` is the grammar, `body` a message as it travels, `listing` the numbers of a session's messages, `machine` the session without I/O, `maildrop` the exclusive
//! hold of INBOX that a session has, `session` the handler that answers the machine from the store.

mod body;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod machine;
mod maildrop;
mod session;
mod wire;

pub use session::{Context, serve};
