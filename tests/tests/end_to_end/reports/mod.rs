//! Reports between servers.

mod received;
mod sent;
