//! What the machine is told at first, what it asks and is answered, and what it says at the end.

use bytes::Bytes;
use waypost_mail::Reply;
use waypost_net::TlsInfo;

use super::{Login, Octets, Outgoing};

/// Whether the connection is to be encrypted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Encryption {
    /// Never by STARTTLS.
    Never,
    /// Where it is offered.
    Offered,
    /// Or no mail is sent.
    Required,
}

/// How a session is led.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name for EHLO.
    pub hostname: String,
    /// Whether STARTTLS is wanted.
    pub encryption: Encryption,
    /// TLS that is on from the first octet.
    pub tls: Option<TlsInfo>,
    /// Login there.
    pub login: Option<Login>,
    /// Whether a login may go over this connection without TLS: only on loopback.
    pub login_in_clear: bool,
}

/// What the machine asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// The next message; with what came of the one before.
    NextMessage {
        /// `None` at the beginning.
        finished: Option<Finished>,
    },
    /// Which octets the message holds, because the server may not take all.
    Octets,
    /// The next octets of the message.
    NextChunk,
}

/// What the machine is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The next message; `None`: there is no more.
    Message(Option<Outgoing>),
    /// What the message holds.
    Octets(Octets),
    /// The next octets; empty: that was all.
    Chunk(Bytes),
    /// The message cannot be read (any more).
    Unreadable,
}

/// What a server tells the sender of a message that it has taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tells {
    /// What NOTIFY asks for (RFC 3461).
    pub dsn: bool,
    /// That it is overdue (RFC 2852).
    pub overdue: bool,
}

/// What came of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finished {
    /// What the server tells the sender from now on.
    pub tells: Tells,
    /// One reply for each recipient, in their order; of 2yz only where the server took the message for it.
    pub replies: Vec<Reply>,
    /// Version of TLS.
    pub tls: Option<String>,
}

/// How a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// It never came to a message; why.
    Refused(Reply),
    /// It did; with what came of the last one where [`Question::NextMessage`] did not tell it any more.
    Done(Option<Finished>),
}
