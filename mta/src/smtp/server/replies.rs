//! What the server says. Texts are constants; enhanced codes are those of RFC 3463, RFC 5248 and RFC 4954.

use waypost_mail::{Address, EnhancedStatus, Issuer, Refusal, Reply};

use super::{Accepted, line::LineKind};
use crate::smtp::{command::CommandError, data::DataFault};

/// A reply that is always the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed(pub(super) u16, pub(super) EnhancedStatus, pub(super) &'static str);

impl From<Fixed> for Reply {
    fn from(Fixed(code, status, text): Fixed) -> Self {
        Self::new(code, status, text)
    }
}

impl From<Fixed> for Refusal {
    fn from(Fixed(code, status, text): Fixed) -> Self {
        Self::new(code, status, text)
    }
}

use EnhancedStatus as S;

pub(super) const GREETING: &str = "ESMTP Waypost";
pub(super) const LMTP_GREETING: &str = "LMTP Waypost";
pub(super) const START_INPUT: &str = "Start mail input; end with <CRLF>.<CRLF>";

const HELP_FORM: &str = "HELP and the name of a command tells how it is written";
pub(super) const START_TLS: Fixed = Fixed(220, S(2, 0, 0), "Ready to start TLS");
pub(super) const BYE: Fixed = Fixed(221, S(2, 0, 0), "Bye");
pub(super) const LOGGED_IN: Fixed = Fixed(235, S(2, 7, 0), "Authentication succeeded");
pub(super) const OK: Fixed = Fixed(250, S(2, 0, 0), "Ok");
pub(super) const SENDER_OK: Fixed = Fixed(250, S(2, 1, 0), "Sender ok");
pub(super) const RECIPIENT_OK: Fixed = Fixed(250, S(2, 1, 5), "Recipient ok");
pub(super) const CANNOT_VERIFY: Fixed =
    Fixed(252, S(2, 0, 0), "Cannot VRFY user, but will accept message and attempt delivery");

// A session is ended with 421 alone (RFC 5321 section 3.8).
pub(super) const SHUTTING_DOWN: Fixed =
    Fixed(421, S(4, 3, 2), "The server is shutting down, try again later");
pub(super) const INTERNAL: Fixed = Fixed(421, S(4, 3, 0), "Internal error, try again later");
pub(super) const TIMEOUT: Fixed = Fixed(421, S(4, 4, 2), "Timeout, closing the connection");
pub(super) const OVERRUN: Fixed =
    Fixed(421, S(4, 3, 4), "The message is far larger than this server takes, closing the connection");
pub(super) const TOO_MANY_ERRORS: Fixed = Fixed(421, S(4, 7, 0), "Too many errors, closing the connection");
pub(super) const TOO_MUCH_JUNK: Fixed =
    Fixed(421, S(4, 7, 0), "Too many commands that send no mail, closing the connection");
pub(super) const TOO_MANY_REFUSED: Fixed =
    Fixed(421, S(4, 7, 0), "Too many refused recipients, closing the connection");
pub(super) const LASTS_TOO_LONG: Fixed =
    Fixed(421, S(4, 7, 0), "The session lasts too long without a message, closing the connection");
/// The greeting of who spoke first, and what a client with strict pipelining sent on behind.
pub(super) const SPOKE_FIRST: Fixed =
    Fixed(421, S(4, 5, 1), "You spoke before the greeting (RFC 5321 section 3.1), closing the connection");
pub(super) const OUT_OF_TURN: Fixed =
    Fixed(421, S(4, 5, 0), "You did not wait for an answer (RFC 2920 section 3.1), closing the connection");
pub(super) const NO_XCLIENT: Fixed = Fixed(550, S(5, 7, 0), "XCLIENT is not for you");
pub(super) const XCLIENT_IN_TRANSACTION: Fixed =
    Fixed(503, S(5, 5, 1), "XCLIENT is not possible in a transaction");
pub(super) const TOO_MANY_RECIPIENTS: Fixed =
    Fixed(452, S(4, 5, 3), "Too many recipients, send the rest in another transaction");

pub(super) const BARE_LINE_FEED: Fixed = Fixed(500, S(5, 5, 2), "Lines end with CRLF, not with LF alone");
const LINE_TOO_LONG: Fixed = Fixed(500, S(5, 5, 2), "Line too long");
/// RFC 4954 section 6.
const AUTH_LINE_TOO_LONG: Fixed = Fixed(500, S(5, 5, 6), "Authentication exchange line is too long");
pub(super) const UNRECOGNIZED: Fixed = Fixed(500, S(5, 5, 2), "Command not recognized");
/// RFC 5321 section 2.4.
pub(super) const CHARACTERS: Fixed = Fixed(500, S(5, 5, 2), "Characters that may not stand in a command");
pub(super) const BAD_SENDER: Fixed = Fixed(501, S(5, 1, 7), "Bad sender address syntax");
pub(super) const BAD_RECIPIENT: Fixed = Fixed(501, S(5, 1, 3), "Bad recipient address syntax");
pub(super) const BAD_RESPONSE: Fixed = Fixed(501, S(5, 5, 2), "Cannot decode the response");
pub(super) const CHUNK_OF_UNKNOWN_SIZE: Fixed =
    Fixed(421, S(4, 5, 4), "BDAT needs the number of octets that follow, closing the connection");
pub(super) const CANCELLED: Fixed = Fixed(501, S(5, 7, 0), "Authentication cancelled");
pub(super) const NOT_IMPLEMENTED: Fixed = Fixed(502, S(5, 5, 1), "Command not implemented");
pub(super) const NO_STARTTLS: Fixed = Fixed(502, S(5, 5, 1), "TLS is not to be had here");
pub(super) const NO_LOGIN: Fixed = Fixed(502, S(5, 5, 1), "Login is not possible here");
pub(super) const HELLO_FIRST: Fixed = Fixed(503, S(5, 5, 1), "Send EHLO first");
pub(super) const MAIL_FIRST: Fixed = Fixed(503, S(5, 5, 1), "Send MAIL first");
pub(super) const IN_CHUNKS: Fixed =
    Fixed(503, S(5, 5, 1), "A message has begun with BDAT: the rest of it comes the same way");
/// RFC 3030 section 3.
pub(super) const BINARY_NEEDS_BDAT: Fixed =
    Fixed(503, S(5, 5, 1), "A message with BODY=BINARYMIME comes with BDAT, not with DATA");
pub(super) const NESTED_MAIL: Fixed = Fixed(503, S(5, 5, 1), "A transaction is open already");
pub(super) const AUTH_IN_TRANSACTION: Fixed = Fixed(503, S(5, 5, 1), "AUTH is not possible in a transaction");
pub(super) const LOGGED_IN_ALREADY: Fixed = Fixed(503, S(5, 5, 1), "Logged in already");
pub(super) const TLS_ALREADY: Fixed = Fixed(503, S(5, 5, 1), "TLS is on already");
pub(super) const NO_HELP: Fixed = Fixed(504, S(5, 5, 4), "There is no such command to tell of");
pub(super) const UNKNOWN_MECHANISM: Fixed = Fixed(504, S(5, 5, 4), "Unknown authentication mechanism");
pub(super) const LOGIN_FIRST: Fixed = Fixed(530, S(5, 7, 0), "Authentication required");
pub(super) const NO_FUTURE_RELEASE: Fixed = Fixed(
    555,
    S(5, 5, 4),
    "messages are not held here: HOLDFOR and HOLDUNTIL are for submission, where they are offered",
);
pub(super) const NO_SOLICIT: Fixed = Fixed(555, S(5, 5, 4), "SOLICIT is not offered here");
/// RFC 8689 section 2: it means something only in a session that is under TLS itself.
pub(super) const REQUIRETLS_NEEDS_TLS: Fixed =
    Fixed(530, S(5, 7, 10), "REQUIRETLS needs TLS here, too: use STARTTLS first");
pub(super) const TLS_FIRST: Fixed =
    Fixed(538, S(5, 7, 11), "Encryption required for authentication: use STARTTLS first");
pub(super) const SENDER_NEEDS_SMTPUTF8: Fixed =
    Fixed(550, S(5, 6, 7), "A sender address with UTF-8 needs SMTPUTF8");
pub(super) const TOO_LARGE: Fixed = Fixed(552, S(5, 3, 4), "The message is larger than this server takes");
pub(super) const RECIPIENT_NEEDS_SMTPUTF8: Fixed =
    Fixed(553, S(5, 6, 7), "A recipient address with UTF-8 needs SMTPUTF8");
pub(super) const NO_RECIPIENTS: Fixed = Fixed(554, S(5, 5, 1), "No valid recipients");
/// RFC 2033 section 4.2.
pub(super) const NO_RECIPIENTS_LMTP: Fixed = Fixed(503, S(5, 5, 1), "No valid recipients");
pub(super) const BARE_CR_IN_DATA: Fixed =
    Fixed(554, S(5, 6, 0), "The message holds a CR without LF: refused (RFC 5321 section 2.3.8)");
pub(super) const BARE_LF_IN_DATA: Fixed =
    Fixed(554, S(5, 6, 0), "The message holds a LF without CR: refused (RFC 5321 section 2.3.8)");
pub(super) const NUL_IN_DATA: Fixed = Fixed(554, S(5, 6, 0), "The message holds a NUL: refused");

/// The reply to a message that is ours. Where it is not as urgent as was asked for, the text begins with what it is (RFC 6710, status
/// X.3.6).
pub(super) fn accepted(Accepted { id, new_priority }: Accepted) -> Reply {
    match new_priority {
        None => Reply::new(250, S(2, 0, 0), format!("{id} accepted")),
        Some(priority) => Reply::new(
            250,
            S(2, 3, 6),
            format!("{priority} is the new priority of the message, {id} accepted"),
        ),
    }
}

/// The reply to VRFY of an address that exists.
pub(super) fn verified(address: &Address) -> Reply {
    Reply::new(250, S(2, 1, 5), format!("<{address}>"))
}

/// The reply to HELP: what there is, or how one command is written.
pub(super) fn help(commands: &[&str], form: Option<&str>) -> Reply {
    let lines = match form {
        Some(form) => vec![form.to_owned()],
        None => vec![format!("Commands: {}", commands.join(" ")), HELP_FORM.to_owned()],
    };
    Reply { code: 214, status: Some(S(2, 0, 0)), lines, issuer: Issuer::Here }
}

/// The reply to a line beyond its bound.
pub(super) fn line_too_long(kind: LineKind) -> Fixed {
    match kind {
        LineKind::Command => LINE_TOO_LONG,
        LineKind::Response => AUTH_LINE_TOO_LONG,
    }
}

/// The reply to a line that is no command we can obey.
pub(super) fn command_error(error: &CommandError) -> Reply {
    match error {
        CommandError::Unrecognized => UNRECOGNIZED.into(),
        CommandError::NotImplemented => NOT_IMPLEMENTED.into(),
        CommandError::Characters => CHARACTERS.into(),
        CommandError::NoHelp => NO_HELP.into(),
        CommandError::Chunk => CHUNK_OF_UNKNOWN_SIZE.into(),
        CommandError::Arguments(form) => Reply::new(501, S(5, 5, 4), format!("Syntax: {form}")),
        CommandError::ReversePath => BAD_SENDER.into(),
        CommandError::ForwardPath => BAD_RECIPIENT.into(),
        CommandError::UnknownParameter(name) => {
            Reply::new(555, S(5, 5, 4), format!("Unknown parameter {}", shown(name)))
        }
        CommandError::Parameter(name) => {
            Reply::new(501, S(5, 5, 4), format!("Bad or repeated parameter {name}"))
        }
    }
}

/// As much of a client's word as may stand in a reply, whose lines have 512 octets (RFC 5321 section 4.5.3.1.5).
fn shown(word: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 64;
    word.chars().take(SHOWN_CHARACTERS_MAX).collect()
}

/// The refusal of a message that cannot be taken as it is.
pub(super) fn data_fault(fault: DataFault) -> Refusal {
    match fault {
        DataFault::BareCarriageReturn => BARE_CR_IN_DATA.into(),
        DataFault::BareLineFeed => BARE_LF_IN_DATA.into(),
        DataFault::Nul => NUL_IN_DATA.into(),
        DataFault::TooLarge(_) => TOO_LARGE.into(),
    }
}
