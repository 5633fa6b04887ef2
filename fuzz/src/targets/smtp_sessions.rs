//! SMTP sessions: the server with a hostile client, the client with a hostile server.

use bytes::Bytes;
use waypost_auth::sasl::{Claim, Offer, Scram};
use waypost_mail::{Address, BodyType, Domain, EnhancedStatus, EntryId, Refusal, Reply, ReversePath};
use waypost_mta::smtp::{
    client::{self, Client, End, Outgoing},
    server::{self, Server},
};

use super::{
    play::{PIECES, Played, assert_lines, play, tls},
    settings,
};

/// A session says the same wherever its input is cut; what is handed on is asked for in order; output is lines, and not much
/// more than the input asks for.
pub(crate) fn server(octets: &[u8]) {
    let Some((settings, octets)) = settings(octets) else { return };
    let [first, other, whole] = PIECES.map(|piece| served(settings, octets, piece));
    assert!(first == whole && other == whole, "cut elsewhere: {first:?} {other:?} {whole:?}");
    let output = whole.0.output;
    assert_lines(&output);
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.len() <= 512 && line[..3].iter().all(u8::is_ascii_digit), "{}", line.escape_ascii());
    }
    assert!(output.len() <= 4096 + 128 * octets.len(), "{} octets for {}", output.len(), octets.len());
}

/// What the world of a server session knows.
#[derive(Debug, Default, Eq, PartialEq)]
struct World {
    recipients: usize,
    in_transaction: bool,
    is_binary: bool,
    message: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

fn served(bits: u8, octets: &[u8], piece: usize) -> (Played, World) {
    let is = |bit: u8| bits & bit != 0;
    let mut world = World::default();
    let mut machine = Server::new(server::Settings {
        hostname: Domain::new("mx.test").expect("a domain"),
        role: match (is(1), is(128)) {
            (true, _) => server::Role::Submission,
            (false, true) => server::Role::Lmtp,
            (false, false) => server::Role::Relay,
        },
        message_size: if is(2) { 100 } else { 1_000_000 },
        recipients: 3,
        starttls: if is(4) { server::StartTls::Offered } else { server::StartTls::Absent },
        auth: if is(8) { server::AuthPolicy::Always } else { server::AuthPolicy::UnderTls },
        offer: Offer { scram: if is(64) { Scram::Bound } else { Scram::Absent }, ..Offer::default() },
        tls: is(16).then(|| tls().into()),
        future_release: Some("60 2030-01-01T00:00:00Z".to_owned()),
        no_soliciting: is(32).then(|| "org.example:ADV".into()),
        manners: server::Manners {
            greeting_delay: None,
            strict_pipelining: false,
            xclient: is(64),
            vrfy: is(64),
        },
        session: EntryId(9),
    });
    let played = play(&mut machine, octets, piece, |question| world.answer(question, is(32)));
    (played, world)
}

impl World {
    fn answer(&mut self, question: server::Question, is_full: bool) -> server::Answer {
        let no = |code| {
            let class = if code < 500 { 4 } else { 5 };
            server::Answer::Refused(Refusal::new(code, EnhancedStatus(class, 0, 0), "no"))
        };
        match question {
            server::Question::Authenticate(Claim::Password(shown)) if shown.password == "x" => no(535),
            server::Question::LookUp(_) => no(535),
            server::Question::Authenticate(_) => server::Answer::Done,
            server::Question::XClient(client) if client.login.is_some() => no(535),
            server::Question::XClient(_) => server::Answer::Done,
            server::Question::Mail(mail) if mail.reverse_path.to_string().starts_with('x') => no(550),
            server::Question::Verify(_) => server::Answer::CannotTell,
            server::Question::Mail(mail) => {
                self.is_binary = mail.parameters.body == BodyType::BinaryMime;
                (self.in_transaction, self.recipients) = (true, 0);
                self.message.clear();
                server::Answer::Done
            }
            server::Question::Recipient(path, _) => {
                assert!(self.in_transaction, "RCPT without MAIL");
                let refused = path.to_string().starts_with('x');
                self.recipients += usize::from(!refused);
                if refused { no(450) } else { server::Answer::Done }
            }
            server::Question::Chunk(_) if is_full => no(452),
            server::Question::Chunk(chunk) => {
                assert!(self.in_transaction && self.recipients > 0, "a message for nobody");
                self.message.extend_from_slice(&chunk);
                server::Answer::Done
            }
            server::Question::DataEnd(end) => {
                assert!(self.in_transaction && self.recipients > 0, "an end for nobody");
                self.in_transaction = false;
                let message = std::mem::take(&mut self.message);
                if let Err(refusal) = end {
                    return server::Answer::Refused(refusal);
                }
                // Of a binary message only the header block is lines.
                let header = message.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
                let header = if message.starts_with(b"\r\n") { Some(2) } else { header };
                let text =
                    if self.is_binary { &message[..header.unwrap_or(message.len())] } else { &message[..] };
                // The last line of a message that came in chunks may have no end.
                let pairs = text.windows(2).filter(|pair| *pair == b"\r\n").count();
                let ends = |wanted: u8| text.iter().filter(|octet| **octet == wanted).count();
                assert_eq!(
                    (ends(b'\r'), ends(b'\n'), ends(0)),
                    (pairs, pairs, 0),
                    "a lone CR or LF, or a NUL"
                );
                self.messages.push(message);
                server::Answer::Accepted(server::Accepted { id: EntryId(7), new_priority: None })
            }
        }
    }
}

/// Whatever a server says, our commands are lines within the bound, a message ends only once, and each recipient gets one
/// outcome.
pub(crate) fn client(octets: &[u8]) {
    let Some((settings, octets)) = settings(octets) else { return };
    let [first, other, whole] = PIECES.map(|piece| sent(settings, octets, piece));
    // Where TLS can begin, it matters what arrived together with the reply to STARTTLS. Otherwise, a server that says more than
    // it was asked for is found out when that arrived: then less is sent.
    if settings & 3 == 0 {
        for (played, outcomes) in [&first, &other] {
            assert!(outcomes.starts_with(&whole.1), "cut elsewhere: {outcomes:?} {:?}", whole.1);
            assert!(played.output.starts_with(&whole.0.output), "cut elsewhere: {played:?} {whole:?}");
        }
    }
    for (played, outcomes) in [first, other, whole] {
        assert_lines(&played.output);
        assert!(played.output.len() <= 4096 + 64 * octets.len());
        let lines = played.output.split(|octet| *octet == b'\n');
        // In chunks dots are not doubled.
        let in_chunks = lines.clone().any(|line| line.starts_with(b"BDAT "));
        let ends = lines.clone().filter(|line| *line == b".\r").count();
        assert!(in_chunks || ends <= MESSAGES, "{ends} ends of {MESSAGES} messages");
        assert!(lines.clone().all(|line| line.len() < client::COMMAND_LINE_BYTES_MAX), "a long command");
        assert!(outcomes.len() <= MESSAGES && outcomes.iter().all(|count| *count == RECIPIENTS.len()));
    }
}

const MESSAGES: usize = 2;
const RECIPIENTS: [&str; 2] = ["b@b.test", "c@b.test"];
const CHUNKS: [&[u8]; 2] = [b"Subject: x\r\n\r\n.\r\n..x\r\n", b"\r\n.\r\nend\r\n"];

fn sent(bits: u8, octets: &[u8], piece: usize) -> (Played, Vec<usize>) {
    let login = || client::Login { user: "u".into(), password: "p".into() };
    let mut machine = Client::new(client::Settings {
        hostname: "mx.test".into(),
        is_exchanger: bits & 32 != 0,
        encryption: match bits & 3 {
            0 => client::Encryption::Never,
            1 => client::Encryption::Required,
            _ => client::Encryption::Offered,
        },
        tls: (bits & 4 != 0).then(tls),
        login: (bits & 8 != 0).then(login),
        login_in_clear: bits & 16 != 0,
        protocol: client::Protocol::Smtp,
        nonce: "nonce".into(),
    });
    let (mut outcomes, mut begun, mut chunks) = (Vec::new(), 0, CHUNKS.iter());
    let played = play(&mut machine, octets, piece, |question| match question {
        client::Question::NextMessage { finished } => {
            outcomes.extend(finished.map(|finished| finished.replies.len()));
            chunks = CHUNKS.iter();
            begun += 1;
            client::Answer::Message((begun <= MESSAGES).then(|| outgoing(bits)))
        }
        client::Question::LastFinished { finished } => {
            outcomes.push(finished.replies.len());
            client::Answer::Heard
        }
        client::Question::Octets => client::Answer::Octets(client::Octets::default()),
        client::Question::NextChunk if bits & 128 != 0 => client::Answer::Unreadable,
        client::Question::NextChunk => {
            client::Answer::Chunk(chunks.next().map_or_else(Bytes::new, |chunk| Bytes::from_static(chunk)))
        }
    });
    if let End::Done(Some(finished)) = machine.end(&Reply::plain(421, "lost")) {
        outcomes.push(finished.replies.len());
    }
    (played, outcomes)
}

fn outgoing(bits: u8) -> Outgoing {
    let address = |text| Address::parse(text).expect("an address");
    let size = CHUNKS.iter().map(|chunk| chunk.len() as u64).sum();
    Outgoing {
        body: if bits & 32 == 0 { BodyType::SevenBit } else { BodyType::EightBitMime },
        smtputf8: bits & 64 != 0,
        ..Outgoing::new(ReversePath::Address(address("a@a.test")), RECIPIENTS.map(address).to_vec(), size)
    }
}
