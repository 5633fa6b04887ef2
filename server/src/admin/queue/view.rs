//! What is shown of the queue.

use serde::{Deserialize, Serialize};

/// A message of the queue in a listing. Times are RFC 3339.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct QueueLine {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub accepted: String,
    /// Octets.
    pub size: u64,
    /// Sender; empty: a notification.
    pub from: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, if its destination takes mail then.
    pub next_attempt: String,
    /// Whether that time has come.
    pub due: bool,
    /// Since when and why it is held; then it is not tried.
    pub held: Option<HeldLine>,
    /// Recipients that are still open, with what was said last.
    pub recipients: Vec<RecipientLine>,
}

/// A hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HeldLine {
    /// Since when.
    pub since: String,
    /// Why.
    pub why: String,
}

/// One recipient.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RecipientLine {
    /// The address.
    pub address: String,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// Its destination: the domain whose mail exchangers are asked, the next hop, or `here`.
    pub destination: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next; `None` where it is not.
    pub next_attempt: Option<String>,
    /// What was said at the last try, and by whom; empty before it.
    pub last_reply: String,
    /// Whether its destination is paused.
    pub paused: bool,
    /// What is with its destination, if that takes nothing. It stands for what waits, too.
    pub resting: Option<RestLine>,
}

/// A destination that takes nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RestLine {
    /// When it is tried again.
    pub until: String,
    /// How often in a row it was tried in vain.
    pub failures: u32,
    /// Who was asked last and what was said, or what happened.
    pub last_reply: String,
}

/// One destination.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DestinationLine {
    /// Its name, as `pause` takes it.
    pub destination: String,
    /// What the senders of its messages wish of TLS, which have a line of their own: `REQUIRETLS` or `TLS-Required: No`.
    pub wish: Option<String>,
    /// Messages that wait; `None` where they were not counted.
    pub waiting: Option<u64>,
    /// How many of those are due.
    pub due: Option<u64>,
    /// Connections now; `None` without a running server.
    pub connections: Option<u64>,
    /// Most connections now; `None` without a running server.
    pub window: Option<u64>,
    /// Whether it is paused.
    pub paused: bool,
    /// Until when it rests, if it takes nothing.
    pub resting: Option<RestLine>,
    /// The last loss of its TLS since the server's start, where there was one.
    pub tls_lost: Option<TlsLostLine>,
}

/// TLS of a domain that was good for weeks, and then was not.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TlsLostLine {
    /// When.
    pub at: String,
    /// The server.
    pub host: String,
    /// What was lost.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// All about one message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// What it is; `None`: it has left the queue.
    pub message: Option<MessageView>,
    /// What it was; `None`: it is in the queue, or the record of how it came there is gone.
    pub gone: Option<GoneView>,
    /// Where its open recipients are, as it is there now.
    pub destinations: Vec<DestinationLine>,
    /// What happened to it, as far back as there are records.
    pub history: Vec<HistoryLine>,
}

/// A message that is in the queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MessageView {
    /// As in a listing, with all its recipients.
    #[serde(flatten)]
    pub line: QueueLine,
    /// How urgent it is, from -9 to 9.
    pub priority: i8,
    /// It was to be sent no earlier.
    pub not_before: Option<String>,
    /// By when its sender wants it delivered.
    pub deliver_by: Option<String>,
    /// Whether it comes back then; else its sender is told.
    pub return_overdue: bool,
    /// Whether it goes only where TLS is sure.
    pub require_tls: bool,
    /// What its sender calls it.
    pub envelope_id: Option<String>,
}

/// A message that has left the queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GoneView {
    /// When it was accepted.
    pub accepted: String,
    /// Sender; empty: a notification.
    pub from: String,
    /// All its recipients, with what came of them.
    pub recipients: Vec<GoneRecipientLine>,
}

/// A recipient of a message that has left the queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GoneRecipientLine {
    /// The address.
    pub address: String,
    /// `delivered`, `failed`, or `removed`: it was still open when the message was taken out.
    pub state: String,
    /// How often it was tried.
    pub tries: u32,
    /// What was said at the last try, and by whom; empty where there was none.
    pub last_reply: String,
}

/// Something that happened to a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum HistoryLine {
    /// It came into the queue.
    Queued {
        /// When.
        at: String,
        /// When it was due first.
        next_attempt: String,
        /// Why it was held from the start, if it was.
        held: Option<String>,
    },
    /// It was tried.
    Attempted {
        /// When.
        at: String,
        /// What came of it.
        outcomes: Vec<OutcomeLine>,
        /// When those that were deferred are tried next; `None`: there are none.
        next_attempt: Option<String>,
        /// Whether the sender was told that it is late.
        warned: bool,
        /// What was said with servers that did not take it.
        dialogues: Vec<DialogueLine>,
    },
    /// It was made due at another time.
    Rescheduled {
        /// When, where that is known.
        at: Option<String>,
        /// Due then.
        next_attempt: String,
    },
    /// It was held.
    Held {
        /// When.
        at: String,
        /// Why.
        why: String,
    },
    /// It was released.
    Released {
        /// When.
        at: String,
    },
    /// Reports of other servers came back for it.
    Reported {
        /// When.
        at: String,
        /// What they say, for each recipient.
        reports: Vec<ReportLine>,
    },
    /// It left the queue.
    Left {
        /// When it was taken out by hand; `None`: all its recipients were settled.
        removed: Option<String>,
    },
}

/// What another server reports.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReportLine {
    /// The recipient, as the report writes it; empty where it does not say.
    pub recipient: String,
    /// `failed`, `delayed`, …, or `complaint: abuse`.
    pub what: String,
    /// The enhanced status.
    pub status: Option<String>,
    /// What was said.
    pub said: Option<String>,
}

/// What came of a try for one recipient.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OutcomeLine {
    /// Its address; `recipient 1` where the record of how the message came into the queue is gone.
    pub recipient: String,
    /// `delivered`, `deferred` or `failed`.
    pub outcome: String,
    /// The server: name and address; empty where none could be asked.
    pub peer: String,
    /// Whether the reply is this server's: what it found out of the other one, or without it.
    #[serde(default)]
    pub ours: bool,
    /// What the server said, line by line, or what happened.
    pub reply: Vec<String>,
}

/// What was said with one server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DialogueLine {
    /// When it began.
    pub at: String,
    /// The server: name and address.
    pub peer: String,
    /// TLS: version, cipher suite, and whether the certificate was verified; `None`: there was none.
    pub tls: Option<String>,
    /// Which TLS was wanted and why.
    pub policy: String,
    /// `S: ` the server's lines, `C: ` ours, `*: ` what happened.
    pub lines: Vec<String>,
}
