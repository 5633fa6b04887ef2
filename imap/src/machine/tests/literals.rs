//! Literals in every place where a string may stand (RFC 3501 section 4.3, RFC 7888): each means what it means in quotes, and what is too
//! large, of the wrong kind or holds NUL is refused in all of them.

use std::collections::BTreeSet;

use super::*;
use crate::testing;

/// Commands with each of their strings in `<` and `>`; with `~` where it may be binary.
const COMMANDS: &[&str] = &[
    "LOGIN <u> <p>",
    "ID (<name> <x> <version> <1>)",
    "LANGUAGE <de> <en>",
    "COMPARATOR <i;octet> <*>",
    "SELECT <x>",
    "EXAMINE <x> (CONDSTORE)",
    "CREATE <x> (USE (\\Sent))",
    "DELETE <x>",
    "RENAME <x> <y>",
    "SUBSCRIBE <x>",
    "UNSUBSCRIBE <x>",
    "LIST <x> <y*>",
    "LIST (SUBSCRIBED) <x> (<y*> <z%>) RETURN (METADATA (</shared/a> </private/b>))",
    "LSUB <x> <y*>",
    "STATUS <x> (MESSAGES)",
    "GETQUOTA <a@b.test>",
    "GETQUOTAROOT <x>",
    "SETQUOTA <a@b.test> (STORAGE 1)",
    "SETACL <x> <a@b.test> <lr>",
    "DELETEACL <x> <a@b.test>",
    "GETACL <x>",
    "LISTRIGHTS <x> <a@b.test>",
    "MYRIGHTS <x>",
    "GETMETADATA (DEPTH 1) <x> (</shared/a> </private/b>)",
    "SETMETADATA <x> (</shared/a> <~value> </private/b> <~other>)",
    "GENURLAUTH <imap://a@b.test/x/;UID=1;URLAUTH=anonymous> INTERNAL",
    "URLFETCH <imap://a@b.test/x> (<imap://a@b.test/y> BODY)",
    "RESETKEY <x> INTERNAL",
    "COPY 1 <x>",
    "UID COPY 1 <x>",
    "MOVE 1 <x>",
    "FETCH 1 (BODY[HEADER.FIELDS (<x> <y>)] BODY[1.HEADER.FIELDS.NOT (<z>)])",
    "SEARCH CHARSET <us-ascii> SUBJECT <x> FROM <x> TO <x> CC <x> BCC <x> BODY <x> TEXT <x> HEADER <x> <y>",
    "UID SEARCH OR SUBJECT <x> (NOT HEADER <x> <y>)",
    "APPEND <x> (\\Seen) CATENATE (URL <;UID=1> URL <;UID=2>)",
    "REPLACE 1 <x> CATENATE (URL <;UID=1>)",
];

/// Commands that have no string.
const WITHOUT: &[&str] = &[
    "AUTHENTICATE",
    "CAPABILITY",
    "CHECK",
    "CLOSE",
    "COMPRESS",
    "ENABLE",
    "EXPUNGE",
    "IDLE",
    "LOGOUT",
    "NAMESPACE",
    "NOOP",
    "STARTTLS",
    "STORE",
    "UID",
    "UIDBATCHES",
    "UNAUTHENTICATE",
    "UNSELECT",
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Quoted,
    Waits,
    FollowsAtOnce,
    Binary,
    HoldsNul,
    TooLarge,
    FarTooLarge,
}

impl Form {
    fn write(self, text: &str) -> String {
        let bytes = text.len();
        match self {
            Self::Quoted => format!("\"{text}\""),
            Self::Waits => format!("{{{bytes}}}\r\n{text}"),
            Self::FollowsAtOnce => format!("{{{bytes}+}}\r\n{text}"),
            Self::Binary => format!("~{{{bytes}+}}\r\n{text}"),
            Self::HoldsNul => format!("{{{}+}}\r\n\0{text}", bytes + 1),
            Self::TooLarge => format!("{{{}}}", LITERAL_BYTES_MAX + 1),
            Self::FarTooLarge => format!("{{{}+}}", SKIPPED_LITERAL_BYTES_MAX + 1),
        }
    }

    /// Whether the client is answered at once, and says nothing more of its command.
    fn ends(self) -> bool {
        matches!(self, Self::TooLarge | Self::FarTooLarge)
    }
}

/// The strings of a command, and what stands before, between and behind them.
fn taken_apart(command: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut texts, mut strings, mut rest) = (Vec::new(), Vec::new(), command);
    while let Some((before, behind)) = rest.split_once('<') {
        let (string, after) = behind.split_once('>').unwrap();
        texts.push(before);
        strings.push(string);
        rest = after;
    }
    texts.push(rest);
    (texts, strings)
}

/// The command with its strings in quotes, but for one, or for all where `only` is `None`.
fn written(command: &str, form: Form, only: Option<usize>) -> String {
    let (texts, strings) = taken_apart(command);
    let mut out = format!("a {}", texts[0]);
    for (at, string) in strings.iter().enumerate() {
        let here = only.is_none_or(|only| only == at);
        out.push_str(&if here { form } else { Form::Quoted }.write(string.trim_start_matches('~')));
        if here && form.ends() {
            break;
        }
        out.push_str(texts[at + 1]);
    }
    out + "\r\n"
}

/// What is said, and what is asked.
fn answered(command: &str, sent: &str) -> (String, Vec<String>) {
    let mut world = if command.starts_with("LOGIN") { World::tls() } else { World::selected() };
    world.send(b"", 1);
    world.take();
    world.send(sent.as_bytes(), 4096);
    (world.take(), world.questions)
}

#[test]
fn literals_mean_what_quoted_strings_mean() {
    for command in COMMANDS {
        let quoted = answered(command, &written(command, Form::Quoted, None));
        assert!(!quoted.0.contains("a BAD"), "{command}: {}", quoted.0);
        let places = taken_apart(command).1.len();
        for form in [Form::Waits, Form::FollowsAtOnce] {
            for only in (0..places).map(Some).chain([None]) {
                let sent = written(command, form, only);
                let (said, asked) = answered(command, &sent);
                let goes_on = if form == Form::Waits { only.map_or(places, |_| 1) } else { 0 };
                assert_eq!(said, format!("{}{}", "+ go on\r\n".repeat(goes_on), quoted.0), "{sent:?}");
                assert_eq!(asked, quoted.1, "{sent:?}");
            }
        }
    }
}

#[test]
fn literals_are_refused_in_every_place() {
    for command in COMMANDS {
        for (at, string) in taken_apart(command).1.iter().enumerate() {
            for (form, refusal) in [
                (Form::Binary, "a BAD "),
                (Form::HoldsNul, "a BAD "),
                (Form::TooLarge, "a BAD [TOOBIG] "),
                (Form::FarTooLarge, "* BYE [TOOBIG] "),
            ] {
                // Values of annotations may be binary.
                if form == Form::Binary && string.starts_with('~') {
                    continue;
                }
                let sent = written(command, form, Some(at));
                let (said, asked) = answered(command, &sent);
                assert!(said.starts_with(refusal), "{sent:?}: {said}");
                assert_eq!(asked, Vec::<String>::new(), "{sent:?}");
            }
        }
    }
}

/// A command that is new has a line, or is named among those that have no strings.
#[test]
fn no_command_is_left_out() {
    let name = |command: &'static str| command.trim_start_matches("UID ").split(' ').next().unwrap();
    let named: BTreeSet<&str> =
        COMMANDS.iter().map(|command| name(command)).chain(WITHOUT.iter().copied()).collect();
    assert_eq!(named, testing::commands());
}
