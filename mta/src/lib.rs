//! The MTA: receives mail by SMTP, queues and routes it, and sends it on.
//!
//! `smtp` is pure: grammar and machines of both sides. `server` answers the server machine's questions, `client` the client
//! machine's; `authenticity` signs; `queue` decides when, `route` decides where to, `dns` asks; `reports` are those between
//! servers: what domains are told, and what others say of our mail.

pub mod authenticity;
pub mod client;
pub mod dns;
mod notification;
pub mod queue;
mod random;
pub mod reports;
pub mod route;
pub mod server;
pub mod smtp;
mod suppression;
pub mod tls_policy;

pub use random::Random;
