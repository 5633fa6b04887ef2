//! Commands of a client (RFC 5321 section 4.1.1), STARTTLS (RFC 3207), AUTH (RFC 4954 section 4), and the parameters of
//! SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531) and AUTH= (RFC 4954 section 5).
//!
//! More is taken than the grammar allows in two places, because clients do it: one space between the colon and the path
//! (`MAIL FROM: <a@b.test>`), and white space at the end of a line (RFC 5321 section 4.1.1 asks for the latter).

use nom::{
    Finish, IResult, Parser,
    bytes::complete::{tag_no_case, take_while, take_while1},
    character::complete::char,
    combinator::{all_consuming, map, opt, recognize, rest, verify},
    multi::many0,
    sequence::{pair, preceded, terminated},
};
use waypost_mail::{BodyType, Domain, ReversePath};

use super::{
    path::{ForwardPath, forward_path, reverse_path},
    xclient::{self, XClient},
};

/// Longest name that a client may call itself, in octets (RFC 5321 section 4.5.3.1.2).
pub const CLIENT_NAME_BYTES_MAX: usize = 255;

/// One command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// `EHLO`
    Ehlo(ClientName),
    /// `HELO`
    Helo(ClientName),
    /// `MAIL`
    Mail(ReversePath, MailParameters),
    /// `RCPT`
    Rcpt(ForwardPath),
    /// `DATA`
    Data,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// `VRFY`
    Vrfy,
    /// `HELP`
    Help,
    /// `STARTTLS`
    StartTls,
    /// `XCLIENT`
    XClient(Box<XClient>),
    /// `AUTH`
    Auth {
        /// Name of the mechanism.
        mechanism: String,
        /// Initial response in base 64; `=` stands for an empty one.
        initial: Option<String>,
    },
}

/// What a client calls itself: visible ASCII that can stand in a Received field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientName(String);

impl ClientName {
    /// Takes a domain (U-labels are converted), an address literal, or what else clients say; `None` for what could break
    /// a header field or a log line.
    pub fn new(text: &str) -> Option<Self> {
        if let Ok(domain) = Domain::new(text) {
            return Some(Self(domain.as_str().to_owned()));
        }
        let plain = |b: u8| b.is_ascii_graphic() && !b"()<>\\\";,".contains(&b);
        let valid = !text.is_empty() && text.len() <= CLIENT_NAME_BYTES_MAX && text.bytes().all(plain);
        valid.then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MailParameters {
    /// Size of the message as the client estimates it; more than 64 bits count as the largest number.
    pub size: Option<u64>,
    /// Declared octets of the body.
    pub body: BodyType,
    /// Whether addresses or header fields may hold UTF-8.
    pub smtputf8: bool,
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
    Parameter(String),
}

const EHLO: &str = "EHLO domain";
const HELO: &str = "HELO domain";
const MAIL: &str = "MAIL FROM:<address> [parameters]";
const RCPT: &str = "RCPT TO:<address>";
const VRFY: &str = "VRFY address";
const AUTH: &str = "AUTH mechanism [initial-response]";
const NO_ARGUMENTS: &str = "the command takes no arguments";

impl Command {
    /// Reads a line without its CRLF.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::Characters)?;
        let text = text.trim_end_matches([' ', '\t']);
        let end = text.find(' ').unwrap_or(text.len());
        let (verb, arguments) = text.split_at(end);
        let verb = verb.to_ascii_uppercase();
        if text.chars().any(char::is_control) {
            return Err(CommandError::Characters);
        }
        match verb.as_str() {
            "EHLO" => complete(client_name, arguments, EHLO).map(Self::Ehlo),
            "HELO" => complete(client_name, arguments, HELO).map(Self::Helo),
            "MAIL" => mail(arguments),
            "RCPT" => rcpt(arguments),
            "DATA" => without_arguments(arguments, Self::Data),
            "RSET" => without_arguments(arguments, Self::Rset),
            "QUIT" => without_arguments(arguments, Self::Quit),
            "STARTTLS" => without_arguments(arguments, Self::StartTls),
            "XCLIENT" => match XClient::parse(arguments) {
                Some(client) => Ok(Self::XClient(Box::new(client))),
                None => Err(CommandError::Arguments(xclient::FORM)),
            },
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" => complete(vrfy, arguments, VRFY),
            "AUTH" => complete(auth, arguments, AUTH),
            "EXPN" | "BDAT" | "ETRN" | "TURN" | "ATRN" | "SEND" | "SOML" | "SAML" | "BURL" => {
                Err(CommandError::NotImplemented)
            }
            _ => Err(CommandError::Unrecognized),
        }
    }
}

fn complete<'a, T>(
    rule: impl Fn(&'a str) -> IResult<&'a str, T>,
    arguments: &'a str,
    form: &'static str,
) -> Result<T, CommandError> {
    let parsed = all_consuming(rule).parse(arguments).finish();
    parsed.map(|(_, value)| value).map_err(|_| CommandError::Arguments(form))
}

fn without_arguments(arguments: &str, command: Command) -> Result<Command, CommandError> {
    if arguments.is_empty() { Ok(command) } else { Err(CommandError::Arguments(NO_ARGUMENTS)) }
}

/// `SP ( Domain / address-literal )`, or what else makes a [`ClientName`]
fn client_name(input: &str) -> IResult<&str, ClientName> {
    nom::combinator::map_opt(preceded(char(' '), rest), ClientName::new).parse(input)
}

/// `mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF`
fn mail(arguments: &str) -> Result<Command, CommandError> {
    let path = after(from, arguments, MAIL)?;
    let (parameters, path) = reverse_path(path).map_err(|_| CommandError::ReversePath)?;
    let mut mail = MailParameters::default();
    let mut seen: Vec<String> = Vec::new();
    for (keyword, value) in complete(esmtp_params, parameters, MAIL)? {
        let keyword = keyword.to_ascii_uppercase();
        mail.set(&keyword, value)?;
        if seen.contains(&keyword) {
            return Err(CommandError::Parameter(keyword));
        }
        seen.push(keyword);
    }
    Ok(Command::Mail(path, mail))
}

/// `rcpt = "RCPT TO:" ( "<Postmaster>" / Forward-path ) [SP Rcpt-parameters] CRLF`; no parameter is known
fn rcpt(arguments: &str) -> Result<Command, CommandError> {
    let path = after(to, arguments, RCPT)?;
    let (parameters, path) = forward_path(path).map_err(|_| CommandError::ForwardPath)?;
    match complete(esmtp_params, parameters, RCPT)?.first() {
        Some((keyword, _)) => Err(CommandError::UnknownParameter(keyword.to_ascii_uppercase())),
        None => Ok(Command::Rcpt(path)),
    }
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

/// `*(SP esmtp-param)`, for `Mail-parameters` and `Rcpt-parameters`
fn esmtp_params(input: &str) -> IResult<&str, Vec<(&str, Option<&str>)>> {
    many0(preceded(char(' '), esmtp_param)).parse(input)
}

/// `esmtp-param = esmtp-keyword ["=" esmtp-value]`
fn esmtp_param(input: &str) -> IResult<&str, (&str, Option<&str>)> {
    pair(esmtp_keyword, opt(preceded(char('='), esmtp_value))).parse(input)
}

/// `esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")`
fn esmtp_keyword(input: &str) -> IResult<&str, &str> {
    let first = |c: char| c.is_ascii_alphanumeric();
    recognize(pair(nom::character::complete::satisfy(first), take_while(move |c| first(c) || c == '-')))
        .parse(input)
}

/// `esmtp-value = 1*(%d33-60 / %d62-126)`, `esmtp-value =/ UTF8-non-ascii`
fn esmtp_value(input: &str) -> IResult<&str, &str> {
    take_while1(|c| matches!(c, '!'..='<' | '>'..='~') || !c.is_ascii()).parse(input)
}

impl MailParameters {
    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), CommandError> {
        let bad = || CommandError::Parameter(keyword.to_owned());
        match (keyword, value) {
            ("SIZE", Some(value)) => self.size = Some(complete(size_value, value, "").map_err(|_| bad())?),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => self.body = BodyType::SevenBit,
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => {
                self.body = BodyType::EightBitMime;
            }
            ("SMTPUTF8", None) => self.smtputf8 = true,
            // Nobody is trusted to say who the first sender was: read as `AUTH=<>` (RFC 4954 section 5).
            ("AUTH", Some(_)) => (),
            ("SIZE" | "BODY" | "SMTPUTF8" | "AUTH", _) => return Err(bad()),
            _ => return Err(CommandError::UnknownParameter(keyword.to_owned())),
        }
        Ok(())
    }
}

/// `size-value = 1*20DIGIT` (RFC 1870 section 4)
fn size_value(input: &str) -> IResult<&str, u64> {
    let digits = verify(take_while1(|c: char| c.is_ascii_digit()), |digits: &str| digits.len() <= 20);
    map(digits, |digits: &str| digits.parse().unwrap_or(u64::MAX)).parse(input)
}

/// `vrfy = "VRFY" SP String CRLF`; the string is not looked at
fn vrfy(input: &str) -> IResult<&str, Command> {
    map(verify(preceded(char(' '), rest), |text: &str| !text.is_empty()), |_| Command::Vrfy).parse(input)
}

/// `auth-command = "AUTH" SP sasl-mech [SP initial-response] *(CRLF [base64]) [CRLF cancel-response] CRLF`, its first line
fn auth(input: &str) -> IResult<&str, Command> {
    let parts = pair(preceded(char(' '), visible), opt(preceded(char(' '), visible)));
    let command = |(mechanism, initial): (&str, Option<&str>)| Command::Auth {
        mechanism: mechanism.to_owned(),
        initial: initial.map(str::to_owned),
    };
    map(parts, command).parse(input)
}

/// What the SASL exchange will judge: the mechanism's name, `initial-response = base64 / "="`
fn visible(input: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_ascii_graphic()).parse(input)
}

#[cfg(test)]
mod tests {
    use waypost_mail::Address;

    use super::*;

    fn path(text: &str) -> ReversePath {
        ReversePath::Address(Address::parse(text).unwrap())
    }

    fn name(text: &str) -> ClientName {
        ClientName::new(text).unwrap()
    }

    fn rcpt_to(text: &str) -> Command {
        Command::Rcpt(ForwardPath::Address(Address::parse(text).unwrap()))
    }

    #[test]
    fn commands_are_read() {
        let plain = MailParameters::default();
        let mail = |path, parameters: &MailParameters| Command::Mail(path, parameters.clone());
        let auth = |mechanism: &str, initial: Option<&str>| Command::Auth {
            mechanism: mechanism.into(),
            initial: initial.map(Into::into),
        };
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
                    &MailParameters { size: Some(u64::MAX), body: BodyType::EightBitMime, smtputf8: true },
                ),
            ),
            ("MAIL FROM:<a@b.test> BODY=7BIT AUTH=a+2Bb@c.test", mail(path("a@b.test"), &plain)),
            ("RCPT TO:<a@b.test>", rcpt_to("a@b.test")),
            ("rcpt to: <@r.test:a@b.test>", rcpt_to("a@b.test")),
            ("RCPT TO:<postmaster>", Command::Rcpt(ForwardPath::Postmaster)),
            ("DATA", Command::Data),
            ("rset ", Command::Rset),
            ("NOOP", Command::Noop),
            ("NOOP whatever it is", Command::Noop),
            ("QUIT", Command::Quit),
            ("VRFY user", Command::Vrfy),
            ("HELP MAIL", Command::Help),
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
        let parameter = |text: &str| CommandError::Parameter(text.into());
        for (line, error) in [
            (&b""[..], CommandError::Unrecognized),
            (b" NOOP", CommandError::Unrecognized),
            (b"MAILFROM:<a@b.test>", CommandError::Unrecognized),
            (b"GET / HTTP/1.1", CommandError::Unrecognized),
            (b"EXPN list", CommandError::NotImplemented),
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
            (b"MAIL FROM:<a@b.test> BODY=BINARYMIME", parameter("BODY")),
            (b"MAIL FROM:<a@b.test> SMTPUTF8=1", parameter("SMTPUTF8")),
            (b"MAIL FROM:<a@b.test> RET=FULL", unknown("RET")),
            (b"RCPT TO:<>", CommandError::ForwardPath),
            (b"RCPT TO:a@b.test", CommandError::ForwardPath),
            (b"RCPT FROM:<a@b.test>", CommandError::Arguments(RCPT)),
            (b"RCPT TO:<a@b.test> NOTIFY=NEVER", unknown("NOTIFY")),
            (b"DATA now", CommandError::Arguments(NO_ARGUMENTS)),
            (b"QUIT 1", CommandError::Arguments(NO_ARGUMENTS)),
            (b"STARTTLS 1", CommandError::Arguments(NO_ARGUMENTS)),
            (b"VRFY", CommandError::Arguments(VRFY)),
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
