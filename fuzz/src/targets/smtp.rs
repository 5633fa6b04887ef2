//! SMTP: commands, paths, the end of data, replies.

use std::net::IpAddr;

use bytes::{Buf, BytesMut};
use waypost_mail::{BodyType, Reply, ReturnContent, ReversePath};
use waypost_mta::smtp::{
    command::{CLIENT_NAME_BYTES_MAX, Command},
    data::{CHUNK_BYTES, DataReceiver},
    parameters::{MailParameters, RcptParameters},
    path::ForwardPath,
    reply::{Capabilities, REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, ReplyError, ReplyParser},
    xclient::XClient,
};

use super::{play::PIECES, settings};

/// What was understood and is said again is understood in the same way.
pub(crate) fn command(line: &[u8]) {
    let Ok(command) = Command::parse(line) else { return };
    if let Command::Ehlo(name) | Command::Helo(name) = &command {
        assert!(name.as_str().len() <= CLIENT_NAME_BYTES_MAX && !name.as_str().contains(['\r', '\n', ' ']));
    }
    assert_eq!(Command::parse(said(&command).as_bytes()).as_ref(), Ok(&command), "{}", said(&command));
}

fn said(command: &Command<'_>) -> String {
    match command {
        Command::Ehlo(name) => format!("EHLO {}", name.as_str()),
        Command::Helo(name) => format!("HELO {}", name.as_str()),
        Command::Lhlo(name) => format!("LHLO {}", name.as_str()),
        Command::Mail(path, parameters) => format!("MAIL FROM:<{path}>{}", said_parameters(parameters)),
        Command::Rcpt(path, parameters) => {
            let notify = parameters.notify.map(|notify| format!(" NOTIFY={notify}")).unwrap_or_default();
            let orcpt = parameters.orcpt.as_ref().map(|orcpt| format!(" ORCPT={}", orcpt.as_str()));
            format!("RCPT TO:<{path}>{notify}{}", orcpt.unwrap_or_default())
        }
        Command::Data => "DATA".into(),
        Command::Bdat { octets, last: false } => format!("BDAT {octets}"),
        Command::Bdat { octets, last: true } => format!("BDAT {octets} LAST"),
        Command::Rset => "RSET".into(),
        Command::Noop => "NOOP".into(),
        Command::Quit => "QUIT".into(),
        Command::Vrfy(None) => "VRFY someone".into(),
        Command::Vrfy(Some(address)) => format!("VRFY {address}"),
        Command::Help(None) => "HELP".into(),
        Command::Help(Some(form)) => format!("HELP {}", form.split(' ').next().unwrap_or_default()),
        Command::StartTls => "STARTTLS".into(),
        Command::XClient(client) => said_xclient(client),
        Command::Auth { mechanism, initial: None } => format!("AUTH {mechanism}"),
        Command::Auth { mechanism, initial: Some(initial) } => format!("AUTH {mechanism} {initial}"),
    }
}

fn said_xclient(client: &XClient) -> String {
    let xtext = |text: &str| -> String {
        let octet = |octet: &u8| match octet {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*octet).to_string(),
            octet => format!("+{octet:02X}"),
        };
        text.as_bytes().iter().map(octet).collect()
    };
    let unknown = || "[UNAVAILABLE]".to_owned();
    let text = |text: &Option<String>| text.as_deref().map_or_else(unknown, xtext);
    let said = |address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("IPV6:{address}"),
    };
    // not said is another thing than not known
    let address = client.address.map_or_else(String::new, |address| format!(" ADDR={}", said(address)));
    let port = |port: Option<u16>| port.map_or_else(unknown, |port| port.to_string());
    format!(
        "XCLIENT NAME={} LOGIN={}{address} PORT={} HELO={} PROTO={} DESTADDR={} DESTPORT={}",
        text(&client.name),
        text(&client.login),
        port(client.port),
        client.helo.as_ref().map_or_else(unknown, |name| xtext(name.as_str())),
        if client.is_plain_smtp { "SMTP" } else { "ESMTP" },
        client.destination_address.map_or_else(unknown, said),
        port(client.destination_port),
    )
}

fn said_parameters(parameters: &MailParameters) -> String {
    let size = parameters.size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
    let body = match parameters.body {
        BodyType::SevenBit => "",
        BodyType::EightBitMime => " BODY=8BITMIME",
        BodyType::BinaryMime => " BODY=BINARYMIME",
    };
    let smtputf8 = if parameters.smtputf8 { " SMTPUTF8" } else { "" };
    let ret = match parameters.wishes.return_content {
        None => "",
        Some(ReturnContent::Full) => " RET=FULL",
        Some(ReturnContent::Headers) => " RET=HDRS",
    };
    let id = parameters.wishes.envelope_id.as_ref().map(|id| format!(" ENVID={}", id.as_str()));
    let tls = if parameters.wishes.require_tls { " REQUIRETLS" } else { "" };
    let priority = Some(parameters.wishes.priority).filter(|priority| *priority != 0);
    let priority = priority.map(|priority| format!(" MT-PRIORITY={priority}"));
    let by = parameters.wishes.deliver_by.map(|by| format!(" BY={by}"));
    let solicitation = parameters.wishes.solicitation.as_ref().map(|words| format!(" SOLICIT={words}"));
    [id, priority, by, solicitation]
        .into_iter()
        .flatten()
        .fold(format!("{size}{body}{smtputf8}{ret}{tls}"), |said, more| said + &more)
}

/// A path that is valid as a sender is valid as a recipient, and comes back from its printed form.
pub(crate) fn path(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    let (mail, rcpt) = (format!("MAIL FROM:<{text}>"), format!("RCPT TO:<{text}>"));
    match (Command::parse(mail.as_bytes()), Command::parse(rcpt.as_bytes())) {
        (Ok(Command::Mail(ReversePath::Address(sender), parameters)), rcpt) => {
            command(format!("MAIL FROM:<{sender}>").as_bytes());
            if parameters == MailParameters::default() && rcpt.is_ok() {
                assert_eq!(rcpt, Ok(Command::Rcpt(ForwardPath::Address(sender), RcptParameters::default())));
            }
        }
        (Ok(Command::Mail(ReversePath::Null, _)), rcpt) => assert!(rcpt.is_err(), "a recipient without name"),
        (_, Ok(Command::Rcpt(path, _))) => command(format!("RCPT TO:<{path}>").as_bytes()),
        (_, Ok(other)) => panic!("{other:?}"),
        (_, Err(_)) => {}
    }
}

/// The message ends at the first CRLF.CRLF and nowhere else; what is taken is what was sent without transparency; a bare CR,
/// a bare LF, a NUL and too many octets are found; wherever the stream is cut.
pub(crate) fn data(octets: &[u8]) {
    let Some((settings, octets)) = settings(octets) else { return };
    let size_max = if settings == 0 { 16 } else { u64::MAX };
    for piece in PIECES {
        received(octets, piece, size_max);
    }
}

fn received(octets: &[u8], piece: usize, size_max: u64) {
    let mut receiver = DataReceiver::new(size_max);
    let (mut rest, mut input, mut message) = (octets, BytesMut::new(), Vec::new());
    while !receiver.ended() && !rest.is_empty() {
        let (piece, more) = rest.split_at(piece.min(rest.len()));
        input.extend_from_slice(piece);
        rest = more;
        while !input.is_empty() && !receiver.ended() {
            input.advance(receiver.receive(&input));
            while let Some(chunk) = receiver.take_chunk() {
                assert!(chunk.len() <= CHUNK_BYTES + 2);
                message.extend_from_slice(&chunk);
            }
        }
    }
    let end = end_of_data(octets);
    assert_eq!(receiver.ended(), end.is_some(), "the end");
    let Some(end) = end else { return };
    assert_eq!(rest.len() + input.len(), octets.len() - end, "octets behind the end");
    let sent = plain(&octets[..end - 3]);
    let faulty = sent.len() as u64 > size_max || has_bare_controls(&octets[..end]);
    assert_eq!(receiver.fault().is_some(), faulty, "{:?}", receiver.fault());
    assert!(faulty || message == sent, "another message");
}

/// Behind the first CRLF.CRLF, where the begin counts as a CRLF.
fn end_of_data(octets: &[u8]) -> Option<usize> {
    if octets.starts_with(b".\r\n") {
        return Some(3);
    }
    octets.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 5)
}

/// Without the dots that begin lines.
fn plain(octets: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at_line = true;
    for (at, octet) in octets.iter().enumerate() {
        if !(at_line && *octet == b'.') {
            plain.push(*octet);
        }
        at_line = octets[..=at].ends_with(b"\r\n");
    }
    plain
}

fn has_bare_controls(octets: &[u8]) -> bool {
    let bare = |(at, octet): (usize, &u8)| match octet {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        octet => *octet == 0,
    };
    octets.iter().enumerate().any(bare)
}

/// Replies are the same wherever the stream is cut, have bounds, and come back from their printed form.
pub(crate) fn reply(octets: &[u8]) {
    let [first, other, whole] = PIECES.map(|piece| replies(octets, piece));
    assert!(first == whole && other == whole, "cut elsewhere, read otherwise: {first:?} {whole:?}");
    for reply in whole.into_iter().flatten() {
        assert!((200..600).contains(&reply.code) && (1..=REPLY_LINES_MAX).contains(&reply.lines.len()));
        assert!(reply.lines.iter().all(|line| !line.contains(char::is_control)));
        let _ = Capabilities::from_ehlo(&reply);
        let printed = reply.to_string();
        if printed.lines().all(|line| line.len() < REPLY_LINE_BYTES_MAX - 2) {
            assert_eq!(replies(printed.as_bytes(), usize::MAX), [Ok(reply)], "{printed:?}");
        }
    }
}

/// All replies up to the first error.
fn replies(octets: &[u8], piece: usize) -> Vec<Result<Reply, ReplyError>> {
    let (mut parser, mut replies) = (ReplyParser::default(), Vec::new());
    for piece in octets.chunks(piece.min(octets.len().max(1))) {
        parser.receive(piece);
        while let Some(next) = parser.next_reply().transpose() {
            let failed = next.is_err();
            replies.push(next);
            if failed {
                return replies;
            }
        }
    }
    replies
}
