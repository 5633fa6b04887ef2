//! What the machine asks its handler, and what it is told.

use bytes::Bytes;
use waypost_auth::sasl::{Claim, Found, Lookup};

use crate::wire::{Append, AppendPiece, Command, encode::Status};

/// What the machine asks. One question is open at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// AUTHENTICATE: what does the exchange go on with? Answer: [`Answer::Found`], or [`Answer::Ran`] as the refusal.
    LookUp(Lookup),
    /// LOGIN or AUTHENTICATE: is the claim good? Answer: [`Answer::Ran`], with [`NewState::Authenticated`] where it is. The
    /// machine adds the capabilities to the answer.
    Login(Claim),
    /// A command that is legal in the state. Asked only after login, and never for CAPABILITY, ID, LOGIN, AUTHENTICATE,
    /// STARTTLS, COMPRESS, LOGOUT, UNAUTHENTICATE, IDLE, APPEND and REPLACE, which have questions of their own or none. Untagged responses go to the output
    /// directly; answer: [`Answer::Ran`].
    Run(Command),
    /// APPEND or REPLACE, up to the first octets of a message that it brings. Answer: [`Answer::Go`], or [`Answer::Ran`] as the refusal: the rest is skipped
    /// then, and no other question about the command follows.
    AppendStart(Append),
    /// What follows octets of a message, up to those of the next one. Answer: as that of [`Question::AppendStart`].
    AppendPiece(AppendPiece),
    /// Octets of a message. Answer: as that of [`Question::AppendStart`].
    AppendChunk(Bytes),
    /// The command is complete. Answer: [`Answer::Ran`].
    AppendEnd,
    /// The command went wrong behind octets of a message: forget all its messages. Answer: [`Answer::Go`].
    AppendAbort,
    /// IDLE begins; pending updates may go to the output. Answer: [`Answer::Go`], after which the handler's `event` is waited
    /// for until the next question; or [`Answer::Ran`] as the refusal.
    IdleStart,
    /// UNAUTHENTICATE: forget the user. Answer: [`Answer::Go`].
    Unauthenticate,
}

/// What the handler answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Go on.
    Go,
    /// What [`Question::LookUp`] asked for.
    Found(Box<Found>),
    /// The command is over: what its tagged response says.
    Ran(Ran),
    /// The session is over; why. (`* BYE`)
    Bye(String),
}

/// How a command ended. The machine adds the tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ran {
    /// OK, NO or BAD.
    pub status: Status,
    /// What stands in brackets, without them: `TRYCREATE`, `APPENDUID 7 12` (RFC 5530, RFC 4315).
    pub code: Option<String>,
    /// For people.
    pub text: String,
    /// The state that the session is in now; `None`: as before.
    pub state: Option<NewState>,
}

impl Ran {
    /// `OK`, state as before.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { status: Status::Ok, code: None, text: text.into(), state: None }
    }

    /// `NO`, state as before.
    pub fn no(text: impl Into<String>) -> Self {
        Self { status: Status::No, ..Self::ok(text) }
    }

    /// `BAD`, state as before.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { status: Status::Bad, ..Self::ok(text) }
    }

    /// With a response code, given without its brackets.
    #[must_use]
    pub fn with_code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// With a new state.
    #[must_use]
    pub fn with_state(self, state: NewState) -> Self {
        Self { state: Some(state), ..self }
    }
}

/// A state that a command leads to (RFC 9051 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NewState {
    /// Logged in, no mailbox selected: after login, CLOSE, UNSELECT, and a SELECT that failed.
    Authenticated,
    /// A mailbox is selected.
    Selected,
}

/// What may happen in IDLE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Complete untagged responses, to be sent as they are.
    Updates(Bytes),
    /// The session is over; why. (`* BYE`)
    Bye(String),
}
