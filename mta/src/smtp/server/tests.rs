//! Transcripts of the machine alone: what a client sends in pieces, what it gets, what was asked.

use waypost_auth::{
    sasl::{
        Bearer, Claim, Credentials, Fault, Found, Lookup, Offer, Proof, Scram, ServerFirst, Tokens, Verifier,
    },
    token::TokenFault,
};
use waypost_mail::{Address, Domain, EnhancedStatus, EntryId};
use waypost_net::{ChannelBinding, ClientCertificate};

use super::*;
use crate::smtp::path::ForwardPath;

const TLS: StartTls = StartTls::Offered;
const MX_EHLO: &str = "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-DSN\r\n250-MT-PRIORITY\r\n250-DELIVERBY\r\n250-LIMITS RCPTMAX=3\r\n250 STARTTLS\r\n";
const TLS_EHLO: &str = "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-DSN\r\n250-MT-PRIORITY\r\n250-DELIVERBY\r\n250-LIMITS RCPTMAX=3\r\n250-REQUIRETLS\r\n250 AUTH PLAIN LOGIN\r\n";
const CANNOT_VERIFY: &str = "252 2.0.0 Cannot VRFY user, but will accept message and attempt delivery\r\n";
const DONE: &str = "250 2.0.0 0000000000007 accepted\r\n";

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

fn settings(role: Role) -> Settings {
    Settings {
        session: EntryId(9),
        hostname: Domain::new("mx.test").unwrap(),
        role,
        message_size: 100_000,
        recipients: 3,
        starttls: TLS,
        auth: AuthPolicy::UnderTls,
        offer: Offer::default(),
        tls: None,
        future_release: None,
        no_soliciting: None,
        manners: Manners::default(),
    }
}

fn tls() -> TlsInfo {
    TlsInfo { version: "TLSv1.3".into(), cipher: "TLS_AES_256_GCM_SHA384".into(), ..TlsInfo::default() }
}

struct Session {
    machine: Server,
    piece: usize,
    now: Instant,
    asked: Vec<Question>,
    /// What was refused by answers.
    told: Vec<String>,
    /// What the machine refused by itself: the command, and the reply.
    noted: Vec<(Option<&'static str>, String)>,
    body: Vec<u8>,
    closed: bool,
    tls_began: bool,
}

impl Session {
    fn new(settings: Settings, piece: usize) -> Self {
        let (machine, now) = (Server::new(settings), Instant::now());
        let (asked, told, noted, body) = Default::default();
        Self { machine, piece, now, asked, told, noted, body, closed: false, tls_began: false }
    }

    /// Sends, answers what is asked, gives the replies.
    fn send(&mut self, input: &[u8]) -> String {
        self.tls_began = false;
        self.run();
        for piece in input.chunks(self.piece) {
            if self.closed || self.tls_began {
                break;
            }
            self.machine.receive(piece);
            self.run();
        }
        self.replies()
    }

    /// What was said. Each refusal names the session, which is taken off here.
    fn replies(&mut self) -> String {
        let said = String::from_utf8(self.machine.output().split().to_vec()).unwrap();
        let session = format!(" (session {})\r\n", EntryId(9));
        for line in said.split_inclusive("\r\n") {
            assert_eq!(line.starts_with(['4', '5']), line.ends_with(&session), "{line}");
            assert!(line.len() <= 512, "RFC 5321 section 4.5.3.1.5: {line}");
        }
        self.check_notes(&said.replace(&session, "\r\n"));
        said.replace(&session, "\r\n")
    }

    /// Each refusal is known to who answered so, or noted, once.
    fn check_notes(&mut self, said: &str) {
        let told = mem::take(&mut self.told);
        let refused = said.lines().filter(|line| line.starts_with(['4', '5']));
        let own: Vec<_> = refused.filter(|line| !told.iter().any(|told| told == line)).collect();
        let notes = self.machine.take_refused().into_iter();
        let noted: Vec<_> = notes.map(|noted| (noted.verb, noted.refusal.to_string())).collect();
        assert_eq!(noted.iter().map(|(_, reply)| reply.as_str()).collect::<Vec<_>>(), own);
        self.noted.extend(noted);
    }

    fn run(&mut self) -> Option<Instant> {
        loop {
            match self.machine.step(self.now) {
                Step::Ask(question) => {
                    let answer = self.canned(&question);
                    if let Answer::Refused(refusal) = &answer {
                        self.told.push(refusal.to_string());
                    }
                    self.asked.push(question);
                    self.machine.answer(answer);
                }
                Step::StartTls => {
                    self.tls_began = true;
                    self.machine.tls_started(&tls());
                }
                Step::Close => {
                    self.closed = true;
                    return None;
                }
                Step::StartCompression | Step::StopCompression => panic!("SMTP knows no compression"),
                Step::Read { deadline } | Step::Watch { deadline } => return Some(deadline),
            }
        }
    }

    fn canned(&mut self, question: &Question) -> Answer {
        let no = |code, detail, text| {
            Answer::Refused(Refusal::new(code, EnhancedStatus((code / 100) as u8, 1, detail), text))
        };
        match question {
            Question::Authenticate(Claim::Password(shown)) if shown.password == "secret" => Answer::Done,
            Question::Authenticate(Claim::Certificate(shown)) if shown.authorization.is_empty() => {
                Answer::Done
            }
            Question::Authenticate(Claim::Scram(Proof { verdict: Ok(()), .. })) => Answer::Done,
            Question::Authenticate(Claim::Token(Bearer { verdict: Ok(()), .. })) => Answer::Done,
            Question::Authenticate(_) => no(535, 8, "wrong"),
            Question::LookUp(Lookup::ServerFirst { login, .. }) if login == "user" => {
                Answer::Found(Box::new(Found::ServerFirst(server_first())))
            }
            Question::LookUp(Lookup::Verifier { .. }) => {
                Answer::Found(Box::new(Found::Verifier(scram_verifier())))
            }
            Question::LookUp(Lookup::Token { token, .. }) => {
                Answer::Found(Box::new(Found::Token(if token == "valid" {
                    Ok("user".into())
                } else {
                    Err(TokenFault::Time)
                })))
            }
            Question::LookUp(_) => no(454, 0, "later"),
            Question::Mail(mail) if mail.reverse_path.to_string() == "evil@a.test" => no(550, 7, "no"),
            Question::Recipient(path, _) if path.to_string().starts_with("unknown") => no(550, 1, "unknown"),
            Question::Chunk(chunk) if chunk.starts_with(b"FULL") => no(452, 1, "full"),
            Question::Chunk(chunk) => {
                self.body.extend_from_slice(chunk);
                Answer::Done
            }
            Question::DataEnd(Ok(())) => {
                let is_urgent = |question: &&Question| matches!(question, Question::Mail(mail) if mail.parameters.wishes.priority > 0);
                let new_priority = self.asked.iter().find(is_urgent).map(|_| 0);
                Answer::Accepted(Accepted { id: EntryId(7), new_priority })
            }
            Question::DataEnd(Err(refusal)) => Answer::Refused(refusal.clone()),
            Question::XClient(client) if client.login.as_deref() == Some("nobody") => no(550, 1, "nobody"),
            Question::Verify(address) if address.domain.as_str() == "far.test" => Answer::CannotTell,
            Question::Verify(address) if address.local.as_str() == "unknown" => no(550, 1, "unknown"),
            Question::Mail(_) | Question::Recipient(..) | Question::XClient(_) | Question::Verify(_) => {
                Answer::Done
            }
        }
    }

    fn asked(&self, wanted: impl Fn(&Question) -> bool) -> usize {
        self.asked.iter().filter(|question| wanted(question)).count()
    }
}

/// Plays a script in pieces of 1, 3 and 4096 octets; gives the sessions for further questions.
fn play(settings: &Settings, script: &[(&str, &str)]) -> Vec<Session> {
    let sessions = [1, 3, 4096].map(|piece| {
        let mut session = Session::new(settings.clone(), piece);
        assert_eq!(session.send(b""), "220 mx.test ESMTP Waypost\r\n");
        for (sent, expected) in script {
            assert_eq!(session.send(sent.as_bytes()), *expected, "pieces of {piece}: {sent}");
        }
        session
    });
    sessions.into()
}

/// What a client is refused for by the machine itself stands in its notes with the command, and with nothing else of what it said.
#[test]
fn what_the_machine_refuses_by_itself_is_noted() {
    let mannered = |manners| Settings { manners, ..settings(Role::Relay) };
    let delay = Some(Duration::from_secs(1));
    let early = mannered(Manners { greeting_delay: delay, ..Manners::default() });
    let strict = mannered(Manners { strict_pipelining: true, ..Manners::default() });
    let (relay, submission) = (settings(Role::Relay), settings(Role::Submission));
    for (settings, sent, expected) in [
        (&early, "EHLO c\r\n", vec![(None, "421 4.5.1 You spoke")]),
        (&strict, "NOOP\r\nNOOP\r\n", vec![(Some("NOOP"), "421 4.5.0 You did not wait")]),
        (&submission, "EHLO c\r\nmail from:<a@a.test>\r\n", vec![(Some("MAIL"), "530 5.7.0 Auth")]),
        (&submission, "EHLO c\r\nAUTH PLAIN c2VjcmV0\r\n", vec![(Some("AUTH"), "538 5.7.11 Encryption")]),
        // A response behind an exchange that is over is no command.
        (
            &submission,
            "c2VjcmV0\r\nEXPN c2VjcmV0\r\n",
            vec![(None, "500 5.5.2 Command"), (Some("EXPN"), "502 5.5.1")],
        ),
        (
            &relay,
            "NOOP\nRCPT TO:<b@b.test>\r\n",
            vec![(None, "500 5.5.2 Lines end"), (Some("RCPT"), "503 5.5.1 Send MAIL")],
        ),
        (&relay, "EHLO c\r\nMAIL FROM:<a@a.test> SIZE=100001\r\n", vec![(Some("MAIL"), "552 5.3.4")]),
        (
            &relay,
            "MAIL FROM:<c2VjcmV0\r\nQUIT c2VjcmV0\r\n",
            vec![(Some("MAIL"), "501 5.1.7"), (Some("QUIT"), "501 5.5.4")],
        ),
        (&relay, "BDAT 5\r\nDATA\nNOOP\r\n", vec![(Some("BDAT"), "503 5.5.1")]),
    ] {
        let mut session = Session::new(settings.clone(), 4096);
        session.send(sent.as_bytes());
        let noted: Vec<_> = session.noted.iter().map(|(verb, reply)| (*verb, reply.as_str())).collect();
        let mut pairs = noted.iter().zip(&expected);
        let agree = pairs.all(|(noted, expected)| noted.0 == expected.0 && noted.1.starts_with(expected.1));
        assert!(noted.len() == expected.len() && agree, "{sent}: {noted:?}");
        assert!(!format!("{noted:?}").contains("c2VjcmV0"), "{noted:?}");
    }
}

#[test]
fn the_end_of_a_session_by_the_machine_is_noted() {
    let mut idle = Session::new(settings(Role::Relay), 4096);
    idle.send(b"NOOP\r\n");
    idle.now += COMMAND_TIMEOUT;
    idle.send(b"");
    let mut stopped = Session::new(settings(Role::Relay), 4096);
    stopped.send(b"NOOP\r\n");
    stopped.machine.shutdown();
    stopped.send(b"");
    let mut faulty = Session::new(settings(Role::Relay), 4096);
    faulty.send("DATA\r\n".repeat(ERRORS_MAX as usize).as_bytes());
    for (session, status) in [(idle, "421 4.4.2"), (stopped, "421 4.3.2"), (faulty, "421 4.7.0")] {
        let Some((None, reply)) = session.noted.last() else { panic!("{:?}", session.noted) };
        assert!(session.closed && reply.starts_with(status), "{reply}");
    }
}

#[test]
fn a_flood_of_refusals_is_noted_to_a_bound() {
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\nMAIL FROM:<a@a.test>\r\n");
    session.send("RCPT TO:<b@b.test>\r\n".repeat(3).as_bytes());
    let (mut last, mut noted) = (Vec::new(), 0);
    for _ in 0..REFUSALS_NOTED_MAX + 10 {
        session.machine.receive(b"RCPT TO:<b@b.test>\r\n");
        session.run();
        let refused = session.machine.take_refused();
        noted += refused.len();
        last.extend(refused.into_iter().filter(|refused| refused.is_last));
    }
    assert_eq!((noted, last.len()), (REFUSALS_NOTED_MAX as usize, 1));
    assert!(last[0].refusal.to_string().starts_with("452 4.5.3 "), "{last:?}");
    session.machine.output().clear();
    assert_eq!(session.send(b"DATA\r\nx\r\n.\r\n"), format!("354 {}\r\n{DONE}", replies::START_INPUT));
    assert_eq!(session.send(b"DATA\r\n"), "503 5.5.1 Send MAIL first\r\n", "a message forgives");
}

fn under_tls(role: Role) -> Settings {
    Settings { tls: Some(tls().into()), ..settings(role) }
}

#[test]
fn one_message() {
    let sessions = play(
        &settings(Role::Relay),
        &[
            ("EHLO client.test\r\n", MX_EHLO),
            ("MAIL FROM:<a@a.test> SIZE=100000 BODY=8BITMIME\r\n", "250 2.1.0 Sender ok\r\n"),
            ("RCPT TO:<b@b.test>\r\n", "250 2.1.5 Recipient ok\r\n"),
            ("RCPT TO:<postmaster>\r\n", "250 2.1.5 Recipient ok\r\n"),
            ("DATA\r\n", "354 Start mail input; end with <CRLF>.<CRLF>\r\n"),
            ("Subject: x\r\n\r\n..dot\r\n.\r\n", DONE),
            ("QUIT\r\n", "221 2.0.0 Bye\r\n"),
        ],
    );
    for session in sessions {
        assert_eq!(session.body, b"Subject: x\r\n\r\n.dot\r\n");
        assert!(session.closed);
        let Question::Mail(mail) = &session.asked[0] else { panic!("{:?}", session.asked) };
        assert_eq!((mail.client.name.as_str(), mail.client.dialect), ("client.test", Dialect::Esmtp));
        assert_eq!((mail.login, mail.parameters.size), (Login::Anonymous, Some(100_000)));
        assert_eq!(
            session.asked[1],
            Question::Recipient(
                ForwardPath::Address(Address::parse("b@b.test").unwrap()),
                Default::default()
            )
        );
        assert_eq!(session.asked[2], Question::Recipient(ForwardPath::Postmaster, Default::default()));
        assert_eq!(session.asked.last(), Some(&Question::DataEnd(Ok(()))));
    }
}

#[test]
fn pipelined_groups_are_answered_in_order() {
    play(
        &settings(Role::Relay),
        &[(
            "EHLO c\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<unknown@b.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nNOOP\r\nVRFY b\r\nQUIT\r\nNOOP\r\n",
            &format!(
                "{MX_EHLO}250 2.1.0 Sender ok\r\n550 5.1.1 unknown\r\n250 2.1.5 Recipient ok\r\n354 Start mail input; end with <CRLF>.<CRLF>\r\n{DONE}\
             250 2.1.0 Sender ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n252 2.0.0 Cannot VRFY user, but will accept message and attempt delivery\r\n221 2.0.0 Bye\r\n"
            ),
        )],
    );
}

#[test]
fn commands_out_of_order_are_refused() {
    play(
        &settings(Role::Relay),
        &[
            ("MAIL FROM:<a@a.test>\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("AUTH PLAIN\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("STARTTLS\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("HELO c\r\n", "250 mx.test\r\n"),
            ("MAIL FROM:<a@a.test> SIZE=1\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("MAIL FROM:<a@a.test> RET=FULL\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
            ("RCPT TO:<b@b.test> NOTIFY=NEVER\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("EHLO c\r\n", MX_EHLO),
            ("RCPT TO:<b@b.test>\r\n", "503 5.5.1 Send MAIL first\r\n"),
            ("DATA\r\n", "503 5.5.1 Send MAIL first\r\n"),
            ("MAIL FROM:<evil@a.test>\r\n", "550 5.1.7 no\r\n"),
            ("RCPT TO:<b@b.test>\r\n", "503 5.5.1 Send MAIL first\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "503 5.5.1 A transaction is open already\r\n"),
            ("DATA\r\n", "554 5.5.1 No valid recipients\r\n"),
            ("RCPT TO:<b@b.test>\r\n", "250 2.1.5 Recipient ok\r\n"),
            ("EHLO c\r\n", MX_EHLO),
            ("DATA\r\n", "503 5.5.1 Send MAIL first\r\n"),
            ("NOPE\r\n", "500 5.5.2 Command not recognized\r\n"),
            ("NO\0PE\r\n", "500 5.5.2 Characters that may not stand in a command\r\n"),
            ("NOOP \u{1}\r\n", "500 5.5.2 Characters that may not stand in a command\r\n"),
            ("EXPN list\r\n", "502 5.5.1 Command not implemented\r\n"),
            ("NOOP\n", "500 5.5.2 Lines end with CRLF, not with LF alone\r\n"),
        ],
    );
}

#[test]
fn utf8_needs_smtputf8() {
    play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\n", MX_EHLO),
            ("MAIL FROM:<jörg@a.test>\r\n", "550 5.6.7 A sender address with UTF-8 needs SMTPUTF8\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
            ("RCPT TO:<b@bücher.example>\r\n", "553 5.6.7 A recipient address with UTF-8 needs SMTPUTF8\r\n"),
            ("RSET\r\nMAIL FROM:<jörg@a.test> SMTPUTF8\r\n", "250 2.0.0 Ok\r\n250 2.1.0 Sender ok\r\n"),
            ("RCPT TO:<jürgen@bücher.example>\r\n", "250 2.1.5 Recipient ok\r\n"),
        ],
    );
}

#[test]
fn tls_is_required_only_under_tls() {
    play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\n", MX_EHLO),
            (
                "MAIL FROM:<a@a.test> REQUIRETLS\r\n",
                "530 5.7.10 REQUIRETLS needs TLS here, too: use STARTTLS first\r\n",
            ),
            (
                "MAIL FROM:<a@a.test> MT-PRIORITY=10\r\n",
                "501 5.5.4 Bad or repeated parameter MT-PRIORITY\r\n",
            ),
            (
                "MAIL FROM:<a@a.test> MT-PRIORITY=-0\r\n",
                "501 5.5.4 Bad or repeated parameter MT-PRIORITY\r\n",
            ),
            (
                "MAIL FROM:<a@a.test> MT-PRIORITY=+1\r\n",
                "501 5.5.4 Bad or repeated parameter MT-PRIORITY\r\n",
            ),
            ("MAIL FROM:<a@a.test> BY=0;R\r\n", "501 5.5.4 Bad or repeated parameter BY\r\n"),
            ("MAIL FROM:<a@a.test> MT-PRIORITY=-9 BY=-60;NT\r\n", "250 2.1.0 Sender ok\r\n"),
        ],
    );
    let sessions = play(
        &under_tls(Role::Relay),
        &[
            ("EHLO c\r\n", TLS_EHLO),
            ("MAIL FROM:<a@a.test> REQUIRETLS=1\r\n", "501 5.5.4 Bad or repeated parameter REQUIRETLS\r\n"),
            ("MAIL FROM:<a@a.test> REQUIRETLS MT-PRIORITY=4\r\n", "250 2.1.0 Sender ok\r\n"),
            ("RCPT TO:<b@b.test>\r\n", "250 2.1.5 Recipient ok\r\n"),
            (
                "BDAT 2 LAST\r\n\r\n",
                "250 2.3.6 0 is the new priority of the message, 0000000000007 accepted\r\n",
            ),
        ],
    );
    let Question::Mail(mail) = &sessions[0].asked[0] else { panic!("{:?}", sessions[0].asked) };
    assert_eq!((mail.parameters.wishes.require_tls, mail.parameters.wishes.priority), (true, 4));
}

#[test]
fn bounds_of_a_transaction() {
    let parameter = "x".repeat(1_000);
    let unknown = format!("555 5.5.4 Unknown parameter {}\r\n", "X".repeat(64));
    let rcpt = "RCPT TO:<b@b.test>\r\n";
    let long = format!("NOOP {}\r\n", "x".repeat(COMMAND_LINE_BYTES_MAX));
    play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\n", MX_EHLO),
            (
                "MAIL FROM:<a@a.test> SIZE=100001\r\n",
                "552 5.3.4 The message is larger than this server takes\r\n",
            ),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
            (&rcpt.repeat(3), &"250 2.1.5 Recipient ok\r\n".repeat(3)),
            (
                &rcpt.repeat(30),
                &"452 4.5.3 Too many recipients, send the rest in another transaction\r\n".repeat(30),
            ),
            (&format!("RCPT TO:<b@b.test> {parameter}\r\n"), &unknown),
            (&format!("{long}NOOP\r\n"), "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n"),
        ],
    );
}

const START: &str = "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n";
const STARTED: &str = "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n";

#[test]
fn chunks_make_a_message() {
    let large = "x".repeat(70_000);
    let (first, second) = (format!("Subject: x\r\n\r\n{large}\r"), "\n.\r\n..\r\nQUIT\r\n");
    let sessions = play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\n", MX_EHLO),
            (START, STARTED),
            (
                &format!("BDAT {}\r\n{first}", first.len()),
                &format!("250 2.0.0 {} octets received\r\n", first.len()),
            ),
            ("DATA\r\n", "503 5.5.1 A message has begun with BDAT: the rest of it comes the same way\r\n"),
            (
                "RCPT TO:<c@b.test>\r\n",
                "503 5.5.1 A message has begun with BDAT: the rest of it comes the same way\r\n",
            ),
            ("NOOP\r\nBDAT 0\r\n", "250 2.0.0 Ok\r\n250 2.0.0 0 octets received\r\n"),
            (
                &format!("BDAT {}\r\n{second}BDAT 0 LAST\r\n", second.len()),
                &format!("250 2.0.0 {} octets received\r\n{DONE}", second.len()),
            ),
        ],
    );
    for session in sessions {
        assert_eq!(String::from_utf8(session.body).unwrap(), format!("{first}{second}"));
    }
}

#[test]
fn binary_messages_come_in_chunks_only() {
    let begin = "MAIL FROM:<a@a.test> BODY=BINARYMIME\r\nRCPT TO:<b@b.test>\r\n";
    let needs_bdat = "503 5.5.1 A message with BODY=BINARYMIME comes with BDAT, not with DATA\r\n";
    let bare_lf = "554 5.6.0 The message holds a LF without CR: refused (RFC 5321 section 2.3.8)\r\n";
    let (header, binary) = ("A: b\r\n\r\n", "\0\n.\n\r\r\n.\r\nQUIT\r\n");
    let sessions = play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\n", MX_EHLO),
            (begin, STARTED),
            ("DATA\r\n", needs_bdat),
            (
                &format!("BDAT 6\r\n{header}"),
                "250 2.0.0 6 octets received\r\n500 5.5.2 Command not recognized\r\n",
            ),
            ("DATA\r\n", "503 5.5.1 A message has begun with BDAT: the rest of it comes the same way\r\n"),
            ("RSET\r\n", "250 2.0.0 Ok\r\n"),
            (begin, STARTED),
            (
                &format!("BDAT 8\r\n{header}BDAT 16 LAST\r\n{binary}"),
                &format!("250 2.0.0 8 octets received\r\n{DONE}"),
            ),
            (begin, STARTED),
            ("BDAT 13 LAST\r\nA: b\nC: d\r\n\r\n", bare_lf),
            (begin, STARTED),
            ("BDAT 8\r\nA: b\nC: ", bare_lf),
            ("BDAT 1 LAST\r\n\0", "503 5.5.1 Send MAIL first\r\n"),
        ],
    );
    for session in sessions {
        assert_eq!(session.body, format!("{header}{binary}").as_bytes());
    }
}

#[test]
fn refused_chunks_are_no_commands() {
    let large = "x".repeat(100_001);
    let unsent = "BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n";
    let mail_first = "503 5.5.1 Send MAIL first\r\n";
    let bare_cr = "554 5.6.0 The message holds a CR without LF: refused (RFC 5321 section 2.3.8)\r\n";
    let bare_lf = "554 5.6.0 The message holds a LF without CR: refused (RFC 5321 section 2.3.8)\r\n";
    let too_large = "552 5.3.4 The message is larger than this server takes\r\n";
    for (chunks, replies) in [
        (unsent.to_owned(), mail_first.repeat(2)),
        (format!("MAIL FROM:<a@a.test>\r\n{unsent}RSET\r\n"), {
            let no = "554 5.5.1 No valid recipients\r\n".repeat(2);
            format!("250 2.1.0 Sender ok\r\n{no}250 2.0.0 Ok\r\n")
        }),
        (format!("{START}BDAT 3\r\na\n.{unsent}"), format!("{STARTED}{bare_lf}{}", mail_first.repeat(2))),
        (
            format!("{START}BDAT 3 LAST\r\na\r.{unsent}"),
            format!("{STARTED}{bare_cr}{}", mail_first.repeat(2)),
        ),
        (format!("{START}BDAT 1 LAST\r\n\r"), format!("{STARTED}{bare_cr}")),
        (format!("{START}BDAT 1\r\n\rBDAT 1\r\nx"), {
            format!("{STARTED}250 2.0.0 1 octets received\r\n{bare_cr}")
        }),
        (format!("{START}BDAT 2 LAST\r\n\0x"), {
            format!("{STARTED}554 5.6.0 The message holds a NUL: refused\r\n")
        }),
        (format!("{START}BDAT 100001\r\n{large}{unsent}"), {
            format!("{STARTED}{too_large}{}", mail_first.repeat(2))
        }),
        (format!("{START}BDAT 70000 LAST\r\nFULL {}", &large[..69_995]), {
            format!("{STARTED}452 4.1.1 full\r\n")
        }),
    ] {
        let ok = format!("{START}BDAT 4 LAST\r\nok\r\n");
        let script = [
            ("EHLO c\r\n", MX_EHLO),
            (&chunks, &replies),
            ("NOOP\r\n", "250 2.0.0 Ok\r\n"),
            (&ok, &format!("{STARTED}{DONE}")),
        ];
        for session in play(&settings(Role::Relay), &script) {
            assert!(session.body.ends_with(b"ok\r\n"));
        }
    }
}

#[test]
fn a_chunk_whose_end_nobody_knows_or_waits_for_ends_the_session() {
    let too_large = "421 4.3.4 The message is far larger than this server takes, closing the connection\r\n";
    for (chunk, reply) in [
        (
            "BDAT\r\nQUIT\r\n",
            "421 4.5.4 BDAT needs the number of octets that follow, closing the connection\r\n",
        ),
        (
            "BDAT ten\r\nQUIT\r\n",
            "421 4.5.4 BDAT needs the number of octets that follow, closing the connection\r\n",
        ),
        ("BDAT 2147483648 LAST\r\nQUIT\r\n", too_large),
        ("BDAT 99999999999999999999\r\n", too_large),
    ] {
        for session in
            play(&settings(Role::Relay), &[("EHLO c\r\n", MX_EHLO), (START, STARTED), (chunk, reply)])
        {
            assert!(session.closed, "{chunk}");
        }
    }
    let hello = [("BDAT 6\r\nQUIT\r\n", "503 5.5.1 Send EHLO first\r\n"), ("NOOP\r\n", "250 2.0.0 Ok\r\n")];
    play(&settings(Role::Relay), &hello);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let lhlo = MX_EHLO;
    let sessions = [1, 3, 4096].map(|piece| {
        let mut session = Session::new(settings(Role::Lmtp), piece);
        assert_eq!(session.send(b""), "220 mx.test LMTP Waypost\r\n");
        for (sent, expected) in [
            ("EHLO c\r\n", "500 5.5.2 Command not recognized\r\n".to_owned()),
            ("HELO c\r\n", "500 5.5.2 Command not recognized\r\n".to_owned()),
            ("MAIL FROM:<a@a.test>\r\n", "503 5.5.1 Send EHLO first\r\n".to_owned()),
            ("LHLO c\r\n", lhlo.to_owned()),
            ("AUTH PLAIN\r\n", "502 5.5.1 Login is not possible here\r\n".to_owned()),
            (START, STARTED.to_owned()),
            ("RCPT TO:<unknown@b.test>\r\n", "550 5.1.1 unknown\r\n".to_owned()),
            ("RCPT TO:<c@b.test>\r\n", "250 2.1.5 Recipient ok\r\n".to_owned()),
            ("DATA\r\n", "354 Start mail input; end with <CRLF>.<CRLF>\r\n".to_owned()),
            ("ok\r\n.\r\n", DONE.repeat(2)),
            (START, STARTED.to_owned()),
            ("RCPT TO:<c@b.test>\r\n", "250 2.1.5 Recipient ok\r\n".to_owned()),
            ("BDAT 1 LAST\r\n\0", "554 5.6.0 The message holds a NUL: refused\r\n".repeat(2)),
            ("NOOP\r\n", "250 2.0.0 Ok\r\n".to_owned()),
            // A chunk that is not the last has one reply (RFC 2033 section 4.3).
            (START, STARTED.to_owned()),
            ("RCPT TO:<c@b.test>\r\n", "250 2.1.5 Recipient ok\r\n".to_owned()),
            (
                "BDAT 3\r\na\nb",
                "554 5.6.0 The message holds a LF without CR: refused (RFC 5321 section 2.3.8)\r\n".into(),
            ),
            ("BDAT 1 LAST\r\nx", "503 5.5.1 Send MAIL first\r\n".to_owned()),
            // For nobody: DATA must fail with 503 (section 4.2), the last chunk has no reply at all (section 4.3).
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n".to_owned()),
            ("RCPT TO:<unknown@b.test>\r\n", "550 5.1.1 unknown\r\n".to_owned()),
            ("DATA\r\n", "503 5.5.1 No valid recipients\r\n".to_owned()),
            ("BDAT 1\r\nx", "554 5.5.1 No valid recipients\r\n".to_owned()),
            ("BDAT 5 LAST\r\nQUIT\n", String::new()),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n".to_owned()),
        ] {
            assert_eq!(session.send(sent.as_bytes()), expected, "pieces of {piece}: {sent}");
        }
        session
    });
    let Question::Mail(mail) = &sessions[0].asked[0] else { panic!("{:?}", sessions[0].asked) };
    assert_eq!(mail.client.dialect, Dialect::Lmtp);
    play(&settings(Role::Relay), &[("LHLO c\r\n", "500 5.5.2 Command not recognized\r\n")]);
}

#[test]
fn refused_data_leaves_the_stream_in_step() {
    let start = "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n";
    let started =
        "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n354 Start mail input; end with <CRLF>.<CRLF>\r\n";
    let large = "x".repeat(100_000);
    for (data, reply) in [
        (
            "a\n.\nMAIL FROM:<x@y.test>\r\n.\r\n",
            "554 5.6.0 The message holds a LF without CR: refused (RFC 5321 section 2.3.8)\r\n",
        ),
        (
            "a\r.\r\r\n.\r\n",
            "554 5.6.0 The message holds a CR without LF: refused (RFC 5321 section 2.3.8)\r\n",
        ),
        ("a\0\r\n.\r\n", "554 5.6.0 The message holds a NUL: refused\r\n"),
        (&format!("{large}\r\n.\r\n"), "552 5.3.4 The message is larger than this server takes\r\n"),
        (&format!("FULL {}\r\n.\r\n", &large[..80_000]), "452 4.1.1 full\r\n"),
    ] {
        let sessions = play(
            &settings(Role::Relay),
            &[
                ("EHLO c\r\n", MX_EHLO),
                (start, started),
                (data, reply),
                ("NOOP\r\n", "250 2.0.0 Ok\r\n"),
                (start, started),
                ("ok\r\n.\r\n", DONE),
            ],
        );
        for session in sessions {
            assert_eq!(session.asked(|question| matches!(question, Question::DataEnd(_))), 2);
            assert!(session.body.ends_with(b"ok\r\n"));
        }
    }
}

#[test]
fn login() {
    let credentials = |question: &Question| match question {
        Question::Authenticate(Claim::Password(shown)) => Some(shown.clone()),
        _ => None,
    };
    for (exchange, expected) in [
        // "\0user\0secret"
        (&[("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "235 2.7.0 Authentication succeeded\r\n")][..], "secret"),
        (
            &[
                ("auth plain\r\n", "334 \r\n"),
                ("AHVzZXIAc2VjcmV0\r\n", "235 2.7.0 Authentication succeeded\r\n"),
            ],
            "secret",
        ),
        (
            &[
                ("AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n"),
                ("dXNlcg==\r\n", "334 UGFzc3dvcmQ6\r\n"),
                ("c2VjcmV0\r\n", "235 2.7.0 Authentication succeeded\r\n"),
            ],
            "secret",
        ),
        (
            &[
                ("AUTH LOGIN dXNlcg==\r\n", "334 UGFzc3dvcmQ6\r\n"),
                ("c2VjcmV0\r\n", "235 2.7.0 Authentication succeeded\r\n"),
            ],
            "secret",
        ),
    ] {
        let script = [
            &[
                ("EHLO c\r\n", TLS_EHLO),
                ("MAIL FROM:<a@a.test>\r\n", "530 5.7.0 Authentication required\r\n"),
            ][..],
            exchange,
            &[
                ("AUTH PLAIN\r\n", "503 5.5.1 Logged in already\r\n"),
                (
                    "EHLO c\r\n",
                    &TLS_EHLO.replace("250-REQ", "250 REQ").replace("250 AUTH PLAIN LOGIN\r\n", ""),
                ),
                ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
            ],
        ];
        for session in play(&under_tls(Role::Submission), &script.concat()) {
            let shown: Vec<Credentials> = session.asked.iter().filter_map(credentials).collect();
            assert_eq!(shown.len(), 1);
            assert_eq!((shown[0].login.as_str(), shown[0].password.as_str()), ("user", expected));
            let Some(Question::Mail(mail)) = session.asked.last() else { panic!("{:?}", session.asked) };
            assert_eq!((mail.login, mail.tls.clone()), (Login::Authenticated, Some(tls().into())));
        }
    }
}

#[test]
fn scram_logs_in_and_says_no() {
    let settings = Settings {
        offer: Offer { scram: Scram::Offered, ..Offer::default() },
        ..under_tls(Role::Submission)
    };
    let ehlo = TLS_EHLO.replace("AUTH", "AUTH SCRAM-SHA-256 SCRAM-SHA-1");
    let begin = format!("AUTH SCRAM-SHA-256 {SCRAM_FIRST}\r\n");
    let challenge = format!("334 {SCRAM_CHALLENGE}\r\n");
    // "n,,n=user,r=abc" altered: "c=biws,r=abc,p=AAEC"; "n,,n=other,r=abc"
    let (wrong, other) =
        ("Yz1iaXdzLHI9YWJjLHA9QUFFQw==\r\n", "AUTH SCRAM-SHA-256 biwsbj1vdGhlcixyPWFiYw==\r\n");
    // The same nonce, and a proof that is wrong.
    let proof =
        "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1BQUVD\r\n";
    let sessions = play(
        &settings,
        &[
            ("EHLO c\r\n", &ehlo),
            (&begin, &challenge),
            (wrong, "535 5.1.8 wrong\r\n"),
            (&begin, &challenge),
            (proof, "535 5.1.8 wrong\r\n"),
            (&begin, &challenge),
            ("*\r\n", "501 5.7.0 Authentication cancelled\r\n"),
            (&begin, &challenge),
            (&format!("{SCRAM_FIRST}\r\n"), "501 5.5.2 Cannot decode the response\r\n"),
            (other, "454 4.1.0 later\r\n"),
            ("AUTH SCRAM-SHA-256-PLUS\r\n", "504 5.5.4 Unknown authentication mechanism\r\n"),
            ("AUTH scram-sha-256\r\n", "334 \r\n"),
            (&format!("{SCRAM_FIRST}\r\n"), &challenge),
            (&format!("{SCRAM_FINAL}\r\n"), &format!("334 {SCRAM_SIGNATURE}\r\n")),
            ("\r\n", "235 2.7.0 Authentication succeeded\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
        ],
    );
    for session in sessions {
        let verdicts: Vec<_> = session
            .asked
            .iter()
            .filter_map(|question| match question {
                Question::Authenticate(Claim::Scram(proof)) => Some((proof.login.as_str(), proof.verdict)),
                _ => None,
            })
            .collect();
        assert_eq!(verdicts, [("user", Err(Fault::Proof)), ("user", Err(Fault::Proof)), ("user", Ok(()))]);
        // Two proofs with the right nonce, and nothing before them.
        let verifiers = session
            .asked(|question| matches!(question, Question::LookUp(Lookup::Verifier { login, .. }) if login == "user"));
        assert_eq!(verifiers, 2);
    }
}

#[test]
fn tokens_log_in_and_are_told_why_not() {
    let settings = Settings {
        offer: Offer { tokens: Tokens::Offered, ..Offer::default() },
        ..under_tls(Role::Submission)
    };
    let ehlo = TLS_EHLO.replace("PLAIN LOGIN", "PLAIN LOGIN OAUTHBEARER XOAUTH2");
    // "n,,^Aauth=Bearer valid^A^A", the same with "old"; "user=user^Aauth=Bearer old^A^A"
    let (valid, old) = ("biwsAWF1dGg9QmVhcmVyIHZhbGlkAQE=", "biwsAWF1dGg9QmVhcmVyIG9sZAEB");
    let old_of_xoauth2 = "dXNlcj11c2VyAWF1dGg9QmVhcmVyIG9sZAEB";
    let wrong = "535 5.1.8 wrong\r\n";
    // {"status":"invalid_token"}; {"status":"401","schemes":"Bearer"}
    let invalid = "334 eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\r\n";
    let sessions = play(
        &settings,
        &[
            ("EHLO c\r\n", &ehlo),
            (&format!("AUTH OAUTHBEARER {old}\r\n"), invalid),
            ("AQ==\r\n", wrong),
            (&format!("AUTH OAUTHBEARER {old}\r\n"), invalid),
            ("*\r\n", "501 5.7.0 Authentication cancelled\r\n"),
            (
                &format!("AUTH XOAUTH2 {old_of_xoauth2}\r\n"),
                "334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiQmVhcmVyIn0=\r\n",
            ),
            ("\r\n", wrong),
            ("AUTH OAUTHBEARER AQ==\r\n", "501 5.5.2 Cannot decode the response\r\n"),
            ("AUTH OAUTHBEARER\r\n", "334 \r\n"),
            (&format!("{valid}\r\n"), "235 2.7.0 Authentication succeeded\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
        ],
    );
    for session in sessions {
        let asked = session.asked.iter().filter(|question| matches!(question, Question::LookUp(_)));
        assert_eq!(asked.count(), 4);
        assert!(!format!("{:?}", session.asked).contains("valid"), "a token in a log");
    }
}

#[test]
fn a_certificate_is_announced_once_it_was_shown() {
    let certificate = ClientCertificate { emails: vec!["user@a.test".into()], sha256: [7; 32] };
    let shown = TlsInfo { certificate: Some(certificate), ..tls() };
    let settings = Settings { tls: Some(shown.into()), ..settings(Role::Submission) };
    play(
        &settings,
        &[
            ("EHLO c\r\n", &TLS_EHLO.replace("AUTH", "AUTH EXTERNAL")),
            ("AUTH EXTERNAL\r\n*\r\n", "334 \r\n501 5.7.0 Authentication cancelled\r\n"),
            ("AUTH EXTERNAL !\r\n", "501 5.5.2 Cannot decode the response\r\n"),
            // "other"
            ("AUTH EXTERNAL b3RoZXI=\r\n", "535 5.1.8 wrong\r\n"),
            ("AUTH EXTERNAL\r\n\r\n", "334 \r\n235 2.7.0 Authentication succeeded\r\n"),
        ],
    );
    let unshown =
        [("EHLO c\r\n", TLS_EHLO), ("AUTH EXTERNAL =\r\n", "504 5.5.4 Unknown authentication mechanism\r\n")];
    play(&under_tls(Role::Submission), &unshown);
}

#[test]
fn scram_is_bound_to_tls_where_tls_has_bindings() {
    let binding = ChannelBinding { exporter: Some([7; 32]), end_point: None };
    let bound = TlsInfo { binding, ..tls() };
    let settings = Settings {
        offer: Offer { scram: Scram::Bound, ..Offer::default() },
        tls: Some(bound.into()),
        ..settings(Role::Submission)
    };
    let names = "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1";
    let sessions = play(
        &settings,
        &[
            ("EHLO c\r\n", &TLS_EHLO.replace("AUTH", names)),
            // "y,,n=user,r=abc": somebody took -PLUS out of the announcement.
            ("AUTH SCRAM-SHA-256 eSwsbj11c2VyLHI9YWJj\r\n", "535 5.1.8 wrong\r\n"),
            ("AUTH SCRAM-SHA-256-PLUS\r\n*\r\n", "334 \r\n501 5.7.0 Authentication cancelled\r\n"),
        ],
    );
    for session in sessions {
        let proof =
            Proof { authorization: String::new(), login: "user".into(), verdict: Err(Fault::Downgrade) };
        assert_eq!(session.asked, [Question::Authenticate(Claim::Scram(proof))]);
    }
}

#[test]
fn failed_logins() {
    let long = format!("{}\r\n", "A".repeat(AUTH_LINE_BYTES_MAX));
    play(
        &under_tls(Role::Relay),
        &[
            ("EHLO c\r\n", TLS_EHLO),
            // "\0user\0wrong"
            ("AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n", "535 5.1.8 wrong\r\n"),
            ("AUTH PLAIN\r\n*\r\n", "334 \r\n501 5.7.0 Authentication cancelled\r\n"),
            ("AUTH PLAIN !!!\r\n", "501 5.5.2 Cannot decode the response\r\n"),
            ("AUTH LOGIN\r\n!!!\r\n", "334 VXNlcm5hbWU6\r\n501 5.5.2 Cannot decode the response\r\n"),
            ("AUTH CRAM-MD5\r\n", "504 5.5.4 Unknown authentication mechanism\r\n"),
            (&format!("AUTH PLAIN {long}"), "500 5.5.6 Authentication exchange line is too long\r\n"),
            (
                &format!("AUTH PLAIN\r\n{long}"),
                "334 \r\n500 5.5.6 Authentication exchange line is too long\r\n",
            ),
            ("NOOP\r\n", "250 2.0.0 Ok\r\n"),
            (
                "MAIL FROM:<a@a.test>\r\nAUTH PLAIN\r\n",
                "250 2.1.0 Sender ok\r\n503 5.5.1 AUTH is not possible in a transaction\r\n",
            ),
        ],
    );
    let plain = "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n";
    let refused = "538 5.7.11 Encryption required for authentication: use STARTTLS first\r\n";
    play(&settings(Role::Submission), &[("EHLO c\r\n", MX_EHLO), (plain, refused)]);
    let without = Settings { starttls: StartTls::Absent, ..settings(Role::Relay) };
    let ehlo = MX_EHLO.replace("250-LIMITS", "250 LIMITS").replace("250 STARTTLS\r\n", "");
    play(&without, &[("EHLO c\r\n", &ehlo), (plain, "502 5.5.1 Login is not possible here\r\n")]);
    let always =
        Settings { auth: AuthPolicy::Always, starttls: StartTls::Absent, ..settings(Role::Submission) };
    let ehlo = TLS_EHLO.replace("250-REQUIRETLS\r\n", "");
    play(
        &always,
        &[
            ("EHLO c\r\n", &ehlo),
            (plain, "235 2.7.0 Authentication succeeded\r\n"),
            ("STARTTLS\r\n", "502 5.5.1 TLS is not to be had here\r\n"),
        ],
    );
}

#[test]
fn where_nobody_logs_in_nothing_is_offered_for_it() {
    let never = Settings { auth: AuthPolicy::Never, ..settings(Role::Relay) };
    let under_tls = TLS_EHLO.replace("250-REQUIRETLS\r\n250 AUTH PLAIN LOGIN\r\n", "250 REQUIRETLS\r\n");
    assert!(!under_tls.contains("AUTH"));
    let (login, refused) = ("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "502 5.5.1 Login is not possible here\r\n");
    let dialogue = [
        ("EHLO c\r\n", MX_EHLO),
        (login, refused),
        ("STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n"),
        ("EHLO c\r\n", &under_tls),
        (login, refused),
        ("MAIL FROM:<a@a.test>\r\n", "250 2.1.0 Sender ok\r\n"),
    ];
    for session in play(&never, &dialogue) {
        assert_eq!(session.asked(|question| matches!(question, Question::Authenticate(_))), 0);
    }
}

#[test]
fn what_came_before_tls_is_forgotten() {
    let sessions = play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\nMAIL FROM:<a@a.test>\r\n", &format!("{MX_EHLO}250 2.1.0 Sender ok\r\n")),
            ("STARTTLS\r\nRCPT TO:<injected@b.test>\r\nNOOP\r\n", "220 2.0.0 Ready to start TLS\r\n"),
            ("MAIL FROM:<a@a.test>\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("EHLO c\r\n", TLS_EHLO),
            ("RCPT TO:<b@b.test>\r\n", "503 5.5.1 Send MAIL first\r\n"),
            ("STARTTLS\r\n", "503 5.5.1 TLS is on already\r\n"),
        ],
    );
    for session in sessions {
        assert_eq!(session.asked(|question| matches!(question, Question::Recipient(..))), 0);
    }
    // Octets that are read between the reply and the handshake.
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\n");
    session.machine.receive(b"STARTTLS\r\n");
    assert_eq!(session.machine.step(session.now), Step::StartTls);
    session.replies();
    session.machine.receive(b"NOOP\r\n");
    session.machine.tls_started(&tls());
    assert_eq!(session.send(b"QUIT\r\n"), "221 2.0.0 Bye\r\n");
}

#[test]
fn a_login_ends_when_tls_begins() {
    let always = Settings { auth: AuthPolicy::Always, ..settings(Role::Submission) };
    let sessions = play(
        &always,
        &[
            (
                "EHLO c\r\n",
                &format!("{}250 AUTH PLAIN LOGIN\r\n", MX_EHLO.replace("250 STARTTLS", "250-STARTTLS")),
            ),
            ("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "235 2.7.0 Authentication succeeded\r\n"),
            ("STARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n"),
            ("EHLO c\r\n", TLS_EHLO),
            ("MAIL FROM:<a@a.test>\r\n", "530 5.7.0 Authentication required\r\n"),
        ],
    );
    assert!(sessions.iter().all(|session| !session.closed));
}

#[test]
fn errors_are_counted_and_an_accepted_message_forgives_them() {
    let errors = |count: u32| {
        ("X\r\n".repeat(count as usize), "500 5.5.2 Command not recognized\r\n".repeat(count as usize))
    };
    let (almost, answered) = errors(ERRORS_MAX - 1);
    let message = "MAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n.\r\n";
    let accepted = format!(
        "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n354 Start mail input; end with <CRLF>.<CRLF>\r\n{DONE}"
    );
    let too_many =
        "500 5.5.2 Command not recognized\r\n421 4.7.0 Too many errors, closing the connection\r\n";
    let sessions = play(
        &settings(Role::Relay),
        &[
            ("EHLO c\r\n", MX_EHLO),
            (&almost, &answered),
            (message, &accepted),
            (&almost, &answered),
            ("X\r\nNOOP\r\n", too_many),
        ],
    );
    assert!(sessions.iter().all(|session| session.closed));
}

const ACCEPTED: &str = "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n354 Start mail input; end with <CRLF>.<CRLF>\r\n250 2.0.0 0000000000007 accepted\r\n";
const MESSAGE: &str = "MAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n.\r\n";

#[test]
fn commands_that_send_no_mail_are_counted() {
    let junk =
        ["NOOP\r\n", "RSET\r\n", "HELO c\r\n", "EHLO c\r\n", "VRFY b\r\n", "HELP\r\n", "HELP RSET\r\n"];
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"");
    for round in 0..2 {
        for command in junk.iter().cycle().take(JUNK_COMMANDS_MAX as usize - 1) {
            assert!(session.send(command.as_bytes()).starts_with('2'), "{round}: {command}");
        }
        if round == 0 {
            assert_eq!(session.send(MESSAGE.as_bytes()), ACCEPTED, "a message forgives them");
        }
    }
    let closing = "421 4.7.0 Too many commands that send no mail, closing the connection\r\n";
    assert_eq!(session.send(b"NOOP\r\nNOOP\r\n"), format!("250 2.0.0 Ok\r\n{closing}"));
    assert!(session.closed);
}

#[test]
fn an_anonymous_session_does_not_last() {
    let closing = "421 4.7.0 The session lasts too long without a message, closing the connection\r\n";
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\n");
    for _ in 0..2 {
        let begin = session.now;
        while session.now < begin + ANONYMOUS_TIMEOUT - COMMAND_TIMEOUT {
            session.now += COMMAND_TIMEOUT / 2;
            assert_eq!(session.send(b"NOOP\r\n"), "250 2.0.0 Ok\r\n");
        }
        session.now += COMMAND_TIMEOUT / 2;
        assert_eq!(session.send(MESSAGE.as_bytes()), ACCEPTED, "a message gives it another time");
    }
    session.now += ANONYMOUS_TIMEOUT;
    session.run();
    assert_eq!(session.replies(), closing);
    assert!(session.closed);
}

#[test]
fn login_has_a_deadline() {
    let closing = "421 4.7.0 The session lasts too long without a message, closing the connection\r\n";
    for (before, end) in
        [(&b"NOOP\r\n"[..], true), (b"AUTH PLAIN\r\n", true), (b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", false)]
    {
        let mut session = Session::new(under_tls(Role::Submission), 4096);
        session.send(b"EHLO c\r\n");
        let begin = session.now;
        session.now += LOGIN_TIMEOUT - Duration::from_secs(1);
        session.send(before);
        let awaited = session.run();
        session.now += Duration::from_secs(1);
        if end {
            assert_eq!(awaited, Some(begin + LOGIN_TIMEOUT));
            assert_eq!(session.send(b"NOOP\r\n"), closing);
            continue;
        }
        // who has logged in stays as long as there are commands
        for _ in 0..JUNK_COMMANDS_MAX - 2 {
            session.now += COMMAND_TIMEOUT / 2;
            assert_eq!(session.send(b"NOOP\r\n"), "250 2.0.0 Ok\r\n");
        }
    }
}

#[test]
fn refused_recipients_do_not_end_a_transaction_with_good_ones() {
    let refused = "550 5.1.1 unknown\r\n";
    let too_many = "421 4.7.0 Too many refused recipients, closing the connection\r\n";
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\n");
    let bad = ["RCPT TO:<unknown@b.test>\r\n", "RCPT TO:<broken\r\n", "RCPT TO:<j\u{f6}rg@b.test>\r\n"];
    for command in bad.iter().cycle().take(REFUSED_RECIPIENTS_MAX as usize - 2) {
        assert!(session.send(command.as_bytes()).starts_with("55") || command.contains("broken"));
    }
    let rest = "DATA\r\n.\r\n";
    assert!(session.send(rest.as_bytes()).ends_with(DONE));
    // a message forgives no refused recipients
    session.send(b"MAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\n");
    assert_eq!(session.send(b"RCPT TO:<unknown@b.test>\r\n"), refused);
    assert_eq!(session.send(b"RCPT TO:<unknown@b.test>\r\nDATA\r\n"), format!("{refused}{too_many}"));
    assert!(session.closed);
    // a transaction without a good one is a guess
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\nMAIL FROM:<>\r\n");
    let said = session.send("RCPT TO:<unknown@b.test>\r\n".repeat(ERRORS_MAX as usize).as_bytes());
    assert!(said.ends_with("421 4.7.0 Too many errors, closing the connection\r\n"));
}

#[test]
fn each_line_has_its_own_time() {
    let long = format!("{}\r\n", "x".repeat(COMMAND_LINE_BYTES_MAX));
    for (state, wrong) in [("", "NOOP\n"), ("", long.as_str()), ("", "NO\0OP\r\n"), ("AUTH PLAIN\r\n", "x\n")]
    {
        let mut session = Session::new(under_tls(Role::Relay), 4096);
        session.send(format!("EHLO c\r\n{state}").as_bytes());
        session.now += COMMAND_TIMEOUT - Duration::from_secs(1);
        assert!(session.send(wrong.as_bytes()).starts_with('5'));
        let begun = session.now;
        // The wait is looked at before its end, which changes nothing.
        while let Some(at) = session.run() {
            assert!(at > session.now && at <= session.now + LOOK_AFTER, "{wrong:?}");
            session.now = at;
        }
        assert_eq!(session.now, begun + COMMAND_TIMEOUT, "{wrong:?}");
        assert_eq!(session.replies(), "421 4.4.2 Timeout, closing the connection\r\n");
    }
}

#[test]
fn waiting_has_deadlines() {
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\n");
    // A command dripped octet by octet does not renew its deadline.
    session.machine.receive(b"NO");
    assert_eq!(session.run(), Some(session.now + LOOK_AFTER));
    session.now += COMMAND_TIMEOUT - Duration::from_millis(1);
    session.machine.receive(b"O");
    assert_eq!(session.run(), Some(session.now + Duration::from_millis(1)));
    session.send(b"P\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n");
    // A message's deadline is renewed with each block.
    assert_eq!(session.run(), Some(session.now + DATA_BLOCK_TIMEOUT));
    session.now += DATA_BLOCK_TIMEOUT - Duration::from_millis(1);
    session.machine.receive(b"text");
    assert_eq!(session.run(), Some(session.now + DATA_BLOCK_TIMEOUT));
    session.now += DATA_BLOCK_TIMEOUT;
    assert_eq!(session.run(), None);
    assert_eq!(session.replies(), "421 4.4.2 Timeout, closing the connection\r\n");
}

/// A session in the middle of DATA.
fn receiving() -> Session {
    let mut session = Session::new(settings(Role::Relay), 1 << 20);
    session.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n");
    session
}

#[test]
fn a_message_that_is_dribbled_comes_to_an_end() {
    let mut session = receiving();
    let begin = session.now;
    for _ in 0..3 {
        session.now += DATA_BLOCK_TIMEOUT - Duration::from_millis(1);
        assert_eq!(session.send(b"x"), "");
    }
    assert_eq!(session.run(), Some(begin + DATA_TIMEOUT), "less than a block is left");
    session.now = begin + DATA_TIMEOUT - Duration::from_millis(1);
    assert_eq!(session.send(b"x"), "");
    session.now = begin + DATA_TIMEOUT;
    assert_eq!(session.send(b"x"), "421 4.4.2 Timeout, closing the connection\r\n");
    assert!(session.closed);
    // what comes at the least rate at least has the time that it takes
    let mut session = receiving();
    let (begin, earned) = (session.now, Duration::from_secs(90));
    session.send(&vec![b'x'; 90 * DATA_BYTES_PER_SECOND_MIN as usize]);
    while session.now < begin + DATA_TIMEOUT + earned - DATA_BLOCK_TIMEOUT {
        session.now += DATA_BLOCK_TIMEOUT / 2;
        assert_eq!(session.send(b"x"), "");
    }
    assert_eq!(session.run(), Some(begin + DATA_TIMEOUT + earned));
    session.now = begin + DATA_TIMEOUT + earned - Duration::from_millis(1);
    assert_eq!(session.send(b"\r\n.\r\n"), DONE);
}

#[test]
fn what_is_refused_is_not_read_for_ever() {
    let overrun = 2 * 100_000 + crate::smtp::data::OVERRUN_BYTES as usize;
    for start in ["\0", "a\rb", "FULL"] {
        let mut session = receiving();
        session.piece = 50_000;
        let rest = vec![b'x'; overrun - start.len()];
        assert_eq!(session.send(&[start.as_bytes(), &rest].concat()), "", "{start:?}");
        assert!(!session.closed, "{start:?}");
        let closing =
            "421 4.3.4 The message is far larger than this server takes, closing the connection\r\n";
        assert_eq!(session.send(b"x"), closing, "{start:?}");
        assert!(session.closed && session.asked(|question| matches!(question, Question::DataEnd(_))) == 0);
    }
}

#[test]
fn sessions_end_with_the_input_or_the_server() {
    for input in ["", "MAIL", "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nhalf a message\r\n"] {
        let mut session = Session::new(settings(Role::Relay), 3);
        session.send(input.as_bytes());
        session.machine.end_of_input();
        assert_eq!(session.run(), None);
        assert_eq!(
            (session.replies().as_str(), session.asked(|question| matches!(question, Question::DataEnd(_)))),
            ("", 0)
        );
    }
    let mut session = Session::new(settings(Role::Relay), 4096);
    session.send(b"EHLO c\r\n");
    session.machine.receive(b"MAIL FROM:<>\r\n");
    assert!(matches!(session.machine.step(session.now), Step::Ask(Question::Mail(_))));
    session.machine.shutdown();
    session.machine.answer(Answer::Done);
    assert_eq!(session.run(), None);
    assert_eq!(
        session.replies(),
        "250 2.1.0 Sender ok\r\n421 4.3.2 The server is shutting down, try again later\r\n"
    );
}

#[test]
fn who_speaks_before_the_greeting_is_refused() {
    let delay = Duration::from_secs(3);
    let waits = Manners { greeting_delay: Some(delay), ..Manners::default() };
    let begin = || Session::new(Settings { manners: waits, ..settings(Role::Relay) }, 4096);
    let refusal =
        "421 4.5.1 You spoke before the greeting (RFC 5321 section 3.1), closing the connection\r\n";
    for early in ["E", "EHLO c\r\nMAIL FROM:<a@a.test>\r\n", "\r\n", "\x16\x03\x01"] {
        for after in [Duration::ZERO, delay - Duration::from_millis(1), delay] {
            let mut session = begin();
            let greets = session.run().unwrap();
            assert_eq!(greets, session.now + delay);
            session.now += after;
            assert_eq!(session.send(b""), if after == delay { "220 mx.test ESMTP Waypost\r\n" } else { "" });
            let said = session.send(early.as_bytes());
            assert_eq!((said == refusal, session.closed), (after < delay, after < delay), "{early:?} {said}");
            assert!(after == delay || session.asked.is_empty());
        }
    }
    let mut session = begin();
    assert_eq!(session.send(b""), "");
    session.now += delay;
    assert_eq!(session.send(b""), "220 mx.test ESMTP Waypost\r\n");
    assert_eq!(session.send(b"EHLO c\r\n"), MX_EHLO);
}

#[test]
fn strict_pipelining_is_that_of_the_rfc() {
    let strict = Manners { strict_pipelining: true, ..Manners::default() };
    let settings = Settings { manners: strict, ..settings(Role::Relay) };
    let refusal =
        "421 4.5.0 You did not wait for an answer (RFC 2920 section 3.1), closing the connection\r\n";
    for (group, is_refused) in [
        ("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRSET\r\nMAIL FROM:<a@a.test>\r\n", false),
        ("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n", false),
        ("MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nSubject: s\r\n\r\n.\r\n", true),
        ("RSET\r\nNOOP\r\n", false),
        ("NOOP\r\nRSET\r\n", true),
        ("EHLO c\r\nMAIL FROM:<a@a.test>\r\n", true),
        ("HELO c\r\nM", true),
        ("STARTTLS\r\nEHLO c\r\n", true),
        ("AUTH PLAIN\r\nAHVzZXIAc2VjcmV0\r\n", true),
        ("VRFY b\r\nQUIT\r\n", true),
    ] {
        let mut session = Session::new(settings.clone(), 4096);
        session.send(b"");
        assert_eq!(session.send(b"EHLO c\r\n"), MX_EHLO);
        let said = session.send(group.as_bytes());
        assert_eq!((said.ends_with(refusal), session.closed), (is_refused, is_refused), "{group:?}: {said}");
        let takes = session.asked(|question| matches!(question, Question::Chunk(_) | Question::DataEnd(_)));
        assert_eq!(takes, 0, "{group:?}");
    }
    // Who was not told of groups by EHLO waits for each answer (RFC 2920 section 3.1).
    for (hello, group, is_refused) in [
        ("HELO c\r\n", "MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\n", true),
        ("HELO c\r\n", "RSET\r\nNOOP\r\n", true),
        ("HELO c\r\n", "NOOP\r\n", false),
        ("", "RSET\r\nEHLO c\r\n", true),
        ("", "RSET\r\n", false),
    ] {
        let mut session = Session::new(settings.clone(), 4096);
        session.send(hello.as_bytes());
        let said = session.send(group.as_bytes());
        assert_eq!(
            (said.ends_with(refusal), session.closed),
            (is_refused, is_refused),
            "{hello}{group:?}: {said}"
        );
    }
    // The end of a message may be the first of a group, for those who know of groups.
    let message = "Subject: s\r\n\r\n.\r\n";
    for (hello, is_refused) in [("EHLO c\r\n", false), ("HELO c\r\n", true)] {
        let mut session = Session::new(settings.clone(), 4096);
        for alone in [hello, "MAIL FROM:<a@a.test>\r\n", "RCPT TO:<b@b.test>\r\n", "DATA\r\n"] {
            session.send(alone.as_bytes());
        }
        let said = session.send(format!("{message}MAIL FROM:<a@a.test>\r\n").as_bytes());
        assert_eq!((said.as_str() == refusal, session.closed), (is_refused, is_refused), "{hello}: {said}");
        let taken = session.asked(|question| matches!(question, Question::DataEnd(Ok(()))));
        assert_eq!(taken, usize::from(!is_refused));
    }
    // The octets of a chunk come at once.
    let chunks = "BDAT 3\r\nab\rBDAT 1 LAST\r\n\n";
    let received = "250 2.0.0 3 octets received\r\n";
    let replies = format!("{STARTED}{received}{DONE}");
    play(&settings, &[("EHLO c\r\n", MX_EHLO), (&format!("{START}{chunks}"), &replies)]);
}

#[test]
fn xclient_begins_the_session_anew() {
    let believed = Manners { xclient: true, ..Manners::default() };
    let settings = Settings { manners: believed, ..settings(Role::Submission) };
    let ehlo = MX_EHLO.replace(
        "250 STARTTLS",
        "250-STARTTLS\r\n250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT",
    );
    let greeting = "220 mx.test ESMTP Waypost\r\n";
    let sessions = play(
        &settings,
        &[
            ("EHLO proxy\r\n", &ehlo),
            ("XCLIENT ADDR=198.51.100.7 FOO=1\r\n", "501 5.5.4 Syntax: XCLIENT attribute=value ...\r\n"),
            ("XCLIENT LOGIN=nobody\r\n", "550 5.1.1 nobody\r\n"),
            ("XCLIENT ADDR=198.51.100.7 NAME=[UNAVAILABLE]\r\n", greeting),
            ("MAIL FROM:<a@a.test>\r\n", "503 5.5.1 Send EHLO first\r\n"),
            ("EHLO c\r\n", &ehlo),
            ("MAIL FROM:<a@a.test>\r\n", "530 5.7.0 Authentication required\r\n"),
            ("XCLIENT HELO=c.test PROTO=ESMTP LOGIN=a@a.test\r\n", greeting),
            ("MAIL FROM:<a@a.test> SIZE=1\r\n", "250 2.1.0 Sender ok\r\n"),
            ("XCLIENT ADDR=198.51.100.8\r\n", "503 5.5.1 XCLIENT is not possible in a transaction\r\n"),
            ("RSET\r\n", "250 2.0.0 Ok\r\n"),
            ("XCLIENT ADDR=198.51.100.8\r\n", greeting),
            ("EHLO c\r\n", &ehlo),
            ("MAIL FROM:<a@a.test>\r\n", "530 5.7.0 Authentication required\r\n"),
        ],
    );
    for session in sessions {
        let mails = session.asked.iter().filter_map(|question| match question {
            Question::Mail(mail) => Some((mail.client.name.as_str().to_owned(), mail.login)),
            _ => None,
        });
        assert_eq!(mails.collect::<Vec<_>>(), [("c.test".to_owned(), Login::Authenticated)]);
    }
}

#[test]
fn vrfy_tells_only_users_and_only_where_that_is_wanted() {
    let login = [
        ("EHLO c\r\n", TLS_EHLO),
        ("VRFY b@b.test\r\n", CANNOT_VERIFY),
        ("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "235 2.7.0 Authentication succeeded\r\n"),
    ];
    let manners = Manners { vrfy: true, ..Manners::default() };
    let asked = [
        ("VRFY <b@b.test>\r\n", "250 2.1.5 <b@b.test>\r\n"),
        ("VRFY unknown@b.test\r\n", "550 5.1.1 unknown\r\n"),
        ("VRFY b@far.test\r\n", CANNOT_VERIFY),
        ("VRFY b\r\n", CANNOT_VERIFY),
        ("VRFY jörg@b.test\r\n", CANNOT_VERIFY),
        (START, STARTED),
        ("VRFY unknown@b.test\r\n", "550 5.1.1 unknown\r\n"),
        ("BDAT 1\r\nx", "250 2.0.0 1 octets received\r\n"),
        ("VRFY b@b.test\r\nBDAT 0 LAST\r\n", &format!("250 2.1.5 <b@b.test>\r\n{DONE}")),
    ];
    let script: Vec<_> = login.into_iter().chain(asked).collect();
    for session in play(&Settings { manners, ..under_tls(Role::Submission) }, &script) {
        assert_eq!(session.asked(|question| matches!(question, Question::Verify(_))), 5);
    }
    let script: Vec<_> = login.into_iter().chain([("VRFY b@b.test\r\n", CANNOT_VERIFY)]).collect();
    for session in play(&under_tls(Role::Submission), &script) {
        assert_eq!(session.asked(|question| matches!(question, Question::Verify(_))), 0);
    }
}

#[test]
fn an_answer_to_another_question_ends_the_session() {
    for command in ["MAIL FROM:<a@a.test>\r\n", "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "VRFY b@b.test\r\n"] {
        let manners = Manners { vrfy: true, ..Manners::default() };
        let mut session = Session::new(Settings { manners, ..under_tls(Role::Relay) }, 4096);
        session.send(b"EHLO c\r\n");
        session.machine.login =
            if command.starts_with('V') { Login::Authenticated } else { Login::Anonymous };
        session.machine.receive(command.as_bytes());
        assert!(matches!(session.machine.step(session.now), Step::Ask(_)), "{command}");
        session.machine.answer(Answer::Accepted(Accepted { id: EntryId(7), new_priority: None }));
        session.run();
        assert_eq!(
            (session.replies().as_str(), session.closed),
            ("421 4.3.0 Internal error, try again later\r\n", true)
        );
    }
}

#[test]
fn each_parameter_is_there_once_and_right() {
    let bad = |keyword: &str| format!("501 5.5.4 Bad or repeated parameter {keyword}\r\n");
    let syntax = |form: &str| format!("501 5.5.4 Syntax: {form}\r\n");
    let (mail_form, rcpt_form) = ("MAIL FROM:<address> [parameters]", "RCPT TO:<address> [parameters]");
    let long = "9".repeat(1_000);
    for (command, form, keyword, good, wrong) in [
        ("MAIL FROM:<a@a.test>", mail_form, "SIZE", "=1", &["", "=x", "=+1", "=1.0"][..]),
        ("MAIL FROM:<a@a.test>", mail_form, "BODY", "=8BITMIME", &["", "=9BIT", "=8BITMIME,BINARYMIME"]),
        ("MAIL FROM:<a@a.test>", mail_form, "SMTPUTF8", "", &["=1", "=YES"]),
        ("MAIL FROM:<a@a.test>", mail_form, "REQUIRETLS", "", &["=1", "=YES"]),
        ("MAIL FROM:<a@a.test>", mail_form, "AUTH", "=<>", &[""]),
        ("MAIL FROM:<a@a.test>", mail_form, "RET", "=FULL", &["", "=ALL", "=FULL,HDRS"]),
        ("MAIL FROM:<a@a.test>", mail_form, "ENVID", "=a+2Bb", &["", "=a+b", "=a+2b"]),
        ("MAIL FROM:<a@a.test>", mail_form, "MT-PRIORITY", "=-9", &["", "=10", "=-10", "=x", "=00"]),
        ("MAIL FROM:<a@a.test>", mail_form, "BY", "=60;R", &["", "=60", "=;R", "=0;R", "=60;RR"]),
        (
            "RCPT TO:<b@b.test>",
            rcpt_form,
            "NOTIFY",
            "=SUCCESS,DELAY",
            &["", "=NEVER,DELAY", "=DELAY,DELAY", "=,"],
        ),
        ("RCPT TO:<b@b.test>", rcpt_form, "ORCPT", "=rfc822;b@b.test", &["", "=b@b.test", "=rfc822;", "=;b"]),
    ] {
        // Numbers of any length, and texts beyond their bound.
        let too_long = match keyword {
            "AUTH" | "SMTPUTF8" | "REQUIRETLS" => None,
            "ORCPT" => Some(format!("=rfc822;{long}")),
            _ => Some(format!("={long}")),
        };
        let mut cases: Vec<(String, String)> = wrong
            .iter()
            .map(|value| (*value).to_owned())
            .chain(too_long)
            .map(|value| (format!("{command} {keyword}{value}"), bad(keyword)))
            .collect();
        cases.push((format!("{command} {keyword}{good} {keyword}{good}"), bad(keyword)));
        cases.push((format!("{command} {keyword}="), syntax(form)));
        cases.push((format!("{command} {keyword}{good}  "), "2".to_owned()));
        cases.push((format!("{command}  {keyword}{good}"), syntax(form)));
        cases.push((format!("{command} x{keyword}{good}"), "555 5.5.4 Unknown parameter X".to_owned()));
        for (line, expected) in cases {
            let mut session = Session::new(under_tls(Role::Relay), 3);
            session.send(b"EHLO c\r\n");
            if command.starts_with('R') {
                session.send(b"MAIL FROM:<a@a.test>\r\n");
            }
            let said = session.send(format!("{line}\r\n").as_bytes());
            assert!(said.starts_with(&expected) && said.lines().count() == 1, "{line:.80}: {said}");
            assert!(session.send(b"NOOP\r\n").starts_with("250 "), "{line:.80}");
        }
    }
}

#[test]
fn chunks_of_any_announced_size_leave_the_stream_in_step() {
    let too_large = "421 4.3.4 The message is far larger than this server takes, closing the connection\r\n";
    for (sent, expected, closes) in [
        // Nothing at all is a message, too.
        (format!("{START}BDAT 0 LAST\r\n"), format!("{STARTED}{DONE}"), false),
        (
            format!("{START}BDAT 0\r\nBDAT 0 LAST\r\n"),
            format!("{STARTED}250 2.0.0 0 octets received\r\n{DONE}"),
            false,
        ),
        (
            format!("{START}BDAT 0 LAST\r\nBDAT 0 LAST\r\n"),
            format!("{STARTED}{DONE}503 5.5.1 Send MAIL first\r\n"),
            false,
        ),
        // One octet fewer than come: the rest is a command, and none.
        (
            format!("{START}BDAT 2 LAST\r\n\r\n\r\n"),
            format!("{STARTED}{DONE}500 5.5.2 Command not recognized\r\n"),
            false,
        ),
        // 2 GiB and more are not waited for; a session is ended with 421 alone (RFC 5321 section 3.8).
        (format!("{START}BDAT 2147483648\r\n"), format!("{STARTED}{too_large}"), true),
        (format!("{START}BDAT 18446744073709551615 LAST\r\n"), format!("{STARTED}{too_large}"), true),
        (format!("{START}BDAT 18446744073709551616 LAST\r\n"), format!("{STARTED}{too_large}"), true),
    ] {
        for session in play(&settings(Role::Relay), &[("EHLO c\r\n", MX_EHLO), (&sent, &expected)]) {
            assert_eq!(session.closed, closes, "{sent}");
        }
    }
    // One octet more than come: the next command is text of the message.
    let more = format!("{START}BDAT 9 LAST\r\n\r\nRSET\r\n");
    for mut session in play(&settings(Role::Relay), &[("EHLO c\r\n", MX_EHLO), (&more, STARTED)]) {
        assert_eq!(
            session.send(b"\n"),
            "554 5.6.0 The message holds a LF without CR: refused (RFC 5321 section 2.3.8)\r\n"
        );
        assert_eq!(session.send(b"NOOP\r\n"), "250 2.0.0 Ok\r\n");
    }
}

#[test]
fn help_tells_what_there_is() {
    let form = "214 2.0.0 HELP and the name of a command tells how it is written\r\n";
    let basic = "MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP";
    for (settings, commands) in [
        (settings(Role::Relay), format!("EHLO HELO {basic} STARTTLS")),
        (under_tls(Role::Relay), format!("EHLO HELO {basic} AUTH")),
    ] {
        let said = format!("214-2.0.0 Commands: {commands}\r\n{form}");
        play(
            &settings,
            &[
                ("HELP\r\n", &said),
                ("HELP mail\r\n", "214 2.0.0 MAIL FROM:<address> [parameters]\r\n"),
                ("HELP DATA\r\n", "214 2.0.0 DATA\r\n"),
                ("HELP ME\r\n", "504 5.5.4 There is no such command to tell of\r\n"),
            ],
        );
    }
    let mut lmtp = Session::new(settings(Role::Lmtp), 4096);
    lmtp.send(b"");
    assert_eq!(lmtp.send(b"HELP\r\n"), format!("214-2.0.0 Commands: LHLO {basic} STARTTLS\r\n{form}"));
}

#[test]
fn xclient_is_for_those_who_are_believed() {
    let sessions = play(
        &settings(Role::Relay),
        &[
            ("EHLO proxy\r\n", MX_EHLO),
            ("XCLIENT ADDR=198.51.100.7\r\n", "550 5.7.0 XCLIENT is not for you\r\n"),
        ],
    );
    assert!(sessions.iter().all(|session| session.asked.is_empty()));
}
