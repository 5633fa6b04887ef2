//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use waypost_mail::Timestamp;

/// The time, for what is recorded.
pub(crate) fn now() -> Timestamp {
    Timestamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
