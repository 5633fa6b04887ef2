//! What the machine is told at first, what it asks and is answered, and what it says at the end.

use bytes::Bytes;
use waypost_mail::Reply;
use waypost_net::TlsInfo;

use super::{Login, Octets, Outgoing, Said};

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// SMTP.
    #[default]
    Smtp,
    /// LMTP (RFC 2033): LHLO, and at the end of the data an answer for each recipient.
    Lmtp,
}

impl std::fmt::Display for Protocol {
    /// `smtp`, `lmtp`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
        })
    }
}

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

impl std::fmt::Display for Encryption {
    /// What is wanted, in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Never => "no TLS",
            Self::Offered => "TLS where it is offered, by any certificate",
            Self::Required => "TLS with a certificate that is verified, or no mail",
        })
    }
}

/// How a session is led.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name for EHLO.
    pub hostname: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether STARTTLS is wanted.
    pub encryption: Encryption,
    /// TLS that is on from the first octet.
    pub tls: Option<TlsInfo>,
    /// Login there.
    pub login: Option<Login>,
    /// Whether a login may go over this connection without TLS: only on loopback.
    pub login_in_clear: bool,
    /// Our part of the nonce of SCRAM: `printable`, random, never the same twice. Empty: there is none, and no SCRAM.
    pub nonce: String,
}

/// What the machine asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// The next message; with what came of the one before.
    NextMessage {
        /// `None` at the beginning.
        finished: Option<Finished>,
    },
    /// Nothing but that it is heard: the server takes no more messages over this connection.
    LastFinished {
        /// What came of the last one.
        finished: Finished,
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
    /// It was heard.
    Heard,
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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Finished {
    /// What the server tells the sender from now on.
    pub tells: Tells,
    /// One reply for each recipient, in their order; of 2yz only where the server took the message for it.
    pub replies: Vec<Reply>,
    /// Recipients, by their places, that this transaction was not for, because the server wants fewer in one (RFC 9422, RFC 5321
    /// section 4.5.3.1.10) or had had its messages over this connection: nothing speaks against sending them the message at once. Their
    /// replies are temporary ones that say so. Whoever sends at once comes to an end: each transaction that leaves some open settles
    /// others, or the connection has settled those of a message before.
    pub unsent: Vec<usize>,
    /// The server closed the connection after other messages, without a word, when this one was on its way with its envelope: all its
    /// recipients are unsent. Nobody knows whether it was read, so that this must not happen again and again: see
    /// [`Outgoing::may_go_along`].
    pub hung_up: bool,
    /// Version of TLS.
    pub tls: Option<String>,
    /// What was said, where the message was not taken for all of them.
    pub said: Option<Said>,
}

/// How a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// It never came to a message; why, and what was said.
    Refused(Reply, Said),
    /// It did; with what came of the last one where [`Question::NextMessage`] did not tell it any more.
    Done(Option<Finished>),
}
