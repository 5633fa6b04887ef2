//! APPEND (RFC 3502) and REPLACE (RFC 8508): pieces of the command, and between them the octets of its messages, which are handed on as they come.

use bytes::Buf;

use super::{
    framing::{Frame, Framing, Skipping},
    gather::{TEXT_NOT_CRLF, TEXT_TOO_LONG, not_understood},
    phase::{Asked, Phase, Reply},
    questions::{Question, Ran},
    session::{ImapMachine, Turn},
};
use crate::wire::{
    AppendPiece, Behind, Command, CommandBody, append_piece, encode,
    literal::{Announced, Sync},
    parse,
};

/// Octets of a message that are handed on at once.
const APPEND_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// What follows a piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Octets of a message, and where the command goes on behind them.
    Message(Announced, Behind),
    /// Nothing: the command is complete.
    End,
}

/// What is left of a command that went wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rest {
    /// Nothing.
    Over,
    /// A literal that was announced.
    Literal(Announced),
    /// The end of a line.
    Line,
}

impl Next {
    /// `literal`: how the line announces it.
    fn after(piece: &AppendPiece, literal: Option<Announced>) -> Self {
        match (piece.literal, literal) {
            (Some(message), Some(literal)) => Self::Message(literal, message.behind),
            _ => Self::End,
        }
    }
}

impl ImapMachine {
    /// APPEND or REPLACE up to a literal: octets of a message, or a string.
    pub(super) fn append(&mut self, framing: Framing, end: usize, literal: Announced) -> Turn {
        let line = &self.input[..end];
        let octets = line.strip_suffix(b"\r\n").unwrap_or(line);
        if parse::command(octets, self.spelling).is_err_and(|bad| bad.is_at_end(octets)) {
            return self.literal(framing, end, literal);
        }
        let line = self.input.split_to(end);
        match self.legal(line.strip_suffix(b"\r\n").unwrap_or(&line)) {
            Ok(Command { tag, body: CommandBody::Append(append) }) => {
                let next = Next::after(&append.piece, Some(literal));
                self.ask(Asked::AppendPiece { tag, next }, Question::AppendStart(append))
            }
            Ok(Command { tag, .. }) => self.refuse(literal, Reply::new(Some(tag), Ran::bad("syntax error"))),
            Err(refusal) => self.refuse(literal, refusal),
        }
    }

    /// A piece was taken.
    pub(super) fn append_goes_on(&mut self, tag: String, next: Next) {
        self.phase = match next {
            Next::End => Phase::AppendOver { tag },
            Next::Message(literal, behind) => {
                if literal.sync == Sync::Waits {
                    self.say(|out| encode::continue_req(out, "go on"));
                }
                Phase::AppendMessage { tag, left: literal.bytes, behind }
            }
        };
    }

    /// A piece was refused.
    pub(super) fn append_refused(&mut self, tag: String, next: Next, ran: Ran) {
        match next {
            Next::End => self.done(tag, ran),
            Next::Message(literal, _) => self.refuse(literal, Reply { tag, ran }),
        };
    }

    /// Octets of a message.
    pub(super) fn append_message(&mut self, tag: String, left: u64, behind: Behind) -> Turn {
        if left == 0 {
            self.phase = Phase::AppendPiece { tag, framing: Framing::default(), behind };
            return Turn::Again;
        }
        if self.input.is_empty() {
            self.phase = Phase::AppendMessage { tag, left, behind };
            return Turn::Wait;
        }
        let available = self.input.len().min(APPEND_CHUNK_BYTES_MAX);
        let octets = usize::try_from(left).map_or(available, |left| left.min(available));
        let chunk = self.input.split_to(octets).freeze();
        let left = left - octets as u64;
        self.ask(Asked::AppendChunk { tag, left, behind }, Question::AppendChunk(chunk))
    }

    /// What follows the octets of a message.
    pub(super) fn append_piece(&mut self, tag: String, mut framing: Framing, behind: Behind) -> Turn {
        match framing.line(&self.input, self.command_bytes_max()) {
            Frame::Part => {
                self.phase = Phase::AppendPiece { tag, framing, behind };
                Turn::Wait
            }
            Frame::TooLong => {
                self.input.advance(framing.line_start());
                self.abort(tag, Ran::bad(TEXT_TOO_LONG).with_code("LIMIT"), Rest::Line)
            }
            Frame::Line(end, literal) => self.append_line(tag, framing, behind, (end, literal)),
        }
    }

    fn append_line(
        &mut self,
        tag: String,
        framing: Framing,
        behind: Behind,
        (end, literal): (usize, Option<Announced>),
    ) -> Turn {
        let line = &self.input[..end];
        let Some(octets) = line.strip_suffix(b"\r\n") else {
            self.input.advance(end);
            return self.abort(tag, Ran::bad(TEXT_NOT_CRLF), Rest::Over);
        };
        let parsed = append_piece(octets, behind);
        match (parsed, literal) {
            (Err(bad), Some(literal)) if bad.is_at_end(octets) => {
                self.append_string(tag, framing, behind, (end, literal))
            }
            (Err(bad), literal) => {
                self.input.advance(end);
                self.abort(tag, not_understood(bad).ran, literal.map_or(Rest::Over, Rest::Literal))
            }
            (Ok(piece), literal) => {
                self.input.advance(end);
                let next = Next::after(&piece, literal);
                if piece.parts.is_empty() && next == Next::End {
                    return self.ask(Asked::AppendEnd { tag }, Question::AppendEnd);
                }
                self.ask(Asked::AppendPiece { tag, next }, Question::AppendPiece(piece))
            }
        }
    }

    /// A literal within a piece.
    fn append_string(
        &mut self,
        tag: String,
        mut framing: Framing,
        behind: Behind,
        (end, literal): (usize, Announced),
    ) -> Turn {
        match self.takes_literal(&mut framing, end, literal) {
            Ok(()) => {
                self.phase = Phase::AppendPiece { tag, framing, behind };
                Turn::Again
            }
            Err(ran) => {
                self.input.advance(end);
                self.abort(tag, ran, Rest::Literal(literal))
            }
        }
    }

    /// The messages are forgotten; then the command is answered.
    fn abort(&mut self, tag: String, ran: Ran, rest: Rest) -> Turn {
        self.ask(Asked::AppendAbort { reply: Reply { tag, ran }, rest }, Question::AppendAbort)
    }

    /// The messages are forgotten.
    pub(super) fn append_aborted(&mut self, reply: Reply, rest: Rest) {
        match rest {
            Rest::Over => drop(self.reply(reply)),
            Rest::Literal(literal) => drop(self.refuse(literal, reply)),
            Rest::Line => self.phase = Phase::Skip(Skipping::new(0), reply),
        }
    }
}
