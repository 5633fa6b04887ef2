//! The suppression list: looking at it, and changing it by hand.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use waypost_auth::Live;
use waypost_mail::Address;
use waypost_storage::{Cause, Store, Suppression};

use super::queue::why;

/// Lines in one answer.
const PAGE_LINES: usize = 1000;

/// What is asked of the list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuppressionJob {
    /// A page of it, by address.
    List {
        /// How many lines stand before it.
        skip: usize,
    },
    /// Puts an address on it.
    Add {
        /// The address.
        address: String,
        /// Whose mail to it is meant; `None`: anybody's.
        from: Option<String>,
        /// Why.
        why: String,
        /// For how many seconds; `None`: for ever.
        seconds: Option<u64>,
    },
    /// Takes an address from it, with all that was counted.
    Remove {
        /// The address.
        address: String,
    },
}

/// What the list answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuppressionAnswer {
    /// A page of it.
    Page {
        /// Its lines.
        lines: Vec<SuppressionLine>,
        /// Whether more follow.
        more: bool,
    },
    /// It is changed.
    Changed {
        /// Whether the configuration has it followed.
        enabled: bool,
    },
}

/// One line. Times are RFC 3339.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SuppressionLine {
    /// The address.
    pub address: String,
    /// Whose mail to it is meant; `None`: anybody's.
    pub from: Option<String>,
    /// `bounce`, `complaint` or `hand`.
    pub cause: String,
    /// Whether mail is suppressed; else it only was counted.
    pub suppressed: bool,
    /// How often it happened.
    pub count: u32,
    /// When it happened last.
    pub at: String,
    /// Until when it holds; `None`: for ever.
    pub until: Option<String>,
    /// What was said last.
    pub why: String,
}

/// Does what is asked. Errors: a sentence.
pub(super) async fn run(
    store: &Store,
    live: &Live,
    job: SuppressionJob,
) -> Result<SuppressionAnswer, String> {
    let changed = SuppressionAnswer::Changed { enabled: live.config.queue.suppression.enabled };
    match job {
        SuppressionJob::List { skip } => {
            let all = store.directory().borrow().suppressions.all(store.now());
            let lines: Vec<_> = all.iter().skip(skip).take(PAGE_LINES).map(line).collect();
            let more = skip + lines.len() < all.len();
            Ok(SuppressionAnswer::Page { lines, more })
        }
        SuppressionJob::Add { address, from, why: text, seconds } => {
            why(&text)?;
            let (recipient, sender) = (parsed(&address)?, from.as_deref().map(parsed).transpose()?);
            let lifetime = seconds.map(Duration::from_secs);
            let done = store.suppress(recipient, sender, text, lifetime).await;
            done.map(|()| changed).map_err(|error| error.to_string())
        }
        SuppressionJob::Remove { address } => match store.unsuppress(parsed(&address)?).await {
            Ok(0) => Err(format!("{address} is not on the suppression list")),
            Ok(_) => Ok(changed),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn parsed(address: &str) -> Result<Address, String> {
    Address::parse(address).map_err(|problem| format!("{address}: {problem}"))
}

fn line(line: &Suppression) -> SuppressionLine {
    let cause = match line.cause {
        Cause::Bounce => "bounce",
        Cause::Complaint => "complaint",
        Cause::Hand => "hand",
    };
    SuppressionLine {
        address: line.recipient.to_string(),
        from: line.sender().map(Address::to_string),
        cause: cause.to_owned(),
        suppressed: line.is_active,
        count: line.count,
        at: line.at.to_string(),
        until: line.until.map(|until| until.to_string()),
        why: line.why.clone(),
    }
}
