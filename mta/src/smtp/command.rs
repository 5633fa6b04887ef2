//! Commands of a client (RFC 5321 section 4.1.1), STARTTLS (RFC 3207), AUTH (RFC 4954 section 4), BDAT (RFC 3030 section 2), LHLO (RFC 2033
//! section 4.1).
//!
//! More is taken than the grammar allows in two places, because clients do it: one space between the colon and the path
//! (`MAIL FROM: <a@b.test>`), and white space at the end of a line (RFC 5321 section 4.1.1 asks for the latter).

use std::borrow::Cow;

use nom::{
    Finish, IResult, Parser,
    bytes::complete::{tag_no_case, take_while1},
    character::complete::char,
    combinator::{all_consuming, map, opt, rest, verify},
    sequence::{pair, preceded, terminated},
};
use waypost_mail::{AddressRef, DomainRef, ReversePath};

use super::{
    parameters::{MailParameters, RcptParameters},
    path::{ForwardPath, forward_path, reverse_path},
    xclient::{self, XClient},
};

/// Longest name that a client may call itself, in octets (RFC 5321 section 4.5.3.1.2).
pub const CLIENT_NAME_BYTES_MAX: usize = 255;

/// One command. Addresses and names are borrowed from its line; whoever keeps them makes them [`Address`](waypost_mail::Address)es and names
/// of their own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command<'a> {
    /// `EHLO`
    Ehlo(ClientName<'a>),
    /// `HELO`
    Helo(ClientName<'a>),
    /// `LHLO`
    Lhlo(ClientName<'a>),
    /// `MAIL`
    Mail(ReversePath<AddressRef<'a>>, MailParameters),
    /// `RCPT`
    Rcpt(ForwardPath<AddressRef<'a>>, RcptParameters),
    /// `DATA`
    Data,
    /// `BDAT`: that many octets follow at once.
    Bdat {
        /// Octets in the chunk.
        octets: u64,
        /// Whether the message ends with it.
        last: bool,
    },
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// `VRFY`; the address that it names, if it is one.
    Vrfy(Option<AddressRef<'a>>),
    /// `HELP`; the form of the command that it names.
    Help(Option<&'static str>),
    /// `STARTTLS`
    StartTls,
    /// `XCLIENT`
    XClient(Box<XClient>),
    /// `AUTH`
    Auth {
        /// Name of the mechanism.
        mechanism: &'a str,
        /// Initial response in base 64; `=` stands for an empty one.
        initial: Option<&'a str>,
    },
}

/// What a client calls itself: visible ASCII that can stand in a Received field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientName<'a>(Cow<'a, str>);

impl<'a> ClientName<'a> {
    /// Takes a domain (U-labels are converted), an address literal, or what else clients say; `None` for what could break
    /// a header field or a log line.
    pub fn new(text: &'a str) -> Option<Self> {
        if let Ok(domain) = DomainRef::new(text) {
            return Some(Self(domain.into_text()));
        }
        let plain = |b: u8| b.is_ascii_graphic() && !b"()<>\\\";,".contains(&b);
        let valid = !text.is_empty() && text.len() <= CLIENT_NAME_BYTES_MAX && text.bytes().all(plain);
        valid.then_some(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// To be kept.
    pub fn into_owned(self) -> ClientName<'static> {
        ClientName(Cow::Owned(self.0.into_owned()))
    }
}

/// Why a line is no command that we can obey.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("not a command")]
    Unrecognized,
    /// A command that exists and that we do not have.
    #[error("not implemented")]
    NotImplemented,
    /// Octets that may not stand in a command: controls, or no UTF-8.
    #[error("characters that may not stand in a command")]
    Characters,
    /// The arguments are wrong; what they look like.
    #[error("{0}")]
    Arguments(&'static str),
    /// HELP with something that is no command.
    #[error("no help on that")]
    NoHelp,
    /// BDAT without a size: nobody knows where the next command begins.
    #[error("a chunk of unknown size")]
    Chunk,
    /// The path of MAIL.
    #[error("no reverse path")]
    ReversePath,
    /// The path of RCPT.
    #[error("no forward path")]
    ForwardPath,
    /// A parameter that we do not know.
    #[error("unknown parameter {0}")]
    UnknownParameter(String),
    /// A parameter with a wrong value, or that stands there twice.
    #[error("bad parameter {0}")]
    Parameter(&'static str),
}

const EHLO: &str = "EHLO domain";
const HELO: &str = "HELO domain";
const LHLO: &str = "LHLO domain";
const MAIL: &str = "MAIL FROM:<address> [parameters]";
const RCPT: &str = "RCPT TO:<address> [parameters]";
const BDAT: &str = "BDAT octets [LAST]";
const VRFY: &str = "VRFY address";
const AUTH: &str = "AUTH mechanism [initial-response]";
const XCLIENT: &str = xclient::FORM;
const NO_ARGUMENTS: &str = "the command takes no arguments";

/// How each command is written.
const FORMS: [&str; 15] = [
    EHLO,
    HELO,
    LHLO,
    MAIL,
    RCPT,
    "DATA",
    BDAT,
    "RSET",
    "NOOP",
    "QUIT",
    VRFY,
    "HELP [command]",
    "STARTTLS",
    AUTH,
    XCLIENT,
];

/// Commands that exist and that we do not have.
const NOT_IMPLEMENTED: [&str; 8] = ["EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "BURL"];

/// Names of all commands, those that we have in the order of [`FORMS`], then the others.
static VERBS: [&str; FORMS.len() + NOT_IMPLEMENTED.len()] = [
    "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "HELP",
    "STARTTLS", "AUTH", "XCLIENT", "EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "BURL",
];

/// The name of a command: a word of ours. Of the client's words, which may be secret, nothing is in it. As small as it can be: each session
/// holds one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verb(&'static &'static str);

impl Verb {
    /// What a line begins with, whatever is wrong with the rest; `None`: no command has that name.
    pub fn of(line: &[u8]) -> Option<Self> {
        let word = line.split(|octet| *octet == b' ').next()?.trim_ascii_end();
        VERBS.iter().find(|verb| verb.as_bytes().eq_ignore_ascii_case(word)).map(Self)
    }

    /// The name in capitals.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// Longest verb in octets.
const VERB_BYTES_MAX: usize = 8;

impl<'a> Command<'a> {
    /// Reads a line without its CRLF.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::Characters)?;
        let text = text.trim_end_matches([' ', '\t']);
        let end = text.find(' ').unwrap_or(text.len());
        let (verb, arguments) = text.split_at(end);
        if has_controls(text) {
            return Err(CommandError::Characters);
        }
        // On the stack: a line that is a command costs no more memory than what it says.
        let mut capitals = [0; VERB_BYTES_MAX];
        let Some(capitals) = capitals.get_mut(..verb.len()) else { return Err(CommandError::Unrecognized) };
        capitals.copy_from_slice(verb.as_bytes());
        capitals.make_ascii_uppercase();
        match &*capitals {
            b"EHLO" => complete(client_name, arguments, EHLO).map(Self::Ehlo),
            b"HELO" => complete(client_name, arguments, HELO).map(Self::Helo),
            b"LHLO" => complete(client_name, arguments, LHLO).map(Self::Lhlo),
            b"MAIL" => mail(arguments),
            b"RCPT" => rcpt(arguments),
            b"DATA" => without_arguments(arguments, Self::Data),
            b"BDAT" => complete(bdat, arguments, BDAT).map_err(|_| CommandError::Chunk),
            b"RSET" => without_arguments(arguments, Self::Rset),
            b"QUIT" => without_arguments(arguments, Self::Quit),
            b"STARTTLS" => without_arguments(arguments, Self::StartTls),
            b"XCLIENT" => match XClient::parse(arguments) {
                Some(client) => Ok(Self::XClient(Box::new(client))),
                None => Err(CommandError::Arguments(XCLIENT)),
            },
            b"NOOP" => Ok(Self::Noop),
            b"HELP" => help(arguments),
            b"VRFY" => complete(vrfy, arguments, VRFY),
            b"AUTH" => complete(auth, arguments, AUTH),
            verb if NOT_IMPLEMENTED.iter().any(|name| name.as_bytes() == verb) => {
                Err(CommandError::NotImplemented)
            }
            _ => Err(CommandError::Unrecognized),
        }
    }
}

/// ASCII is looked at octet by octet, which is faster.
fn has_controls(text: &str) -> bool {
    text.bytes().any(|octet| octet.is_ascii_control())
        || !text.is_ascii() && text.chars().any(char::is_control)
}

fn complete<'a, T>(
    rule: impl Fn(&'a str) -> IResult<&'a str, T>,
    arguments: &'a str,
    form: &'static str,
) -> Result<T, CommandError> {
    let parsed = all_consuming(rule).parse(arguments).finish();
    parsed.map(|(_, value)| value).map_err(|_| CommandError::Arguments(form))
}

fn without_arguments<'a>(arguments: &str, command: Command<'a>) -> Result<Command<'a>, CommandError> {
    if arguments.is_empty() { Ok(command) } else { Err(CommandError::Arguments(NO_ARGUMENTS)) }
}

/// `SP ( Domain / address-literal )`, or what else makes a [`ClientName`]
fn client_name(input: &str) -> IResult<&str, ClientName<'_>> {
    nom::combinator::map_opt(preceded(char(' '), rest), ClientName::new).parse(input)
}

/// `mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF`
fn mail(arguments: &str) -> Result<Command<'_>, CommandError> {
    let path = after(from, arguments, MAIL)?;
    let (parameters, path) = reverse_path(path).map_err(|_| CommandError::ReversePath)?;
    Ok(Command::Mail(path, MailParameters::read(parameters, MAIL)?))
}

/// `rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF`
fn rcpt(arguments: &str) -> Result<Command<'_>, CommandError> {
    let path = after(to, arguments, RCPT)?;
    let (parameters, path) = forward_path(path).map_err(|_| CommandError::ForwardPath)?;
    Ok(Command::Rcpt(path, RcptParameters::read(parameters, RCPT)?))
}

fn after<'a>(
    rule: impl Fn(&'a str) -> IResult<&'a str, &'a str>,
    arguments: &'a str,
    form: &'static str,
) -> Result<&'a str, CommandError> {
    rule(arguments).map(|(path, _)| path).map_err(|_| CommandError::Arguments(form))
}

/// `SP "FROM:"`, and one space that many clients send
fn from(input: &str) -> IResult<&str, &str> {
    terminated(tag_no_case(" FROM:"), opt(char(' '))).parse(input)
}

/// `SP "TO:"`, and one space that many clients send
fn to(input: &str) -> IResult<&str, &str> {
    terminated(tag_no_case(" TO:"), opt(char(' '))).parse(input)
}

/// `bdat-cmd = "BDAT" SP chunk-size [SP end-marker]` (RFC 3030 section 2)
fn bdat(input: &str) -> IResult<&str, Command<'_>> {
    let size = verify(take_while1(|c: char| c.is_ascii_digit()), |digits: &str| digits.len() <= 20);
    let parts = pair(preceded(char(' '), size), opt(tag_no_case(" LAST")));
    map(parts, |(octets, last): (&str, Option<&str>)| Command::Bdat {
        octets: octets.parse().unwrap_or(u64::MAX),
        last: last.is_some(),
    })
    .parse(input)
}

/// `vrfy = "VRFY" SP String CRLF`; of strings only addresses are looked at, with or without angle brackets
fn vrfy(input: &str) -> IResult<&str, Command<'_>> {
    let string = verify(preceded(char(' '), rest), |text: &str| !text.is_empty());
    map(string, |text: &str| {
        let bare = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        Command::Vrfy(AddressRef::parse(bare).ok())
    })
    .parse(input)
}

/// `help = "HELP" [ SP String ] CRLF`; the string is the name of a command
fn help(arguments: &str) -> Result<Command<'_>, CommandError> {
    let topic = arguments.trim_start();
    let found =
        FORMS.iter().find(|form| form.split(' ').next().is_some_and(|verb| verb.eq_ignore_ascii_case(topic)));
    match (topic, found) {
        ("", _) => Ok(Command::Help(None)),
        (_, Some(form)) => Ok(Command::Help(Some(form))),
        (_, None) => Err(CommandError::NoHelp),
    }
}

/// `auth-command = "AUTH" SP sasl-mech [SP initial-response] *(CRLF [base64]) [CRLF cancel-response] CRLF`, its first line
fn auth(input: &str) -> IResult<&str, Command<'_>> {
    let parts = pair(preceded(char(' '), visible), opt(preceded(char(' '), visible)));
    map(parts, |(mechanism, initial)| Command::Auth { mechanism, initial }).parse(input)
}

/// What the SASL exchange will judge: the mechanism's name, `initial-response = base64 / "="`
fn visible(input: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_ascii_graphic()).parse(input)
}

#[cfg(test)]
mod tests {
    use waypost_mail::{
        BodyType, EnvelopeId, Notify, OriginalRecipient, ReturnContent, Solicitation, Wishes,
    };

    use super::*;

    fn path(text: &str) -> ReversePath<AddressRef<'_>> {
        ReversePath::Address(AddressRef::parse(text).unwrap())
    }

    fn name(text: &str) -> ClientName<'_> {
        ClientName::new(text).unwrap()
    }

    #[test]
    fn the_verb_of_a_line_is_a_word_of_ours() {
        let of = |line: &[u8]| Verb::of(line).map(Verb::name);
        let words = FORMS.iter().map(|form| form.split(' ').next().unwrap()).chain(NOT_IMPLEMENTED);
        assert_eq!(words.collect::<Vec<_>>(), VERBS);
        for word in VERBS {
            for line in [word.to_owned(), word.to_lowercase(), format!("{word}\t"), format!("{word} x \u{1}")]
            {
                assert_eq!(of(line.as_bytes()), Some(word), "{line}");
            }
        }
        for line in [&b""[..], b" NOOP", b"NOOPX", b"NOO", b"c2VjcmV0", b"NOOP:x", b"\xff"] {
            assert_eq!(of(line), None, "{line:?}");
        }
    }

    fn rcpt_to(text: &str) -> Command<'_> {
        Command::Rcpt(ForwardPath::Address(AddressRef::parse(text).unwrap()), RcptParameters::default())
    }

    #[test]
    fn commands_are_read() {
        let plain = MailParameters::default();
        let mail = |path, parameters: &MailParameters| Command::Mail(path, parameters.clone());
        let auth = |mechanism, initial| Command::Auth { mechanism, initial };
        for (line, command) in [
            ("EHLO mx.test", Command::Ehlo(name("mx.test"))),
            ("ehlo [192.0.2.1]", Command::Ehlo(name("[192.0.2.1]"))),
            ("EHLO [IPv6:2001:db8::1]", Command::Ehlo(name("[IPv6:2001:db8::1]"))),
            ("EHLO my_machine:local", Command::Ehlo(name("my_machine:local"))),
            ("HELO localhost", Command::Helo(name("localhost"))),
            ("MAIL FROM:<>", mail(ReversePath::Null, &plain)),
            ("mail from:<a@b.test>  ", mail(path("a@b.test"), &plain)),
            ("MAIL FROM: <a@b.test>", mail(path("a@b.test"), &plain)),
            (
                "MAIL FROM:<a@b.test> SIZE=0",
                mail(path("a@b.test"), &MailParameters { size: Some(0), ..plain.clone() }),
            ),
            (
                "MAIL FROM:<a@b.test> size=99999999999999999999 BODY=8bitmime SMTPUTF8 AUTH=<>",
                mail(
                    path("a@b.test"),
                    &MailParameters {
                        size: Some(u64::MAX),
                        body: BodyType::EightBitMime,
                        smtputf8: true,
                        ..plain.clone()
                    },
                ),
            ),
            (
                "MAIL FROM:<a@b.test> BODY=BinaryMIME",
                mail(path("a@b.test"), &MailParameters { body: BodyType::BinaryMime, ..plain.clone() }),
            ),
            ("MAIL FROM:<a@b.test> BODY=7BIT AUTH=a+2Bb@c.test", mail(path("a@b.test"), &plain)),
            ("RCPT TO:<a@b.test>", rcpt_to("a@b.test")),
            (
                "MAIL FROM:<a@b.test> RET=hdrs ENVID=QQ+2B1",
                mail(
                    path("a@b.test"),
                    &MailParameters {
                        wishes: Wishes {
                            return_content: Some(ReturnContent::Headers),
                            envelope_id: EnvelopeId::new("QQ+2B1"),
                            ..Wishes::default()
                        },
                        ..plain.clone()
                    },
                ),
            ),
            (
                "RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@c.test",
                Command::Rcpt(
                    ForwardPath::Address(AddressRef::parse("a@b.test").unwrap()),
                    RcptParameters {
                        notify: Notify::parse("SUCCESS,DELAY"),
                        orcpt: OriginalRecipient::new("rfc822;Bob+2Bx@c.test"),
                    },
                ),
            ),
            (
                "MAIL FROM:<a@b.test> solicit=org.example:ADV,b",
                mail(
                    path("a@b.test"),
                    &MailParameters {
                        wishes: Wishes {
                            solicitation: Solicitation::parse("org.example:ADV,b"),
                            ..Wishes::default()
                        },
                        ..plain.clone()
                    },
                ),
            ),
            ("rcpt to: <@r.test:a@b.test>", rcpt_to("a@b.test")),
            ("RCPT TO:<postmaster>", Command::Rcpt(ForwardPath::Postmaster, RcptParameters::default())),
            ("DATA", Command::Data),
            ("BDAT 0", Command::Bdat { octets: 0, last: false }),
            ("bdat 86 last ", Command::Bdat { octets: 86, last: true }),
            ("BDAT 99999999999999999999 LAST", Command::Bdat { octets: u64::MAX, last: true }),
            ("LHLO client.test", Command::Lhlo(name("client.test"))),
            ("rset ", Command::Rset),
            ("NOOP", Command::Noop),
            ("NOOP whatever it is", Command::Noop),
            ("QUIT", Command::Quit),
            ("VRFY user", Command::Vrfy(None)),
            ("VRFY John Doe <a@b.test>", Command::Vrfy(None)),
            ("VRFY a@b.test", Command::Vrfy(Some(AddressRef::parse("a@b.test").unwrap()))),
            ("vrfy <a@b.test>", Command::Vrfy(Some(AddressRef::parse("a@b.test").unwrap()))),
            ("HELP", Command::Help(None)),
            ("HELP  ", Command::Help(None)),
            ("HELP MAIL", Command::Help(Some(MAIL))),
            ("help xclient", Command::Help(Some(XCLIENT))),
            ("STARTTLS", Command::StartTls),
            ("AUTH PLAIN", auth("PLAIN", None)),
            ("AUTH plain =", auth("plain", Some("="))),
            ("AUTH LOGIN dXNlcg==", auth("LOGIN", Some("dXNlcg=="))),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let unknown = |text: &str| CommandError::UnknownParameter(text.into());
        let parameter = CommandError::Parameter;
        let too_long = format!("MAIL FROM:<a@b.test> SOLICIT={}", "a".repeat(1001)).into_bytes();
        for (line, error) in [
            (&b""[..], CommandError::Unrecognized),
            (b" NOOP", CommandError::Unrecognized),
            (b"MAILFROM:<a@b.test>", CommandError::Unrecognized),
            (b"GET / HTTP/1.1", CommandError::Unrecognized),
            (b"EXPN list", CommandError::NotImplemented),
            (b"LHLO", CommandError::Arguments(LHLO)),
            (b"BDAT", CommandError::Chunk),
            (b"BDAT -1", CommandError::Chunk),
            (b"BDAT x LAST", CommandError::Chunk),
            (b"BDAT 1 FIRST", CommandError::Chunk),
            (b"BDAT 1  LAST", CommandError::Chunk),
            (b"BDAT 1 LAST LAST", CommandError::Chunk),
            (b"BDAT 100000000000000000000", CommandError::Chunk),
            (b"NOOP \xff", CommandError::Characters),
            (b"NOOP a\rb", CommandError::Characters),
            (b"NOOP a\0b", CommandError::Characters),
            (b"EHLO", CommandError::Arguments(EHLO)),
            (b"EHLO a b", CommandError::Arguments(EHLO)),
            (b"HELO (a", CommandError::Arguments(HELO)),
            (b"MAIL", CommandError::Arguments(MAIL)),
            (b"MAIL FROM <a@b.test>", CommandError::Arguments(MAIL)),
            (b"MAIL TO:<a@b.test>", CommandError::Arguments(MAIL)),
            (b"MAIL FROM:", CommandError::ReversePath),
            (b"MAIL FROM:a@b.test", CommandError::ReversePath),
            (b"MAIL FROM:  <a@b.test>", CommandError::ReversePath),
            (b"MAIL FROM:<a@b.test>SIZE=1", CommandError::Arguments(MAIL)),
            (b"MAIL FROM:<a@b.test> SIZE=1  BODY=7BIT", CommandError::Arguments(MAIL)),
            (b"MAIL FROM:<a@b.test> SIZE", parameter("SIZE")),
            (b"MAIL FROM:<a@b.test> SIZE=", CommandError::Arguments(MAIL)),
            (b"MAIL FROM:<a@b.test> SIZE=-1", parameter("SIZE")),
            (b"MAIL FROM:<a@b.test> SIZE=100000000000000000000", parameter("SIZE")),
            (b"MAIL FROM:<a@b.test> SIZE=1 size=1", parameter("SIZE")),
            (b"MAIL FROM:<a@b.test> BODY=BINARY", parameter("BODY")),
            (b"MAIL FROM:<a@b.test> SMTPUTF8=1", parameter("SMTPUTF8")),
            (b"MAIL FROM:<a@b.test> RET=ALL", parameter("RET")),
            (b"MAIL FROM:<a@b.test> RET", parameter("RET")),
            (b"MAIL FROM:<a@b.test> RET=FULL RET=HDRS", parameter("RET")),
            (b"MAIL FROM:<a@b.test> ENVID=a+b", parameter("ENVID")),
            (b"MAIL FROM:<a@b.test> NOTIFY=NEVER", unknown("NOTIFY")),
            (b"MAIL FROM:<a@b.test> SOLICIT", parameter("SOLICIT")),
            (b"MAIL FROM:<a@b.test> SOLICIT=9", parameter("SOLICIT")),
            (b"MAIL FROM:<a@b.test> SOLICIT=a,", parameter("SOLICIT")),
            (b"MAIL FROM:<a@b.test> SOLICIT=a SOLICIT=a", parameter("SOLICIT")),
            (&too_long, parameter("SOLICIT")),
            (b"RCPT TO:<>", CommandError::ForwardPath),
            (b"RCPT TO:a@b.test", CommandError::ForwardPath),
            (b"RCPT FROM:<a@b.test>", CommandError::Arguments(RCPT)),
            (b"RCPT TO:<a@b.test> NOTIFY=NEVER,DELAY", parameter("NOTIFY")),
            (b"RCPT TO:<a@b.test> NOTIFY=DELAY notify=DELAY", parameter("NOTIFY")),
            (b"RCPT TO:<a@b.test> ORCPT=a@b.test", parameter("ORCPT")),
            (b"RCPT TO:<a@b.test> RET=FULL", unknown("RET")),
            (b"DATA now", CommandError::Arguments(NO_ARGUMENTS)),
            (b"QUIT 1", CommandError::Arguments(NO_ARGUMENTS)),
            (b"STARTTLS 1", CommandError::Arguments(NO_ARGUMENTS)),
            (b"VRFY", CommandError::Arguments(VRFY)),
            (b"HELP ME", CommandError::NoHelp),
            (b"HELP MAIL FROM", CommandError::NoHelp),
            (b"AUTH", CommandError::Arguments(AUTH)),
            (b"AUTH PLAIN a b", CommandError::Arguments(AUTH)),
        ] {
            assert_eq!(Command::parse(line), Err(error), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn client_names_are_bounded() {
        let longest = "_".repeat(CLIENT_NAME_BYTES_MAX);
        assert!(ClientName::new(&longest).is_some());
        assert!(ClientName::new(&format!("{longest}_")).is_none());
        assert_eq!(ClientName::new("bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
        for text in ["", "a b", "a)", "a\r", "ü ü", "<a>", "a;b"] {
            assert!(ClientName::new(text).is_none(), "{text}");
        }
    }
}
