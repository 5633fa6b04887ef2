use waypost_auth::{
    sasl::{Credentials, Scram, ServerFirst, Tokens, Verifier},
    token::TokenFault,
};
use waypost_mail::{AccountId, UidlId};
use waypost_net::ClientCertificate;

use super::*;

/// Messages of a UID, a unique-id and a size.
fn listing(messages: impl IntoIterator<Item = (u32, u64, u64)>) -> Listing {
    let mut listing = Listing::default();
    for (uid, uidl, size) in messages {
        listing.push(Uid::new(uid).unwrap(), UidlId(uidl), size);
    }
    listing.finish(AccountId(4))
}

/// Three messages of 100, 200 and 300 octets.
fn maildrop() -> Listing {
    listing((1..=3).map(|n| (10 + n as u32, 70 + n, 100 * n)))
}

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

/// Nothing of note.
fn announced() -> Announced {
    Announced::of_account(Pop3Policy::default())
}

/// A session, what it said and asked so far, and the canned world around it.
struct World {
    session: Session,
    said: String,
    now: Instant,
    deadline: Option<Instant>,
    closed: bool,
    maildrop: fn() -> Listing,
    policy: Pop3Policy,
    update: Result<(), Refusal>,
    certificate: Option<ClientCertificate>,
}

impl World {
    fn new(tls: Tls, login: Login) -> Self {
        Self::offering(tls, login, Offer::default())
    }

    fn offering(tls: Tls, login: Login, offer: Offer) -> Self {
        Self::with(Terms { tls, login, offer, timestamp: None, announced: announced() })
    }

    fn with(terms: Terms) -> Self {
        let session = Session::new(&"mx.example".parse().unwrap(), terms);
        let (now, update) = (Instant::now(), Ok(()));
        let mut world = Self {
            session,
            said: String::new(),
            now,
            deadline: None,
            closed: false,
            maildrop,
            policy: Pop3Policy::default(),
            update,
            certificate: None,
        };
        world.run();
        world
    }

    /// A session in TRANSACTION; the first replies are left out.
    fn logged_in() -> Self {
        let mut world = Self::new(Tls::None, Login::Always);
        world.say("USER a@mx.example\r\nPASS secret\r\n", 4096);
        world.said.clear();
        world
    }

    /// Gives octets to the session in chunks.
    fn say(&mut self, text: &str, chunk: usize) {
        for octets in text.as_bytes().chunks(chunk) {
            if !self.closed {
                self.session.receive(octets);
                self.run();
            }
        }
    }

    /// Steps as the driver does, until input is needed.
    fn run(&mut self) {
        loop {
            let step = self.session.step(self.now);
            let output = std::mem::take(self.session.output());
            assert!(output.len() < OUTPUT_BYTES_MAX + 1024, "too much output at once");
            self.said.push_str(std::str::from_utf8(&output).unwrap());
            match step {
                Step::Read { deadline } => return self.deadline = Some(deadline),
                Step::Watch { deadline } => {
                    assert!(
                        matches!(self.session.state, State::Transaction(_)),
                        "nothing can happen by itself"
                    );
                    return self.deadline = Some(deadline);
                }
                Step::StartCompression | Step::StopCompression => panic!("POP3 knows no compression"),
                Step::Ask(question) => {
                    let answer = self.answer(question);
                    self.session.answer(answer);
                }
                Step::StartTls => {
                    self.said.push_str("[TLS]\r\n");
                    let (version, cipher) = ("TLSv1.3".into(), "TLS_AES_256_GCM_SHA384".into());
                    let certificate = self.certificate.clone();
                    self.session.tls_started(&TlsInfo { version, cipher, certificate, ..TlsInfo::default() });
                }
                Step::Close => {
                    self.said.push_str("[closed]\r\n");
                    return self.closed = true;
                }
            }
        }
    }

    fn opened(&self) -> Opened {
        Opened { listing: (self.maildrop)(), policy: self.policy }
    }

    /// Questions are put between what is said.
    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::LookUp(Lookup::ServerFirst { login, .. }) if login == "user" => {
                Answer::Found(Ok(Box::new(Found::ServerFirst(server_first()))))
            }
            Question::LookUp(Lookup::Verifier { .. }) => {
                Answer::Found(Ok(Box::new(Found::Verifier(scram_verifier()))))
            }
            Question::LookUp(Lookup::Token { token, .. }) => {
                let verdict = if token == "valid" { Ok("user".into()) } else { Err(TokenFault::Time) };
                Answer::Found(Ok(Box::new(Found::Token(verdict))))
            }
            Question::LookUp(_) => Answer::Found(Err(Refusal::with(Code::SYS_TEMP, "later"))),
            Question::Login(Claim::Certificate(shown)) => {
                self.said.push_str(&format!("[certificate of {}]\r\n", shown.certificate.emails.join(" ")));
                Answer::Opened(Ok(self.opened()))
            }
            Question::Login(Claim::Apop(shown)) => {
                self.said.push_str(&format!("[{} {} {}]\r\n", shown.login, shown.timestamp, shown.digest));
                Answer::Opened(match shown.digest.as_str() {
                    "c4c9334bac560ecc979e58001b3e22fb" => Ok(self.opened()),
                    _ => Err(Refusal::with(Code::AUTH, "wrong")),
                })
            }
            Question::Login(Claim::Token(bearer)) => Answer::Opened(match bearer.verdict {
                Ok(()) => Ok(self.opened()),
                Err(_) => Err(Refusal::with(Code::AUTH, "wrong")),
            }),
            Question::Login(Claim::Scram(proof)) => Answer::Opened(match proof.verdict {
                Ok(()) => Ok(self.opened()),
                Err(_) => Err(Refusal::with(Code::AUTH, "wrong")),
            }),
            Question::Login(Claim::Password(Credentials { password, .. })) => {
                Answer::Opened(match password.as_str() {
                    "secret" => Ok(self.opened()),
                    "in use" => Err(Refusal::with(Code::IN_USE, "taken")),
                    _ => Err(Refusal::with(Code::AUTH, "wrong")),
                })
            }
            Question::Retrieve(Retrieval { message, lines, .. }) => {
                let uid = message.uid.value();
                self.said.push_str(&format!("[message {uid} {lines:?}]\r\n"));
                Answer::Retrieved(if uid == 13 { Err(Refusal::new("gone")) } else { Ok(()) })
            }
            Question::Update { deleted } => {
                let uids: Vec<u32> = deleted.iter().map(|uid| uid.value()).collect();
                self.said.push_str(&format!("[delete {uids:?}]\r\n"));
                Answer::Updated(self.update.map(|()| uids.len()))
            }
            Question::Flush => Answer::Flushed,
        }
    }
}

/// Runs a transcript of `C:` and `S:` lines in chunks of 1, 3 and 4096 octets.
fn check(tls: Tls, login: Login, transcript: &str) {
    let lines = |who: &str| -> String {
        let lines = transcript.lines().filter_map(|line| line.trim_start().strip_prefix(who));
        lines.map(|line| format!("{}\r\n", line.strip_prefix(' ').unwrap_or(line))).collect()
    };
    for chunk in [1, 3, 4096] {
        let mut world = World::new(tls, login);
        world.say(&lines("C:"), chunk);
        assert_eq!(world.said, lines("S:"), "in chunks of {chunk}");
    }
}

#[test]
fn a_session_downloads_and_deletes() {
    check(
        Tls::None,
        Login::Always,
        "S: +OK mx.example POP3 ready
         C: USER a@mx.example
         S: +OK now the password
         C: PASS secret
         S: +OK 3 messages (600 octets)
         C: STAT
         S: +OK 3 600
         C: LIST
         S: +OK listing follows
         S: 1 100
         S: 2 200
         S: 3 300
         S: .
         C: UIDL
         S: +OK listing follows
         S: 1 4.71
         S: 2 4.72
         S: 3 4.73
         S: .
         C: RETR 1
         S: [message 11 None]
         C: TOP 2 5
         S: [message 12 Some(5)]
         C: TOP 2 0
         S: [message 12 Some(0)]
         C: RETR 3
         S: [message 13 None]
         S: -ERR gone
         C: dele 1
         S: +OK marked as deleted
         C: DELE 1
         S: -ERR this message is marked as deleted
         C: RETR 1
         S: -ERR this message is marked as deleted
         C: LIST 1
         S: -ERR this message is marked as deleted
         C: LIST 2
         S: +OK 2 200
         C: UIDL 3
         S: +OK 3 4.73
         C: UIDL 4
         S: -ERR no such message
         C: LIST
         S: +OK listing follows
         S: 2 200
         S: 3 300
         S: .
         C: RSET
         S: +OK 3 600
         C: DELE 3
         S: +OK marked as deleted
         C: DELE 1
         S: +OK marked as deleted
         C: STAT
         S: +OK 1 200
         C: NOOP
         S: +OK nothing done
         C: USER a@mx.example
         S: -ERR not in this state
         C: STLS
         S: -ERR not in this state
         C: QUIT
         S: [delete [11, 13]]
         S: +OK bye (1 messages left)
         S: [closed]
         C: NOOP",
    );
}

#[test]
fn logins_fail_and_succeed() {
    check(
        Tls::None,
        Login::Always,
        "S: +OK mx.example POP3 ready
         C: PASS secret
         S: -ERR USER comes first
         C: STAT
         S: -ERR not in this state
         C: USER a@mx.example
         S: +OK now the password
         C: CAPA
         S: +OK capabilities follow
         S: USER
         S: SASL PLAIN LOGIN
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: UTF8 USER
         S: LANG
         S: EXPIRE NEVER
         S: IMPLEMENTATION Waypost
         S: .
         C: PASS secret
         S: -ERR USER comes first
         C: USER a@mx.example
         S: +OK now the password
         C: PASS wrong
         S: -ERR [AUTH] wrong
         C: PASS secret
         S: -ERR USER comes first
         C: USER a@mx.example
         S: +OK now the password
         C: PASS in use
         S: -ERR [IN-USE] taken
         C: AUTH
         S: -ERR wrong arguments
         C: AUTH CRAM-MD5
         S: -ERR unknown authentication mechanism
         C: STLS
         S: -ERR TLS is not available
         C: APOP a b
         S: -ERR unknown command
         C: QUIT
         S: +OK bye
         S: [closed]",
    );
}

#[test]
fn sasl_exchanges_log_in() {
    check(
        Tls::Active,
        Login::WithTls,
        "S: +OK mx.example POP3 ready
         C: AUTH PLAIN
         S: + \n         C: *
         S: -ERR authentication cancelled
         C: AUTH PLAIN !
         S: -ERR this is no valid response
         C: AUTH PLAIN AGFAbXguZXhhbXBsZQB3cm9uZw==
         S: -ERR [AUTH] wrong
         C: AUTH PLAIN
         S: + \n         C: AGFAbXguZXhhbXBsZQBzZWNyZXQ=
         S: +OK 3 messages (600 octets)
         C: AUTH PLAIN AGFAbXguZXhhbXBsZQBzZWNyZXQ=
         S: -ERR not in this state
         C: QUIT
         S: [delete []]
         S: +OK bye (3 messages left)
         S: [closed]",
    );
    let mut world = World::new(Tls::Active, Login::WithTls);
    world.say("AUTH login\r\nYUBteC5leGFtcGxl\r\nc2VjcmV0\r\n", 3);
    assert!(world.said.ends_with("+OK 3 messages (600 octets)\r\n"), "{}", world.said);
}

#[test]
fn scram_logs_in_and_says_no() {
    let offer = Offer { scram: Scram::Offered, ..Offer::default() };
    let begin = format!("AUTH SCRAM-SHA-256 {SCRAM_FIRST}\r\n");
    let challenge = format!("+ {SCRAM_CHALLENGE}\r\n");
    for chunk in [1, 3, 4096] {
        let mut world = World::offering(Tls::Active, Login::WithTls, offer.clone());
        world.say("CAPA\r\n", chunk);
        assert!(world.said.contains("SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN\r\n"), "{}", world.said);
        for (sent, said) in [
            // "c=biws,r=abc,p=AAEC"
            (format!("{begin}Yz1iaXdzLHI9YWJjLHA9QUFFQw==\r\n"), format!("{challenge}-ERR [AUTH] wrong\r\n")),
            // the same nonce, and a proof that is wrong
            (
                format!(
                    "{begin}Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1BQUVD\r\n"
                ),
                format!("{challenge}-ERR [AUTH] wrong\r\n"),
            ),
            (format!("{begin}*\r\n"), format!("{challenge}-ERR authentication cancelled\r\n")),
            (format!("{begin}{SCRAM_FIRST}\r\n"), format!("{challenge}-ERR this is no valid response\r\n")),
            // "n,,n=other,r=abc"
            ("AUTH SCRAM-SHA-256 biwsbj1vdGhlcixyPWFiYw==\r\n".into(), "-ERR [SYS/TEMP] later\r\n".into()),
            ("AUTH SCRAM-SHA-256-PLUS\r\n".into(), "-ERR unknown authentication mechanism\r\n".into()),
            (
                format!("AUTH SCRAM-SHA-256\r\n{SCRAM_FIRST}\r\n{SCRAM_FINAL}\r\n\r\n"),
                format!("+ \r\n{challenge}+ {SCRAM_SIGNATURE}\r\n+OK 3 messages (600 octets)\r\n"),
            ),
        ] {
            world.said.clear();
            world.say(&sent, chunk);
            assert_eq!(world.said, said, "{sent} in chunks of {chunk}");
        }
    }
}

#[test]
fn tokens_log_in_and_are_told_why_not() {
    let offer = Offer { tokens: Tokens::Offered, ..Offer::default() };
    // "n,,^Aauth=Bearer valid^A^A", the same with "old"
    let (valid, old) = ("biwsAWF1dGg9QmVhcmVyIHZhbGlkAQE=", "biwsAWF1dGg9QmVhcmVyIG9sZAEB");
    // {"status":"invalid_token"}
    let invalid = "+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=\r\n";
    for chunk in [1, 3, 4096] {
        let mut world = World::offering(Tls::Active, Login::WithTls, offer.clone());
        for (sent, said) in [
            (format!("AUTH OAUTHBEARER {old}\r\nAQ==\r\n"), format!("{invalid}-ERR [AUTH] wrong\r\n")),
            (
                format!("AUTH OAUTHBEARER {old}\r\n*\r\n"),
                format!("{invalid}-ERR authentication cancelled\r\n"),
            ),
            ("AUTH OAUTHBEARER AQ==\r\n".into(), "-ERR this is no valid response\r\n".into()),
            (format!("AUTH OAUTHBEARER\r\n{valid}\r\n"), "+ \r\n+OK 3 messages (600 octets)\r\n".into()),
        ] {
            world.said.clear();
            world.say(&sent, chunk);
            assert_eq!(world.said, said, "{sent} in chunks of {chunk}");
        }
    }
}

#[test]
fn a_certificate_is_announced_once_it_was_shown() {
    for chunk in [1, 3, 4096] {
        let mut world = World::new(Tls::Offered, Login::WithTls);
        world.certificate = Some(ClientCertificate { emails: vec!["a@a.test".into()], sha256: [7; 32] });
        world.say("AUTH EXTERNAL =\r\n", chunk);
        assert!(world.said.ends_with("-ERR no login without TLS; use STLS first\r\n"), "{}", world.said);
        world.say("STLS\r\n", chunk);
        world.say("CAPA\r\n", chunk);
        assert!(world.said.contains("\r\nSASL EXTERNAL PLAIN LOGIN\r\n"), "{}", world.said);
        world.said.clear();
        world.say("AUTH EXTERNAL\r\n*\r\nAUTH EXTERNAL =\r\n", chunk);
        let said = "+ \r\n-ERR authentication cancelled\r\n[certificate of a@a.test]\r\n+OK 3 messages (600 octets)\r\n";
        assert_eq!(world.said, said);
    }
}

#[test]
fn no_password_goes_without_tls() {
    check(
        Tls::Offered,
        Login::WithTls,
        "S: +OK mx.example POP3 ready
         C: CAPA
         S: +OK capabilities follow
         S: STLS
         S: TOP
         S: UIDL
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: PIPELINING
         S: UTF8 USER
         S: LANG
         S: EXPIRE NEVER
         S: IMPLEMENTATION Waypost
         S: .
         C: USER a@mx.example
         S: -ERR no login without TLS; use STLS first
         C: PASS secret
         S: -ERR no login without TLS; use STLS first
         C: AUTH PLAIN AGFAbXguZXhhbXBsZQBzZWNyZXQ=
         S: -ERR no login without TLS; use STLS first
         C: QUIT
         S: +OK bye
         S: [closed]",
    );
}

#[test]
fn stls_forgets_what_came_before() {
    let mut world = World::new(Tls::Offered, Login::Always);
    world.say("USER a@mx.example\r\n", 4096);
    world.said.clear();
    world.say("STLS\r\nUSER injected\r\nPASS se", 4096);
    assert_eq!(world.said, "+OK begin TLS\r\n[TLS]\r\n");
    world.said.clear();
    world.say("PASS secret\r\nSTLS\r\n", 4096);
    assert_eq!(world.said, "-ERR USER comes first\r\n-ERR TLS is active already\r\n");
    world.said.clear();
    world.say("CAPA\r\n", 4096);
    assert!(world.said.contains("USER\r\n") && !world.said.contains("STLS\r\n"), "{}", world.said);
}

#[test]
fn lines_are_bounded() {
    let reply = |line: String, chunk| {
        let mut world = World::new(Tls::None, Login::Always);
        world.said.clear();
        world.say(&line, chunk);
        assert!(world.session.input.len() <= SASL_LINE_BYTES_MAX);
        world.say("QUIT\r\n", chunk);
        world.said.strip_suffix("+OK bye\r\n[closed]\r\n").unwrap().to_owned()
    };
    let user = |octets: usize| format!("USER {}\r\n", "x".repeat(octets - 7));
    let auth = |octets: usize| format!("auth {}\r\n", "x".repeat(octets - 7));
    let (long, line_end) = ("-ERR the line is too long\r\n", "-ERR lines end with CRLF\r\n");
    for (line, expected) in [
        (user(COMMAND_LINE_BYTES_MAX), "+OK now the password\r\n"),
        (user(COMMAND_LINE_BYTES_MAX + 1), long),
        (user(100_000), long),
        (auth(SASL_LINE_BYTES_MAX), "-ERR unknown authentication mechanism\r\n"),
        (auth(SASL_LINE_BYTES_MAX + 1), long),
        ("NOOP\n".into(), line_end),
        ("\n".into(), line_end),
        ("NOOP\r\r\n".into(), "-ERR unknown command\r\n"),
    ] {
        for chunk in [1, 3, 4096] {
            assert_eq!(reply(line.clone(), chunk), expected, "{} octets in chunks of {chunk}", line.len());
        }
    }
}

#[test]
fn too_many_errors_end_the_session() {
    let mut world = World::new(Tls::None, Login::Always);
    world.say(&"NONSENSE\r\n".repeat(ERRORS_MAX as usize - 1), 4096);
    assert!(!world.closed);
    world.said.clear();
    world.say("USER a\r\nPASS wrong\r\nQUIT\r\n", 4096);
    assert_eq!(
        world.said,
        "+OK now the password\r\n-ERR [AUTH] wrong\r\n-ERR too many errors\r\n[closed]\r\n"
    );
}

#[test]
fn nobody_holds_a_connection_without_login() {
    let mut world = World::new(Tls::None, Login::Always);
    let begun = world.now;
    world.say("", 4096);
    assert_eq!(world.deadline, Some(begun + AUTOLOGOUT_BEFORE_LOGIN));
    // Commands put off the end of the silence, not that of the time for the login.
    for seconds in [50, 100, 150] {
        world.now = begun + Duration::from_secs(seconds);
        world.say("CAPA\r\n", 4096);
        let silence = world.now + AUTOLOGOUT_BEFORE_LOGIN;
        assert_eq!(world.deadline, Some(silence.min(begun + LOGIN_TIMEOUT)));
        assert!(!world.closed);
    }
    world.now = begun + LOGIN_TIMEOUT;
    world.run();
    assert!(world.closed);
}

#[test]
fn silence_ends_the_session_without_update() {
    let mut world = World::logged_in();
    world.say("DELE 1\r\n", 4096);
    let begun = world.now;
    assert_eq!(world.deadline, Some(begun + AUTOLOGOUT));
    world.now = begun + Duration::from_secs(60);
    // A part of a command is no command.
    world.say("NO", 4096);
    assert_eq!(world.deadline, Some(begun + AUTOLOGOUT));
    world.say("OP\r\n", 4096);
    assert_eq!(world.deadline, Some(world.now + AUTOLOGOUT));
    world.said.clear();
    world.now += AUTOLOGOUT - Duration::from_millis(1);
    world.run();
    assert!(!world.closed);
    world.now += Duration::from_millis(1);
    world.run();
    assert_eq!(world.said, "[closed]\r\n");
}

#[test]
fn a_lost_connection_deletes_nothing() {
    for (last, expected) in [
        ("", "[closed]\r\n"),
        ("QUIT", "[closed]\r\n"),
        ("QUIT\r\n", "[delete [11]]\r\n+OK bye (2 messages left)\r\n[closed]\r\n"),
    ] {
        let mut world = World::logged_in();
        world.say("DELE 1\r\n", 4096);
        world.said.clear();
        world.session.receive(last.as_bytes());
        world.session.end_of_input();
        world.run();
        assert_eq!(world.said, expected, "{last:?}");
    }
}

#[test]
fn quit_says_if_the_update_failed() {
    let mut world = World::logged_in();
    world.update = Err(Refusal::with(Code::SYS_TEMP, "not removed"));
    world.say("DELE 2\r\nQUIT\r\n", 4096);
    assert_eq!(
        world.said,
        "+OK marked as deleted\r\n[delete [12]]\r\n-ERR [SYS/TEMP] not removed\r\n[closed]\r\n"
    );
}

#[test]
fn shutdown_is_told() {
    for mut world in [World::new(Tls::None, Login::Always), World::logged_in()] {
        world.said.clear();
        world.session.shutdown();
        world.run();
        assert_eq!(world.said, "-ERR [SYS/TEMP] shutting down\r\n[closed]\r\n");
    }
}

#[test]
fn a_huge_maildrop_is_listed_in_pieces() {
    let mut world = World::new(Tls::None, Login::Always);
    world.maildrop = || listing((0..50_000).map(|n| (n as u32 + 1, n, n)));
    world.say("USER a\r\nPASS secret\r\nDELE 50000\r\n", 4096);
    world.said.clear();
    world.say("LIST\r\nUIDL\r\n", 4096);
    let listing = |line: fn(u64) -> String| {
        format!("+OK listing follows\r\n{}.\r\n", (0..49_999).map(line).collect::<String>())
    };
    let scan = listing(|n| format!("{} {n}\r\n", n + 1));
    assert!(world.said == scan + &listing(|n| format!("{} 4.{n}\r\n", n + 1)));
    // Many commands at once are bounded, too: the world asserts it.
    world.say(&"CAPA\r\n".repeat(2000), 16 * 1024);
}

/// A session that offers APOP.
fn with_apop(tls: Tls, login: Login) -> World {
    let timestamp = Some("<1896.697170952@dbc.mtview.ca.us>".to_owned());
    World::with(Terms { tls, login, offer: Offer::default(), timestamp, announced: announced() })
}

#[test]
fn apop_logs_in_where_it_is_offered() {
    for chunk in [1, 3, 4096] {
        let mut world = with_apop(Tls::None, Login::Always);
        assert_eq!(world.said, "+OK mx.example POP3 ready <1896.697170952@dbc.mtview.ca.us>\r\n");
        world.said.clear();
        world.say("APOP mrose\r\nAPOP mrose c4c9334bac560ecc979e58001b3e22fa\r\n", chunk);
        world.say("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\nAPOP mrose c4c9\r\n", chunk);
        let asked = "[mrose <1896.697170952@dbc.mtview.ca.us> c4c9334bac560ecc979e58001b3e22f";
        assert_eq!(
            world.said,
            format!(
                "-ERR wrong arguments\r\n{asked}a]\r\n-ERR [AUTH] wrong\r\n{asked}b]\r\n\
                 +OK 3 messages (600 octets)\r\n-ERR not in this state\r\n"
            )
        );
    }
}

#[test]
fn apop_needs_tls_as_all_logins_do() {
    let mut world = with_apop(Tls::Offered, Login::WithTls);
    world.said.clear();
    world.say("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\nSTLS\r\n", 4096);
    assert_eq!(world.said, "-ERR no login without TLS; use STLS first\r\n+OK begin TLS\r\n[TLS]\r\n");
    world.said.clear();
    // The greeting's timestamp still holds: there is no second greeting.
    world.say("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n", 4096);
    assert!(world.said.ends_with("+OK 3 messages (600 octets)\r\n"), "{}", world.said);
}

#[test]
fn people_are_spoken_to_in_their_language() {
    check(
        Tls::None,
        Login::Always,
        "S: +OK mx.example POP3 ready
         C: LANG
         S: +OK languages follow
         S: en English
         S: de Deutsch
         S: i-default English in US-ASCII
         S: .
         C: LANG uga
         S: -ERR there is no such language
         C: LANG de-AT
         S: +OK de Sprache gewechselt
         C: LANG uga
         S: -ERR diese Sprache gibt es nicht
         C: LANG de at
         S: -ERR falsche Angaben
         C: UTF8
         S: +OK es gilt UTF-8
         C: USER a@mx.example
         S: +OK jetzt das Passwort
         C: PASS secret
         S: +OK 3 Nachrichten (600 Oktette)
         C: UTF8
         S: -ERR nicht in diesem Zustand
         C: DELE 4
         S: -ERR keine solche Nachricht
         C: LANG
         S: +OK es folgen die Sprachen
         S: en English
         S: de Deutsch
         S: i-default English in US-ASCII
         S: .
         C: lang EN-ca
         S: +OK en language changed
         C: LANG DE
         S: +OK de Sprache gewechselt
         C: LANG *
         S: +OK i-default language changed
         C: NOOP
         S: +OK nothing done
         C: QUIT
         S: [delete []]
         S: +OK bye (3 messages left)
         S: [closed]",
    );
}

#[test]
fn tls_forgets_the_language() {
    let mut world = World::new(Tls::Offered, Login::WithTls);
    world.say("LANG de\r\nSTLS\r\n", 4096);
    world.said.clear();
    world.say("NOOP\r\n", 4096);
    assert_eq!(world.said, "-ERR not in this state\r\n");
}

#[test]
fn utf8_holds_from_the_command_on_until_tls_begins() {
    for (said, mode) in [("", Mode::Ascii), ("UTF8\r\n", Mode::Utf8), ("UTF8\r\nSTLS\r\n", Mode::Ascii)] {
        let mut world = World::new(Tls::Offered, Login::Always);
        world.say(said, 4096);
        world.say("USER a\r\nPASS secret\r\n", 4096);
        assert_eq!(world.session.mode, mode, "{said:?}");
        world.said.clear();
        world.say("UTF8\r\n", 4096);
        assert_eq!((world.said.as_str(), world.session.mode), ("-ERR not in this state\r\n", mode));
    }
}

#[test]
fn names_and_passwords_are_prepared() {
    let mut world = World::new(Tls::None, Login::Always);
    world.said.clear();
    // A private character; a soft hyphen, which is nothing; one that is composed.
    world.say("USER \u{e000}\r\nUSER \u{ad}\r\nUSER a\u{308}\r\n", 4096);
    assert_eq!(world.said, "-ERR wrong arguments\r\n-ERR wrong arguments\r\n+OK now the password\r\n");
    assert!(matches!(&world.session.state, State::Authorization { user: Some(user) } if user == "\u{e4}"));
    world.said.clear();
    world.say("PASS \u{e000}\r\nPASS secret\r\n", 4096);
    assert_eq!(world.said, "-ERR wrong arguments\r\n-ERR USER comes first\r\n");
}

#[test]
fn policies_are_announced_before_and_after_login() {
    let policy = |expire_days, seconds| Pop3Policy { expire_days, login_delay: Duration::from_secs(seconds) };
    let all = [policy(Some(7), 0), policy(None, 600)];
    let announced = Announced::of_all(all.into_iter());
    let (tls, login, offer) = (Tls::Active, Login::WithTls, Offer::default());
    for (own, after) in [
        (policy(Some(0), 60), "EXPIRE 0\r\nLOGIN-DELAY 60\r\nIMPLEMENTATION Waypost\r\n.\r\n"),
        (policy(Some(7), 0), "EXPIRE 7\r\nIMPLEMENTATION Waypost\r\n.\r\n"),
        (policy(None, 600), "EXPIRE NEVER\r\nLOGIN-DELAY 600\r\nIMPLEMENTATION Waypost\r\n.\r\n"),
    ] {
        let terms = Terms { tls, login, offer: offer.clone(), timestamp: None, announced };
        let mut world = World { policy: own, ..World::with(terms) };
        world.say("CAPA\r\n", 4096);
        let before = "LANG\r\nEXPIRE 7 USER\r\nLOGIN-DELAY 600 USER\r\nIMPLEMENTATION Waypost\r\n.\r\n";
        assert!(world.said.ends_with(before), "{}", world.said);
        world.say("USER a\r\nPASS secret\r\nCAPA\r\n", 4096);
        assert!(world.said.ends_with(after), "{}", world.said);
    }
}

#[test]
fn a_session_that_lost_its_maildrop_ends() {
    let mut world = World::logged_in();
    world.say("DELE 1\r\nQUI", 4096);
    world.said.clear();
    world.session.event(Event::TakenOver);
    world.run();
    assert_eq!(world.said, "-ERR another session has taken the maildrop over\r\n[closed]\r\n");
}
