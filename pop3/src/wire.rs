//! The grammar of POP3: commands (RFC 1939, RFC 2449 section 3, RFC 2595 section 4, RFC 5034 section 4, RFC 6856), and replies.
//! Not the session; that is [`crate::machine`].

mod texts;

use std::fmt::Write;

use bytes::BytesMut;
use nom::{
    AsChar, Finish, IResult, Parser,
    bytes::complete::{tag, take_while1},
    character::complete::digit1,
    combinator::{all_consuming, map, map_opt, map_res, opt, rest, verify},
    error::Error,
    sequence::preceded,
};
use waypost_mail::Language;

pub(crate) use self::texts::spoken;

/// Longest command line in octets, CRLF included (RFC 2449 section 4).
pub(crate) const COMMAND_LINE_BYTES_MAX: usize = 255;
/// Longest line that carries SASL data, CRLF included. POP3 has no bound of its own; this is SMTP's (RFC 4954 section 4).
pub(crate) const SASL_LINE_BYTES_MAX: usize = 12 * 1024;

/// One command. Message numbers are as the client said them: there may be no such message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command<'a> {
    User(&'a str),
    Pass(&'a str),
    Apop {
        name: &'a str,
        digest: &'a str,
    },
    Auth {
        mechanism: &'a str,
        initial: Option<&'a str>,
    },
    Stls,
    Capa,
    Utf8,
    Lang(Option<&'a str>),
    Stat,
    /// LIST or UIDL, of one message or all.
    List(List, Option<u32>),
    /// RETR, or TOP with a number of lines.
    Retr(u32, Option<u32>),
    Dele(u32),
    Rset,
    Noop,
    Quit,
}

/// Which listing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum List {
    Scan,
    UniqueId,
}

pub(crate) const UNKNOWN: Refusal = Refusal::new("unknown command");
pub(crate) const SYNTAX: Refusal = Refusal::new("wrong arguments");

const KEYWORDS: [&str; 17] = [
    "USER", "PASS", "APOP", "AUTH", "STLS", "CAPA", "UTF8", "LANG", "STAT", "LIST", "UIDL", "RETR", "TOP",
    "DELE", "RSET", "NOOP", "QUIT",
];

impl<'a> Command<'a> {
    /// Reads a line without its CRLF. Errors: [`UNKNOWN`], or [`SYNTAX`] where the arguments are not those of its keyword.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        let end = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
        let (keyword, arguments) = line.split_at(end);
        let is_it = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(keyword);
        let keyword = KEYWORDS.iter().find(is_it).ok_or(UNKNOWN)?;
        let command = |input| command(keyword, input);
        let (_, command) = all_consuming(command).parse(arguments).finish().map_err(|_| SYNTAX)?;
        Ok(command)
    }
}

/// Whether a line that is not complete yet may be as long as [`SASL_LINE_BYTES_MAX`].
pub(crate) fn begins_auth(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH "))
}

/// The command of a keyword, by the rule of its arguments.
fn command<'a>(keyword: &str, arguments: &'a [u8]) -> IResult<&'a [u8], Command<'a>> {
    let bare = |command| Ok((arguments, command));
    match keyword {
        // user = "USER" SP string
        "USER" => map(behind_space(string), Command::User).parse(arguments),
        // pass = "PASS" SP string: spaces belong to the password (RFC 1939 section 7)
        "PASS" => map(behind_space(string), Command::Pass).parse(arguments),
        // apop = "APOP" SP name SP digest: the digest is what stands behind the last space
        "APOP" => {
            let both = map_opt(behind_space(string), |text| text.rsplit_once(' '));
            let both = verify(both, |(name, digest)| !name.is_empty() && !digest.is_empty());
            map(both, |(name, digest)| Command::Apop { name, digest }).parse(arguments)
        }
        // auth-command = "AUTH" SP sasl-mech [SP (base64 / "=")] (RFC 5034 section 7); what is base 64 the exchange says
        "AUTH" => {
            let both = (behind_space(visible), opt(behind_space(visible)));
            map(both, |(mechanism, initial)| Command::Auth { mechanism, initial }).parse(arguments)
        }
        // lang = "LANG" [SP (language-range / "*")] (RFC 6856 section 3.2)
        "LANG" => map(opt(behind_space(visible)), Command::Lang).parse(arguments),
        // list = "LIST" [SP msg]
        "LIST" => map(opt(behind_space(number)), |number| Command::List(List::Scan, number)).parse(arguments),
        // uidl = "UIDL" [SP msg]
        "UIDL" => {
            map(opt(behind_space(number)), |number| Command::List(List::UniqueId, number)).parse(arguments)
        }
        // retr = "RETR" SP msg
        "RETR" => map(behind_space(number), |number| Command::Retr(number, None)).parse(arguments),
        // top = "TOP" SP msg SP n
        "TOP" => {
            let both = (behind_space(number), behind_space(number));
            map(both, |(number, lines)| Command::Retr(number, Some(lines))).parse(arguments)
        }
        // dele = "DELE" SP msg
        "DELE" => map(behind_space(number), Command::Dele).parse(arguments),
        "STLS" => bare(Command::Stls),
        "CAPA" => bare(Command::Capa),
        "UTF8" => bare(Command::Utf8),
        "STAT" => bare(Command::Stat),
        "RSET" => bare(Command::Rset),
        "NOOP" => bare(Command::Noop),
        _ => bare(Command::Quit),
    }
}

/// An argument and the space before it.
fn behind_space<'a, O>(
    argument: impl Parser<&'a [u8], Output = O, Error = Error<&'a [u8]>>,
) -> impl Parser<&'a [u8], Output = O, Error = Error<&'a [u8]>> {
    preceded(tag(" "), argument)
}

/// `msg = 1*DIGIT`; what does not fit is as large as can be: there is no such message, and no message has more lines.
fn number(input: &[u8]) -> IResult<&[u8], u32> {
    map(map_res(digit1, std::str::from_utf8), |digits| digits.parse().unwrap_or(u32::MAX)).parse(input)
}

/// `param = 1*VCHAR`
fn visible(input: &[u8]) -> IResult<&[u8], &str> {
    map_res(take_while1(|octet: u8| octet.is_ascii_graphic()), std::str::from_utf8).parse(input)
}

/// The rest of the line: UTF-8 without control characters, not empty.
fn string(input: &[u8]) -> IResult<&[u8], &str> {
    let printable =
        |text: &&str| !text.is_empty() && !text.bytes().any(|octet| octet.as_char().is_ascii_control());
    verify(map_res(rest, std::str::from_utf8), printable).parse(input)
}

/// Response code of a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Code(&'static str);

impl Code {
    /// Another session holds the maildrop (RFC 2449 section 8.1.2).
    pub(crate) const IN_USE: Self = Self("IN-USE");
    /// It is too soon after the last login (RFC 2449 section 8.1.1).
    pub(crate) const LOGIN_DELAY: Self = Self("LOGIN-DELAY");
    /// The credentials are wrong (RFC 3206 section 5).
    pub(crate) const AUTH: Self = Self("AUTH");
    /// Our problem; it will pass (RFC 3206 section 4).
    pub(crate) const SYS_TEMP: Self = Self("SYS/TEMP");
    /// Our problem; someone must act (RFC 3206 section 4).
    pub(crate) const SYS_PERM: Self = Self("SYS/PERM");
    /// The message holds UTF-8, which the client has not asked for (RFC 6856 section 5).
    pub(crate) const UTF8: Self = Self("UTF8");
}

/// A negative reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: Option<Code>,
    /// One sentence without CR and LF.
    pub(crate) text: &'static str,
}

impl Refusal {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { code: None, text }
    }

    pub(crate) const fn with(code: Code, text: &'static str) -> Self {
        Self { code: Some(code), text }
    }
}

/// Replies are written to a buffer; writing to it cannot fail.
pub(crate) trait Encode {
    /// One line.
    fn line(&mut self, line: std::fmt::Arguments<'_>);

    /// `"-ERR" [SP resp-code] SP text`
    fn refusal(&mut self, refusal: Refusal, language: Language) {
        let text = spoken(language, refusal.text);
        match refusal.code {
            Some(Code(code)) => self.line(format_args!("-ERR [{code}] {text}")),
            None => self.line(format_args!("-ERR {text}")),
        }
    }
}

impl Encode for BytesMut {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A buffer grows, so this is always `Ok`.
        self.write_fmt(line).unwrap_or_default();
        self.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        use super::List::*;
        use Command::*;
        let auth = |mechanism, initial| Ok(Auth { mechanism, initial });
        let tests: &[(&str, Result<Command<'_>, Refusal>)] = &[
            ("USER user1@example.org", Ok(User("user1@example.org"))),
            ("user a b", Ok(User("a b"))),
            ("USER \u{e9}@example.org", Ok(User("\u{e9}@example.org"))),
            ("USER", Err(SYNTAX)),
            ("USER ", Err(SYNTAX)),
            ("PASS  two  spaces ", Ok(Pass(" two  spaces "))),
            ("PASS a\tb", Err(SYNTAX)),
            ("PASS a\0b", Err(SYNTAX)),
            ("PASS a\rb", Err(SYNTAX)),
            ("AUTH", Err(SYNTAX)),
            ("AUTH PLAIN", auth("PLAIN", None)),
            ("auth plain =", auth("plain", Some("="))),
            ("AUTH PLAIN AGEAYg==", auth("PLAIN", Some("AGEAYg=="))),
            ("AUTH PLAIN a b", Err(SYNTAX)),
            ("STLS", Ok(Stls)),
            ("Capa", Ok(Capa)),
            ("STAT", Ok(Stat)),
            ("STAT 1", Err(SYNTAX)),
            ("STATUS", Err(UNKNOWN)),
            ("LIST", Ok(List(Scan, None))),
            ("LIST 1", Ok(List(Scan, Some(1)))),
            ("LIST 0", Ok(List(Scan, Some(0)))),
            ("LIST 4294967295", Ok(List(Scan, Some(u32::MAX)))),
            ("LIST 4294967296", Ok(List(Scan, Some(u32::MAX)))),
            ("LIST 99999999999999999999", Ok(List(Scan, Some(u32::MAX)))),
            ("LIST ", Err(SYNTAX)),
            ("LIST -1", Err(SYNTAX)),
            ("LIST 1 2", Err(SYNTAX)),
            ("UIDL 7", Ok(List(UniqueId, Some(7)))),
            ("RETR 7", Ok(Retr(7, None))),
            ("RETR", Err(SYNTAX)),
            ("TOP 1 0", Ok(Retr(1, Some(0)))),
            ("TOP 1", Err(SYNTAX)),
            ("TOP  1 0", Err(SYNTAX)),
            ("DELE 1", Ok(Dele(1))),
            ("RSET", Ok(Rset)),
            ("NOOP", Ok(Noop)),
            ("QUIT", Ok(Quit)),
            ("QUIT ", Err(SYNTAX)),
            ("APOP a b", Ok(Apop { name: "a", digest: "b" })),
            ("apop a b c", Ok(Apop { name: "a b", digest: "c" })),
            ("APOP a", Err(SYNTAX)),
            ("APOP a ", Err(SYNTAX)),
            ("APOP  b", Err(SYNTAX)),
            ("APOP", Err(SYNTAX)),
            ("utf8", Ok(Utf8)),
            ("UTF8 USER", Err(SYNTAX)),
            ("LANG", Ok(Lang(None))),
            ("LANG *", Ok(Lang(Some("*")))),
            ("lang de-AT", Ok(Lang(Some("de-AT")))),
            ("LANG de en", Err(SYNTAX)),
            ("LANG ", Err(SYNTAX)),
            ("RPOP a", Err(UNKNOWN)),
            ("", Err(UNKNOWN)),
            (" QUIT", Err(UNKNOWN)),
        ];
        for (line, expected) in tests {
            assert_eq!(Command::parse(line.as_bytes()), *expected, "{line:?}");
        }
        assert_eq!(Command::parse(b"PASS \xff"), Err(SYNTAX));
    }

    #[test]
    fn refusals_are_encoded() {
        let mut output = BytesMut::new();
        let refusal = Refusal::new("no such message");
        output.refusal(refusal, Language::Default);
        output.refusal(refusal, Language::German);
        output.refusal(Refusal::with(Code::IN_USE, "a"), Language::English);
        output.refusal(Refusal::with(Code::LOGIN_DELAY, "b"), Language::German);
        assert_eq!(
            output,
            "-ERR no such message\r\n-ERR keine solche Nachricht\r\n-ERR [IN-USE] a\r\n-ERR [LOGIN-DELAY] b\r\n"
        );
    }
}
