//! From octets to commands: how they are gathered, refused and thrown away.

use bytes::{Buf, BytesMut};

use super::{
    framing::{Frame, Framing, LITERAL_BYTES_MAX, Skipped, Skipping},
    phase::{Phase, Reply},
    questions::Ran,
    session::{ImapMachine, Turn},
};
use crate::wire::{
    Bad, Command, Wrong, begins_append, encode,
    literal::{Announced, Sync},
    parse,
};

pub(super) const TEXT_TOO_LONG: &str = "the command is too long";
const TEXT_LITERAL_TOO_LONG: &str = "the literal is too long";
pub(super) const TEXT_NOT_CRLF: &str = "lines end with CRLF";

/// A line that is no command.
pub(super) enum Line {
    /// It does not end yet.
    Part,
    /// It is longer than it may be.
    TooLong,
    /// With its end.
    Complete(BytesMut),
}

/// How a command is refused that was not understood.
pub(super) fn not_understood(bad: Bad) -> Reply {
    let ran = match bad.wrong {
        Wrong::Grammar => Ran::bad(bad.to_string()),
        Wrong::Limit => Ran::no(bad.reason).with_code("LIMIT"),
        Wrong::Name => Ran::no(bad.reason).with_code("CANNOT"),
    };
    Reply::new(bad.tag, ran)
}

impl ImapMachine {
    pub(super) fn gather(&mut self, mut framing: Framing) -> Turn {
        match framing.line(&self.input, self.command_bytes_max()) {
            Frame::Part => {
                self.phase = Phase::Command(framing);
                Turn::Wait
            }
            Frame::TooLong => {
                let tag = parse::tag_of(&self.input);
                self.input.advance(framing.line_start());
                // BAD, as RFC 2683 section 3.2.1.5 wants it: nobody knows whether it is grammatical.
                let refusal = Ran::bad(TEXT_TOO_LONG).with_code("LIMIT");
                self.phase = Phase::Skip(Skipping::new(0), Reply::new(tag, refusal));
                Turn::Again
            }
            Frame::Line(end, None) => {
                let line = self.input.split_to(end);
                self.command(&line)
            }
            Frame::Line(end, Some(literal)) if begins_append(&self.input[..end]) => {
                self.append(framing, end, literal)
            }
            Frame::Line(end, Some(literal)) => self.literal(framing, end, literal),
        }
    }

    /// Takes a literal into the command, or refuses the command.
    pub(super) fn literal(&mut self, mut framing: Framing, end: usize, literal: Announced) -> Turn {
        match self.takes_literal(&mut framing, end, literal) {
            Ok(()) => {
                self.phase = Phase::Command(framing);
                Turn::Again
            }
            Err(ran) => {
                let tag = parse::tag_of(&self.input);
                self.input.advance(end);
                self.refuse(literal, Reply::new(tag, ran))
            }
        }
    }

    /// Lets a literal come, unless it is too long.
    pub(super) fn takes_literal(
        &mut self,
        framing: &mut Framing,
        end: usize,
        literal: Announced,
    ) -> Result<(), Ran> {
        let bytes = usize::try_from(literal.bytes).unwrap_or(usize::MAX);
        if literal.bytes > LITERAL_BYTES_MAX || bytes > self.command_bytes_max().saturating_sub(end) {
            return Err(Ran::bad(TEXT_LITERAL_TOO_LONG).with_code("TOOBIG"));
        }
        if literal.sync == Sync::Waits {
            self.say(|out| encode::continue_req(out, "go on"));
        }
        framing.literal(end, bytes);
        Ok(())
    }

    /// A complete command with its last line's end.
    fn command(&mut self, line: &[u8]) -> Turn {
        let Some(octets) = line.strip_suffix(b"\r\n") else {
            return self.reply(Reply::new(parse::tag_of(line), Ran::bad(TEXT_NOT_CRLF)));
        };
        match self.legal(octets) {
            Ok(command) => self.obey(command),
            Err(refusal) => self.reply(refusal),
        }
    }

    /// The command, unless it is wrong or not legal now.
    pub(super) fn legal(&self, octets: &[u8]) -> Result<Command, Reply> {
        let command = parse::command(octets, self.spelling).map_err(not_understood)?;
        match self.state.allows(&command.body) {
            Ok(()) => Ok(command),
            Err(reason) => Err(Reply::new(Some(command.tag), Ran::bad(reason))),
        }
    }

    /// Answers a command that ends in a literal with a refusal, after the literal where it follows at once.
    pub(super) fn refuse(&mut self, literal: Announced, refusal: Reply) -> Turn {
        match literal.sync {
            Sync::Waits => self.reply(refusal),
            Sync::FollowsAtOnce => {
                self.phase = Phase::Skip(Skipping::new(literal.bytes), refusal);
                Turn::Again
            }
        }
    }

    pub(super) fn skip(&mut self, mut skipping: Skipping, refusal: Reply) -> Turn {
        match skipping.skip(&mut self.input) {
            Skipped::Part => {
                self.phase = Phase::Skip(skipping, refusal);
                Turn::Wait
            }
            Skipped::All => self.reply(refusal),
            Skipped::TooLong => self.bye(Some("TOOBIG"), TEXT_LITERAL_TOO_LONG),
        }
    }

    pub(super) fn skip_line(&mut self, tag: String, ran: Ran) -> Turn {
        self.phase = Phase::Skip(Skipping::new(0), Reply::new(Some(tag), ran));
        Turn::Again
    }

    pub(super) fn line(&mut self, bytes_max: usize) -> Line {
        match self.input.iter().take(bytes_max).position(|octet| *octet == b'\n') {
            Some(end) => Line::Complete(self.input.split_to(end + 1)),
            None if self.input.len() < bytes_max => Line::Part,
            None => Line::TooLong,
        }
    }
}
