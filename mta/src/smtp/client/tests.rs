//! Transcripts: `S:` the server says, `C:` the client must have said before, `TLS` the handshake, `LATE` an hour without an
//! answer, `EOF` the end of input. Each ends with the machine closing.

use std::collections::VecDeque;

use bytes::Bytes;
use waypost_mail::{Address, BodyType, DeliverBy, Overdue, ReversePath, Wishes};

use super::{chunks::ALONG_BYTES_MAX, *};

struct Peer {
    machine: Client,
    now: Instant,
    sent: Vec<u8>,
    messages: VecDeque<(Outgoing, Bytes)>,
    body: Bytes,
    finished: Vec<Finished>,
    chunk: usize,
}

impl Peer {
    /// Answers questions until the machine wants something of the server.
    fn settle(&mut self) -> Step<Question> {
        loop {
            let step = self.machine.step(self.now);
            self.sent.extend_from_slice(&self.machine.output().split());
            let Step::Ask(question) = step else { return step };
            let answer = match question {
                Question::NextMessage { finished } => {
                    self.finished.extend(finished);
                    let next = self.messages.pop_front();
                    self.body = next.as_ref().map(|(_, body)| body.clone()).unwrap_or_default();
                    Answer::Message(next.map(|(message, _)| message))
                }
                Question::LastFinished { finished } => {
                    self.finished.push(finished);
                    Answer::Heard
                }
                Question::Octets => Answer::Octets(octets(&self.body)),
                Question::NextChunk if self.body.as_ref() == b"UNREADABLE" => Answer::Unreadable,
                Question::NextChunk => {
                    let length = self.body.len().min(self.chunk);
                    Answer::Chunk(self.body.split_to(length))
                }
            };
            self.machine.answer(answer);
        }
    }

    fn says(&mut self, text: &str) {
        for octets in text.as_bytes().chunks(self.chunk) {
            self.settle();
            self.machine.receive(octets);
        }
    }
}

fn octets(body: &[u8]) -> Octets {
    let kind = |octets: &[u8]| if octets.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime };
    let at = body.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(body.len());
    Octets { header: kind(&body[..at]), body: kind(&body[at..]) }
}

/// Runs a script in one size of chunks.
fn run_by(
    chunk: usize,
    settings: &Settings,
    messages: &[(Outgoing, &'static str)],
    script: &str,
) -> (Vec<Finished>, End) {
    let messages =
        messages.iter().map(|(message, body)| (message.clone(), Bytes::from_static(body.as_bytes())));
    let mut peer = Peer {
        machine: Client::new(settings.clone()),
        now: Instant::now(),
        sent: Vec::new(),
        messages: messages.collect(),
        body: Bytes::new(),
        finished: Vec::new(),
        chunk,
    };
    let lines: Vec<_> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for group in lines.chunk_by(|a, b| a.starts_with("S:") && b.starts_with("S:")) {
        let step = peer.settle();
        if let Some(line) = group[0].strip_prefix("C:") {
            let line = format!("{}\r\n", line.strip_prefix(' ').unwrap_or(line));
            let at = peer.sent.len().min(line.len());
            assert_eq!(String::from_utf8_lossy(&peer.sent[..at]), line, "chunks of {chunk}");
            peer.sent.drain(..at);
            continue;
        }
        assert_eq!(String::from_utf8_lossy(&peer.sent), "", "before {:?}, chunks of {chunk}", group[0]);
        match group[0] {
            "TLS" => {
                assert_eq!(step, Step::StartTls);
                let info = TlsInfo { version: "TLSv1.3".into(), cipher: String::new(), ..TlsInfo::default() };
                peer.machine.tls_started(&info);
            }
            "EOF" => peer.machine.end_of_input(),
            "LATE" => peer.now += Duration::from_secs(3600),
            _ => peer.says(&group.iter().map(|line| format!("{}\r\n", &line[3..])).collect::<String>()),
        }
    }
    let step = peer.settle();
    assert_eq!(String::from_utf8_lossy(&peer.sent), "", "at the end, chunks of {chunk}");
    assert_eq!(step, Step::Close, "chunks of {chunk}");
    (peer.finished, peer.machine.end(&Reply::plain(451, "lost")))
}

/// Runs a script in chunks of 1, 3 and 4096; the replies that each message's recipients got, and how the session ended.
fn run(
    settings: &Settings,
    messages: &[(Outgoing, &'static str)],
    script: &str,
) -> (Vec<Vec<String>>, Option<String>) {
    let mut outcomes = [1, 3, 4096].map(|chunk| {
        let (mut finished, end) = run_by(chunk, settings, messages, script);
        let refused = match end {
            End::Refused(reply, _) => Some(text(&reply)),
            End::Done(last) => {
                finished.extend(last);
                None
            }
        };
        let replies = |finished: &Finished| finished.replies.iter().map(text).collect::<Vec<_>>();
        (finished.iter().map(replies).collect::<Vec<_>>(), refused)
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[1], outcomes[2]);
    std::mem::take(&mut outcomes[0])
}

fn text(reply: &Reply) -> String {
    reply.to_string().trim_end().replace("\r\n", "|")
}

fn settings(encryption: Encryption) -> Settings {
    Settings {
        hostname: "a.test".into(),
        protocol: Protocol::Smtp,
        encryption,
        tls: None,
        login: None,
        login_in_clear: false,
        nonce: "nonce".into(),
    }
}

fn plain() -> Settings {
    settings(Encryption::Never)
}

fn message(recipients: &[&str]) -> Outgoing {
    let recipients = recipients.iter().map(|text| Address::parse(text).unwrap()).collect();
    Outgoing::new(ReversePath::Address(Address::parse("s@a.test").unwrap()), recipients, 100)
}

const HELLO: &str = "S: 220 b.test\nC: EHLO a.test\n";
const BYE: &str = "C: QUIT\nS: 221 2.0.0 bye\n";

fn one(recipients: &[&str]) -> [(Outgoing, &'static str); 1] {
    [(message(recipients), "A: b\r\n\r\n.c\r\n")]
}

#[test]
fn a_message_is_sent_command_by_command() {
    let script = format!(
        "{HELLO}S: 250-b.test\nS: 250 SIZE\nC: MAIL FROM:<s@a.test> SIZE=100\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\n\
         C: RCPT TO:<y@b.test>\nS: 550 5.1.1 no\nC: DATA\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\nS: 250 2.0.0 mine\n{BYE}"
    );
    let (replies, refused) = run(&plain(), &one(&["x@b.test", "y@b.test"]), &script);
    assert_eq!(replies, [["250 2.0.0 mine", "550 5.1.1 no"]]);
    assert_eq!(refused, None);
}

#[test]
fn a_message_is_sent_in_groups() {
    let script = format!(
        "{HELLO}S: 250-b.test\nS: 250 PIPELINING\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: RCPT TO:<y@b.test>\n\
         C: DATA\nS: 250 ok\nS: 450 4.2.1 later\nS: 250 ok\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\n\
         S: 250-2.0.0 mine\nS: 250 2.0.0 all\n{BYE}"
    );
    let (replies, _) = run(&plain(), &one(&["x@b.test", "y@b.test"]), &script);
    assert_eq!(replies, [["450 4.2.1 later", "250-2.0.0 mine|250 2.0.0 all"]]);
}

#[test]
fn groups_are_bounded() {
    let all: Vec<_> = (0..WINDOW_COMMANDS_MAX).map(|n| format!("x{n}@b.test")).collect();
    let names: Vec<_> = all.iter().map(String::as_str).collect();
    let rcpt = |names: &[&str]| names.iter().map(|name| format!("C: RCPT TO:<{name}>\n")).collect::<String>();
    let refused = |count: usize| "S: 550 no\n".repeat(count);
    // MAIL and 49 recipients are out; each reply lets one command more out, so all are refused before DATA is sent
    let script = format!(
        "{HELLO}S: 250-b.test\nS: 250 PIPELINING\nC: MAIL FROM:<s@a.test>\n{}S: 250 ok\n{}{}{BYE}",
        rcpt(&names[..WINDOW_COMMANDS_MAX - 1]),
        rcpt(&names[WINDOW_COMMANDS_MAX - 1..]),
        // the reply to the first recipient lets DATA out
        format_args!("S: 550 no\nC: DATA\n{}S: 503 no recipients\n", refused(WINDOW_COMMANDS_MAX - 1)),
    );
    let (replies, _) = run(&plain(), &one(&names), &script);
    assert_eq!(replies, [vec!["550 no"; WINDOW_COMMANDS_MAX]]);
}

#[test]
fn without_recipients_no_data_is_sent() {
    let plain_script = format!(
        "{HELLO}S: 250 b.test\nC: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 550 no\n{BYE}"
    );
    assert_eq!(run(&plain(), &one(&["x@b.test"]), &plain_script).0, [["550 no"]]);
    let group = "S: 250-b.test\nS: 250 PIPELINING\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: DATA\n";
    for (answers, expected) in [
        ("S: 250 ok\nS: 550 no\nS: 554 none\n", "550 no"),
        // RFC 2920 section 3.1: a server that takes DATA gets a lone dot
        ("S: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 554 none\n", "550 no"),
        ("S: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 250 thanks\n", "550 no"),
        ("S: 550 not from you\nS: 503 no\nS: 503 no\n", "550 not from you"),
        ("S: 451 4.3.0 later\nS: 250 ok\nS: 354 go\nC: .\nS: 250 thanks\n", "451 4.3.0 later"),
        ("S: 250 ok\nS: 250 ok\nS: 451 4.3.0 later\n", "451 4.3.0 later"),
    ] {
        let script = format!("{HELLO}{group}{answers}{BYE}");
        assert_eq!(run(&plain(), &one(&["x@b.test"]), &script).0, [[expected]], "{answers}");
    }
}

#[test]
fn several_messages_go_over_one_connection() {
    let messages = [
        (message(&["x@b.test"]), "1\r\n"),
        (message(&["no@b.test"]), "2\r\n"),
        (message(&["y@b.test"]), "3"),
    ];
    let script = format!(
        "{HELLO}S: 250 b.test\n\
         C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: 1\nC: .\nS: 250 one\n\
         C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<no@b.test>\nS: 550 no\n\
         C: RSET\nS: 250 ok\n\
         C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<y@b.test>\nS: 251 there\nC: DATA\nS: 354 go\nC: 3\nC: .\nS: 552 5.2.2 full\n\
         {BYE}"
    );
    let (replies, refused) = run(&plain(), &messages, &script);
    assert_eq!(replies, [["250 one"], ["550 no"], ["552 5.2.2 full"]]);
    assert_eq!(refused, None);
}

#[test]
fn old_servers_get_helo() {
    let script = format!(
        "{HELLO}S: 502 what?\nC: HELO a.test\nS: 250 b.test\nC: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\n\
         S: 250 ok\nC: DATA\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\nS: 250 mine\n{BYE}"
    );
    assert_eq!(run(&plain(), &one(&["x@b.test"]), &script).0, [["250 mine"]]);
}

#[test]
fn sessions_can_be_refused_before_any_message() {
    for (script, expected) in [
        ("S: 554 5.7.1 go away\nC: QUIT\nS: 221 bye\n", "554 5.7.1 go away"),
        ("S: 421 4.3.2 closing\n", "421 4.3.2 closing"),
        ("S: 220 b\nC: EHLO a.test\nS: 421 4.3.2 closing\n", "421 4.3.2 closing"),
        ("S: 220 b\nC: EHLO a.test\nS: 451 later\nC: QUIT\nS: 221 bye\n", "451 later"),
        (
            "S: 220 b\nC: EHLO a.test\nS: 550 no\nC: HELO a.test\nS: 550 never\nC: QUIT\nS: 221 bye\n",
            "550 never",
        ),
        ("EOF", "451 4.4.2 the connection was lost before the answer to the connection (its greeting)"),
        ("LATE", "451 4.4.2 no answer to the connection (its greeting) within 300 s"),
        ("S: 220 b\nC: EHLO a.test\nEOF", "451 4.4.2 the connection was lost before the answer to EHLO"),
        (
            "S: SSH-2.0\n",
            "451 4.5.0 the next server does not follow SMTP: the server sent something that is no SMTP reply",
        ),
        ("S: 354 go\n", "451 4.5.0 the next server does not follow SMTP: its greeting"),
        // whoever does not answer QUIT is left alone
        ("S: 554 no\nC: QUIT\nLATE", "554 no"),
        ("S: 554 no\nC: QUIT\nEOF", "554 no"),
    ] {
        let (replies, refused) = run(&plain(), &one(&["x@b.test"]), script);
        assert_eq!((replies.len(), refused.as_deref()), (0, Some(expected)), "{script}");
    }
}

#[test]
fn what_breaks_off_is_tried_again() {
    let begin = format!(
        "{HELLO}S: 250-b.test\nS: 250 PIPELINING\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: RCPT TO:<y@b.test>\nC: DATA\n"
    );
    let data = "S: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\n";
    let lost = |what: &str| format!("451 4.4.2 the connection was lost before the answer to {what}");
    for (rest, expected) in [
        ("S: 421 closing\n".to_owned(), ["421 closing".to_owned(), "421 closing".to_owned()]),
        ("S: 250 ok\nS: 550 no\nS: 421 closing\n".into(), ["550 no".into(), "421 closing".into()]),
        ("S: 250 ok\nS: 550 no\nEOF".into(), ["550 no".into(), lost("RCPT")]),
        (
            "S: 250 ok\nS: 250 ok\nLATE".into(),
            ["RCPT"; 2].map(|verb| format!("451 4.4.2 no answer to {verb} within 300 s")),
        ),
        (
            "S: 250 ok\nS: 250 ok\nS: 250 ok\nLATE".into(),
            ["DATA"; 2].map(|verb| format!("451 4.4.2 no answer to {verb} within 120 s")),
        ),
        (format!("{data}EOF"), ["550 no".into(), lost("the end of the data")]),
        (format!("{data}S: 421 closing\n"), ["550 no".into(), "421 closing".into()]),
        (
            format!("{data}LATE"),
            ["550 no".into(), "451 4.4.2 no answer to the end of the data within 600 s".into()],
        ),
        (
            "S: 250 ok\nS: 354 go\n".into(),
            ["451 4.5.0 the next server does not follow SMTP: the reply 354 to RCPT"; 2].map(String::from),
        ),
        (
            "S: 250 ok\nS: 550 no\nS: 250 ok\nS: 250 ok\n".into(),
            ["550 no".into(), "451 4.5.0 the next server does not follow SMTP: the reply 250 to DATA".into()],
        ),
        (
            format!("{data}S: 354 more\n"),
            [
                "550 no".into(),
                "451 4.5.0 the next server does not follow SMTP: its reply to the end of the data".into(),
            ],
        ),
    ] {
        let (replies, refused) = run(&plain(), &one(&["x@b.test", "y@b.test"]), &format!("{begin}{rest}"));
        assert_eq!(replies, [expected], "{rest}");
        assert_eq!(refused, None);
    }
}

#[test]
fn a_message_that_cannot_be_read_is_not_ended() {
    let script = format!(
        "{HELLO}S: 250 b.test\nC: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\n"
    );
    let (replies, _) = run(&plain(), &[(message(&["x@b.test"]), "UNREADABLE")], &script);
    assert_eq!(replies, [["451 4.3.0 the message cannot be read from our store"]]);
}

#[test]
fn a_reply_without_command_is_not_taken_for_another() {
    let sent = "C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: 1\nC: .\n";
    let messages = [(message(&["x@b.test"]), "1\r\n"), (message(&["y@b.test"]), "2\r\n")];
    for (extra, expected) in [
        ("421 idle", "451 4.5.3 waits for a further transaction"),
        ("250 ok", "451 4.5.0 the next server does not follow SMTP: a reply without a command"),
    ] {
        // both replies in one piece, or the client has begun the next message already
        let script = format!("{HELLO}S: 250 b.test\n{sent}S: 250 one\nS: {extra}\n");
        let (finished, end) = run_by(4096, &plain(), &messages, &script);
        assert_eq!(finished.len(), 1);
        let End::Done(Some(last)) = end else { panic!("{end:?}") };
        assert_eq!(last.replies.iter().map(text).collect::<Vec<_>>(), [expected]);
        assert_eq!(last.unsent.is_empty(), !expected.contains("waits"));
    }
}

#[test]
fn what_a_server_cannot_take_is_not_sent() {
    let with = |change: fn(&mut Outgoing)| {
        let mut message = message(&["x@b.test"]);
        change(&mut message);
        message
    };
    let eight = with(|message| message.body = BodyType::EightBitMime);
    let utf8 = with(|message| message.smtputf8 = true);
    let address = with(|message| message.recipients = vec![Address::parse("jörg@b.test").unwrap().into()]);
    let sender =
        with(|message| message.reverse_path = ReversePath::Address(Address::parse("ü@a.test").unwrap()));
    for (message, body, keywords, expected) in [
        (
            with(|message| message.size = 101),
            "",
            "SIZE 100",
            "552 5.3.4 the message has 101 octets, the next server takes at most 100",
        ),
        (
            eight.clone(),
            "A: b\r\n\r\nü\r\n",
            "SIZE",
            "554 5.6.3 the next server takes only 7-bit text, and the message is not converted",
        ),
        (
            with(|message| message.body = BodyType::BinaryMime),
            "A: b\r\n\r\nc\r\n",
            "8BITMIME",
            "554 5.6.3 the message is binary (BODY=BINARYMIME), which the next server does not take, and it is not converted",
        ),
        (
            utf8.clone(),
            "A: ü\r\n\r\nc\r\n",
            "8BITMIME",
            "550 5.6.9 the next server takes only header fields in ASCII",
        ),
        (address.clone(), "", "8BITMIME", "553 5.6.7 the next server takes only addresses in ASCII"),
        (sender, "", "8BITMIME", "553 5.6.7 the next server takes only addresses in ASCII"),
    ] {
        let script = format!("{HELLO}S: 250-b.test\nS: 250 {keywords}\n{BYE}");
        assert_eq!(run(&plain(), &[(message, body)], &script).0, [[expected]], "{keywords}");
    }
    for (message, body, keywords, mail, rcpt) in [
        (with(|message| message.size = 100), "x\r\n", "SIZE 100", "<s@a.test> SIZE=100", "x@b.test"),
        (with(|message| message.reverse_path = ReversePath::Null), "x\r\n", "X", "<>", "x@b.test"),
        (eight.clone(), "x\r\n", "X", "<s@a.test>", "x@b.test"),
        (eight, "x\r\n", "8BITMIME", "<s@a.test> BODY=8BITMIME", "x@b.test"),
        (utf8.clone(), "x\r\n", "X", "<s@a.test>", "x@b.test"),
        (utf8, "x\r\n", "SMTPUTF8", "<s@a.test> SMTPUTF8", "x@b.test"),
        (address, "x\r\n", "SMTPUTF8", "<s@a.test> SMTPUTF8", "jörg@b.test"),
    ] {
        let script = format!(
            "{HELLO}S: 250-b.test\nS: 250 {keywords}\nC: MAIL FROM:{mail}\nS: 250 ok\nC: RCPT TO:<{rcpt}>\nS: 250 ok\n\
             C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 mine\n{BYE}"
        );
        assert_eq!(run(&plain(), &[(message, body)], &script).0, [["250 mine"]], "{keywords}");
    }
}

#[test]
fn tls_is_used_where_it_is_offered() {
    let message = "C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\nS: 250 mine\n";
    let offered = "S: 250-b.test\nS: 250-PIPELINING\nS: 250 STARTTLS\n";
    // what was announced before TLS is forgotten, and so is what stood behind the 220
    let script = format!(
        "{HELLO}{offered}C: STARTTLS\nS: 220 go\nTLS\nC: EHLO a.test\nS: 250-b.test\nS: 250 STARTTLS\n{message}{BYE}"
    );
    for encryption in [Encryption::Offered, Encryption::Required] {
        assert_eq!(run(&settings(encryption), &one(&["x@b.test"]), &script).0, [["250 mine"]]);
    }
    let injected = format!(
        "{HELLO}{offered}C: STARTTLS\nS: 220 go\nS: 250 injected\nTLS\nC: EHLO a.test\nS: 250 b.test\n{message}{BYE}"
    );
    let (finished, _) = run_by(4096, &settings(Encryption::Offered), &one(&["x@b.test"]), &injected);
    assert_eq!(finished[0].tls.as_deref(), Some("TLSv1.3"));
    // not offered, refused, not wanted
    let script = format!("{HELLO}S: 250 b.test\n{message}{BYE}");
    assert_eq!(run(&settings(Encryption::Offered), &one(&["x@b.test"]), &script).0, [["250 mine"]]);
    let script =
        format!("{HELLO}S: 250-b.test\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 not now\n{message}{BYE}");
    assert_eq!(run(&settings(Encryption::Offered), &one(&["x@b.test"]), &script).0, [["250 mine"]]);
    let script = format!("{HELLO}S: 250-b.test\nS: 250 STARTTLS\n{message}{BYE}");
    assert_eq!(run(&plain(), &one(&["x@b.test"]), &script).0, [["250 mine"]]);
}

#[test]
fn without_the_tls_that_a_route_requires_nothing_is_sent() {
    let required = settings(Encryption::Required);
    for (script, expected) in [
        ("S: 250 b.test\n", "454 4.7.0 the next server offers no TLS, which is required"),
        (
            "S: 250-b.test\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 not now\n",
            "454 4.7.0 the next server refused TLS, which is required: 454 not now",
        ),
        (
            "S: 502 what?\nC: HELO a.test\nS: 250 b.test\n",
            "454 4.7.0 the next server offers no TLS, which is required",
        ),
    ] {
        let (replies, refused) = run(&required, &one(&["x@b.test"]), &format!("{HELLO}{script}{BYE}"));
        assert_eq!((replies.len(), refused.as_deref()), (0, Some(expected)));
    }
}

#[test]
fn logins_are_made_and_never_in_clear() {
    let login = Some(Login { user: "u".into(), password: "p".into() });
    let clear = Settings { login: login.clone(), ..plain() };
    let loopback = Settings { login_in_clear: true, ..clear.clone() };
    let tls = TlsInfo { version: "TLSv1.3".into(), verified: true, ..TlsInfo::default() };
    let implicit = Settings { tls: Some(tls), ..clear.clone() };
    let hello = format!("{HELLO}S: 250-b.test\nS: 250 AUTH PLAIN LOGIN\n");
    let sent = "C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\nS: 250 mine\n";
    for settings in [&loopback, &implicit] {
        let script = format!("{hello}C: AUTH PLAIN AHUAcA==\nS: 235 2.7.0 welcome\n{sent}{BYE}");
        assert_eq!(run(settings, &one(&["x@b.test"]), &script).0, [["250 mine"]]);
    }
    let script = format!(
        "{HELLO}S: 250-b.test\nS: 250 AUTH=LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\n\
         S: 235 welcome\n{sent}{BYE}"
    );
    assert_eq!(run(&implicit, &one(&["x@b.test"]), &script).0, [["250 mine"]]);
    for (settings, script, expected) in [
        (&clear, format!("{hello}{BYE}"), "454 4.7.0 no login at the next server without TLS"),
        (
            &implicit,
            format!("{HELLO}S: 250 b.test\n{BYE}"),
            "454 4.7.0 the next server offers no login by SCRAM-SHA-256, PLAIN or LOGIN",
        ),
        (
            &implicit,
            format!("{hello}C: AUTH PLAIN AHUAcA==\nS: 535 5.7.8 no\n{BYE}"),
            "454 4.7.0 the next server refused our login: 535 no",
        ),
    ] {
        let (replies, refused) = run(settings, &one(&["x@b.test"]), &script);
        assert_eq!((replies.len(), refused.as_deref()), (0, Some(expected)));
    }
}

#[test]
fn a_refused_rset_is_not_held_against_the_next_message() {
    let messages = [(message(&["no@b.test"]), "1\r\n"), (message(&["y@b.test"]), "2\r\n")];
    let script = format!(
        "{HELLO}S: 250 b.test\n\
         C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<no@b.test>\nS: 550 no\n\
         C: RSET\nS: 502 5.5.1 what?\n"
    );
    let (replies, _) = run(&plain(), &messages, &script);
    assert_eq!(
        replies,
        [["550 no"], ["451 4.5.0 the next server does not follow SMTP: the reply 502 to RSET"]]
    );
}

#[test]
fn what_came_of_a_message_is_told_also_where_nobody_heard_it_first() {
    let mut machine = Client::new(plain());
    let message = message(&["x@b.test"]);
    let now = Instant::now();
    for (reply, answer) in [
        ("220 b\r\n", None),
        ("250 b\r\n", Some(Answer::Message(Some(message)))),
        ("250 ok\r\n", None),
        ("250 ok\r\n", None),
        ("354 go\r\n", Some(Answer::Chunk(Bytes::new()))),
    ] {
        machine.receive(reply.as_bytes());
        let step = machine.step(now);
        assert_eq!(matches!(step, Step::Ask(_)), answer.is_some(), "{reply}");
        answer.into_iter().for_each(|answer| machine.answer(answer));
    }
    machine.receive(b"250 mine\r\n");
    assert!(matches!(machine.step(now), Step::Ask(Question::NextMessage { finished: Some(_) })));
    // the stream breaks before the question reaches the handler
    let End::Done(Some(finished)) = machine.end(&Reply::plain(451, "lost")) else {
        panic!("the outcome is forgotten")
    };
    assert_eq!(finished.replies, [Reply::plain(250, "mine").of_peer()]);
}

#[test]
fn what_requires_tls_goes_only_where_it_is_sure() {
    let tls = |verified| TlsInfo { version: "TLSv1.3".into(), verified, ..TlsInfo::default() };
    let under = |verified| Settings { tls: Some(tls(verified)), ..plain() };
    let wishes = Wishes { require_tls: true, priority: -3, ..Wishes::default() };
    let required = Outgoing { wishes, ..message(&["x@b.test"]) };
    let no_offer = "S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250 MT-PRIORITY\nC: QUIT\nS: 221 bye";
    let offer = "S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250-REQUIRETLS\nS: 250 MT-PRIORITY\n";
    for (settings, script, status) in [
        (plain(), no_offer.to_owned(), "550 5.7.10"),
        (under(false), format!("{offer}C: QUIT\nS: 221 bye"), "550 5.7.10"),
        (under(true), no_offer.to_owned(), "550 5.7.30"),
    ] {
        let (replies, refused) = run(&settings, &[(required.clone(), "x\r\n")], &script);
        assert!(replies[0][0].starts_with(status) && refused.is_none(), "{replies:?}");
    }
    let rest = "S: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 mine\nC: QUIT\nS: 221 bye";
    let sent = format!("{offer}C: MAIL FROM:<s@a.test> REQUIRETLS MT-PRIORITY=-3\n{rest}");
    assert_eq!(run(&under(true), &[(required.clone(), "x\r\n")], &sent).0, [["250 mine"]]);
    // What tells that a message failed is not lost for it.
    let told = Outgoing { reverse_path: ReversePath::Null, ..required };
    let sent = format!("S: 220 b\nC: EHLO a.test\nS: 250 b\nC: MAIL FROM:<>\n{rest}");
    assert_eq!(run(&plain(), &[(told, "x\r\n")], &sent).0, [["250 mine"]]);
}

#[test]
fn what_kind_of_solicitation_it_is_is_told_who_asks() {
    let solicitation = waypost_mail::Solicitation::parse("org.example:ADV,b");
    let sent = Outgoing { wishes: Wishes { solicitation, ..Wishes::default() }, ..message(&["x@b.test"]) };
    let rest = "S: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 mine\nC: QUIT\nS: 221 bye";
    for (offer, told) in [
        ("NO-SOLICITING", " SOLICIT=org.example:ADV,b"),
        ("no-soliciting net.example:X", " SOLICIT=org.example:ADV,b"),
        ("DSN", ""),
    ] {
        let script = format!(
            "S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250 {offer}\nC: MAIL FROM:<s@a.test>{told}\n{rest}"
        );
        assert_eq!(run(&plain(), &[(sent.clone(), "x\r\n")], &script).0, [["250 mine"]], "{offer}");
    }
    let refused = "S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250 NO-SOLICITING org.example:ADV\n\
        C: MAIL FROM:<s@a.test> SOLICIT=org.example:ADV,b\nS: 550 5.7.1 not here\nC: QUIT\nS: 221 bye";
    assert_eq!(run(&plain(), &[(sent, "x\r\n")], refused).0, [["550 5.7.1 not here"]]);
}

#[test]
fn what_is_to_come_back_in_time_goes_only_where_the_time_is_watched() {
    let by = |seconds, overdue| {
        let deliver_by = Some(DeliverBy { seconds, overdue, trace: true });
        Outgoing { wishes: Wishes { deliver_by, ..Wishes::default() }, ..message(&["x@b.test"]) }
    };
    let hello = |offer: &str| format!("S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250 {offer}\n");
    for offer in ["DSN", "DELIVERBY 120"] {
        let script = hello(offer) + "C: QUIT\nS: 221 bye";
        let (replies, refused) = run(&plain(), &[(by(60, Overdue::Return), "x\r\n")], &script);
        assert!(replies[0][0].starts_with("550 5.3.3") && refused.is_none(), "{replies:?}");
    }
    let rest = "S: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 mine\nC: QUIT\nS: 221 bye";
    for (message, offer, sent) in [
        (by(60, Overdue::Return), "DELIVERBY 60", " BY=60;RT"),
        (by(60, Overdue::Return), "DELIVERBY", " BY=60;RT"),
        (by(-5, Overdue::Notify), "DELIVERBY", " BY=-5;NT"),
        (by(60, Overdue::Notify), "DSN", ""),
    ] {
        let script = format!("{}C: MAIL FROM:<s@a.test>{sent}\n{rest}", hello(offer));
        assert_eq!(run(&plain(), &[(message, "x\r\n")], &script).0, [["250 mine"]]);
    }
}

fn lmtp() -> Settings {
    Settings { protocol: Protocol::Lmtp, ..plain() }
}

#[test]
fn an_lmtp_server_answers_for_each_recipient() {
    let hello = "S: 220 b LMTP\nC: LHLO a.test\nS: 250-b\nS: 250 PIPELINING\n";
    let envelope = "C: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: RCPT TO:<y@b.test>\nC: RCPT TO:<z@b.test>\nC: DATA\n\
                    S: 250 ok\nS: 250 ok\nS: 550 5.1.1 no\nS: 250 ok\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\n";
    let lost = "451 4.4.2 the connection was lost before the answer to the end of the data";
    for (rest, expected) in [
        (
            format!("S: 250 2.0.0 x\nS: 452 4.2.2 full\n{BYE}"),
            ["250 2.0.0 x", "550 5.1.1 no", "452 4.2.2 full"],
        ),
        (
            format!("S: 550 5.0.0 no x\nS: 250-2.0.0 z\nS: 250 2.0.0 too\n{BYE}"),
            ["550 5.0.0 no x", "550 5.1.1 no", "250-2.0.0 z|250 2.0.0 too"],
        ),
        ("S: 250 x\nEOF".into(), ["250 x", "550 5.1.1 no", lost]),
        ("S: 250 x\nS: 421 closing\n".into(), ["250 x", "550 5.1.1 no", "421 closing"]),
        ("EOF".into(), [lost, "550 5.1.1 no", lost]),
    ] {
        let script = format!("{hello}{envelope}{rest}");
        let (replies, _) = run(&lmtp(), &one(&["x@b.test", "y@b.test", "z@b.test"]), &script);
        assert_eq!(replies, [expected], "{rest}");
    }
    // There is nothing older than LHLO.
    let script = format!("S: 220 b\nC: LHLO a.test\nS: 500 what?\n{BYE}");
    assert_eq!(run(&lmtp(), &one(&["x@b.test"]), &script).1.as_deref(), Some("500 what?"));
    // Nothing is answered to a message for nobody.
    let script = "S: 220 b\nC: LHLO a.test\nS: 250-b\nS: 250 PIPELINING\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: DATA\n\
                  S: 250 ok\nS: 550 no\nS: 354 go\n";
    assert_eq!(run(&lmtp(), &one(&["x@b.test"]), script).0, [["550 no"]]);
}

const CHUNKING: &str = "S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250-CHUNKING\nS: 250 PIPELINING\n";

#[test]
fn a_message_goes_in_chunks_where_they_are_taken() {
    let envelope = "C: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: RCPT TO:<y@b.test>\n";
    let chunk = "C: BDAT 12 LAST\nC: A: b\nC:\nC: .c\n";
    for (rest, expected) in [
        (format!("S: 250 ok\nS: 250 ok\nS: 550 no\n{chunk}S: 250 mine\n{BYE}"), ["250 mine", "550 no"]),
        (
            format!("S: 250 ok\nS: 250 ok\nS: 250 ok\n{chunk}S: 554 5.6.0 no\n{BYE}"),
            ["554 5.6.0 no", "554 5.6.0 no"],
        ),
        (format!("S: 250 ok\nS: 450 later\nS: 550 no\n{BYE}"), ["450 later", "550 no"]),
        (
            format!("S: 250 ok\nS: 250 ok\nS: 550 no\n{chunk}S: 354 what?\n"),
            ["451 4.5.0 the next server does not follow SMTP: its reply to the end of the data", "550 no"],
        ),
    ] {
        let script = format!("{CHUNKING}{envelope}{rest}");
        assert_eq!(run(&plain(), &one(&["x@b.test", "y@b.test"]), &script).0, [expected], "{rest}");
    }
    // After chunks that were refused the next message begins with RSET; so it does where no recipient was accepted.
    let messages = [(message(&["x@b.test"]), "1\r\n"), (message(&["y@b.test"]), "2\r\n")];
    let script = format!(
        "{CHUNKING}C: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nS: 250 ok\nS: 550 no\n\
         C: RSET\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<y@b.test>\nS: 250 ok\nS: 250 ok\nS: 250 ok\n\
         C: BDAT 3 LAST\nC: 2\nS: 250 mine\n{BYE}"
    );
    assert_eq!(run(&plain(), &messages, &script).0, [["550 no"], ["250 mine"]]);
}

/// One message that is taken, as that makes those behind it go along with their envelopes.
const TAKEN: &str = "C: MAIL FROM:<s@a.test>\nC: RCPT TO:<w@b.test>\nS: 250 ok\nS: 250 ok\nC: BDAT 3 LAST\nC: 0\nS: 250 first\n";

#[test]
fn a_short_message_goes_along_with_its_envelope_where_one_was_taken() {
    let messages = [(message(&["w@b.test"]), "0\r\n"), (message(&["x@b.test", "y@b.test"]), "1\r\n")];
    let along =
        "C: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: RCPT TO:<y@b.test>\nC: BDAT 3 LAST\nC: 1\n";
    let lost = "451 4.4.2 the connection was lost before the answer to the end of the data";
    let no_smtp = |what: &str| format!("451 4.5.0 the next server does not follow SMTP: {what}");
    for (replies, expected) in [
        ("S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 mine\nBYE", ["250 mine", "250 mine"]),
        ("S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 mine\nBYE", ["250 mine", "550 no"]),
        ("S: 250 ok\nS: 250 ok\nS: 550 no\nS: 552 big\nBYE", ["552 big", "550 no"]),
        ("S: 250 ok\nS: 450 later\nS: 550 no\nS: 503 whom?\nBYE", ["450 later", "550 no"]),
        // taken for nobody
        ("S: 250 ok\nS: 450 later\nS: 550 no\nS: 250 ok\nBYE", ["450 later", "550 no"]),
        ("S: 550 not you\nS: 503 no\nS: 503 no\nS: 503 no\nBYE", ["550 not you", "550 not you"]),
        ("S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n", [&*no_smtp("its reply to the end of the data"); 2]),
        ("S: 354 go\n", [&*no_smtp("the reply 354 to MAIL"); 2]),
        ("S: 250 ok\nS: 250 ok\nS: 550 no\nEOF\n", [lost, "550 no"]),
        // not a word: it had had its messages
        ("EOF\n", [&*text(&refusals::unsent()); 2]),
        ("S: 250 ok\nEOF\n", [lost; 2]),
        ("LATE\n", ["451 4.4.2 no answer to the end of the data within 600 s"; 2]),
        ("S: 250 ok\nS: 421 bye\n", ["421 bye"; 2]),
        ("S: 421 enough\n", [&*text(&refusals::unsent()); 2]),
    ] {
        let script = format!("{CHUNKING}{TAKEN}{along}{}", replies.replace("BYE", BYE));
        let (outcome, refused) = run(&plain(), &messages, &script);
        assert_eq!(
            (outcome[1].as_slice(), refused),
            (expected.map(str::to_owned).as_slice(), None),
            "{replies}"
        );
    }
    // Where no recipient was accepted the server may wait for one, or for the message: RSET.
    let messages = [&messages[0], &(message(&["x@b.test"]), "1\r\n"), &(message(&["y@b.test"]), "2\r\n")]
        .map(Clone::clone);
    let script = format!(
        "{CHUNKING}{TAKEN}C: MAIL FROM:<s@a.test>\nC: RCPT TO:<x@b.test>\nC: BDAT 3 LAST\nC: 1\n\
         S: 250 ok\nS: 550 no\nS: 503 whom?\n\
         C: RSET\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<y@b.test>\nS: 250 ok\nS: 250 ok\nS: 250 ok\n\
         C: BDAT 3 LAST\nC: 2\nS: 250 mine\n{BYE}"
    );
    assert_eq!(run(&plain(), &messages, &script).0, [["250 first"], ["550 no"], ["250 mine"]]);
}

#[test]
fn what_was_said_before_the_connection_broke_holds_for_a_message_that_went_along() {
    let mut machine = Client { takes: true, ..taking_chunks(Protocol::Smtp, "250-PIPELINING\r\n") };
    machine.answer(Answer::Message(Some(message(&["x@b.test", "y@b.test"]))));
    for octets in [&b"1\r\n"[..], b""] {
        assert!(matches!(machine.step(Instant::now()), Step::Ask(Question::NextChunk)));
        machine.answer(Answer::Chunk(Bytes::from_static(octets)));
    }
    machine.last_words(b"250 ok\r\n250 ok\r\n550 no\r\n");
    let End::Done(Some(finished)) = machine.end(&Reply::plain(451, "lost")) else { panic!("not asked") };
    assert_eq!(finished.replies.iter().map(text).collect::<Vec<_>>(), ["451 lost", "550 no"]);
}

#[test]
fn a_message_on_whose_way_the_connection_ended_without_a_word_is_left_for_another_one() {
    let unsent = text(&refusals::unsent());
    // pieces that the server was given, whether it had taken a message before, and what it said before the connection broke
    for (pieces, transactions, words, reply, hung_up) in [
        (&[&b"1\r\n"[..], b""][..], 1, "", &*unsent, true),
        (&[b"1\r\n"], 1, "", &unsent, true),
        (&[b"1\r\n", b""], 1, "421 enough\r\n", &unsent, false),
        (&[b"1\r\n"], 1, "421 enough\r\n", &unsent, false),
        (&[b"1\r\n", b""], 1, "250 ok\r\n421 enough\r\n", "421 enough", false),
        (&[b"1\r\n", b""], 1, "250 ok\r\n", "451 lost", false),
        (&[b"1\r\n", b""], 0, "", "451 lost", false),
    ] {
        let begun = taking_chunks(Protocol::Smtp, "250-PIPELINING\r\n");
        let mut machine = Client { takes: true, transactions, ..begun };
        machine.answer(Answer::Message(Some(message(&["x@b.test"]))));
        for octets in pieces {
            assert!(matches!(machine.step(Instant::now()), Step::Ask(Question::NextChunk)));
            machine.answer(Answer::Chunk(Bytes::from_static(octets)));
        }
        machine.last_words(words.as_bytes());
        let End::Done(Some(finished)) = machine.end(&Reply::plain(451, "lost")) else { panic!("not asked") };
        assert_eq!(finished.replies.iter().map(text).collect::<Vec<_>>(), [reply], "{words} {transactions}");
        let is_left = reply == unsent;
        assert_eq!((finished.unsent == [0], finished.hung_up), (is_left, hung_up), "{words} {transactions}");
    }
}

#[test]
fn a_message_waits_for_its_recipients_where_it_is_long_or_the_server_took_none() {
    let short = message(&["x@b.test"]);
    let long = Outgoing { size: ALONG_BYTES_MAX + 1, ..short.clone() };
    let patient = Outgoing { may_go_along: false, ..short.clone() };
    let many: Vec<_> = (0..WINDOW_COMMANDS_MAX).map(|number| format!("{number}@b.test")).collect();
    let many = message(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let pipelining = "250-PIPELINING\r\n";
    for (message, offers, protocol, takes, goes) in [
        (&short, pipelining, Protocol::Smtp, true, true),
        (&long, pipelining, Protocol::Smtp, true, false),
        (&patient, pipelining, Protocol::Smtp, true, false),
        (&many, pipelining, Protocol::Smtp, true, false),
        (&short, "", Protocol::Smtp, true, false),
        (&short, pipelining, Protocol::Lmtp, true, false),
        (&short, pipelining, Protocol::Smtp, false, false),
    ] {
        let mut machine = Client { takes, ..taking_chunks(protocol, offers) };
        machine.answer(Answer::Message(Some(message.clone())));
        let step = machine.step(Instant::now());
        assert_eq!(matches!(step, Step::Ask(Question::NextChunk)), goes, "{offers} {protocol} {takes}");
    }
}

/// Asks a server that takes chunks for the first message.
fn taking_chunks(protocol: Protocol, offers: &str) -> Client {
    let mut machine = Client::new(Settings { protocol, ..plain() });
    machine.receive(format!("220 b\r\n250-b\r\n{offers}250 CHUNKING\r\n").as_bytes());
    assert!(matches!(machine.step(Instant::now()), Step::Ask(Question::NextMessage { .. })));
    machine
}

/// Runs up to the message with a server that takes chunks, gives it so many pieces of the size of a chunk, and then the replies; what
/// came of it.
fn in_chunks(offers: &str, protocol: Protocol, pieces: usize, replies: &str) -> (Finished, Client) {
    let (mut machine, now) = (taking_chunks(protocol, offers), Instant::now());
    machine.answer(Answer::Message(Some(message(&["x@b.test"]))));
    machine.receive(b"250 ok\r\n250 ok\r\n");
    let mut pieces = std::iter::repeat_n(Bytes::from(vec![b'x'; CHUNK_BYTES]), pieces);
    let mut waited = false;
    loop {
        match machine.step(now) {
            Step::Ask(Question::NextChunk) => {
                machine.answer(Answer::Chunk(pieces.next().unwrap_or_default()));
            }
            Step::Ask(Question::NextMessage { finished: Some(finished) }) => return (finished, machine),
            Step::Read { .. } if !waited => {
                waited = true;
                machine.receive(replies.replace('|', "\r\n").as_bytes());
            }
            Step::Read { .. } => machine.end_of_input(),
            Step::Close => {
                let finished = match std::mem::replace(&mut machine.state, State::Quit) {
                    State::Closed(Some(finished)) => finished,
                    state => panic!("{state:?}"),
                };
                return (finished, machine);
            }
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn a_chunk_that_is_refused_is_the_answer_to_the_message() {
    let pipelining = "250-PIPELINING\r\n";
    for (offers, protocol, pieces, replies, expected, reset) in [
        (pipelining, Protocol::Smtp, 1, "250 mine|", "250 mine", false),
        (pipelining, Protocol::Smtp, 3, "250 a|250 b|250 mine|", "250 mine", false),
        (pipelining, Protocol::Smtp, 3, "250 a|452 full|503 what|", "452 full", true),
        (pipelining, Protocol::Smtp, 3, "552 big|503 what|503 what|", "552 big", true),
        // Four are out without an answer; the one that is refused ends it.
        (pipelining, Protocol::Smtp, 9, "552 big|503 a|503 b|503 c|", "552 big", true),
        (pipelining, Protocol::Smtp, 9, "250 a|421 closing|", "421 closing", false),
        (pipelining, Protocol::Lmtp, 3, "250 a|452 full|503 what|", "452 full", false),
        // One at a time.
        ("", Protocol::Smtp, 3, "552 big|", "552 big", true),
        (pipelining, Protocol::Smtp, 3, "552 big|503 what|", "552 big", false),
    ] {
        let (finished, machine) = in_chunks(offers, protocol, pieces, replies);
        assert_eq!(finished.replies.iter().map(text).collect::<Vec<_>>(), [expected], "{pieces} {replies}");
        assert_eq!(machine.reset, reset, "{pieces} {replies}");
        assert_eq!(finished.said.is_some(), !expected.starts_with('2'));
    }
}

#[test]
fn binary_messages_go_as_they_are() {
    let binary = Outgoing { body: BodyType::BinaryMime, ..message(&["x@b.test"]) };
    let replies = ["220 b", "250-b", "250-BINARYMIME", "250 CHUNKING", "250 ok", "250 ok", "250 mine"];
    let mut machine = Peer {
        machine: Client::new(plain()),
        now: Instant::now(),
        sent: Vec::new(),
        messages: [(binary, Bytes::from_static(b".\r\n\na"))].into(),
        body: Bytes::new(),
        finished: Vec::new(),
        chunk: 2,
    };
    replies.iter().for_each(|reply| machine.says(&format!("{reply}\r\n")));
    machine.settle();
    let sent = String::from_utf8_lossy(&machine.sent).into_owned();
    assert!(
        sent.contains(" BODY=BINARYMIME\r\n") && sent.ends_with("BDAT 5 LAST\r\n.\r\n\naQUIT\r\n"),
        "{sent:?}"
    );
    assert_eq!(machine.finished[0].replies.iter().map(text).collect::<Vec<_>>(), ["250 mine"]);
}

/// Runs a script whole; what came of each message: its replies, and who is left.
fn left(messages: &[(Outgoing, &'static str)], script: &str) -> Vec<(Vec<String>, Vec<usize>)> {
    let (mut finished, end) = run_by(4096, &plain(), messages, script);
    if let End::Done(last) = end {
        finished.extend(last);
    }
    let shown = |finished: &Finished| (finished.replies.iter().map(text).collect(), finished.unsent.clone());
    finished.iter().map(shown).collect()
}

#[test]
fn limits_that_are_announced_are_kept() {
    let hello = |limits: &str| format!("S: 220 b\nC: EHLO a.test\nS: 250-b\nS: 250 LIMITS {limits}\n");
    let waits = "451 4.5.3 waits for a further transaction";
    let rcpt = |name: &str, reply: &str| format!("C: RCPT TO:<{name}>\nS: {reply}\n");
    let mail = "C: MAIL FROM:<s@a.test>\nS: 250 ok\n";
    let data = "C: DATA\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\n";
    let many = one(&["1@b.test", "2@c.test", "3@b.test", "4@d.test"]);
    let one_two = rcpt("1@b.test", "250 ok") + &rcpt("2@c.test", "250 ok");
    let one_three = rcpt("1@b.test", "250 ok") + &rcpt("3@b.test", "250 ok");
    for (limits, script, replies, unsent) in [
        (
            "RCPTMAX=2",
            format!("{mail}{one_two}{data}S: 250 mine\n{BYE}"),
            ["250 mine", "250 mine", waits, waits],
            vec![2, 3],
        ),
        (
            "RCPTDOMAINMAX=1",
            format!("{mail}{one_three}{data}S: 250 mine\n{BYE}"),
            ["250 mine", waits, "250 mine", waits],
            vec![1, 3],
        ),
        // What came of the message comes of it for the others, too.
        ("RCPTMAX=2", format!("{mail}{one_two}{data}S: 554 spam\n{BYE}"), ["554 spam"; 4], vec![]),
        ("RCPTMAX=2", format!("{mail}{one_two}{data}S: 421 closing\n"), ["421 closing"; 4], vec![]),
        ("RCPTMAX=2", format!("C: MAIL FROM:<s@a.test>\nS: 550 no\n{BYE}"), ["550 no"; 4], vec![]),
        // What came of recipients does not.
        (
            "RCPTMAX=2",
            format!("{mail}{}{}{BYE}", rcpt("1@b.test", "550 no"), rcpt("2@c.test", "450 later")),
            ["550 no", "450 later", waits, waits],
            vec![2, 3],
        ),
    ] {
        let script = hello(limits) + &script;
        let replies = replies.map(str::to_owned).to_vec();
        assert_eq!(left(&many, &script), [(replies, unsent)], "{limits} {script}");
    }
    // No more messages than are wanted; what came of the last one is told before the connection ends.
    let two = [(message(&["1@b.test"]), "1\r\n"), (message(&["2@b.test"]), "2\r\n")];
    let script = hello("MAILMAX=1")
        + mail
        + &rcpt("1@b.test", "250 ok")
        + "C: DATA\nS: 354 go\nC: 1\nC: .\nS: 250 mine\n"
        + BYE;
    assert_eq!(left(&two, &script), [(vec!["250 mine".to_owned()], vec![])]);
}

#[test]
fn recipients_that_are_too_many_wait_for_a_further_transaction() {
    let begin = format!(
        "{HELLO}S: 250-b\nS: 250 PIPELINING\nC: MAIL FROM:<s@a.test>\nC: RCPT TO:<1@b.test>\nC: RCPT TO:<2@b.test>\nC: DATA\nS: 250 ok\n"
    );
    let data = "S: 354 go\nC: A: b\nC:\nC: ..c\nC: .\n";
    let waits = "451 4.5.3 waits for a further transaction";
    for (rest, replies, unsent) in [
        (format!("S: 250 ok\nS: 452 4.5.3 enough\n{data}S: 250 mine\n{BYE}"), ["250 mine", waits], vec![1]),
        (format!("S: 250 ok\nS: 452 enough\n{data}S: 250 mine\n{BYE}"), ["250 mine", waits], vec![1]),
        (format!("S: 250 ok\nS: 452 4.5.3 enough\n{data}S: 451 later\n{BYE}"), ["451 later"; 2], vec![]),
        // As it was once.
        (
            format!("S: 250 ok\nS: 552 too many recipients\n{data}S: 250 mine\n{BYE}"),
            ["250 mine", waits],
            vec![1],
        ),
        (format!("S: 250 ok\nS: 552 5.5.3 enough\n{data}S: 250 mine\n{BYE}"), ["250 mine", waits], vec![1]),
        (format!("S: 250 ok\nS: 550 5.5.3 enough\n{data}S: 250 mine\n{BYE}"), ["250 mine", waits], vec![1]),
        (format!("S: 552 no\nS: 552 5.5.3 no\nS: 503 none\n{BYE}"), ["552 no", "552 5.5.3 no"], vec![]),
        (
            format!("S: 250 ok\nS: 552 5.2.2 full\n{data}S: 250 mine\n{BYE}"),
            ["250 mine", "552 5.2.2 full"],
            vec![],
        ),
        // A full disk is another thing, and so is a server that takes none.
        (
            format!("S: 250 ok\nS: 452 4.3.1 full\n{data}S: 250 mine\n{BYE}"),
            ["250 mine", "452 4.3.1 full"],
            vec![],
        ),
        (format!("S: 452 4.5.3 no\nS: 452 4.5.3 no\nS: 503 none\n{BYE}"), ["452 4.5.3 no"; 2], vec![]),
    ] {
        let found = left(&one(&["1@b.test", "2@b.test"]), &format!("{begin}{rest}"));
        assert_eq!(found, [(replies.map(str::to_owned).to_vec(), unsent)], "{rest}");
    }
}

#[test]
fn a_server_that_has_had_its_messages_gets_the_next_one_over_another_connection() {
    let messages = [(message(&["x@b.test"]), "1\r\n"), (message(&["y@b.test"]), "2\r\n")];
    let first = "C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: 1\nC: .\nS: 250 one\n";
    let waits = "451 4.5.3 waits for a further transaction";
    for (rest, reply, unsent) in [
        ("C: MAIL FROM:<s@a.test>\nS: 421 4.7.0 enough\n", waits, vec![0]),
        ("C: MAIL FROM:<s@a.test>\nEOF", waits, vec![0]),
        (
            "C: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<y@b.test>\nS: 421 4.7.0 enough\n",
            "421 4.7.0 enough",
            vec![],
        ),
        ("C: MAIL FROM:<s@a.test>\nS: 550 5.7.1 enough\nC: QUIT\nS: 221 bye\n", "550 5.7.1 enough", vec![]),
        ("C: MAIL FROM:<s@a.test>\nLATE", "451 4.4.2 no answer to MAIL within 300 s", vec![]),
    ] {
        let script = format!("{HELLO}S: 250 b.test\n{first}{rest}");
        let expected = [(vec!["250 one".to_owned()], vec![]), (vec![reply.to_owned()], unsent)];
        assert_eq!(left(&messages, &script), expected, "{rest}");
    }
    // The first one has no such excuse.
    let script = format!("{HELLO}S: 250 b.test\nC: MAIL FROM:<s@a.test>\nS: 421 4.7.0 no\n");
    assert_eq!(left(&messages[..1], &script), [(vec!["421 4.7.0 no".to_owned()], vec![])]);
}

#[test]
fn what_was_said_is_told_without_secrets_and_without_the_message() {
    let login = Some(Login { user: "u".into(), password: "secret".into() });
    let settings = Settings { login, login_in_clear: true, ..plain() };
    let script = format!(
        "{HELLO}S: 250-b.test\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\n\
         S: 235 welcome\nC: MAIL FROM:<s@a.test>\nS: 250 ok\nC: RCPT TO:<x@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: A: b\nC:\nC: ..c\nC: .\n\
         S: 554-5.6.0 no\nS: 554 5.6.0 never\n{BYE}"
    );
    for chunk in [1, 3, 4096] {
        let (finished, _) = run_by(chunk, &settings, &one(&["x@b.test"]), &script);
        let said = finished[0].said.as_ref().unwrap();
        assert_eq!(
            said.lines,
            [
                "S: 220 b.test",
                "C: EHLO a.test",
                "S: 250-b.test",
                "S: 250 AUTH LOGIN",
                "C: AUTH LOGIN (not shown)",
                "S: 334 (not shown)",
                "C: (not shown)",
                "S: 334 (not shown)",
                "C: (not shown)",
                "S: 235 welcome",
                "C: MAIL FROM:<s@a.test>",
                "S: 250 ok",
                "C: RCPT TO:<x@b.test>",
                "S: 250 ok",
                "C: DATA",
                "S: 354 go",
                "*: the message, and a line with a dot",
                "S: 554-5.6.0 no",
                "S: 554 5.6.0 never",
            ]
        );
    }
    // Also of a session that never came to a message; and of one that was lost.
    let (_, end) = run_by(4096, &plain(), &[], "S: 554 5.7.1 go away\nC: QUIT\nS: 221 bye\n");
    let End::Refused(_, said) = end else { panic!("{end:?}") };
    assert_eq!(said.lines, ["S: 554 5.7.1 go away"]);
    let begin = format!("{HELLO}S: 250 b.test\nC: MAIL FROM:<s@a.test>\nEOF");
    let (_, end) = run_by(4096, &plain(), &one(&["x@b.test"]), &begin);
    let End::Done(Some(finished)) = end else { panic!("{end:?}") };
    let last = finished.said.unwrap().lines.pop();
    assert_eq!(last.as_deref(), Some("*: the connection was lost before the answer to MAIL"));
}

#[test]
fn what_a_server_says_before_it_takes_no_more_counts() {
    for (offers, words, expected) in [
        ("", "552 5.3.4 too big\r\n", "552 5.3.4 too big"),
        ("", "421 4.3.2 closing\r\n", "421 4.3.2 closing"),
        ("", "552 5.3.", "451 lost"),
        ("", "", "451 lost"),
        ("", "250 what?\r\n", "451 lost"),
        ("250-CHUNKING\r\n250-PIPELINING\r\n", "250 a\r\n552 5.3.4 too big\r\n", "552 5.3.4 too big"),
    ] {
        let mut machine = Client::new(plain());
        let now = Instant::now();
        for reply in ["220 b", &format!("250-b\r\n{offers}250 SIZE"), "250 ok", "250 ok", "354 go"] {
            if let Step::Ask(Question::NextMessage { .. }) = machine.step(now) {
                machine.answer(Answer::Message(Some(message(&["x@b.test"]))));
            }
            if !matches!(machine.step(now), Step::Ask(_)) {
                machine.receive(format!("{reply}\r\n").as_bytes());
            }
        }
        for _ in 0..3 {
            assert!(matches!(machine.step(now), Step::Ask(Question::NextChunk)), "{offers}");
            machine.answer(Answer::Chunk(Bytes::from(vec![b'x'; CHUNK_BYTES])));
        }
        machine.step(now);
        machine.last_words(words.as_bytes());
        let End::Done(Some(finished)) = machine.end(&Reply::plain(451, "lost")) else { panic!("{words}") };
        assert_eq!(finished.replies.iter().map(text).collect::<Vec<_>>(), [expected], "{offers} {words}");
        let said = finished.said.unwrap();
        let last = said.lines.last().unwrap();
        assert!(last == &format!("S: {expected}") || last == "*: lost", "{said:?}");
    }
}
