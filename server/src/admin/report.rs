//! Sending reports when an administrator says so.

use waypost_auth::Live;
use waypost_mta::reports::outgoing::{Day, ReportLine, Reporter};

/// Sends all reports about a day. Errors: a sentence.
pub(super) async fn send(live: &Live, reporter: &Reporter, day: &str) -> Result<Vec<ReportLine>, String> {
    let day = Day::parse(day).ok_or_else(|| format!("{day:?} is no day, like 2026-11-25"))?;
    reporter.send(live, day).await
}
