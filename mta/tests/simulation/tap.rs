//! What is said on a connection between an SMTP client and a server, followed from outside: whether a message may have been taken
//! of which the client does not know.
//!
//! The window opens when the client sends the end of a message. It closes when a refusal is read, or when the client has recorded that the
//! message was taken. It goes on meanwhile: what was taken is recorded within [`GATHERING`] where the disk is not full, as the record itself takes
//! no time here. A connection that ends while the window is open may cost a duplicate. So may a disk that fails: the client's, so that
//! nothing can be recorded, or the server's, which refuses for now what may be found on it later. Nothing else may.

use std::time::Duration;

use tokio::time::Instant;

/// The line by which a message is known, also in notifications that bring its header block back.
pub(crate) const TOKEN_FIELD: &str = "X-Sim: ";

/// How long the queue gathers outcomes before it records them.
const GATHERING: Duration = Duration::from_millis(2);

/// Where the client is.
#[derive(Debug, Default)]
enum State {
    #[default]
    Commands,
    /// Behind 354.
    Data,
    /// Within a chunk of which so many octets are still to come.
    Chunk { left: usize, last: bool },
    /// The message was sent, and the reply was not read yet.
    Sent { could_store: bool },
}

/// Whether disks have failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Disks {
    pub(crate) client_failed: bool,
    /// The client's is full, or was so short a time ago that what waited may wait still.
    pub(crate) client_full: bool,
    pub(crate) server_failed: bool,
}

/// Follows one connection.
#[derive(Debug)]
pub(crate) struct Tap {
    state: State,
    /// The line that the client has begun.
    line: Vec<u8>,
    /// The line that the server has begun, as far as the client read it.
    reply: Vec<u8>,
    /// Commands that were not answered yet; the greeting counts as one.
    outstanding: usize,
    last_code: u16,
    token: Option<u64>,
    /// Messages of which the client has read that they were taken, and when: they may not be recorded yet.
    unrecorded: Vec<(u64, Instant)>,
    /// Messages that may have been taken without the client's knowledge.
    unclear: Vec<u64>,
    /// The client has read that a message was taken, and has not recorded it yet.
    pub(crate) just_taken: bool,
    /// Transactions that were begun although what comes of them cannot be recorded.
    pub(crate) rash: u64,
}

impl Tap {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Commands,
            line: Vec::new(),
            reply: Vec::new(),
            outstanding: 1,
            last_code: 0,
            token: None,
            unrecorded: Vec::new(),
            unclear: Vec::new(),
            just_taken: false,
            rash: 0,
        }
    }

    /// The client sends, or tries to.
    pub(crate) fn client_writes(&mut self, octets: &[u8], disks: Disks) {
        self.record(disks);
        if let State::Sent { .. } = self.state {
            self.unclear.extend(self.token.take());
            self.state = State::Commands;
        }
        self.just_taken = false;
        for octet in octets {
            self.client_writes_one(*octet, disks);
        }
    }

    fn client_writes_one(&mut self, octet: u8, disks: Disks) {
        if let State::Chunk { left, last } = &mut self.state {
            *left -= 1;
            let ended = (*left == 0).then_some(*last);
            self.gather(octet);
            match ended {
                Some(true) => self.state = State::Sent { could_store: !disks.server_failed },
                Some(false) => self.state = State::Commands,
                None => return,
            }
            self.line.clear();
            return;
        }
        let Some(line) = self.gather(octet) else { return };
        match self.state {
            State::Data if line == b"." => {
                self.outstanding += 1;
                self.state = State::Sent { could_store: !disks.server_failed };
            }
            State::Data => {}
            _ => self.command(&String::from_utf8_lossy(&line), disks),
        }
    }

    /// Adds an octet to the line; gives the line that is complete by it. Finds the token.
    fn gather(&mut self, octet: u8) -> Option<Vec<u8>> {
        self.line.push(octet);
        if !self.line.ends_with(b"\r\n") {
            return None;
        }
        let mut line = std::mem::take(&mut self.line);
        line.truncate(line.len() - 2);
        let text = String::from_utf8_lossy(&line);
        if let Some(token) = text.strip_prefix(TOKEN_FIELD)
            && !matches!(self.state, State::Commands)
        {
            self.token = token.parse().ok();
        }
        Some(line)
    }

    fn command(&mut self, line: &str, disks: Disks) {
        self.outstanding += 1;
        if line.starts_with("MAIL") && disks.client_failed {
            self.rash += 1;
        }
        let mut words = line.split(' ');
        if words.next() == Some("BDAT") {
            let left = words.next().and_then(|size| size.parse().ok()).unwrap_or(0);
            let last = words.next().is_some();
            self.state = match left {
                0 if last => State::Sent { could_store: !disks.server_failed },
                0 => State::Commands,
                left => State::Chunk { left, last },
            };
        }
    }

    /// Forgets what the client has recorded by now.
    fn record(&mut self, disks: Disks) {
        let now = Instant::now();
        for (token, at) in std::mem::take(&mut self.unrecorded) {
            if now - at <= GATHERING || disks.client_full {
                self.unrecorded.push((token, at));
            } else if disks.client_failed {
                self.unclear.push(token);
            }
        }
    }

    /// The client has read octets of the server.
    pub(crate) fn client_read(&mut self, octets: &[u8], disks: Disks) {
        self.record(disks);
        for octet in octets {
            self.reply.push(*octet);
            if !self.reply.ends_with(b"\r\n") {
                continue;
            }
            let line = std::mem::take(&mut self.reply);
            if line.get(3) != Some(&b'-') {
                let code = String::from_utf8_lossy(&line[..line.len().min(3)]).parse().unwrap_or(0);
                self.replied(code, disks);
            }
        }
    }

    fn replied(&mut self, code: u16, disks: Disks) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.last_code = code;
        match &self.state {
            State::Commands if code == 354 => self.state = State::Data,
            State::Sent { could_store } if self.outstanding == 0 => {
                let token = self.token.take();
                if (200..300).contains(&code) {
                    self.unrecorded.extend(token.map(|token| (token, Instant::now())));
                    self.just_taken = true;
                } else {
                    self.unclear.extend(token.filter(|_| *could_store && disks.server_failed));
                }
                self.state = State::Commands;
            }
            _ => {}
        }
    }

    /// The client's side has ended; the messages that may have been taken without its knowledge.
    pub(crate) fn end(&mut self, disks: Disks) -> Vec<u64> {
        self.record(disks);
        self.unclear.extend(self.unrecorded.drain(..).map(|(token, _)| token));
        if let State::Sent { .. } = self.state {
            self.unclear.extend(self.token.take());
            self.state = State::Commands;
        }
        std::mem::take(&mut self.unclear)
    }
}

#[cfg(test)]
const WELL: Disks = Disks { client_failed: false, client_full: false, server_failed: false };

#[tokio::test(start_paused = true)]
async fn windows_open_and_close() {
    let body = "X-Sim: 7\r\n\r\n.\r\n";
    for (steps, unclear) in [
        (vec![], vec![]),
        (vec![("S", "354 go\r\n"), ("C", "X-Sim: 7\r\n")], vec![]),
        (vec![("S", "354 go\r\n"), ("C", body)], vec![7]),
        (vec![("S", "354 go\r\n"), ("C", body), ("C", "QUIT\r\n")], vec![7]),
        (vec![("S", "354 go\r\n"), ("C", body), ("S", "250 ok\r\n")], vec![7]),
        (vec![("S", "354 go\r\n"), ("C", body), ("S", "250-o\r\n250 ok\r\n"), ("C", "QUIT\r\n")], vec![7]),
        (
            vec![
                ("S", "354 go\r\n"),
                ("C", body),
                ("S", "250-o\r\n250 ok\r\n"),
                ("C", "QUIT\r\n"),
                ("T", ""),
            ],
            vec![],
        ),
        (vec![("S", "354 go\r\n"), ("C", body), ("S", "250 ok\r\n"), ("T", ""), ("FULL", "")], vec![7]),
        (vec![("S", "354 go\r\n"), ("C", body), ("S", "250 ok\r\n"), ("T", ""), ("FAILED", "")], vec![7]),
        (vec![("S", "354 go\r\n"), ("C", body), ("S", "451 no\r\n")], vec![]),
        (vec![("S", "451 no\r\n"), ("C", "QUIT\r\n")], vec![]),
    ] {
        let mut tap = Tap::new();
        tap.client_read(b"220 hello\r\n", WELL);
        tap.client_writes(b"EHLO a\r\n", WELL);
        tap.client_read(b"250-b\r\n250 PIPELINING\r\n", WELL);
        tap.client_writes(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n", WELL);
        tap.client_read(b"250 ok\r\n250 ok\r\n", WELL);
        let mut disks = WELL;
        for (who, text) in &steps {
            match *who {
                "S" => tap.client_read(text.as_bytes(), WELL),
                "C" => tap.client_writes(text.as_bytes(), WELL),
                "FULL" => disks.client_full = true,
                "FAILED" => disks.client_failed = true,
                _ => tokio::time::advance(2 * GATHERING).await,
            }
        }
        assert_eq!(tap.end(disks), unclear, "{steps:?}");
    }
    let chunk = "X-Sim: 9\r\n\r\nx\r\n.\r\n";
    let bdat = format!("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT {} LAST\r\n{chunk}", chunk.len());
    for (replies, unclear) in [("250 1\r\n250 2\r\n", vec![9]), ("250 1\r\n250 2\r\n550 3\r\n", vec![])] {
        let mut tap = Tap::new();
        tap.client_read(b"220 hello\r\n", WELL);
        tap.client_writes(bdat.as_bytes(), WELL);
        tap.client_read(replies.as_bytes(), WELL);
        assert_eq!(tap.end(WELL), unclear);
    }
}
