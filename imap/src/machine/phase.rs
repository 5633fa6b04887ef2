//! Where a session stands: its state towards the client, and what it does right now.

use waypost_auth::sasl::{Claim, Exchange};

use super::{
    append::{Next, Rest},
    framing::{Framing, Skipping},
    obey::UTF8_ACCEPT,
    questions::{NewState, Ran},
};
use crate::wire::{Behind, CommandBody};

/// The states of RFC 9051 section 3 (*logout* is [`Phase::Closed`]).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Before login.
    NotAuthenticated,
    /// Logged in, no mailbox selected.
    Authenticated,
    /// A mailbox is selected.
    Selected,
}

impl From<NewState> for State {
    fn from(state: NewState) -> Self {
        match state {
            NewState::Authenticated => Self::Authenticated,
            NewState::Selected => Self::Selected,
        }
    }
}

impl State {
    /// Whether a command is legal here; why not.
    pub(super) fn allows(self, body: &CommandBody) -> Result<(), &'static str> {
        match (body, self) {
            (CommandBody::Capability | CommandBody::Noop | CommandBody::Logout | CommandBody::Id(_), _) => {
                Ok(())
            }
            (
                CommandBody::StartTls
                | CommandBody::Authenticate(..)
                | CommandBody::Login(..)
                | CommandBody::LoginOctets,
                state,
            ) => match state {
                Self::NotAuthenticated => Ok(()),
                _ => Err("already logged in"),
            },
            (_, Self::NotAuthenticated) => Err("log in first"),
            (CommandBody::Append(append), Self::Authenticated) if append.replaced.is_some() => {
                Err("select a mailbox first")
            }
            // RFC 6855 section 3.
            (CommandBody::Enable(names), Self::Selected) if names.iter().any(|name| name == UTF8_ACCEPT) => {
                Err("UTF8=ACCEPT is enabled before a mailbox is selected")
            }
            (
                CommandBody::Check
                | CommandBody::Close
                | CommandBody::Unselect
                | CommandBody::Expunge(_)
                | CommandBody::Search(..)
                | CommandBody::Fetch(..)
                | CommandBody::Store(..)
                | CommandBody::Copy(..)
                | CommandBody::UidBatches(_)
                | CommandBody::Move(..),
                Self::Authenticated,
            ) => Err("select a mailbox first"),
            _ => Ok(()),
        }
    }
}

/// How a command is answered.
#[derive(Debug)]
pub(super) struct Reply {
    /// The command's tag; `*` where it had none.
    pub(super) tag: String,
    pub(super) ran: Ran,
}

impl Reply {
    /// For a command whose tag may be missing.
    pub(super) fn new(tag: Option<String>, ran: Ran) -> Self {
        Self { tag: tag.unwrap_or_else(|| "*".to_owned()), ran }
    }
}

/// What the session does right now.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing has been said.
    Greeting,
    /// A command arrives.
    Command(Framing),
    /// The rest of a refused command is thrown away; then it is answered.
    Skip(Skipping, Reply),
    /// A response in an AUTHENTICATE exchange arrives.
    Sasl { tag: String, exchange: Exchange },
    /// An exchange is over; what it came to is to be judged.
    Claiming { tag: String, claim: Claim },
    /// Octets of a message of an APPEND arrive; so many are missing.
    AppendMessage { tag: String, left: u64, behind: Behind },
    /// An APPEND goes on.
    AppendPiece { tag: String, framing: Framing, behind: Behind },
    /// All of an APPEND is there.
    AppendOver { tag: String },
    /// The client idles.
    Idle { tag: String },
    /// A question is open.
    Asked(Asked),
    /// TLS begins.
    StartTls,
    /// Compression ends.
    StopCompression,
    /// The session is over.
    Closed,
}

/// What was asked, and for which command.
#[derive(Debug)]
pub(super) enum Asked {
    LookUp { tag: String, exchange: Exchange },
    Login { tag: String },
    Run { tag: String },
    AppendPiece { tag: String, next: Next },
    AppendChunk { tag: String, left: u64, behind: Behind },
    AppendEnd { tag: String },
    AppendAbort { reply: Reply, rest: Rest },
    IdleStart { tag: String },
    Unauthenticate { tag: String },
}
