//! IMAP (RFC 3501 and RFC 9051) over the store.
//!
//! `wire` is the grammar, `machine` the session without I/O: framing, tags, literals, legal states. It asks one question, to
//! run a command; each `op` is an async function over the selected view and the store that writes to a bounded sink.
//! `client` is the other side: it reads the mail of another server.

pub mod client;
pub mod fetch;
pub mod machine;
pub mod op;
pub mod session;
#[cfg(test)]
mod testing;
pub mod view;
pub mod wire;

pub use session::{Context, serve};
