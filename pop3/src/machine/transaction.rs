//! The TRANSACTION state (RFC 1939 section 5), and the UPDATE state that QUIT leads to (section 6).

use waypost_net::Step;

use super::{Announced, OUTPUT_BYTES_MAX, Opened, Question, Session, State, Tls, WRONG_STATE};
use crate::{
    listing::Listing,
    wire::{Command, Encode, Refusal, spoken},
};

/// Which listing.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Scan,
    UniqueId,
}

impl Session {
    pub(super) fn transaction(
        &mut self,
        mut listing: Listing,
        command: Command<'_>,
    ) -> Option<Step<Question>> {
        let refused = match command {
            Command::List(None) => return self.begin_listing(listing, List::Scan),
            Command::Uidl(None) => return self.begin_listing(listing, List::UniqueId),
            Command::Retr(number) => return self.retrieve(listing, number, None),
            Command::Top(number, lines) => return self.retrieve(listing, number, Some(lines)),
            Command::Quit => {
                let deleted = listing.deleted();
                self.state = State::Updating(listing.drop_listing().0 + deleted.len());
                return Some(Step::Ask(Question::Update { deleted }));
            }
            Command::List(Some(number)) => self.list_one(&listing, number, List::Scan).err(),
            Command::Uidl(Some(number)) => self.list_one(&listing, number, List::UniqueId).err(),
            Command::Dele(number) => listing.delete(number).map(|()| self.ok("marked as deleted")).err(),
            Command::Rset => {
                listing.reset();
                self.drop_listing(&listing);
                None
            }
            Command::Stat => {
                self.drop_listing(&listing);
                None
            }
            Command::Noop => {
                self.ok("nothing done");
                None
            }
            Command::Capa => {
                // STLS is permitted in the other state only (RFC 2595 section 4).
                self.capabilities(Tls::None);
                None
            }
            Command::Lang(range) => {
                self.state = State::Transaction(listing);
                self.speak(range);
                return None;
            }
            _ => {
                self.state = State::Transaction(listing);
                self.fault(WRONG_STATE);
                return None;
            }
        };
        self.state = State::Transaction(listing);
        if let Some(refusal) = refused {
            self.refuse(refusal);
        }
        None
    }

    fn drop_listing(&mut self, listing: &Listing) {
        let (count, octets) = listing.drop_listing();
        self.output.line(format_args!("+OK {count} {octets}"));
    }

    fn list_one(&mut self, listing: &Listing, number: u32, list: List) -> Result<(), Refusal> {
        let message = listing.find(number)?;
        match list {
            List::Scan => self.output.line(format_args!("+OK {number} {}", message.size)),
            List::UniqueId => self.output.line(format_args!("+OK {number} {}", message.unique)),
        }
        Ok(())
    }

    fn begin_listing(&mut self, listing: Listing, list: List) -> Option<Step<Question>> {
        self.ok("listing follows");
        self.state = State::Listing { listing, list, next: 0 };
        None
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
            match list {
                List::Scan => self.output.line(format_args!("{} {}", index + 1, message.size)),
                List::UniqueId => self.output.line(format_args!("{} {}", index + 1, message.unique)),
            }
        }
        let next = kept.next().map_or(usize::MAX, |(index, _)| index);
        drop(kept);
        self.state = State::Listing { listing, list, next };
    }

    fn retrieve(&mut self, listing: Listing, number: u32, lines: Option<u32>) -> Option<Step<Question>> {
        match listing.find(number) {
            Ok(message) => {
                self.state = State::Retrieving(listing);
                Some(Step::Ask(Question::Retrieve { message, lines, language: self.language }))
            }
            Err(refusal) => {
                self.state = State::Transaction(listing);
                self.refuse(refusal);
                None
            }
        }
    }

    pub(super) fn opened(&mut self, Opened { listing, policy }: Opened) {
        self.announced = Announced::of_account(policy);
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
