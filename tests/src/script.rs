//! Transcripts: files of `C:` and `S:` lines that run against a real server over any transport.
//!
//! ```text
//! service: smtp            (smtp, submission, lmtp, imap, pop3; before the first line)
//! needs: codes             (before the first line) what the runner has to make: see [`Script::needs`]
//! certificate: a@a.test    (before the first line) TLS has shown a good certificate of this address; in memory alone
//! # a comment
//! S: 220 <<greeting>>      <<name>> matches anything but nothing, and keeps it
//! O: 250 maybe             like S:, but the line may be missing
//! C: EHLO client.test      sent with CRLF
//! C: AUTH <<base64 \0a>>    what was kept, or made by the runner, stands for itself; then the rest is encoded
//! C: APOP a <<apop T S>>    the digest of the timestamp T with the secret S
//! C2: NOOP                 the second connection; it is opened by its first line
//! C- no line end           sent without CRLF; \r \n \0 \\ \xHH are octets (in C: and C2: lines, too)
//! TLS                      the client begins the TLS handshake (only over TCP)
//! END                      the server closes the connection
//! ```

use std::{collections::BTreeMap, path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use waypost_auth::apop;
use waypost_config::{Service, TlsMode};
use waypost_net::{ClientCertificate, ClientTls, Stream, TlsInfo, Verification};

use crate::site::Site;

const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// How octets travel in a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// In memory, at most so many octets at a time.
    Memory(usize),
    /// TCP without TLS from the first octet (STARTTLS is offered where the listener has it).
    Tcp,
    /// TCP with implicit TLS.
    Tls,
}

#[derive(Clone, Debug, PartialEq)]
enum Line {
    Client(usize, Vec<u8>),
    Server(usize, String),
    Optional(usize, String),
    Tls(usize),
    End(usize),
}

/// A transcript.
#[derive(Clone, Debug)]
pub struct Script {
    name: String,
    service: Service,
    /// Whether the script is for listeners with STARTTLS and no login without it.
    secure: bool,
    needs: Vec<String>,
    /// The address in the certificate that all its sessions have shown.
    certificate: Option<String>,
    lines: Vec<(usize, Line)>,
}

impl Script {
    /// Reads a transcript.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut script = Self {
            name,
            service: Service::Smtp,
            secure: false,
            needs: Vec::new(),
            certificate: None,
            lines: Vec::new(),
        };
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            script.read_line(number, line);
        }
        assert!(!script.lines.is_empty(), "{} is empty", script.name);
        script
    }

    fn read_line(&mut self, number: usize, line: &str) {
        let place = format!("{}:{number}", self.name);
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        if let Some(service) = line.strip_prefix("service: ") {
            self.service = match service {
                "smtp" => Service::Smtp,
                "submission" => Service::Submission,
                "lmtp" => Service::Lmtp,
                "imap" => Service::Imap,
                "pop3" => Service::Pop3,
                other => panic!("{place}: {other} is no service"),
            };
            return;
        }
        if line == "secure" {
            self.secure = true;
            return;
        }
        if let Some(need) = line.strip_prefix("needs: ") {
            self.needs.push(need.to_owned());
            return;
        }
        if let Some(address) = line.strip_prefix("certificate: ") {
            self.certificate = Some(address.to_owned());
            return;
        }
        let head: String = line.chars().take_while(|c| !matches!(c, ':' | '-')).collect();
        let (kind, session) = head.split_at(head.find(|c: char| c.is_ascii_digit()).unwrap_or(head.len()));
        let session = session.parse().unwrap_or(1);
        let rest = line.get(head.len() + 1..).unwrap_or("");
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        let parsed = match (kind, line.as_bytes().get(head.len())) {
            ("C", Some(b':')) => Line::Client(session, [unescape(text, &place), b"\r\n".to_vec()].concat()),
            ("C", Some(b'-')) => Line::Client(session, unescape(text, &place)),
            ("S", Some(b':')) => Line::Server(session, text.to_owned()),
            ("O", Some(b':')) => Line::Optional(session, text.to_owned()),
            ("TLS", None) => Line::Tls(session),
            ("END", None) => Line::End(session),
            _ => panic!("{place}: {line:?} is no line of a transcript"),
        };
        self.lines.push((number, parsed));
    }

    /// Whether the service has one listener, with STARTTLS and without login.
    fn is_between_servers(&self) -> bool {
        matches!(self.service, Service::Smtp | Service::Lmtp)
    }

    /// Whether it wants `codes` (alice's password is protected by codes: `<<code>>` of now, `<<next code>>`) or `tokens` (the server
    /// has an issuer: `<<token>>` and `<<old token>>` for alice, `<<bob's token>>`) or `no-soliciting` (what is `org.example:ADV` or
    /// `net.example:X` is refused) or `messages` (alice has three of 24, 35 and 12 octets) or `apop` (POP3 offers it, and alice's secret is
    /// `shared secret`) or `utf8` (a fourth message of alice has UTF-8 in its header, so has carol's password) or `policy` (of POP3:
    /// messages expire after 7 days, 10 minutes lie between two logins; in b.test not) or `bounds` (one message of an address and one failed
    /// login in a minute, one recipient of an account in an hour; loopback may say by XCLIENT whom it speaks for) or `dns` (DNS has c.test, of
    /// which DMARC wants that mail is refused, and whose SPF record cannot be followed now).
    pub fn needs(&self, what: &str) -> bool {
        self.needs.iter().any(|need| need == what)
    }

    /// Whether the script can run over this transport.
    pub fn runs_over(&self, transport: Transport) -> bool {
        let has_tls = self.lines.iter().any(|(_, line)| matches!(line, Line::Tls(_)));
        match transport {
            Transport::Tls | Transport::Tcp if self.certificate.is_some() => false,
            Transport::Tls => !self.secure && !self.is_between_servers(),
            Transport::Memory(_) => !has_tls,
            Transport::Tcp => true,
        }
    }

    /// Runs the transcript; panics where the server says something else. `kept`: what was made for it.
    pub async fn run(&self, site: &Site, transport: Transport, mut kept: BTreeMap<String, String>) {
        let mut sessions: BTreeMap<usize, Session> = BTreeMap::new();
        for (number, line) in &self.lines {
            let place = format!("{}:{number} over {transport:?}", self.name);
            let (Line::Client(id, _)
            | Line::Server(id, _)
            | Line::Optional(id, _)
            | Line::Tls(id)
            | Line::End(id)) = line;
            if !sessions.contains_key(id) {
                sessions.insert(*id, self.open(site, transport).await);
            }
            let session = sessions.get_mut(id).unwrap();
            match line {
                Line::Client(_, octets) => session.send(&substitute(octets, &kept), &place).await,
                Line::Server(_, pattern) => session.expect(pattern, &mut kept, &place).await,
                Line::Optional(_, pattern) => session.expect_optional(pattern, &mut kept, &place).await,
                Line::Tls(_) => session.start_tls(site).await,
                Line::End(_) => session.expect_end(&place).await,
            }
        }
    }

    async fn open(&self, site: &Site, transport: Transport) -> Session {
        let plain = if self.secure || self.is_between_servers() { TlsMode::StartTls } else { TlsMode::None };
        let (stream, chunk): (Box<dyn Stream>, usize) = match transport {
            Transport::Memory(chunk) => {
                let (ours, theirs) = tokio::io::duplex(chunk);
                site.attach(Box::new(theirs), self.service, plain, self.certificate.as_deref().map(shown));
                (Box::new(ours), chunk)
            }
            Transport::Tcp => {
                (Box::new(TcpStream::connect(site.address(self.service, plain)).await.unwrap()), usize::MAX)
            }
            Transport::Tls => {
                let stream = TcpStream::connect(site.address(self.service, TlsMode::Implicit)).await.unwrap();
                (client_tls(site).connect(Box::new(stream)).await.unwrap().0, usize::MAX)
            }
        };
        Session { stream: Some(stream), chunk, received: Vec::new() }
    }
}

/// TLS with a certificate of this address.
fn shown(address: &str) -> TlsInfo {
    let certificate = ClientCertificate { emails: vec![address.to_owned()], sha256: [1; 32] };
    TlsInfo { certificate: Some(certificate), ..TlsInfo::default() }
}

fn client_tls(site: &Site) -> ClientTls {
    let verification = Verification::Pkix(vec![site.authority()]);
    ClientTls::new(&format!("mx.{}", site.domain), &verification).unwrap()
}

struct Session {
    stream: Option<Box<dyn Stream>>,
    chunk: usize,
    received: Vec<u8>,
}

impl Session {
    async fn send(&mut self, octets: &[u8], place: &str) {
        let (mut reader, mut writer) = tokio::io::split(self.stream.as_mut().unwrap());
        for chunk in octets.chunks(self.chunk.min(4096)) {
            // A server that answers before it has read all must be able to: what it says is kept.
            let mut sent = 0;
            while sent < chunk.len() {
                let mut buffer = [0; 4096];
                tokio::select! {
                    biased;
                    written = writer.write(&chunk[sent..]) => sent += written.unwrap_or_else(|error| panic!("{place}: {error}")),
                    read = reader.read(&mut buffer) => {
                        let count = read.unwrap_or_else(|error| panic!("{place}: {error}"));
                        assert!(count > 0, "{place}: the server closed the connection");
                        self.received.extend_from_slice(&buffer[..count]);
                    }
                    () = tokio::time::sleep(STEP_TIMEOUT) => panic!("{place}: the server does not read"),
                }
            }
        }
        writer.flush().await.unwrap_or_else(|error| panic!("{place}: {error}"));
    }

    async fn line(&mut self, place: &str) -> Option<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut buffer = [0; 4096];
            let read = timeout(STEP_TIMEOUT, self.stream.as_mut().unwrap().read(&mut buffer)).await;
            let read = read.unwrap_or_else(|_| {
                panic!(
                    "{place}: the server says nothing; so far {:?}",
                    String::from_utf8_lossy(&self.received)
                )
            });
            match read {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    async fn expect(&mut self, pattern: &str, kept: &mut BTreeMap<String, String>, place: &str) {
        let line = self
            .line(place)
            .await
            .unwrap_or_else(|| panic!("{place}: the server closed, expected {pattern:?}"));
        assert!(matches(pattern, &line, kept), "{place}:\n  expected {pattern:?}\n  received {line:?}");
    }

    async fn expect_optional(&mut self, pattern: &str, kept: &mut BTreeMap<String, String>, place: &str) {
        let Some(line) = self.line(place).await else { return };
        if !matches(pattern, &line, kept) {
            self.received.splice(..0, format!("{line}\r\n").into_bytes());
        }
    }

    async fn expect_end(&mut self, place: &str) {
        if let Some(line) = self.line(place).await {
            panic!("{place}: the server said {line:?} instead of closing");
        }
        assert!(self.received.is_empty(), "{place}: half a line came before the end");
    }

    async fn start_tls(&mut self, site: &Site) {
        let stream = self.stream.take().unwrap();
        self.stream = Some(client_tls(site).connect(stream).await.unwrap().0);
    }
}

/// Whether a line matches a pattern with `<<name>>` in it; what these match is kept.
fn matches(pattern: &str, line: &str, kept: &mut BTreeMap<String, String>) -> bool {
    let Some((before, rest)) = pattern.split_once("<<") else { return pattern == line };
    let Some((name, rest)) = rest.split_once(">>") else { return pattern == line };
    let Some(line) = line.strip_prefix(before) else { return false };
    if let Some(value) = kept.get(name).cloned() {
        return line.strip_prefix(value.as_str()).is_some_and(|line| matches(rest, line, kept));
    }
    for end in (1..=line.len()).filter(|end| line.is_char_boundary(*end)) {
        let mut tried = kept.clone();
        if matches(rest, &line[end..], &mut tried) {
            *kept = tried;
            if name != "any" {
                kept.insert(name.to_owned(), line[..end].to_owned());
            }
            return true;
        }
    }
    false
}

fn substitute(octets: &[u8], kept: &BTreeMap<String, String>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(octets) else { return octets.to_vec() };
    let mut text = text.to_owned();
    for (name, value) in kept {
        text = text.replace(&format!("<<{name}>>"), value);
    }
    while let Some((before, rest)) = text.split_once("<<apop ") {
        let (both, behind) = rest.split_once(">>").unwrap_or((rest, ""));
        let (timestamp, secret) = both.split_once(' ').unwrap_or((both, ""));
        text = format!("{before}{}{behind}", apop::digest(timestamp, secret));
    }
    while let Some((before, rest)) = text.split_once("<<base64 ") {
        let (plain, behind) = rest.split_once(">>").unwrap_or((rest, ""));
        text = format!("{before}{}{behind}", BASE64_STANDARD.encode(plain));
    }
    text.into_bytes()
}

fn unescape(text: &str, place: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            octets.push(first);
            continue;
        }
        let (&escape, tail) = rest.split_first().unwrap_or_else(|| panic!("{place}: a lone backslash"));
        rest = tail;
        match escape {
            b'r' => octets.push(b'\r'),
            b'n' => octets.push(b'\n'),
            b'0' => octets.push(0),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &rest[2..];
                octets.push(u8::from_str_radix(digits, 16).unwrap());
            }
            // System flags are frequent in IMAP: a backslash before anything else stands for itself.
            other => octets.extend([b'\\', other]),
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_and_keep() {
        let mut kept = BTreeMap::new();
        assert!(matches("250 <<id>> accepted", "250 2.0.0 abc accepted", &mut kept));
        assert_eq!(kept["id"], "2.0.0 abc");
        assert!(!matches("250 <<x>>", "250 ", &mut kept));
        assert!(matches("<<id>>!", "2.0.0 abc!", &mut kept));
        assert!(!matches("<<id>>!", "2.0.0 abd!", &mut kept));
        assert_eq!(substitute(b"x <<id>>", &kept), b"x 2.0.0 abc");
        assert_eq!(substitute(b"x <<base64 \0<<id>>>> <<base64 >>", &kept), b"x ADIuMC4wIGFiYw== ");
        assert_eq!(unescape("a\\r\\n\\x00\\Seen", ""), b"a\r\n\0\\Seen");
    }
}
