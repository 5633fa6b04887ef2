//! What the machine refuses by itself, for the log: order, grammar, bounds and time. What it was told to refuse is known to who told it.

use waypost_mail::{EnhancedStatus, Refusal, Reply};

use super::Server;
use crate::smtp::command::Verb;

/// A reply with 4yz or 5yz that nobody asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The command that it answers; `None`: none, or one that does not exist. Never anything of what stands behind it.
    pub verb: Option<&'static str>,
    /// What is said, without the name of the session.
    pub refusal: Refusal,
    /// Whether the next ones up to an accepted message are not noted any more ([`REFUSALS_NOTED_MAX`](super::REFUSALS_NOTED_MAX)).
    pub is_last: bool,
}

/// Refusals that were noted. In a box: most sessions have none.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Refused>);

impl Server {
    /// What was refused since this was called last. Each is given once.
    pub fn take_refused(&mut self) -> Vec<Refused> {
        self.notes.take().map_or_else(Vec::new, |notes| notes.0)
    }

    pub(super) fn note(&mut self, reply: &Reply) {
        if self.is_answered {
            return;
        }
        let left = self.budget.note();
        if left > 0 {
            // Each refusal has one; else RFC 3463 section 3.1: other undefined status.
            let class = if reply.code < 500 { 4 } else { 5 };
            let status = reply.status.unwrap_or(EnhancedStatus(class, 0, 0));
            let refusal = Refusal::new(reply.code, status, reply.text());
            let verb = self.verb.map(Verb::name);
            self.notes.get_or_insert_default().0.push(Refused { verb, refusal, is_last: left == 1 });
        }
    }
}
