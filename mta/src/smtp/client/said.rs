//! What was said in a session, for the record of a try that failed: bounded, without secrets and without the message.

use std::collections::VecDeque;

use waypost_mail::Reply;
use waypost_net::TlsInfo;

/// Most octets of what was said before the first message.
pub const OPENING_BYTES_MAX: usize = 2048;
/// Most octets of what was said of one message.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// Most octets of one line; the rest is cut off.
pub const LINE_BYTES_MAX: usize = 512;
/// What stands for what is not shown.
const SECRET: &str = "(not shown)";

/// What was said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// TLS, once it was on.
    pub tls: Option<TlsInfo>,
    /// Lines in their order: `S: ` the server's, `C: ` ours, `*: ` what happened.
    pub lines: Vec<String>,
}

/// Gathers lines: of too many those in the middle are left out, because the first ones say what was wanted and the last ones what
/// came of it.
#[derive(Debug)]
pub(super) struct Record {
    first: Vec<String>,
    last: VecDeque<String>,
    first_left: usize,
    last_bytes: usize,
    last_bytes_max: usize,
    left_out: usize,
}

impl Record {
    pub(super) fn new(bytes_max: usize) -> Self {
        let half = bytes_max / 2;
        Self {
            first: Vec::new(),
            last: VecDeque::new(),
            first_left: half,
            last_bytes: 0,
            last_bytes_max: half,
            left_out: 0,
        }
    }

    /// A command of ours, without its CRLF.
    pub(super) fn sent(&mut self, line: &str) {
        self.push("C: ", line);
    }

    /// A command whose arguments are not shown.
    pub(super) fn sent_secret(&mut self, shown: &str) {
        self.push("C: ", format!("{shown} {SECRET}").trim_start());
    }

    /// A reply.
    pub(super) fn heard(&mut self, reply: &Reply) {
        reply.to_string().lines().for_each(|line| self.push("S: ", line));
    }

    /// A reply of which only the code is shown.
    pub(super) fn heard_secret(&mut self, code: u16) {
        self.push("S: ", &format!("{code} {SECRET}"));
    }

    /// What happened.
    pub(super) fn note(&mut self, what: &str) {
        self.push("*: ", what);
    }

    /// All lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let gap = (self.left_out > 0).then(|| format!("*: {} lines are left out", self.left_out));
        self.first.iter().cloned().chain(gap).chain(self.last.iter().cloned())
    }

    fn push(&mut self, prefix: &str, text: &str) {
        let text = text.trim_end();
        let line = format!("{prefix}{}", &text[..text.floor_char_boundary(LINE_BYTES_MAX)]);
        if self.last.is_empty() && line.len() <= self.first_left {
            self.first_left -= line.len();
            return self.first.push(line);
        }
        self.last_bytes += line.len();
        self.last.push_back(line);
        while self.last_bytes > self.last_bytes_max
            && let Some(gone) = self.last.pop_front()
        {
            self.last_bytes -= gone.len();
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_at_both_ends() {
        let mut record = Record::new(100);
        for number in 0..50 {
            record.sent(&format!("command {number:02}"));
        }
        let lines: Vec<_> = record.lines().collect();
        assert_eq!(lines.len(), 3 + 1 + 3);
        assert_eq!((lines[0].as_str(), lines[2].as_str()), ("C: command 00", "C: command 02"));
        assert_eq!((lines[3].as_str(), lines[6].as_str()), ("*: 44 lines are left out", "C: command 49"));
    }

    #[test]
    fn lines_are_short_and_secrets_are_not_there() {
        let mut record = Record::new(4096);
        record.sent(&"ü".repeat(LINE_BYTES_MAX));
        record.sent_secret("AUTH PLAIN");
        record.heard_secret(334);
        record.heard(&Reply { lines: vec!["a".into(), "b".into()], ..Reply::plain(250, "") });
        record.note("lost");
        let lines: Vec<_> = record.lines().collect();
        assert_eq!(lines[0].len(), 3 + LINE_BYTES_MAX);
        assert_eq!(
            lines[1..],
            ["C: AUTH PLAIN (not shown)", "S: 334 (not shown)", "S: 250-a", "S: 250 b", "*: lost"]
        );
    }
}
