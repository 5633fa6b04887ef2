//! TLS towards other servers: what is demanded of it, and what came of it.
//!
//! ```text
//! DNS (DNSSEC) ─┐
//! MTA-STS ──────┼─► decision (pure) ─► TlsPolicy ─► client ─► outcome ─► memory, results for reports
//! configuration ┤                                                           │
//! memory ───────┘◄──────────────────────────────────────────────────────────┘
//! ```

pub mod decision;
mod durable;
pub mod memory;
pub mod results;
pub mod sts;

pub use decision::{
    Basis, Demand, Inputs, Obstacle, OnFailure, Standing, TlsPolicy, Wish, next_hop_policy, policy,
};
