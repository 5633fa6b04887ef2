//! The message itself and what the server says to it: behind DATA, or in chunks.

use bytes::{BufMut, Bytes};
use waypost_mail::Reply;

use super::{
    Client, Ending, Protocol, State, broken,
    chunks::{ALONG_BYTES_MAX, Chunks, Lines},
    data::{DotStuffer, END_OF_DATA},
    transaction::{Progress, Transaction},
};

/// How a message goes out.
#[derive(Debug)]
pub(super) enum Body {
    /// RFC 5321 section 4.1.1.4.
    Data(DotStuffer),
    /// RFC 3030 section 2.
    Chunks(Chunks),
}

impl Body {
    /// Whether an answer must be read before more is sent.
    pub(super) fn must_wait(&self) -> bool {
        match self {
            Self::Data(_) => false,
            Self::Chunks(chunks) => chunks.must_wait(),
        }
    }
}

impl Client {
    /// Some recipient was accepted: the message follows.
    pub(super) fn begin_body(&mut self, transaction: Transaction) {
        let body = if self.server.chunking {
            let lines = if transaction.is_binary() { Lines::AsTheyAre } else { Lines::Canonical };
            Body::Chunks(Chunks::new(lines, self.server.pipelining))
        } else {
            Body::Data(DotStuffer::default())
        };
        self.state = State::Body(transaction, body);
    }

    /// Whether the message goes out behind the commands of its envelope without waiting for their replies (RFC 2920 section 3.1: BDAT may
    /// be pipelined as RFC 3030 section 2 has it): a short one, to a server that has just taken another one.
    pub(super) fn goes_along(&self, transaction: &Transaction) -> bool {
        let can = self.server.chunking && self.server.pipelining && self.settings.protocol == Protocol::Smtp;
        let may = transaction.may_go_along() && self.takes;
        can && may && transaction.is_sent() && transaction.octets() <= ALONG_BYTES_MAX
    }

    /// A reply to a command of the envelope of a message that went along; that to the message itself comes in any case.
    pub(super) fn answered_behind(&mut self, mut transaction: Transaction, reply: Reply) {
        let progress = transaction.reply(reply);
        self.state = State::EndOfData(transaction, 0);
        if let Progress::Broken(reply) = progress {
            self.fail_by_ourselves(&reply);
        }
    }

    /// Sends the next octets; none: that was all.
    pub(super) fn send_octets(&mut self, transaction: Transaction, body: Body, octets: &Bytes) {
        self.state = match body {
            Body::Data(stuffer) if octets.is_empty() => {
                stuffer.finish(&mut self.output);
                self.said.note("the message, and a line with a dot");
                State::EndOfData(transaction, 0)
            }
            Body::Data(mut stuffer) => {
                stuffer.push(octets, &mut self.output);
                State::Body(transaction, Body::Data(stuffer))
            }
            Body::Chunks(mut chunks) if octets.is_empty() => {
                let bytes = chunks.finish(&mut self.output);
                self.said.sent(&format!("BDAT {bytes} LAST"));
                State::EndOfData(transaction, chunks.unanswered().saturating_sub(1))
            }
            Body::Chunks(mut chunks) => {
                if let Some(bytes) = chunks.push(octets, &mut self.output) {
                    self.said.sent(&format!("BDAT {bytes}"));
                }
                State::Body(transaction, Body::Chunks(chunks))
            }
        };
    }

    /// A chunk that is not the last was answered.
    pub(super) fn chunk_answered(&mut self, transaction: Transaction, body: Body, reply: Reply) {
        let Body::Chunks(mut chunks) = body else {
            // no reply is read there
            self.state = State::Body(transaction, body);
            return;
        };
        if (300..400).contains(&reply.code) {
            self.state = State::Body(transaction, Body::Chunks(chunks));
            return self.fail_by_ourselves(&broken("its reply to BDAT"));
        }
        chunks.answered(reply);
        match chunks.failed().cloned() {
            Some(reply) => self.refused_chunk(transaction, chunks.unanswered(), &reply),
            None => self.state = State::Body(transaction, Body::Chunks(chunks)),
        }
    }

    /// An answer to the end of the message, or to one of the chunks before it.
    pub(super) fn end_answered(&mut self, mut transaction: Transaction, chunks: usize, reply: &Reply) {
        if (300..400).contains(&reply.code) {
            self.state = State::EndOfData(transaction, chunks);
            return self.fail_by_ourselves(&broken("its reply to the end of the data"));
        }
        match (chunks, reply.code) {
            // the replies to RCPT were the answer
            (0, _) if transaction.is_for_nobody() => {
                transaction.leave_open();
                self.finish(transaction);
            }
            (0, _) if transaction.end_of_data(reply) => self.finish(transaction),
            (0, _) => self.state = State::EndOfData(transaction, 0),
            (_, 200..300) => self.state = State::EndOfData(transaction, chunks - 1),
            // those behind it, and the last one
            _ if self.settings.protocol == Protocol::Smtp => self.refused_chunk(transaction, chunks, reply),
            // How many answers the last one has here is not sure any more.
            _ => {
                self.state = State::EndOfData(transaction, chunks);
                self.fail(reply, Ending::Broken);
            }
        }
    }

    /// The answer to a chunk is the answer to the message (RFC 3030 section 2).
    fn refused_chunk(&mut self, mut transaction: Transaction, left: usize, reply: &Reply) {
        transaction.settle_all(reply);
        transaction.leave_open();
        self.abort(transaction, left);
    }

    /// Waits for the answers to what was sent behind a chunk that was refused.
    pub(super) fn abort(&mut self, transaction: Transaction, left: usize) {
        if left == 0 {
            self.finish(transaction);
        } else {
            self.state = State::Aborted(transaction, left);
        }
    }

    /// The server waits for a message that nobody is to get.
    pub(super) fn send_lone_dot(&mut self, transaction: Transaction) {
        self.output.put_slice(END_OF_DATA);
        self.said.note("a lone dot: no recipient was accepted");
        self.state = State::LoneDot(transaction);
    }
}
