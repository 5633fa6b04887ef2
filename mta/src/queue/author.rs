//! Counting what others took, by the domain of its author: what reports about us are compared with (`reports::incoming::sent`).

use std::{collections::BTreeMap, net::IpAddr};

use waypost_mail::Domain;
use waypost_message::HeaderBlock;
use waypost_storage::Outcome;

use super::{Shared, outcome::Settlement};
use crate::{authenticity::dmarc, reports::incoming::sent::Transaction};

/// Most octets of a message that its author is looked for in.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Octets that are copied at once.
const PIECE_BYTES: usize = 4096;

/// The header block of a message that is being sent, as far as it was kept.
#[derive(Debug, Default)]
pub(super) struct HeaderStart {
    octets: Vec<u8>,
    is_complete: bool,
}

impl HeaderStart {
    /// Takes the octets of the message as they are sent; of the body no more than a piece.
    pub(super) fn feed(&mut self, octets: &[u8]) {
        octets.chunks(PIECE_BYTES).for_each(|piece| self.take(piece));
    }

    fn take(&mut self, octets: &[u8]) {
        if self.is_complete || self.octets.len() >= HEADER_BYTES_MAX {
            return;
        }
        // a line end may be cut in two
        let before = self.octets.len().saturating_sub(3);
        let room = HEADER_BYTES_MAX - self.octets.len();
        self.octets.extend_from_slice(&octets[..room.min(octets.len())]);
        let end = self.octets[before..].windows(4).position(|found| found == b"\r\n\r\n");
        if let Some(end) = end {
            self.octets.truncate(before + end + 4);
            self.is_complete = true;
        }
    }

    /// The domain of the first author; `None` where there is none that can be read.
    fn author(self) -> Option<Domain> {
        dmarc::authors(&HeaderBlock::new(self.octets)).into_iter().next().flatten()
    }
}

impl Shared {
    /// Counts the recipients that a server took a message of ours for.
    pub(super) fn count_sent(
        &self,
        settlement: &Settlement<'_>,
        header: HeaderStart,
        source: Option<IpAddr>,
    ) {
        let (mut recipients, mut by) = (BTreeMap::<String, u64>::new(), None);
        for outcome in &settlement.outcomes {
            let Outcome::Delivered { peer, .. } = &outcome.outcome else { continue };
            if let Some(queued) = settlement.entry.recipients.get(outcome.recipient) {
                *recipients.entry(queued.recipient.address.domain.to_string()).or_default() += 1;
                by = Some(peer.as_str());
            }
        }
        let Some(peer) = by else { return };
        let Some(from) = header.author() else { return };
        if self.is_ours(&from) {
            self.context.sent.count(&Transaction { from: &from, peer, source }, &recipients, self.now());
        }
    }

    /// Whether a domain is one of ours, or lies below one.
    fn is_ours(&self, domain: &Domain) -> bool {
        let live = self.context.live();
        let names = domain.as_str().match_indices('.').map(|(dot, _)| &domain.as_str()[dot + 1..]);
        let mut names = names.filter_map(|name| Domain::new(name).ok());
        live.directory.is_local(domain) || names.any(|name| live.directory.is_local(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_author_is_found_however_the_message_is_cut() {
        for (message, expected) in [
            ("Subject: x\r\nFrom: A <a@News.A.test>\r\n\r\nFrom: b@b.test\r\n", Some("news.a.test")),
            ("From: a@a.test, b@b.test\r\n\r\n", Some("a.test")),
            ("From: a@a.test\r\n", Some("a.test")),
            ("Subject: x\r\n\r\nFrom: b@b.test\r\n", None),
            ("From: nobody\r\n\r\n", None),
            ("", None),
        ] {
            for piece in [1, 3, 4096] {
                let mut start = HeaderStart::default();
                message.as_bytes().chunks(piece).for_each(|octets| start.feed(octets));
                assert_eq!(
                    start.author().map(|domain| domain.to_string()).as_deref(),
                    expected,
                    "{message:?}"
                );
            }
        }
        let mut start = HeaderStart::default();
        (0..100).for_each(|_| start.feed(&[b'x'; 4096]));
        assert_eq!(start.octets.len(), HEADER_BYTES_MAX);
    }
}
