//! Transcripts against the pure machine, in chunks of 1, 3 and 4096 octets, with canned answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use waypost_auth::sasl::{Claim, Credentials, Found, Lookup, Offer, Scram, ServerFirst, Tokens, Verifier};
use waypost_auth::token::TokenFault;
use waypost_config::ImapRules;
use waypost_net::{ClientCertificate, Machine, Step, TlsInfo};

use super::{
    framing::{
        COMMAND_BYTES_MAX, COMMAND_BYTES_MAX_BEFORE_LOGIN, LITERAL_BYTES_MAX, SKIPPED_LITERAL_BYTES_MAX,
    },
    obey::SASL_LINE_BYTES_MAX,
    session::{
        AUTOLOGOUT, AUTOLOGOUT_BEFORE_LOGIN, FAULTS_MAX, LOGIN_FAILURES_MAX, LOGIN_TIME,
        TRANSFER_BYTES_PER_SECOND, TRANSFER_GRACE,
    },
    *,
};
use crate::wire::{AppendPart, AppendPiece, Command, CommandBody};

mod literals;

const CHUNKS: [usize; 3] = [1, 3, 4096];
const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE SASL-IR LANGUAGE AUTH=PLAIN AUTH=LOGIN] mx.test Waypost ready\r\n";
const LOGIN: &str = "l LOGIN u p\r\n";
const LOGGED_IN: &str = "l OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE LANGUAGE NAMESPACE UIDPLUS MULTIAPPEND CATENATE REPLACE URLAUTH URLAUTH=BINARY UTF8=ACCEPT MOVE UNSELECT CHILDREN SPECIAL-USE CREATE-SPECIAL-USE ESEARCH SEARCHRES LIST-EXTENDED LIST-STATUS STATUS=SIZE CONDSTORE QRESYNC BINARY OBJECTID SAVEDATE QUOTA QUOTA=RES-STORAGE QUOTASET ACL RIGHTS=kxte LIST-MYRIGHTS METADATA LIST-METADATA WITHIN I18NLEVEL=2 PREVIEW PARTIAL UIDONLY UIDBATCHES INPROGRESS COMPRESS=DEFLATE APPENDLIMIT=257890] welcome\r\n";

/// The exchange of RFC 7677 section 3: user "user", password "pencil".
const SCRAM_FIRST: &str = "biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=";
const SCRAM_CHALLENGE: &str = "cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=";
const SCRAM_FINAL: &str = "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==";
const SCRAM_SIGNATURE: &str = "dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==";

fn scram_verifier() -> Verifier {
    let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    Verifier::parse(text).unwrap()
}

fn server_first() -> ServerFirst {
    let Verifier { salt, iterations, .. } = scram_verifier();
    ServerFirst { nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into(), salt, iterations }
}

/// The world around a machine.
struct World {
    machine: ImapMachine,
    now: Instant,
    output: String,
    /// What was asked, in short.
    questions: Vec<String>,
    /// Given before the canned ones.
    answers: VecDeque<Answer>,
    events: VecDeque<Event>,
    closed: bool,
    certificate: Option<ClientCertificate>,
}

fn settings(privacy: Privacy, plaintext_login: PlaintextLogin) -> Settings {
    Settings {
        hostname: "mx.test".into(),
        privacy,
        plaintext_login,
        offer: Offer::default(),
        rules: ImapRules::default(),
        append_limit: 257_890,
    }
}

impl World {
    fn new(settings: Settings) -> Self {
        let (output, questions) = (String::new(), Vec::new());
        let (answers, events) = (VecDeque::new(), VecDeque::new());
        let machine = ImapMachine::new(settings);
        Self {
            machine,
            now: Instant::now(),
            output,
            questions,
            answers,
            events,
            closed: false,
            certificate: None,
        }
    }

    fn tls() -> Self {
        Self::new(settings(Privacy::Tls, PlaintextLogin::Refused))
    }

    /// A session that has logged in, its output so far forgotten.
    fn logged_in() -> Self {
        let mut world = Self::tls();
        world.send(LOGIN.as_bytes(), 4096);
        assert_eq!(world.take(), format!("{GREETING}{LOGGED_IN}"));
        world.questions.clear();
        world
    }

    fn selected() -> Self {
        let mut world = Self::logged_in();
        world.send(b"s SELECT inbox\r\n", 4096);
        assert_eq!(world.take(), "s OK SELECT done\r\n");
        world.questions.clear();
        world
    }

    /// Sends octets in chunks and runs the machine as far as it goes.
    fn send(&mut self, octets: &[u8], chunk: usize) {
        self.run();
        for octets in octets.chunks(chunk) {
            if !self.closed {
                self.machine.receive(octets);
                self.run();
            }
        }
    }

    fn run(&mut self) -> Option<Instant> {
        loop {
            let step = self.machine.step(self.now);
            let output = std::mem::take(self.machine.output());
            self.output.push_str(str::from_utf8(&output).unwrap());
            match step {
                Step::Read { deadline } => return Some(deadline),
                Step::Watch { deadline } => match self.events.pop_front() {
                    Some(event) => self.machine.event(event),
                    None => return Some(deadline),
                },
                Step::Ask(question) => {
                    let canned = self.canned(question);
                    let answer = self.answers.pop_front().unwrap_or(canned);
                    self.machine.answer(answer);
                }
                Step::StartTls => {
                    let (version, cipher) = ("TLSv1.3".into(), "TLS13_AES_128_GCM_SHA256".into());
                    self.output.push_str("<TLS>");
                    let certificate = self.certificate.clone();
                    self.machine.tls_started(&TlsInfo { version, cipher, certificate, ..TlsInfo::default() });
                }
                Step::StartCompression => self.output.push_str("<DEFLATE>"),
                Step::StopCompression => self.output.push_str("<PLAIN>"),
                Step::Close => {
                    self.closed = true;
                    return None;
                }
            }
        }
    }

    /// Notes the question and answers it as a friendly handler does.
    fn canned(&mut self, question: Question) -> Answer {
        let (noted, answer) = match question {
            Question::LookUp(Lookup::ServerFirst { login, hash }) => (
                format!("salt of {login} for {}", hash.scheme()),
                Answer::Found(Box::new(Found::ServerFirst(server_first()))),
            ),
            Question::LookUp(Lookup::Verifier { login, hash }) => (
                format!("verifier of {login} for {}", hash.scheme()),
                Answer::Found(Box::new(Found::Verifier(scram_verifier()))),
            ),
            Question::LookUp(Lookup::Token { token, .. }) => {
                let verdict = if token == "valid" { Ok("a".into()) } else { Err(TokenFault::Time) };
                (format!("token {token}"), Answer::Found(Box::new(Found::Token(verdict))))
            }
            Question::Login(Claim::Apop(_)) => panic!("APOP is POP3's"),
            Question::Login(Claim::Certificate(shown)) => (
                format!(
                    "certificate of {} for {:?}",
                    shown.certificate.emails.join(" "),
                    shown.authorization
                ),
                Answer::Ran(Ran::ok("welcome")),
            ),
            Question::Login(Claim::Token(bearer)) => (
                format!("bearer {}: {:?}", bearer.login, bearer.verdict),
                Answer::Ran(if bearer.verdict.is_ok() { Ran::ok("welcome") } else { Ran::no("wrong") }),
            ),
            Question::Login(Claim::Scram(proof)) => (
                format!("proof of {}: {:?}", proof.login, proof.verdict),
                Answer::Ran(if proof.verdict.is_ok() { Ran::ok("welcome") } else { Ran::no("wrong") }),
            ),
            Question::Login(Claim::Password(Credentials { login, password, .. })) => {
                let right = password == "p";
                let ran = if right {
                    Ran::ok("welcome")
                } else {
                    Ran::no("wrong").with_code("AUTHENTICATIONFAILED")
                };
                (format!("login {login}/{password}"), Answer::Ran(ran))
            }
            Question::Run(Command { body, .. }) => match body {
                CommandBody::Select(name, ..) => (
                    format!("select {name}"),
                    Answer::Ran(Ran::ok("SELECT done").with_state(NewState::Selected)),
                ),
                CommandBody::Close => {
                    ("close".into(), Answer::Ran(Ran::ok("CLOSE done").with_state(NewState::Authenticated)))
                }
                body => (format!("{body:?}"), Answer::Ran(Ran::ok("done"))),
            },
            Question::AppendStart(append) => {
                let command = match &append.replaced {
                    None => "append".to_owned(),
                    Some((numbers, number)) => format!("replace {numbers:?} {number:?} by"),
                };
                (format!("{command} {}{}", append.mailbox, piece(&append.piece)), Answer::Go)
            }
            Question::AppendPiece(next) => (format!("then{}", piece(&next)), Answer::Go),
            Question::AppendChunk(octets) => {
                let text = octets.escape_ascii().to_string();
                match self.questions.last_mut() {
                    Some(last) if last.starts_with("chunk ") => last.push_str(&text),
                    _ => self.questions.push(format!("chunk {text}")),
                }
                return Answer::Go;
            }
            Question::AppendEnd => {
                ("end".into(), Answer::Ran(Ran::ok("APPEND done").with_code("APPENDUID 1 2")))
            }
            Question::AppendAbort => ("abort".into(), Answer::Go),
            Question::IdleStart => ("idle".into(), Answer::Go),
            Question::Speak(language) => (format!("speak {}", language.tag()), Answer::Go),
            Question::Unauthenticate => ("unauthenticate".into(), Answer::Go),
        };
        self.questions.push(noted);
        answer
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.output)
    }
}

/// A piece of APPEND, in short.
fn piece(piece: &AppendPiece) -> String {
    let messages = piece.parts.iter().map(|part| match part {
        AppendPart::Message { flags, .. } => format!(" message({flags})"),
        AppendPart::Url(url) => format!(" url {url}"),
    });
    let literal = piece.literal.map(|literal| format!(" {:?} {}", literal.kind, literal.bytes));
    messages.chain(literal).collect()
}

/// What a session says to octets, in all chunk sizes, and what it asks.
fn check(world: impl Fn() -> World, sent: &str, said: &str, asked: &[&str]) {
    for chunk in CHUNKS {
        let mut world = world();
        world.send(sent.as_bytes(), chunk);
        assert_eq!(world.take(), said, "to {sent:?} in chunks of {chunk}");
        assert_eq!(world.questions, asked, "asked for {sent:?} in chunks of {chunk}");
    }
}

#[test]
fn greeting_capability_and_logout() {
    check(
        World::tls,
        "a CAPABILITY\r\nb noop\r\nc ID (\"name\" \"x\")\r\nd LOGOUT\r\ne NOOP\r\n",
        &format!(
            "{GREETING}* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE SASL-IR LANGUAGE AUTH=PLAIN AUTH=LOGIN\r\na OK CAPABILITY completed\r\n\
             b OK NOOP completed\r\n* ID (\"name\" \"Waypost\")\r\nc OK ID completed\r\n\
             * BYE Waypost logging out\r\nd OK LOGOUT completed\r\n"
        ),
        &[],
    );
}

#[test]
fn a_password_needs_tls() {
    let plain = |privacy| move || World::new(settings(privacy, PlaintextLogin::Refused));
    let refused = "a NO [PRIVACYREQUIRED] login needs TLS\r\nb NO [PRIVACYREQUIRED] login needs TLS\r\n";
    let sent = "a LOGIN u p\r\nb AUTHENTICATE PLAIN AHUAcA==\r\n";
    check(
        plain(Privacy::None),
        sent,
        &format!(
            "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE SASL-IR LANGUAGE LOGINDISABLED] mx.test Waypost ready\r\n{refused}"
        ),
        &[],
    );
    check(
        plain(Privacy::StartTls),
        sent,
        &format!(
            "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE SASL-IR LANGUAGE STARTTLS LOGINDISABLED] mx.test Waypost ready\r\n{refused}"
        ),
        &[],
    );
    check(
        || World::new(settings(Privacy::None, PlaintextLogin::Allowed)),
        LOGIN,
        &format!("{GREETING}{LOGGED_IN}"),
        &["login u/p"],
    );
}

#[test]

fn authenticate_in_all_forms() {
    for (sent, said, asked) in [
        ("a AUTHENTICATE plain AHUAcA==\r\n", "a OK", &["login u/p"][..]),
        ("a AUTHENTICATE PLAIN\r\nAHUAcA==\r\n", "+ \r\na OK", &["login u/p"]),
        (
            "a AUTHENTICATE LOGIN\r\ndQ==\r\ncA==\r\n",
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\na OK",
            &["login u/p"],
        ),
        ("a AUTHENTICATE PLAIN AHUAeA==\r\n", "a NO [AUTHENTICATIONFAILED] wrong\r\n", &["login u/x"]),
        (
            "a AUTHENTICATE PLAIN\r\n*\r\nb NOOP\r\n",
            "+ \r\na BAD AUTHENTICATE cancelled\r\nb OK NOOP completed\r\n",
            &[],
        ),
        (
            "a AUTHENTICATE PLAIN\r\n!\r\nb NOOP\r\n",
            "+ \r\na BAD malformed response\r\nb OK NOOP completed\r\n",
            &[],
        ),
        (
            "a AUTHENTICATE PLAIN\r\nAHUAcA==\nb NOOP\r\n",
            "+ \r\na BAD lines end with CRLF\r\nb OK NOOP completed\r\n",
            &[],
        ),
    ] {
        for chunk in CHUNKS {
            let mut world = World::tls();
            world.send(sent.as_bytes(), chunk);
            let expected = format!("{GREETING}{said}");
            assert!(world.output.starts_with(&expected), "{sent:?} in {chunk}: {}", world.output);
            assert_eq!(world.questions, asked, "{sent:?} in {chunk}");
        }
    }
    for (bytes, said) in
        [(SASL_LINE_BYTES_MAX, "malformed response"), (SASL_LINE_BYTES_MAX + 1, "the response is too long")]
    {
        let mut world = World::tls();
        let response = "!".repeat(bytes - 2);
        world.send(format!("a AUTHENTICATE PLAIN\r\n{response}\r\nb NOOP\r\n").as_bytes(), 4096);
        assert_eq!(world.take(), format!("{GREETING}+ \r\na BAD {said}\r\nb OK NOOP completed\r\n"));
    }
}

#[test]
fn scram_logs_in_and_says_no() {
    let offer = Offer { scram: Scram::Offered, ..Offer::default() };
    let world =
        || World::new(Settings { offer: offer.clone(), ..settings(Privacy::Tls, PlaintextLogin::Refused) });
    let greeting = GREETING.replace("AUTH=PLAIN", "AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-1 AUTH=PLAIN");
    let asked =
        ["salt of user for SCRAM-SHA-256", "verifier of user for SCRAM-SHA-256", "proof of user: Ok(())"];
    for (begin, said) in [
        (format!("l AUTHENTICATE SCRAM-SHA-256 {SCRAM_FIRST}\r\n"), ""),
        (format!("l authenticate scram-sha-256\r\n{SCRAM_FIRST}\r\n"), "+ \r\n"),
    ] {
        let sent = format!("{begin}{SCRAM_FINAL}\r\n\r\n");
        let said = format!("{greeting}{said}+ {SCRAM_CHALLENGE}\r\n+ {SCRAM_SIGNATURE}\r\n{LOGGED_IN}");
        check(world, &sent, &said, &asked);
    }
    let begin = format!("a AUTHENTICATE SCRAM-SHA-256 {SCRAM_FIRST}\r\n");
    // "c=biws,r=abc,p=AAEC"
    for (response, reply, verdict) in [
        ("Yz1iaXdzLHI9YWJjLHA9QUFFQw==", "a NO wrong", Some("proof of user: Err(Proof)")),
        ("*", "a BAD AUTHENTICATE cancelled", None),
        (SCRAM_FIRST, "a BAD malformed response", None),
        ("", "a BAD malformed response", None),
    ] {
        let asked: Vec<_> = asked[..1].iter().copied().chain(verdict).collect();
        let said = format!("{greeting}+ {SCRAM_CHALLENGE}\r\n{reply}\r\nb OK NOOP completed\r\n");
        check(world, &format!("{begin}{response}\r\nb NOOP\r\n"), &said, &asked);
    }
    // The same nonce, and a proof that is wrong.
    let wrong = "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1BQUVD";
    let said = format!("{greeting}+ {SCRAM_CHALLENGE}\r\na NO wrong\r\nb OK NOOP completed\r\n");
    let asked: Vec<_> = asked[..2].iter().copied().chain(["proof of user: Err(Proof)"]).collect();
    check(world, &format!("{begin}{wrong}\r\nb NOOP\r\n"), &said, &asked);
    let mut throttled = world();
    throttled.answers.push_back(Answer::Ran(Ran::no("later").with_code("UNAVAILABLE")));
    throttled.send(begin.as_bytes(), 4096);
    assert_eq!(throttled.take(), format!("{greeting}a NO [UNAVAILABLE] later\r\n"));
}

#[test]
fn tokens_log_in_and_are_told_why_not() {
    let offer = Offer { tokens: Tokens::Offered, ..Offer::default() };
    let world =
        || World::new(Settings { offer: offer.clone(), ..settings(Privacy::Tls, PlaintextLogin::Refused) });
    let greeting = GREETING.replace("AUTH=LOGIN", "AUTH=LOGIN AUTH=OAUTHBEARER AUTH=XOAUTH2");
    // "n,,^Aauth=Bearer valid^A^A", the same with "old"
    let (valid, old) = ("biwsAWF1dGg9QmVhcmVyIHZhbGlkAQE=", "biwsAWF1dGg9QmVhcmVyIG9sZAEB");
    // {"status":"invalid_token"}
    let invalid = "+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\r\n";
    let passes = ["token valid", "bearer a: Ok(())"];
    check(
        world,
        &format!("l AUTHENTICATE OAUTHBEARER {valid}\r\n"),
        &format!("{greeting}{LOGGED_IN}"),
        &passes,
    );
    let asked = ["token old", "bearer : Err(Time)"];
    for (response, reply, asked) in [
        ("AQ==", "a NO wrong", &asked[..]),
        ("", "a NO wrong", &asked),
        ("*", "a BAD AUTHENTICATE cancelled", &asked[..1]),
    ] {
        let said = format!("{greeting}{invalid}{reply}\r\nb OK NOOP completed\r\n");
        let sent = format!("a AUTHENTICATE OAUTHBEARER {old}\r\n{response}\r\nb NOOP\r\n");
        check(world, &sent, &said, asked);
    }
}

#[test]
fn a_certificate_is_announced_once_it_was_shown() {
    let mut world = World::new(settings(Privacy::StartTls, PlaintextLogin::Refused));
    world.certificate = Some(ClientCertificate { emails: vec!["a@a.test".into()], sha256: [7; 32] });
    world.send(b"a AUTHENTICATE EXTERNAL =\r\n", 3);
    assert!(world.take().ends_with("a NO [PRIVACYREQUIRED] login needs TLS\r\n"));
    world.send(b"b STARTTLS\r\n", 3);
    world.send(b"c CAPABILITY\r\n", 3);
    assert!(world.take().contains(" SASL-IR LANGUAGE AUTH=EXTERNAL AUTH=PLAIN AUTH=LOGIN\r\n"));
    world.send(b"d AUTHENTICATE EXTERNAL\r\n*\r\n", 3);
    assert_eq!(world.take(), "+ \r\nd BAD AUTHENTICATE cancelled\r\n");
    world.send(b"l AUTHENTICATE EXTERNAL\r\n\r\n", 3);
    assert_eq!(world.take(), format!("+ \r\n{LOGGED_IN}"));
    assert_eq!(world.questions, ["certificate of a@a.test for \"\""]);
}

#[test]
fn an_unknown_mechanism_is_refused() {
    check(
        World::tls,
        "a AUTHENTICATE SCRAM-SHA-256\r\n",
        &format!("{GREETING}a NO unknown mechanism\r\n"),
        &[],
    );
    check(World::tls, "a AUTHENTICATE X AHUAcA==\r\n", &format!("{GREETING}a NO unknown mechanism\r\n"), &[]);
}

#[test]
fn starttls_forgets_what_came_before() {
    let mut world = World::new(settings(Privacy::StartTls, PlaintextLogin::Refused));
    world.send(b"a STARTTLS\r\nb LOGIN u p\r\n", 4096);
    world.take();
    assert!(world.questions.is_empty());
    world.send(b"c CAPABILITY\r\nd STARTTLS\r\ne LOGIN u p\r\n", 3);
    assert_eq!(
        world.take().lines().collect::<Vec<_>>()[..3],
        [
            "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE SASL-IR LANGUAGE AUTH=PLAIN AUTH=LOGIN",
            "c OK CAPABILITY completed",
            "d BAD TLS is on already",
        ]
    );
    assert_eq!(world.questions, ["login u/p"]);
    check(
        || World::new(settings(Privacy::StartTls, PlaintextLogin::Allowed)),
        "a STARTTLS\r\n",
        "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE IDLE SASL-IR LANGUAGE STARTTLS AUTH=PLAIN AUTH=LOGIN] mx.test Waypost ready\r\n\
         a OK begin TLS negotiation now\r\n<TLS>",
        &[],
    );
}

#[test]
fn states_decide_what_is_legal() {
    let any = ["CAPABILITY", "NOOP", "ID NIL"];
    let before = ["LOGIN u p", "AUTHENTICATE X", "STARTTLS"];
    let after = [
        "SELECT a",
        "EXAMINE a",
        "CREATE a",
        "DELETE a",
        "RENAME a b",
        "SUBSCRIBE a",
        "UNSUBSCRIBE a",
        "LIST \"\" *",
        "LSUB \"\" *",
        "NAMESPACE",
        "STATUS a (MESSAGES)",
        "ENABLE X",
        "IDLE",
        "APPEND a {1}",
    ];
    let selected = [
        "CHECK",
        "CLOSE",
        "UNSELECT",
        "EXPUNGE",
        "UID EXPUNGE 1",
        "SEARCH ALL",
        "UID SEARCH ALL",
        "FETCH 1 FLAGS",
        "UID FETCH 1 FLAGS",
        "STORE 1 FLAGS ()",
        "COPY 1 a",
        "MOVE 1 a",
        "UID MOVE 1 a",
    ];
    type Case = (fn() -> World, [bool; 4]);
    let worlds: [Case; 3] = [
        (World::tls, [true, true, false, false]),
        (World::logged_in, [true, false, true, false]),
        (World::selected, [true, false, true, true]),
    ];
    for (state, (world, legal)) in worlds.iter().enumerate() {
        for (commands, legal) in [&any[..], &before, &after, &selected].iter().zip(legal) {
            for command in *commands {
                let mut world = world();
                world.send(format!("x {command}\r\n").as_bytes(), 4096);
                let output = world.take();
                let refused = ["log in first", "select a mailbox first", "already logged in"]
                    .iter()
                    .any(|reason| output.contains(&format!("x BAD {reason}")));
                assert_eq!(refused, !legal, "{command} in state {state}: {output}");
                assert!(!refused || world.questions.is_empty(), "{command}");
            }
        }
    }
}

#[test]
fn close_leaves_the_mailbox() {
    check(
        World::selected,
        "a CLOSE\r\nb CHECK\r\nc NOOP\r\n",
        "a OK CLOSE done\r\nb BAD select a mailbox first\r\nc OK done\r\n",
        &["close", "Noop"],
    );
}

#[test]
fn literals_of_both_kinds() {
    check(
        World::tls,
        "l LOGIN {3}\r\nu\"x {1+}\r\np\r\n",
        &format!("{GREETING}+ go on\r\n{LOGGED_IN}"),
        &["login u\"x/p"],
    );
    check(
        World::tls,
        "l LOGIN {0+}\r\n {1}\r\np\r\n",
        &format!("{GREETING}+ go on\r\n{LOGGED_IN}"),
        &["login /p"],
    );
    check(
        World::logged_in,
        "a SELECT {9+}\r\na\r\nLOGOUT\r\nb NOOP\r\n",
        "a BAD the mailbox name is not valid modified UTF-7 (octet 10)\r\nb OK done\r\n",
        &["Noop"],
    );
}

#[test]
fn a_literal_that_is_too_long_is_refused() {
    let long = LITERAL_BYTES_MAX + 1;
    let refused = "a BAD [TOOBIG] the literal is too long\r\nb OK done\r\n";
    check(World::logged_in, &format!("a SELECT {{{long}}}\r\nb NOOP\r\n"), refused, &["Noop"]);
    let octets = "b LOGOUT\r\n".repeat(usize::try_from(long).unwrap() / 10 + 1);
    let octets = &octets[..usize::try_from(long).unwrap()];
    check(
        World::logged_in,
        &format!("a SELECT {{{long}+}}\r\n{octets} x {{3+}}\r\nabc y\r\nb NOOP\r\n"),
        refused,
        &["Noop"],
    );
    let octets = "a".repeat(usize::try_from(LITERAL_BYTES_MAX).unwrap());
    let mut world = World::logged_in();
    world.send(format!("a SELECT {{{LITERAL_BYTES_MAX}+}}\r\n{octets}\r\n").as_bytes(), 4096);
    assert_eq!(world.take(), "a OK SELECT done\r\n");
    for number in [SKIPPED_LITERAL_BYTES_MAX + 1, u64::MAX] {
        check(
            World::logged_in,
            &format!("a SELECT {{{number}+}}\r\n"),
            "* BYE [TOOBIG] the literal is too long\r\n",
            &[],
        );
    }
    check(
        World::tls,
        "a LOGIN {9000}\r\n",
        &format!("{GREETING}a BAD [TOOBIG] the literal is too long\r\n"),
        &[],
    );
}

#[test]
fn a_command_that_is_too_long_is_refused() {
    for (world, bytes_max, greeting) in [
        (World::tls as fn() -> World, COMMAND_BYTES_MAX_BEFORE_LOGIN, GREETING),
        (World::logged_in, COMMAND_BYTES_MAX, ""),
    ] {
        let noop = |bytes: usize| format!("a {}\r\nb LOGOUT\r\n", "x".repeat(bytes - 4));
        let rest = "* BYE Waypost logging out\r\nb OK LOGOUT completed\r\n";
        for chunk in [7, 4096, 1 << 20] {
            let mut long = world();
            long.send(noop(bytes_max + 1).as_bytes(), chunk);
            assert_eq!(long.take(), format!("{greeting}a BAD [LIMIT] the command is too long\r\n{rest}"));
            let mut fits = world();
            fits.send(noop(bytes_max).as_bytes(), chunk);
            assert_eq!(fits.take(), format!("{greeting}a BAD unknown command (octet 3)\r\n{rest}"));
        }
    }
    // A literal at the end of a line that is too long belongs to it.
    let mut world = World::logged_in();
    world.send(
        format!("a {} {{12+}}\r\nb LOGOUT\r\n.. z\r\nc NOOP\r\n", "x".repeat(COMMAND_BYTES_MAX)).as_bytes(),
        4096,
    );
    assert_eq!(world.take(), "a BAD [LIMIT] the command is too long\r\nc OK done\r\n");
}

#[test]
fn append_streams_its_message() {
    check(
        World::logged_in,
        "a APPEND inbox (\\Seen) {11}\r\nHello\r\nyou!\r\nb APPEND {1+}\r\nx {3+}\r\nabc\r\nc APPEND x {0}\r\n\r\nd NOOP\r\n",
        "+ go on\r\na OK [APPENDUID 1 2] APPEND done\r\nb OK [APPENDUID 1 2] APPEND done\r\n+ go on\r\nc OK [APPENDUID 1 2] APPEND done\r\n\
         d OK done\r\n",
        &[
            "append INBOX message(\\Seen) Text 11",
            "chunk Hello\\r\\nyou!",
            "end",
            "append x message() Text 3",
            "chunk abc",
            "end",
            "append x message() Text 0",
            "end",
            "Noop",
        ],
    );
}

#[test]
fn append_with_something_after_its_message() {
    check(
        World::logged_in,
        "a APPEND x {3+}\r\nabcde {2+}\r\nde\r\nb NOOP\r\n",
        "a BAD expected a space (octet 1)\r\nb OK done\r\n",
        &["append x message() Text 3", "chunk abc", "abort", "Noop"],
    );
    for (behind, said) in [
        (")", "expected a space (octet 1)"),
        (" ", "expected the message as a literal (octet 2)"),
        (" (\\Seen)", "expected a space (octet 9)"),
        (" (\\Recent) {3}", "no flag that can be stored (octet 3)"),
        (" \"yesterday\" ~{3}", "no such date and time (octet 2)"),
        (" x {3+}\r\nabc", "expected the message as a literal (octet 2)"),
        ("\n", "lines end with CRLF"),
    ] {
        let end = if behind == "\n" { "" } else { "\r\n" };
        check(
            World::logged_in,
            &format!("a APPEND x {{3+}}\r\nabc{behind}{end}b NOOP\r\n"),
            &format!("a BAD {said}\r\nb OK done\r\n"),
            &["append x message() Text 3", "chunk abc", "abort", "Noop"],
        );
    }
    for chunk in CHUNKS {
        let mut world = World::logged_in();
        let long = " (\\Seen".to_owned() + &" x".repeat(COMMAND_BYTES_MAX);
        world.send(format!("a APPEND x {{3+}}\r\nabc{long}) {{2+}}\r\nde\r\nb NOOP\r\n").as_bytes(), chunk);
        assert_eq!(world.take(), "a BAD [LIMIT] the command is too long\r\nb OK done\r\n");
        assert_eq!(world.questions, ["append x message() Text 3", "chunk abc", "abort", "Noop"]);
    }
}

#[test]
fn append_of_several_messages() {
    check(
        World::logged_in,
        "a APPEND x {3+}\r\nabc (\\Seen) \" 7-Feb-1994 22:43:04 -0800\" ~{2}\r\nde {1+}\r\nf\r\nb NOOP\r\n",
        "+ go on\r\na OK [APPENDUID 1 2] APPEND done\r\nb OK done\r\n",
        &[
            "append x message() Text 3",
            "chunk abc",
            "then message(\\Seen) Binary 2",
            "chunk de",
            "then message() Text 1",
            "chunk f",
            "end",
            "Noop",
        ],
    );
}

#[test]
fn catenate_takes_texts_and_urls() {
    check(
        World::logged_in,
        "a APPEND x CATENATE (URL \"/a\" TEXT {3+}\r\nabc URL {2}\r\n/b URL {2+}\r\n/c TEXT {0+}\r\n UTF8 (~{1}\r\nd)) UTF8 (~{1+}\r\ne)\r\nb NOOP\r\n",
        "+ go on\r\n+ go on\r\na OK [APPENDUID 1 2] APPEND done\r\nb OK done\r\n",
        &[
            "append x message() url /a Text 3",
            "chunk abc",
            "then url /b url /c Text 0",
            "then Utf8 1",
            "chunk d",
            "then message() Utf8 1",
            "chunk e",
            "end",
            "Noop",
        ],
    );
    // No literal at all; a URL as the only literal.
    check(
        World::logged_in,
        "a APPEND x CATENATE (URL /a)\r\nb APPEND {1}\r\nx CATENATE (URL {2+}\r\n/a)\r\nc NOOP\r\n",
        "a OK [APPENDUID 1 2] APPEND done\r\n+ go on\r\nb OK [APPENDUID 1 2] APPEND done\r\nc OK done\r\n",
        &["append x message() url /a", "end", "append x message() url /a", "end", "Noop"],
    );
    for (sent, said) in [
        ("a APPEND x CATENATE (TEXT {3+}\r\nabc", "expected a closing parenthesis (octet 1)"),
        ("a APPEND x CATENATE (TEXT {3+}\r\nabc FOO)", "expected TEXT, URL or UTF8 (octet 2)"),
        ("a APPEND x CATENATE (TEXT {3+}\r\nabc URL {2+}\r\n/a x)", "expected TEXT, URL or UTF8 (octet 15)"),
        ("a APPEND x CATENATE (TEXT {3+}\r\nabc URL {3+}\r\n/\0a)", "expected a string (octet 6)"),
    ] {
        check(
            World::logged_in,
            &format!("{sent}\r\nb NOOP\r\n"),
            &format!("a BAD {said}\r\nb OK done\r\n"),
            &["append x message() Text 3", "chunk abc", "abort", "Noop"],
        );
    }
    check(
        World::logged_in,
        "a APPEND x CATENATE (TEXT {3+}\r\nabc URL {65537}\r\nb NOOP\r\n",
        "a BAD [TOOBIG] the literal is too long\r\nb OK done\r\n",
        &["append x message() Text 3", "chunk abc", "abort", "Noop"],
    );
    for chunk in CHUNKS {
        let mut world = World::logged_in();
        world.answers.push_back(Answer::Ran(Ran::no("no such message").with_code("BADURL /a")));
        world.send(b"a APPEND x CATENATE (URL /a)\r\nb NOOP\r\n", chunk);
        assert_eq!(world.take(), "a NO [BADURL /a] no such message\r\nb OK done\r\n");
        assert_eq!(world.questions, ["append x message() url /a", "Noop"]);
    }
}

#[test]
fn replace_takes_one_message() {
    check(
        World::selected,
        "a REPLACE 4 x (\\Seen) {3+}\r\nabc\r\nb UID REPLACE * {1}\r\nx {3+}\r\nabc\r\nc REPLACE 1 x CATENATE (URL /a)\r\n",
        "a OK [APPENDUID 1 2] APPEND done\r\n+ go on\r\nb OK [APPENDUID 1 2] APPEND done\r\nc OK [APPENDUID 1 2] APPEND done\r\n",
        &[
            "replace Sequence Number(4) by x message(\\Seen) Text 3",
            "chunk abc",
            "end",
            "replace Uid Largest by x message() Text 3",
            "chunk abc",
            "end",
            "replace Sequence Number(1) by x message() url /a",
            "end",
        ],
    );
    check(
        World::selected,
        "a REPLACE 4 x {3+}\r\nabc {3+}\r\ndef\r\nb NOOP\r\n",
        "a BAD something stands after the command's end (octet 1)\r\nb OK done\r\n",
        &["replace Sequence Number(4) by x message() Text 3", "chunk abc", "abort", "Noop"],
    );
    for sent in ["a REPLACE 4:5 x {3+}\r\nabc\r\n", "a REPLACE 0 x {3+}\r\nabc\r\n", "a REPLACE $ x {3}\r\n"]
    {
        let mut world = World::selected();
        world.send(format!("{sent}b NOOP\r\n").as_bytes(), 3);
        let said = world.take();
        assert!(said.starts_with("a BAD ") && said.ends_with("\r\nb OK done\r\n"), "{said}");
        assert_eq!(world.questions, ["Noop"]);
    }
    check(
        World::logged_in,
        "a REPLACE 4 x {9+}\r\nb LOGOUT\n\r\nc UID REPLACE 4 x {3}\r\nd NOOP\r\n",
        "a BAD select a mailbox first\r\nc BAD select a mailbox first\r\nd OK done\r\n",
        &["Noop"],
    );
}

/// What is refused between messages: a client that waits is answered, one that does not is heard to the end.
#[test]
fn an_append_that_is_refused_behind_a_message_is_skipped() {
    for chunk in CHUNKS {
        for sent in [
            "a APPEND x {3+}\r\nabc {2}\r\nb NOOP\r\n",
            "a APPEND x {3+}\r\nabc {2+}\r\nde {4+}\r\n1234\r\nb NOOP\r\n",
        ] {
            let mut world = World::logged_in();
            world.answers.extend([Answer::Go, Answer::Go]);
            world.answers.push_back(Answer::Ran(Ran::no("full").with_code("OVERQUOTA")));
            world.send(sent.as_bytes(), chunk);
            assert_eq!(world.take(), "a NO [OVERQUOTA] full\r\nb OK done\r\n", "{sent:?} in {chunk}");
            assert!(!world.questions.contains(&"end".to_owned()));
        }
    }
}

#[test]
fn a_refused_append_is_skipped_octet_for_octet() {
    let message = "b LOGOUT\r\n";
    for (head, said) in [
        ("a APPEND x (\\Recent) {10+}", "a BAD no flag that can be stored (octet 13)\r\n"),
        ("a APPEND x \"yesterday\" {10+}", "a BAD no such date and time (octet 12)\r\n"),
        ("a APPEND x y ~{10+}", "a BAD expected the message as a literal (octet 12)\r\n"),
        ("a APPEND {10+}", "a BAD the mailbox name is not valid modified UTF-7 (octet 10)\r\n"),
    ] {
        check(
            World::logged_in,
            &format!("{head}\r\n{message}\r\nc NOOP\r\n"),
            &format!("{said}c OK done\r\n"),
            &["Noop"],
        );
    }
    check(
        World::logged_in,
        "a APPEND x (\\rEcent) {10}\r\nc NOOP\r\n",
        "a BAD no flag that can be stored (octet 13)\r\nc OK done\r\n",
        &["Noop"],
    );
    check(
        World::tls,
        &format!("a APPEND x {{10+}}\r\n{message}\r\nc NOOP\r\n"),
        &format!("{GREETING}a BAD log in first\r\nc OK NOOP completed\r\n"),
        &[],
    );
    for chunk in CHUNKS {
        for (sent, answers) in [
            ("a APPEND x {10}\r\nc NOOP\r\n".to_owned(), 1),
            (format!("a APPEND x {{10+}}\r\n{message}\r\nc NOOP\r\n"), 1),
            (format!("a APPEND x {{10+}}\r\n{message}\r\nc NOOP\r\n"), 2),
            (format!("a APPEND x {{10+}}\r\n{message} {{5+}}\r\n12345\r\nc NOOP\r\n"), 2),
        ] {
            let mut world = World::logged_in();
            world.answers.extend(vec![Answer::Go; answers - 1]);
            world.answers.push_back(Answer::Ran(Ran::no("full").with_code("OVERQUOTA")));
            world.send(sent.as_bytes(), chunk);
            assert_eq!(world.take(), "a NO [OVERQUOTA] full\r\nc OK done\r\n", "{sent:?} in {chunk}");
            assert_eq!(world.questions.last().unwrap(), "Noop");
            assert!(!world.questions.contains(&"end".to_owned()));
        }
    }
}

#[test]
fn idle_tells_events_until_done() {
    for chunk in CHUNKS {
        let mut world = World::selected();
        world.send(b"a IDLE\r\n", chunk);
        assert_eq!(world.take(), "+ idling\r\n");
        world.events.push_back(Event::Updates(Bytes::from_static(b"* 4 EXISTS\r\n")));
        world.run();
        assert_eq!(world.take(), "* 4 EXISTS\r\n");
        world.send(b"done\r\nb NOOP\r\n", chunk);
        assert_eq!(world.take(), "a OK IDLE completed\r\nb OK done\r\n");
        world.machine.event(Event::Updates(Bytes::from_static(b"* 5 EXISTS\r\n")));
        world.run();
        assert_eq!(world.take(), "");
    }
    check(
        World::logged_in,
        "a IDLE\r\nb NOOP\r\nc NOOP\r\n",
        "+ idling\r\na BAD expected DONE\r\nc OK done\r\n",
        &["idle", "Noop"],
    );
    check(
        World::logged_in,
        &format!("a IDLE\r\n{}\r\nc NOOP\r\n", "DONE".repeat(50)),
        "+ idling\r\na BAD expected DONE\r\nc OK done\r\n",
        &["idle", "Noop"],
    );
    let mut world = World::logged_in();
    world.answers.push_back(Answer::Ran(Ran::no("not now")));
    world.events.push_back(Event::Bye("account removed".into()));
    world.send(b"a IDLE\r\nb IDLE\r\n", 3);
    assert_eq!(world.take(), "a NO not now\r\n+ idling\r\n* BYE account removed\r\n");
    assert!(world.closed);
}

#[test]
fn silence_ends_a_session() {
    for (world, timeout) in
        [(World::tls as fn() -> World, AUTOLOGOUT_BEFORE_LOGIN), (World::logged_in, AUTOLOGOUT)]
    {
        for sent in [&b""[..], b"a NO", b"a IDLE\r\n"] {
            let mut world = world();
            world.send(sent, 4096);
            world.take();
            let deadline = world.run().unwrap();
            assert_eq!(deadline, world.now + timeout);
            world.now = deadline - Duration::from_millis(1);
            assert_eq!(world.run(), Some(deadline));
            world.now = deadline;
            world.run();
            assert_eq!(world.take(), "* BYE autologout; idle for too long\r\n");
            assert!(world.closed);
        }
    }
    let mut world = World::logged_in();
    let deadline = world.run().unwrap();
    world.now += Duration::from_secs(60);
    world.send(b"a NOOP\r\n", 3);
    assert_eq!(world.run(), Some(deadline + Duration::from_secs(60)));
}

#[test]
fn a_transfer_is_no_silence_after_login() {
    for (world, lives) in [(World::tls as fn() -> World, false), (World::logged_in, true)] {
        let mut world = world();
        world.send(b"a APPEND x {9999999+}\r\n1", 4096);
        let step = if lives { AUTOLOGOUT / 6 } else { AUTOLOGOUT_BEFORE_LOGIN / 6 };
        let octets = vec![b'2'; usize::try_from(step.as_secs() * TRANSFER_BYTES_PER_SECOND).unwrap()];
        for _ in 0..20 {
            world.now += step;
            world.send(&octets, 4096);
        }
        assert_eq!(world.closed, !lives, "{}", world.output);
    }
}

#[test]
fn commands_do_not_put_off_the_login() {
    for command in ["a NOOP\r\n", "a CAPABILITY\r\n", "a ID NIL\r\n", "a X\r\n"] {
        let mut world = World::tls();
        world.run();
        let begun = world.now;
        for _ in 0..3 {
            world.now += AUTOLOGOUT_BEFORE_LOGIN - Duration::from_secs(1);
            world.send(command.as_bytes(), 4096);
        }
        assert_eq!(world.run(), Some(begun + LOGIN_TIME), "{command}");
        world.now = begun + LOGIN_TIME;
        world.run();
        assert!(world.take().ends_with("* BYE autologout; no login in time\r\n"), "{command}");
        assert!(world.closed);
    }
    // TLS takes time, too: it begins anew, once.
    let mut world = World::new(settings(Privacy::StartTls, PlaintextLogin::Refused));
    world.run();
    world.now += AUTOLOGOUT_BEFORE_LOGIN / 2;
    world.send(b"a STARTTLS\r\n", 4096);
    let begun = world.now;
    for _ in 0..5 {
        world.now += AUTOLOGOUT_BEFORE_LOGIN / 2;
        world.send(b"a STARTTLS\r\n", 4096);
    }
    assert_eq!(world.run(), Some(begun + LOGIN_TIME));
    world.send(LOGIN.as_bytes(), 4096);
    assert_eq!(world.run(), Some(world.now + AUTOLOGOUT));
}

#[test]
fn a_message_that_comes_too_slowly_ends_the_session() {
    let bytes = |seconds: u64| vec![b'x'; usize::try_from(seconds * TRANSFER_BYTES_PER_SECOND).unwrap()];
    for head in ["a APPEND x {9999999+}\r\n", "a SELECT {9999999+}\r\n"] {
        let (mut slow, mut steady) = (World::logged_in(), World::logged_in());
        for world in [&mut slow, &mut steady] {
            world.send(head.as_bytes(), 4096);
        }
        let begun = slow.now;
        for _ in 0..11 {
            slow.now += Duration::from_secs(59);
            slow.send(b"x", 4096);
            steady.now += Duration::from_secs(120);
            steady.send(&bytes(120), 4096);
        }
        assert!(slow.now >= begun + TRANSFER_GRACE && slow.closed, "{head}");
        assert!(slow.take().ends_with("* BYE autologout; the message comes too slowly\r\n"), "{head}");
        assert!(!steady.closed, "{head}");
    }
    // Each command has its own time.
    let mut world = World::logged_in();
    for _ in 0..3 {
        world.send(b"a APPEND x {2+}\r\nx", 4096);
        world.now += TRANSFER_GRACE / 2;
        world.send(b"x\r\n", 4096);
    }
    assert!(!world.closed);
}

#[test]
fn logins_that_need_tls_or_are_no_text_are_failed_ones() {
    let plain = || World::new(settings(Privacy::None, PlaintextLogin::Refused));
    let open = || World::new(settings(Privacy::None, PlaintextLogin::Allowed));
    for (world, sent, said) in [
        (&plain as &dyn Fn() -> World, &b"a LOGIN u p\r\n"[..], "a NO [PRIVACYREQUIRED] login needs TLS"),
        (&plain, b"a AUTHENTICATE PLAIN\r\n", "a NO [PRIVACYREQUIRED] login needs TLS"),
        (&plain, b"a LOGIN u {1+}\r\n\xff\r\n", "a NO [PRIVACYREQUIRED] login needs TLS"),
        (&open, b"a LOGIN u {1+}\r\n\xff\r\n", "a NO [AUTHENTICATIONFAILED] wrong user name or password"),
    ] {
        let mut world = world();
        for _ in 1..LOGIN_FAILURES_MAX {
            world.send(sent, 4096);
        }
        assert!(!world.closed, "{said}");
        world.send(sent, 4096);
        assert!(world.take().ends_with(&format!("{said}\r\n* BYE too many failed logins\r\n")), "{said}");
        assert!(world.closed && world.questions.is_empty());
    }
}

#[test]
fn what_is_beyond_a_bound_is_no_error() {
    let long = "k".repeat(129);
    let items = vec!["x"; 1001].join(" ");
    let ranges = vec!["1:2"; 10_001].join(",");
    let parts = vec!["1"; 101].join(".");
    for (command, said) in [
        (format!("LIST \"\" ({items})"), "NO [LIMIT] too many items"),
        (format!("FETCH {ranges} UID"), "NO [LIMIT] too many ranges"),
        (format!("FETCH 1 BODY[{parts}]"), "NO [LIMIT] the section is too deep"),
        (
            format!("SEARCH {}ALL{}", "(".repeat(100), ")".repeat(100)),
            "NO [LIMIT] the search keys are nested too deeply",
        ),
        (format!("STORE 1 FLAGS ({long})"), "NO [LIMIT] the keyword is too long"),
        (format!("STORE 1 +FLAGS {long}"), "NO [LIMIT] the keyword is too long"),
        ("CREATE &".to_owned(), "NO [CANNOT] the mailbox name is not valid modified UTF-7"),
        ("RENAME a \"&AGE-\"".to_owned(), "NO [CANNOT] the mailbox name is not valid modified UTF-7"),
    ] {
        check(World::selected, &format!("a {command}\r\n"), &format!("a {said}\r\n"), &[]);
    }
}

#[test]
fn too_many_errors_end_a_session() {
    let mut world = World::logged_in();
    world.send("x\r\n".repeat(FAULTS_MAX as usize - 1).as_bytes(), 4096);
    world.send(b"a NOOP\r\n", 4096);
    world.send("a X\r\n".repeat(FAULTS_MAX as usize - 1).as_bytes(), 4096);
    assert!(!world.closed);
    world.send(b"a X\r\n", 4096);
    assert!(world.take().ends_with("a BAD unknown command (octet 3)\r\n* BYE [LIMIT] too many errors\r\n"));
    assert!(world.closed);

    let mut world = World::tls();
    world.send("a LOGIN u wrong\r\n".repeat(LOGIN_FAILURES_MAX as usize - 1).as_bytes(), 4096);
    assert!(!world.closed);
    world.send(b"a LOGIN u wrong\r\n", 4096);
    assert!(world.take().ends_with("a NO [AUTHENTICATIONFAILED] wrong\r\n* BYE too many failed logins\r\n"));
}

#[test]
fn garbage_is_bad() {
    for (sent, said) in [
        ("\r\n", "* BAD expected a tag (octet 1)\r\n"),
        ("a\r\n", "a BAD expected a space (octet 2)\r\n"),
        ("a\n", "a BAD lines end with CRLF\r\n"),
        ("a+\r\n", "* BAD expected a space (octet 2)\r\n"),
        ("a \r\n", "a BAD expected a command (octet 3)\r\n"),
        ("+ NOOP\r\n", "* BAD expected a tag (octet 1)\r\n"),
        ("a NOOP \r\n", "a BAD something stands after the command's end (octet 7)\r\n"),
        ("a NOOP\n", "a BAD lines end with CRLF\r\n"),
        ("a NO\rOP\r\n", "a BAD unknown command (octet 3)\r\n"),
        ("a \0\r\n", "a BAD expected a command (octet 3)\r\n"),
        ("GET / HTTP/1.1\r\n", "GET BAD unknown command (octet 5)\r\n"),
        ("a STATUS b (FOO)\r\n", "a BAD unknown STATUS item (octet 13)\r\n"),
        ("a FETCH 0 FLAGS\r\n", "a BAD the number begins with zero (octet 9)\r\n"),
        ("a FETCH 4294967296 FLAGS\r\n", "a BAD the number is too large (octet 9)\r\n"),
        ("a LOGIN u {99999999999999999999}\r\n", "a BAD [TOOBIG] the literal is too long\r\n"),
    ] {
        check(World::selected, sent, said, &[]);
    }
}

#[test]
fn the_end_and_shutdown() {
    let mut world = World::logged_in();
    world.machine.receive(b"a NOOP\r\nb NO");
    world.machine.end_of_input();
    world.run();
    assert_eq!((world.take().as_str(), world.closed), ("a OK done\r\n", true));
    for sent in [&b""[..], b"a NO", b"a IDLE\r\n", b"a APPEND x {5+}\r\nab"] {
        let mut world = World::logged_in();
        world.send(sent, 4096);
        world.take();
        world.machine.shutdown();
        world.run();
        assert_eq!((world.take().as_str(), world.closed), ("* BYE server shutting down\r\n", true));
    }
    let mut world = World::logged_in();
    world.answers.push_back(Answer::Bye("gone".into()));
    world.send(b"a NOOP\r\nb NOOP\r\n", 4096);
    assert_eq!((world.take().as_str(), world.closed), ("* BYE gone\r\n", true));
    let mut world = World::logged_in();
    world.answers.push_back(Answer::Go);
    world.send(b"a NOOP\r\n", 4096);
    assert_eq!(world.take(), "a NO [SERVERBUG] internal error\r\n");
}

#[test]
fn compression_begins_after_login_and_once() {
    check(World::tls, "a COMPRESS DEFLATE\r\n", &format!("{GREETING}a BAD log in first\r\n"), &[]);
    for (sent, said) in [
        ("COMPRESS DEFLATE", "OK DEFLATE active\r\n<DEFLATE>"),
        ("compress deflate", "OK DEFLATE active\r\n<DEFLATE>"),
        ("COMPRESS GZIP", "BAD DEFLATE is the only compression\r\n"),
        ("COMPRESS", "BAD expected a space (octet 11)\r\n"),
    ] {
        check(World::selected, &format!("a {sent}\r\n"), &format!("a {said}"), &[]);
    }
    let compressed = || {
        let mut world = World::logged_in();
        world.send(b"a COMPRESS DEFLATE\r\n", 4096);
        world.take();
        world
    };
    let again = "b BAD [COMPRESSIONACTIVE] DEFLATE is active already, by COMPRESS\r\nc OK done\r\n";
    check(compressed, "b COMPRESS DEFLATE\r\nc NOOP\r\n", again, &["Noop"]);
    // Nobody knows whether what follows at once is compressed.
    let mut world = World::logged_in();
    world.send(b"a COMPRESS DEFLATE\r\nb NOOP\r\n", 4096);
    assert_eq!(world.take(), "a BAD nothing may follow COMPRESS before its answer\r\nb OK done\r\n");
}

/// Sessions that may log out again, after some commands.
fn reusable(sent: &'static str) -> impl Fn() -> World {
    move || {
        let rules = ImapRules { unauthenticate: true, message_limit: None };
        let mut world = World::new(Settings { rules, ..settings(Privacy::Tls, PlaintextLogin::Refused) });
        world.send(LOGIN.as_bytes(), 4096);
        assert!(world.take().contains(" UNAUTHENTICATE "));
        world.send(sent.as_bytes(), 4096);
        world.take();
        world.questions.clear();
        world
    }
}

#[test]
fn a_user_logs_out_and_another_in() {
    let out = format!("a OK {} logged out\r\n", &GREETING[5..GREETING.find(" mx").unwrap()]);
    check(
        reusable("s SELECT inbox\r\n"),
        "a UNAUTHENTICATE\r\nl LOGIN u p\r\n",
        &format!("{out}{}", LOGGED_IN.replace(" APPENDLIMIT", " UNAUTHENTICATE APPENDLIMIT")),
        &["unauthenticate", "login u/p"],
    );
    check(
        reusable(""),
        "a unauthenticate\r\nb SELECT x\r\n",
        &format!("{out}b BAD log in first\r\n"),
        &["unauthenticate"],
    );
    // Names are spelled as at the beginning.
    let names = "a UNAUTHENTICATE\r\nl LOGIN u p\r\nb SELECT &APw-\r\n";
    let mut world = reusable("e ENABLE IMAP4rev2\r\n")();
    world.send(names.as_bytes(), 4096);
    assert_eq!(world.questions.last().map(String::as_str), Some("select ü"));
    check(World::logged_in, "a UNAUTHENTICATE\r\n", "a BAD UNAUTHENTICATE is not to be had here\r\n", &[]);
    check(World::tls, "a UNAUTHENTICATE\r\n", &format!("{GREETING}a BAD log in first\r\n"), &[]);
}

#[test]
fn logging_out_ends_compression() {
    let compressed = reusable("c COMPRESS DEFLATE\r\n");
    let mut world = compressed();
    world.send(b"a UNAUTHENTICATE\r\n", 4096);
    assert!(world.take().ends_with(" logged out\r\n<PLAIN>"));
    world.send(b"l LOGIN u p\r\nc COMPRESS DEFLATE\r\n", 4096);
    assert!(world.take().ends_with("c OK DEFLATE active\r\n<DEFLATE>"));
    let mut world = compressed();
    world.send(b"a UNAUTHENTICATE\r\nl LOGIN u p\r\n", 4096);
    assert_eq!(world.take(), "* BYE what follows UNAUTHENTICATE is not compressed\r\n");
    assert!(world.closed);
    let mut world = compressed();
    world.answers.push_back(Answer::Ran(Ran::no("no")));
    world.send(b"a UNAUTHENTICATE\r\n", 4096);
    assert!(world.closed);
}

#[test]
fn people_are_spoken_to_in_their_language() {
    check(
        World::tls,
        "a LANGUAGE\r\nb LANGUAGE fr-CA de-CH\r\nc X\r\nd LANGUAGE xx\r\ne LOGIN u x\r\nf LANGUAGE en\r\ng LOGOUT\r\n",
        &format!(
            "{GREETING}* LANGUAGE (EN DE i-default)\r\na OK listed\r\n* LANGUAGE (DE)\r\nb OK Sprache gewechselt\r\n\
             c BAD unbekannter Befehl (Oktett 3)\r\nd NO diese Sprache gibt es nicht\r\n\
             e NO [AUTHENTICATIONFAILED] wrong\r\n* LANGUAGE (EN)\r\nf OK language changed\r\n\
             * BYE Waypost logging out\r\ng OK LOGOUT completed\r\n"
        ),
        &["speak DE", "login u/x", "speak EN"],
    );
    let german = reusable("x LANGUAGE DE\r\n");
    let mut world = german();
    world.send(b"a UNAUTHENTICATE\r\nb X\r\n", 4096);
    assert!(world.take().ends_with("] abgemeldet\r\nb BAD unknown command (octet 3)\r\n"));
    let mut world = german();
    world.machine.shutdown();
    world.run();
    assert_eq!(world.take(), "* BYE der Server hält an\r\n");
}

#[test]
fn a_session_that_waits_holds_no_buffers() {
    for sent in
        [b"a NOOP\r\n".repeat(1000), format!("a APPEND x {{5000+}}\r\n{}\r\n", "x".repeat(5000)).into()]
    {
        let mut world = World::logged_in();
        world.send(&sent, 16 * 1024);
        assert_eq!((world.machine.input.capacity(), world.machine.output.capacity()), (0, 0));
    }
}
