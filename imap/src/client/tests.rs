//! Sessions with scripted servers: the same wherever the octets are cut.

use super::*;

/// A session, and what came of it.
struct World {
    client: Client,
    orders: VecDeque<Order>,
    said: Vec<u8>,
    told: Vec<String>,
    body: Vec<u8>,
    open: bool,
    handshakes: usize,
    now: Instant,
}

fn settings(encryption: Encryption) -> Settings {
    let login = Login { user: "alice".into(), password: "secret word".into() };
    Settings { encryption, login, nonce: String::new() }
}

impl World {
    fn new(settings: Settings, orders: &[Order]) -> Self {
        let orders = orders.iter().cloned().collect();
        let (said, told, body) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = Self {
            client: Client::new(settings),
            orders,
            said,
            told,
            body,
            open: true,
            handshakes: 0,
            now: Instant::now(),
        };
        world.run();
        world
    }

    /// Goes on until octets are waited for.
    fn run(&mut self) {
        loop {
            let step = self.client.step(self.now);
            self.said.extend_from_slice(&self.client.output().split());
            match step {
                Step::Read { .. } | Step::Watch { .. } => return,
                Step::Ask(question) => self.answer(question),
                Step::StartTls => {
                    self.handshakes += 1;
                    self.client.tls_started(&TlsInfo::default());
                }
                Step::StartCompression | Step::StopCompression => panic!("no such thing was asked for"),
                Step::Close => {
                    self.open = false;
                    return;
                }
            }
        }
    }

    fn answer(&mut self, question: Question) {
        let answer = match question {
            Question::Next(done) => {
                self.told.extend(done.map(|done| format!("{done:?}")));
                Answer::Order(self.orders.pop_front().unwrap_or(Order::LogOut))
            }
            Question::Heard(heard) => {
                match heard {
                    Heard::Octets(octets) => self.body.extend_from_slice(&octets),
                    Heard::Message(Message { uid, flags, date, .. }) => {
                        let body = std::mem::take(&mut self.body);
                        let date = date.map_or_else(|| "-".to_owned(), |date| date.imap());
                        self.told.push(format!("{uid} ({flags}) {date} {}", body.escape_ascii()));
                    }
                    Heard::Folder(folder) => {
                        let Folder { text, delimiter, is_selectable, is_subscribed, special_use, .. } =
                            folder;
                        self.told.push(format!(
                            "{text} {delimiter:?} {is_selectable} {is_subscribed} {special_use:?}"
                        ));
                    }
                    other => self.told.push(format!("{other:?}")),
                }
                Answer::GoOn
            }
        };
        self.client.answer(answer);
    }

    fn hear(&mut self, octets: &[u8], size: usize) {
        let handshakes = self.handshakes;
        for piece in octets.chunks(size) {
            // The driver gives nothing on that arrived before TLS.
            if self.open && handshakes == self.handshakes {
                self.client.receive(piece);
                self.run();
            }
        }
    }
}

/// Plays lines `S: …` and `C: …`; gives what was told, and the fault. What the client says must be the very lines.
fn play(settings: &Settings, orders: &[Order], script: &str) -> (Vec<String>, Option<Fault>) {
    let mut results = Vec::new();
    for size in [1, 3, 4096] {
        let mut world = World::new(settings.clone(), orders);
        let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        while let Some(line) = lines.next() {
            if let Some(line) = line.strip_prefix("S: ") {
                let mut text = line.replace("\\r\\n", "\r\n") + "\r\n";
                while let Some(line) = lines.next_if(|line| line.starts_with("S: ")) {
                    text.push_str(&(line[3..].replace("\\r\\n", "\r\n") + "\r\n"));
                }
                world.hear(text.as_bytes(), size);
            } else {
                let line = line.strip_prefix("C: ").unwrap_or_else(|| panic!("{line}")).to_owned() + "\r\n";
                let said = world.said.drain(..line.len().min(world.said.len())).collect::<Vec<_>>();
                assert_eq!(String::from_utf8_lossy(&said), line, "in pieces of {size}");
            }
        }
        assert_eq!(String::from_utf8_lossy(&world.said), "", "in pieces of {size}");
        if world.open {
            world.client.end_of_input();
            world.run();
        }
        assert!(!world.open);
        results.push((world.told, world.client.fault().cloned()));
    }
    let first = results.swap_remove(0);
    assert!(results.iter().all(|result| *result == first), "{first:?} {results:?}");
    first
}

const LOGIN: &str = "
    S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello
    C: w1 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldCB3b3Jk
    S: w1 OK [CAPABILITY IMAP4rev1] welcome
";

/// After login: what is told of orders, and the fault.
fn working(orders: &[Order], script: &str) -> (Vec<String>, Option<Fault>) {
    play(&settings(Encryption::Implicit), orders, &format!("{LOGIN}{script}"))
}

fn broken(text: &str) -> Option<Fault> {
    Some(Fault::Broken(text.into()))
}

#[test]
fn a_session_begins_and_ends() {
    let (told, fault) = working(
        &[],
        "C: w2 LOGOUT
         S: * BYE see you
         S: w2 OK done",
    );
    assert_eq!((told, fault), (vec![], None));
    // A server that hangs up at once has said good-bye, too.
    assert_eq!(working(&[], "C: w2 LOGOUT").1, None);
    let (_, fault) = play(
        &settings(Encryption::Implicit),
        &[],
        "S: * PREAUTH welcome
         C: w1 CAPABILITY
         S: * CAPABILITY IMAP4rev1
         S: w1 OK done
         C: w2 LOGOUT
         S: w2 OK done",
    );
    assert_eq!(fault, None);
}

#[test]
fn login_follows_what_is_offered() {
    let (_, fault) = play(
        &settings(Encryption::None),
        &[],
        "S: * OK hello
         C: w1 CAPABILITY
         S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
         S: w1 OK done
         C: w2 AUTHENTICATE PLAIN
         S: +
         C: AGFsaWNlAHNlY3JldCB3b3Jk
         S: w2 OK welcome
         C: w3 CAPABILITY
         S: w3 OK done
         C: w4 LOGOUT
         S: w4 OK done",
    );
    assert_eq!(fault, None);
    let (_, fault) = play(
        &settings(Encryption::Implicit),
        &[],
        "S: * OK [CAPABILITY IMAP4rev1] hello
         C: w1 LOGIN alice \"secret word\"
         S: w1 NO [AUTHENTICATIONFAILED] no such user",
    );
    assert_eq!(fault, Some(Fault::LoginRefused("no such user".into())));
    let (_, fault) = play(
        &settings(Encryption::Implicit),
        &[],
        "S: * OK [CAPABILITY IMAP4rev1] hello
         C: w1 LOGIN alice \"secret word\"
         S: w1 NO [UNAVAILABLE] the directory is down",
    );
    assert_eq!(fault, Some(Fault::LoginLater("the directory is down".into())));
    let (_, fault) = play(
        &settings(Encryption::Implicit),
        &[],
        "S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=GSSAPI] hello",
    );
    assert_eq!(fault, Some(Fault::NoLogin));
}

#[test]
fn words_that_need_a_literal_wait() {
    let mut settings = settings(Encryption::Implicit);
    settings.login.password = "größe".into();
    let script = "S: * OK [CAPABILITY IMAP4rev1] hello
         C: w1 LOGIN alice {7}
         S: + go
         C: größe
         S: w1 OK [CAPABILITY IMAP4rev1] welcome
         C: w2 LOGOUT
         S: w2 OK done";
    assert_eq!(play(&settings, &[], script).1, None);
    // It may refuse before that.
    let script = "S: * OK [CAPABILITY IMAP4rev1] hello
         C: w1 LOGIN alice {7}
         S: w1 BAD no literals";
    assert_eq!(play(&settings, &[], script).1, Some(Fault::LoginRefused("no literals".into())));
    // And not accept before that.
    let script = "S: * OK [CAPABILITY IMAP4rev1] hello
         C: w1 LOGIN alice {7}
         S: w1 OK welcome";
    assert_eq!(play(&settings, &[], script).1, broken("an answer to a command that was not sent"));
}

#[test]
fn the_password_waits_for_tls() {
    let starttls = settings(Encryption::StartTls);
    let script = "S: * OK hello
         C: w1 CAPABILITY
         S: * CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR
         S: w1 OK done
         C: w2 STARTTLS
         S: w2 OK go
         C: w3 CAPABILITY
         S: * CAPABILITY IMAP4rev1
         S: w3 OK done
         C: w4 LOGIN alice \"secret word\"
         S: w4 OK [CAPABILITY IMAP4rev1] welcome
         C: w5 LOGOUT
         S: w5 OK done";
    assert_eq!(play(&starttls, &[], script).1, None);
    for (script, fault) in [
        ("S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello", Fault::NoStartTls),
        ("S: * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome", Fault::PreAuth),
        (
            "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hello
             C: w1 STARTTLS
             S: w1 NO no certificate",
            Fault::StartTlsRefused("no certificate".into()),
        ),
    ] {
        assert_eq!(play(&starttls, &[], script).1, Some(fault));
    }
}

#[test]
fn what_arrives_before_tls_counts_for_nothing() {
    let mut world = World::new(settings(Encryption::StartTls), &[]);
    world.hear(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n", 4096);
    world.hear(b"w1 OK go\r\n* CAPABILITY IMAP4rev1\r\nw2 OK injected\r\nw3 O", 4096);
    assert_eq!(String::from_utf8_lossy(&world.said), "w1 STARTTLS\r\nw2 CAPABILITY\r\n");
    world.hear(b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nw2 OK done\r\n", 4096);
    assert_eq!(world.client.fault(), Some(&Fault::NoLogin));
}

#[test]
fn folders_are_listed_by_what_the_server_can_do() {
    let (told, fault) = working(
        &[Order::List],
        "C: w2 LIST \"\" \"*\"
         S: * LIST (\\HasNoChildren) \".\" INBOX
         S: * LIST (\\Noselect) \".\" Entw&APw-rfe
         S: * LIST () \".\" {2}\\r\\na&
         S: * LIST () \".\" \"gr\u{fc}n\"
         S: * 5 EXISTS
         S: w2 OK done
         C: w3 LSUB \"\" \"*\"
         S: * LSUB () \".\" INBOX
         S: * LSUB (\\Noselect) \".\" X
         S: w3 OK done
         C: w4 LOGOUT
         S: w4 OK done",
    );
    assert_eq!(
        told,
        [
            "INBOX Some('.') true false None",
            "Entwürfe Some('.') false false None",
            "a& Some('.') true false None",
            "grün Some('.') true false None",
            "Subscribed([73, 78, 66, 79, 88])",
            "Listed(Namespaces { personal: [], others: [] })"
        ]
    );
    assert_eq!(fault, None);
    let extended =
        LOGIN.replace("IMAP4rev1] welcome", "IMAP4rev1 NAMESPACE LIST-EXTENDED SPECIAL-USE] welcome");
    let script = format!(
        "{extended}
         C: w2 NAMESPACE
         S: * NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"Public.\" \".\"))
         S: w2 OK done
         C: w3 LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)
         S: * LIST (\\Subscribed \\Sent) \".\" INBOX.Sent
         S: * LIST () \".\" \"\x7f
         S: w3 OK done
         C: w4 LOGOUT
         S: w4 OK done"
    );
    let (told, _) = play(&settings(Encryption::Implicit), &[Order::List], &script);
    assert_eq!(told[0], "INBOX.Sent Some('.') true true Some(Sent)");
    assert!(told[1].starts_with("Unreadable(\"() "), "{told:?}");
    assert_eq!(
        told[2],
        "Listed(Namespaces { personal: [[73, 78, 66, 79, 88, 46]], others: [[80, 117, 98, 108, 105, 99, 46]] })"
    );
    // A server that offers what it cannot do.
    let script = format!(
        "{extended}
         C: w2 NAMESPACE
         S: w2 BAD what?
         C: w3 LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)
         S: w3 BAD what?
         C: w4 LIST \"\" \"*\"
         S: w4 NO not now
         C: w5 LOGOUT
         S: w5 OK done"
    );
    assert_eq!(play(&settings(Encryption::Implicit), &[Order::List], &script).0, ["Refused(\"not now\")"]);
}

#[test]
fn folders_are_examined_and_surveyed() {
    let orders = [
        Order::Count(vec![b"a b".to_vec(), b"\xfc".to_vec(), b"x".to_vec()]),
        Order::Examine(b"a b".to_vec()),
        Order::Survey(vec![1..=4, 9..=u32::MAX]),
        Order::Examine(b"\xfc".to_vec()),
    ];
    let (told, fault) = working(
        &orders,
        "C: w2 STATUS \"a b\" (MESSAGES)
         C: w3 STATUS x (MESSAGES)
         S: * STATUS \"a b\" (MESSAGES 3)
         S: w2 OK done
         S: w3 NO gone
         C: w4 EXAMINE \"a b\"
         S: * FLAGS (\\Seen)
         S: * 3 EXISTS
         S: * OK [UIDVALIDITY 77] ids
         S: * OK [UIDNEXT 12] next
         S: w4 OK [READ-ONLY] done
         C: w5 UID FETCH 1:4,9:* (UID RFC822.SIZE)
         S: * 1 FETCH (UID 2 RFC822.SIZE 100)
         S: * 3 FETCH (FLAGS (\\Seen) UID 9)
         S: * 2 FETCH (RFC822.SIZE 4294967296 FLAGS () UID 4)
         S: * 4 EXISTS
         S: w5 OK done
         C: w6 EXAMINE {1}
         S: w6 NO [NONEXISTENT] gone
         C: w7 LOGOUT
         S: w7 OK done",
    );
    assert_eq!(
        told,
        [
            "Count(3)",
            "Counted",
            "Examined(Examined { exists: 3, uid_validity: Some(77) })",
            "Row(2, 100)",
            "Row(4, 4294967296)",
            "Surveyed",
            "Refused(\"gone\")"
        ]
    );
    assert_eq!(fault, None);
}

#[test]
fn messages_are_brought_with_several_commands_under_way() {
    let windows = vec![vec![1, 2, 3], vec![5], vec![6], vec![7], vec![8, 9]];
    let (told, fault) = working(
        &[Order::Bring(windows)],
        "C: w2 UID FETCH 1:3 (UID FLAGS INTERNALDATE BODY.PEEK[])
         C: w3 UID FETCH 5 (UID FLAGS INTERNALDATE BODY.PEEK[])
         C: w4 UID FETCH 6 (UID FLAGS INTERNALDATE BODY.PEEK[])
         C: w5 UID FETCH 7 (UID FLAGS INTERNALDATE BODY.PEEK[])
         S: * 2 FETCH (BODY[] {6}\\r\\na\\r\\nb\\r\\n FLAGS (\\Seen x) UID 2)
         S: * 1 FETCH (UID 1 INTERNALDATE \" 1-Nov-2026 04:05:06 -0330\" BODY[] \"q\" FLAGS (\\Recent))
         S: * 7 FETCH (FLAGS (\\Deleted))
         S: * 3 FETCH (UID 3 BODY[] NIL)
         S: w2 OK done
         C: w6 UID FETCH 8:9 (UID FLAGS INTERNALDATE BODY.PEEK[])
         S: * 9 FETCH (UID 5 BODY[] {0}\\r\\n)
         S: w3 OK done
         S: w4 NO [SERVERBUG] cannot read it
         S: w5 OK done
         S: * 3 EXPUNGE
         S: w6 BAD
         C: w7 LOGOUT
         S: w7 OK done",
    );
    assert_eq!(
        told,
        [
            "2 (\\Seen x) - a\\r\\nb\\r\\n",
            "1 () 01-Nov-2026 04:05:06 -0330 q",
            "Window(Window { missing: [3], refused: None })",
            "5 () - ",
            "Window(Window { missing: [], refused: None })",
            "Window(Window { missing: [6], refused: Some(\"cannot read it\") })",
            "Window(Window { missing: [7], refused: None })",
            "Window(Window { missing: [8, 9], refused: Some(\"\") })",
            "Brought"
        ]
    );
    assert_eq!(fault, None);
}

#[test]
fn a_session_that_breaks_says_why() {
    let bring = || [Order::Bring(vec![vec![1, 2]])];
    let asked = "C: w2 UID FETCH 1:2 (UID FLAGS INTERNALDATE BODY.PEEK[])";
    for (said, fault) in [
        ("S: w9 OK done", broken("an answer to a command that was not sent")),
        ("S: * BYE [UNAVAILABLE] shutting down", Some(Fault::Bye("shutting down".into()))),
        ("S: * 1 FETCH (UID 1 BODY[] {9}\\r\\nabc", Some(Fault::Lost)),
        ("S: * 1 FETCH (UID 7 BODY[] {1}\\r\\na)", broken("a message that was not asked for")),
        ("S: * 1 FETCH (BODY[] {1}\\r\\na)", broken("a message that was not asked for")),
        ("S: * 1 FETCH (UID 1 BODY[] {99999999999}\\r\\na)", broken("a message of more than 4 GiB")),
        ("S: * 1 FETCH (UID 1 BODY[] {1}\\r\\na", broken("* 1 FETCH (UID 1 BODY[] NIL")),
        ("S: + go", broken("it waits for what we do not have")),
        ("S: what", broken("what")),
        (
            "S: * 1 FETCH (UID 1 BODY[] {1}\\r\\na)\\r\\n* 1 FETCH (UID 1 BODY[] {1}\\r\\na)",
            broken("a message that was not asked for"),
        ),
    ] {
        assert_eq!(working(&bring(), &format!("{asked}\n{said}")).1, fault, "{said}");
    }
    let listing = "C: w2 LIST \"\" \"*\"\nS: * 1 FETCH (UID 1 BODY[] {1}\\r\\na)";
    assert_eq!(working(&[Order::List], listing).1, broken("a message that was not asked for"));
    for (said, fault) in [
        ("S: * BYE too many", Some(Fault::Refused("the connection", "too many".into()))),
        ("S: * NO go away", Some(Fault::Refused("the connection", "go away".into()))),
        ("S: 220 mx.far.test ESMTP", broken("220 mx.far.test ESMTP")),
        ("S: HTTP/1.1 400 Bad", broken("HTTP/1.1 400 Bad")),
    ] {
        assert_eq!(play(&settings(Encryption::Implicit), &[], said).1, fault, "{said}");
    }
}

#[test]
fn the_messages_that_were_on_their_way_are_known() {
    let mut world = World::new(settings(Encryption::Implicit), &[Order::Bring(vec![vec![1, 2], vec![4]])]);
    world.hear(b"* OK [CAPABILITY IMAP4rev1] hello\r\n", 4096);
    world.hear(b"w1 OK [CAPABILITY IMAP4rev1] in\r\n", 4096);
    world.hear(b"* 1 FETCH (UID 1 BODY[] {1}\r\na)\r\n* 2 FETCH (BODY[] {9}\r\nabc", 4096);
    world.client.end_of_input();
    world.run();
    assert_eq!(world.client.expected().collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn silence_and_endless_talk_end_the_session() {
    let mut world = World::new(settings(Encryption::Implicit), &[]);
    world.now += OPENING_TIMEOUT;
    world.run();
    assert_eq!(world.client.fault(), Some(&Fault::Overdue(60)));

    let mut world = World::new(settings(Encryption::Implicit), &[Order::Survey(vec![1..=u32::MAX])]);
    world.hear(b"* OK [CAPABILITY IMAP4rev1] hello\r\n", 4096);
    world.hear(b"w1 OK [CAPABILITY IMAP4rev1] in\r\n", 4096);
    let line = format!("* OK {}\r\n", "x".repeat(8000));
    for _ in 0..UNASKED_BYTES_MAX / 8000 {
        world.hear(line.as_bytes(), 16_384);
    }
    assert!(
        !world.open && matches!(world.client.fault(), Some(Fault::Broken(_))),
        "{:?}",
        world.client.fault()
    );

    let mut world = World::new(settings(Encryption::Implicit), &[Order::Survey(vec![1..=u32::MAX])]);
    world.hear(b"* OK [CAPABILITY IMAP4rev1] hello\r\n", 4096);
    world.hear(b"w1 OK [CAPABILITY IMAP4rev1] in\r\n* 3 EXISTS\r\n", 4096);
    for uid in 1..2000 {
        world.hear(format!("* 1 FETCH (UID {uid} RFC822.SIZE 1)\r\n").as_bytes(), 4096);
    }
    assert_eq!(world.client.fault().cloned(), broken("more messages than it said there are"));

    let mut world = World::new(settings(Encryption::Implicit), &[]);
    world.client.shutdown();
    world.run();
    assert_eq!(world.client.fault(), Some(&Fault::Stopped));
}

#[test]
fn secrets_are_not_shown() {
    let client = Client::new(settings(Encryption::Implicit));
    assert!(!format!("{client:?}").contains("secret word"));
}
