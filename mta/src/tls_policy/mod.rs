//! TLS towards other servers: what is demanded of it, and what came of it.
//!
//! ```text
//! DNS (DNSSEC) ─┐
//! MTA-STS ──────┼─► decision (pure) ─► TlsPolicy ─► client ─► SessionTls ─► memory, results for reports
//! configuration ┤                                                               │
//! memory ───────┘◄──────────────────────────────────────────────────────────────┘
//! ```
//! [`Towards`] is what a client has in hand: `decide` before a connection, `heard` after it.

mod cache;
pub mod decision;
pub(crate) mod durable;
pub mod memory;
mod policies;
pub mod results;
pub mod sts;
#[cfg(test)]
pub(crate) mod testing;

pub use decision::{
    Basis, Demand, Inputs, Obstacle, OnFailure, Standing, TlsPolicy, Wish, next_hop_policy, policy,
};
pub use policies::{
    ALARMED_MAX, Alarm, FETCH_TIMEOUT, Policies, SessionTls, Towards, WRITE_INTERVAL, Whose,
    counts_what_is_published,
};
