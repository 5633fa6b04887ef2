//! The TRANSACTION state (RFC 1939 section 5), and the UPDATE state that QUIT leads to (section 6).

use waypost_net::Step;

use super::{Announced, OUTPUT_BYTES_MAX, Obeyed, Opened, Question, Retrieval, Session, State, WRONG_STATE};
use crate::{
    listing::{Listing, Message},
    wire::{Command, Encode, List, Refusal, spoken},
};

impl Session {
    pub(super) fn transaction(&mut self, mut listing: Listing, command: Command<'_>) -> Obeyed {
        let mut retrieved = None;
        let done = match command {
            Command::List(list, None) => {
                self.ok("listing follows");
                self.state = State::Listing { listing, list, next: 0 };
                return Ok(None);
            }
            Command::List(list, Some(number)) => {
                listing.find(number).map(|message| self.list("+OK ", number, &message, list))
            }
            Command::Retr(number, lines) => {
                listing.find(number).map(|message| retrieved = Some((message, lines)))
            }
            Command::Dele(number) => listing.delete(number).map(|()| self.ok("marked as deleted")),
            Command::Rset => {
                listing.reset();
                self.drop_listing(&listing)
            }
            Command::Stat => self.drop_listing(&listing),
            Command::Noop => {
                self.ok("nothing done");
                Ok(())
            }
            Command::Quit => {
                let deleted = listing.deleted();
                self.state = State::Updating(listing.drop_listing().0 + deleted.len());
                return Ok(Some(Step::Ask(Question::Update { deleted })));
            }
            _ => {
                self.state = State::Transaction(listing);
                return Err(WRONG_STATE);
            }
        };
        if let Some((message, lines)) = retrieved {
            self.state = State::Retrieving(listing);
            let Self { language, mode, .. } = *self;
            return Ok(Some(Step::Ask(Question::Retrieve(Retrieval { message, lines, language, mode }))));
        }
        self.state = State::Transaction(listing);
        done.unwrap_or_else(|refusal| self.refuse(refusal));
        Ok(None)
    }

    fn drop_listing(&mut self, listing: &Listing) -> Result<(), Refusal> {
        let (count, octets) = listing.drop_listing();
        self.output.line(format_args!("+OK {count} {octets}"));
        Ok(())
    }

    /// `scan-listing`, or `unique-id-listing` (RFC 1939 sections 5 and 7).
    fn list(&mut self, begin: &str, number: u32, message: &Message, list: List) {
        match list {
            List::Scan => self.output.line(format_args!("{begin}{number} {}", message.size)),
            List::UniqueId => self.output.line(format_args!("{begin}{number} {}", message.unique)),
        }
    }

    /// Lists on, until it is done or enough is said.
    pub(super) fn list_more(&mut self, listing: Listing, list: List, next: usize) {
        let mut kept = listing.kept_from(next);
        while self.output.len() < OUTPUT_BYTES_MAX {
            let Some((index, message)) = kept.next() else {
                drop(kept);
                self.output.line(format_args!("."));
                self.state = State::Transaction(listing);
                return;
            };
            self.list("", index as u32 + 1, &message, list);
        }
        let next = kept.next().map_or(usize::MAX, |(index, _)| index);
        drop(kept);
        self.state = State::Listing { listing, list, next };
    }

    pub(super) fn opened(&mut self, Opened { listing, policy }: Opened) {
        self.terms.announced = Announced::of_account(policy);
        let (count, octets) = listing.drop_listing();
        let (messages, unit) = (spoken(self.language, "messages"), spoken(self.language, "octets"));
        self.output.line(format_args!("+OK {count} {messages} ({octets} {unit})"));
        self.state = State::Transaction(listing);
    }

    pub(super) fn updated(&mut self, count: usize, result: Result<usize, Refusal>) {
        match result {
            Ok(gone) => {
                let (bye, messages) = (spoken(self.language, "bye"), spoken(self.language, "messages left"));
                self.output.line(format_args!("+OK {bye} ({} {messages})", count.saturating_sub(gone)));
            }
            Err(refusal) => self.refuse(refusal),
        }
        self.state = State::Closing;
    }
}
