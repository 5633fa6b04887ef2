//! Reports that we send: what is counted of a day, and who gets it.
//!
//! ```text
//! Verdict ── sighting ──► Counts ──┐                  ┌─► destinations (DNS)
//!                                  ├─ a day ends ──► Reporter ── document ──► the queue, or HTTPS
//! tls_policy::results ─────────────┘                  └─► plan: what is done of a day
//! ```
//! `sighting` and `uri` are pure. A message is told of by [`Counts::note`] before it is answered; [`Reporter::run`] does the
//! rest. Not here: reports of others about us.

mod counts;
mod day;
mod destinations;
mod dispatch;
mod document;
mod plan;
mod reporter;
pub(crate) mod sighting;
mod uri;

pub use self::{
    counts::Counts,
    day::Day,
    document::Kind,
    reporter::{ReportLine, Reporter},
};
