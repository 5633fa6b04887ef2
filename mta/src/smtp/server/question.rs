//! What the machine asks, and what it is told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use waypost_auth::sasl::{Claim, Found, Lookup, Offer};
use waypost_mail::{Address, Domain, EntryId, Refusal, ReversePath};
use waypost_net::TlsInfo;

use crate::smtp::{
    command::ClientName,
    parameters::{MailParameters, RcptParameters},
    path::ForwardPath,
    xclient::XClient,
};

/// What a session is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Mail from other servers.
    Relay,
    /// Mail from users (RFC 6409): login comes before MAIL.
    Submission,
    /// Mail for mailboxes here, from a program that keeps the queue (RFC 2033).
    Lmtp,
}

/// When a client may log in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthPolicy {
    /// Under TLS only.
    UnderTls,
    /// Also in plain text (loopback).
    Always,
    /// Never: users log in elsewhere.
    Never,
}

/// Whether a client can ask for TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartTls {
    /// It is offered, until TLS is on.
    Offered,
    /// It is not to be had.
    Absent,
}

/// What a session begins with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the session is called in the log; each refusal ends with it.
    pub session: EntryId,
    /// Our name.
    pub hostname: Domain,
    /// What the session is for.
    pub role: Role,
    /// Largest message in octets.
    pub message_size: u64,
    /// Most recipients of one message.
    pub recipients: usize,
    /// Whether TLS can be had later.
    pub starttls: StartTls,
    /// When logging in is possible.
    pub auth: AuthPolicy,
    /// By what logging in is possible; its channel is that of `tls`.
    pub offer: Offer,
    /// TLS that is on already.
    pub tls: Option<Arc<TlsInfo>>,
    /// The longest time for which a message can be held, in seconds, and until when that is, as EHLO says it; `None`: not at all.
    pub future_release: Option<String>,
    /// Kinds of solicitations that are not wanted, as EHLO says them (RFC 3865 section 2.1); `None`: nothing is said.
    pub no_soliciting: Option<Box<str>>,
    /// What is demanded of the client, and believed.
    pub manners: Manners,
}

/// What is demanded of a client beyond the order of commands, and what is believed of it; the default is nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Manners {
    /// The greeting waits so long, and who speaks before it is refused; `None`: it is said at once.
    pub greeting_delay: Option<Duration>,
    /// What comes behind a command that must be the last of its group (RFC 2920 section 3.1) before the answer ends the session. Without
    /// EHLO there are no groups: each command, and the end of a message, is to be waited for.
    pub strict_pipelining: bool,
    /// The client may say whom it speaks for.
    pub xclient: bool,
    /// VRFY tells users who have logged in whether an address is one.
    pub vrfy: bool,
}

/// How the client greeted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `HELO`: no extensions.
    Smtp,
    /// `EHLO`
    Esmtp,
    /// `LHLO`: extensions, and a reply for each recipient at the end.
    Lmtp,
}

impl Dialect {
    /// Whether it has extensions.
    pub fn is_extended(self) -> bool {
        self != Self::Smtp
    }
}

/// Who the client says it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// Its name.
    pub name: ClientName<'static>,
    /// How it greeted.
    pub dialect: Dialect,
}

/// Whether someone has logged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Login {
    /// Nobody, or TLS began since.
    Anonymous,
    /// The last [`Question::Authenticate`] that was answered with [`Answer::Done`] holds.
    Authenticated,
}

/// A transaction that begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// Who sends.
    pub client: Client,
    /// TLS of the connection.
    pub tls: Option<Arc<TlsInfo>>,
    /// Whether someone has logged in.
    pub login: Login,
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// What MAIL declares.
    pub parameters: MailParameters,
}

/// What the machine asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// What does an exchange go on with? Answer: [`Answer::Found`], or a refusal.
    LookUp(Lookup),
    /// Is the claim good?
    Authenticate(Claim),
    /// The session is one of this client from now on. All that was before is forgotten; a login is checked.
    XClient(Box<XClient>),
    /// Is there such an address? Answer: [`Answer::Done`], [`Answer::CannotTell`], or a refusal.
    Verify(Address),
    /// May this transaction begin? An earlier one that was not ended is forgotten.
    Mail(Box<Mail>),
    /// May this be a recipient?
    Recipient(ForwardPath, Box<RcptParameters>),
    /// Take these octets of the message. After a refusal no more come; it is given back with [`Question::DataEnd`].
    Chunk(Bytes),
    /// The message is complete: take it, or, where it was found wrong, confirm the refusal. The transaction is over.
    DataEnd(Result<(), Refusal>),
}

/// A message that is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// Its name.
    pub id: EntryId,
    /// How urgent it is, where that is not what was asked for (RFC 6710).
    pub new_priority: Option<i8>,
}

/// What the machine is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Yes.
    Done,
    /// Yes, to [`Question::DataEnd`]: the message is ours.
    Accepted(Accepted),
    /// What [`Question::LookUp`] asked for.
    Found(Box<Found>),
    /// To [`Question::Verify`]: its mail is taken, but whether it exists others know.
    CannotTell,
    /// No. With code 421 the session ends.
    Refused(Refusal),
}
