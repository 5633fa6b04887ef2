//! IMAP: commands, literals, names, and the session.

use waypost_auth::sasl::{Claim, Offer};
use waypost_config::ImapRules;
use waypost_imap::{
    machine::{Answer, ImapMachine, NewState, PlaintextLogin, Privacy, Question, Ran, Settings},
    wire::{
        CommandBody, SEQUENCE_RANGES_MAX, SequenceSet, Spelling, TAG_BYTES_MAX, encode,
        literal::{self, Sync},
        mutf7, parse,
    },
};

use super::{
    play::{PIECES, Played, assert_lines, play},
    settings,
};

/// A command is understood, or refused at a place in it under its own tag; sequence sets resolve to what there is.
pub(crate) fn command(octets: &[u8]) {
    for spelling in [Spelling::Utf7, Spelling::Utf8] {
        spelled_command(octets, spelling);
    }
}

fn spelled_command(octets: &[u8], spelling: Spelling) {
    match parse::command(octets, spelling) {
        Ok(command) => {
            assert_eq!(parse::tag_of(octets).as_ref(), Some(&command.tag));
            assert!(
                (1..=TAG_BYTES_MAX).contains(&command.tag.len())
                    && octets.starts_with(command.tag.as_bytes())
            );
            match &command.body {
                CommandBody::Copy(_, set, _)
                | CommandBody::Move(_, set, _)
                | CommandBody::Expunge(Some(set)) => {
                    resolved(set);
                }
                _ => {}
            }
        }
        Err(bad) => {
            assert!((1..=octets.len() + 1).contains(&bad.position), "{bad:?} of {}", octets.len());
            assert!(bad.tag.is_none() || bad.tag == parse::tag_of(octets), "{bad:?}");
        }
    }
}

fn resolved(set: &SequenceSet) {
    let SequenceSet::Ranges(ranges) = set else { return };
    assert!((1..=SEQUENCE_RANGES_MAX).contains(&ranges.len()));
    for largest in [0, 1, 7, u32::MAX] {
        let mut before = 0;
        for range in set.resolve(largest) {
            assert!(before < *range.start() && range.start() <= range.end(), "{range:?} after {before}");
            before = *range.end();
        }
    }
}

/// A literal is announced by what ends a line; said again it is the same.
pub(crate) fn literal(line: &[u8]) {
    if let Some(announced) = literal::announced(line) {
        let plus = if announced.sync == Sync::FollowsAtOnce { "+" } else { "" };
        let again = format!("{{{}{plus}}}\r\n", announced.bytes);
        assert_eq!(literal::announced(again.as_bytes()), Some(announced));
    }
}

/// A name in modified UTF-7 has one spelling; every name has one.
pub(crate) fn mutf7(octets: &[u8]) {
    if let Ok(name) = mutf7::decode(octets) {
        assert_eq!(mutf7::encode(&name).as_bytes(), octets);
    }
    if let Ok(name) = str::from_utf8(octets) {
        let spelled = mutf7::encode(name);
        assert!(spelled.bytes().all(|octet| (0x20..=0x7e).contains(&octet)));
        assert_eq!(mutf7::decode(spelled.as_bytes()).as_deref(), Ok(name));
    }
}

/// Strings that we send are strings that the grammar reads.
pub(crate) fn strings(octets: &[u8]) {
    let mut line = b"a LOGIN ".to_vec();
    encode::astring(&mut line, octets);
    line.push(b' ');
    encode::string(&mut line, octets);
    let expected = str::from_utf8(octets).is_ok() && !octets.contains(&0);
    match parse::command(&line, Spelling::Utf7).map(|command| command.body) {
        Ok(CommandBody::Login(user, password)) => {
            assert_eq!((user.as_bytes(), password.as_bytes()), (octets, octets));
        }
        other => assert!(!expected, "{other:?}"),
    }
    let Ok(name) = str::from_utf8(octets) else { return };
    for spelling in [Spelling::Utf7, Spelling::Utf8] {
        subscribed(name, spelling);
    }
}

fn subscribed(name: &str, spelling: Spelling) {
    let mut line = b"a SUBSCRIBE ".to_vec();
    encode::mailbox(&mut line, name, spelling);
    match parse::command(&line, spelling).map(|command| command.body) {
        Ok(CommandBody::Subscribe(found)) if name.eq_ignore_ascii_case("inbox") => assert_eq!(found, "INBOX"),
        Ok(CommandBody::Subscribe(found)) => assert_eq!(found, name),
        // In UTF-8 NUL stays what it is, and no string holds it.
        other => assert!(spelling == Spelling::Utf8 && name.contains('\0'), "{other:?}"),
    }
}

/// A session says the same wherever its input is cut; its output is lines, and not much more than the input asks for.
pub(crate) fn machine(octets: &[u8]) {
    let Some((settings, octets)) = settings(octets) else { return };
    let [first, other, whole] = PIECES.map(|piece| served(settings, octets, piece));
    assert!(first == whole && other == whole, "cut elsewhere: {first:?} {other:?} {whole:?}");
    let output = whole.0.output;
    assert_lines(&output);
    assert!(output.len() <= 4096 + 256 * octets.len(), "{} octets for {}", output.len(), octets.len());
}

/// What the world of a session knows.
#[derive(Debug, Default, Eq, PartialEq)]
struct World {
    logged_in: bool,
    appending: bool,
    message: Vec<u8>,
    asked: Vec<String>,
}

fn served(bits: u8, octets: &[u8], piece: usize) -> (Played, World) {
    let mut machine = ImapMachine::new(Settings {
        hostname: "mx.test".into(),
        privacy: match bits & 3 {
            0 => Privacy::Tls,
            1 => Privacy::None,
            _ => Privacy::StartTls,
        },
        plaintext_login: if bits & 4 == 0 { PlaintextLogin::Allowed } else { PlaintextLogin::Refused },
        offer: Offer::default(),
        rules: ImapRules { unauthenticate: bits & 32 != 0, message_limit: None },
        append_limit: 1_000_000,
    });
    let mut world = World::default();
    let played = play(&mut machine, octets, piece, |question| world.answer(question, bits));
    (played, world)
}

impl World {
    fn answer(&mut self, question: Question, bits: u8) -> Answer {
        assert!(self.logged_in || matches!(question, Question::Login(_)), "before login: {question:?}");
        match question {
            Question::Login(Claim::Password(shown)) if shown.password == "x" => Answer::Ran(Ran::no("wrong")),
            Question::LookUp(_) => Answer::Ran(Ran::no("wrong")),
            Question::Login(_) => {
                self.logged_in = true;
                Answer::Ran(Ran::ok("welcome").with_state(NewState::Authenticated))
            }
            Question::Run(command) => {
                self.asked.push(format!("{:?}", command.body));
                Answer::Ran(match command.body {
                    CommandBody::Select(..) => Ran::ok("selected").with_state(NewState::Selected),
                    CommandBody::Close | CommandBody::Unselect => {
                        Ran::ok("closed").with_state(NewState::Authenticated)
                    }
                    CommandBody::Delete(_) => Ran::no("no").with_code("CANNOT"),
                    _ => Ran::ok("done"),
                })
            }
            Question::AppendStart(append) if append.mailbox == "x" => Answer::Ran(Ran::no("no such mailbox")),
            Question::AppendStart(_) => {
                assert!(!self.appending, "two messages at once");
                self.appending = true;
                Answer::Go
            }
            Question::AppendPiece(_) if bits & 32 != 0 => {
                self.appending = false;
                Answer::Ran(Ran::no("full"))
            }
            Question::AppendPiece(_) => {
                assert!(self.appending, "a piece of no message");
                Answer::Go
            }
            Question::AppendChunk(_) if bits & 8 != 0 => {
                self.appending = false;
                Answer::Ran(Ran::no("full"))
            }
            Question::AppendChunk(chunk) => {
                assert!(self.appending, "octets of no message");
                self.message.extend_from_slice(&chunk);
                Answer::Go
            }
            Question::AppendEnd => {
                assert!(std::mem::take(&mut self.appending), "the end of no message");
                Answer::Ran(Ran::ok("appended"))
            }
            Question::AppendAbort => {
                assert!(std::mem::take(&mut self.appending), "the end of no message");
                Answer::Go
            }
            Question::IdleStart if bits & 16 != 0 => Answer::Ran(Ran::no("not now")),
            Question::IdleStart => Answer::Go,
            Question::Unauthenticate => {
                self.logged_in = false;
                Answer::Go
            }
        }
    }
}
