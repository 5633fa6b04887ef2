//! ENABLE (RFC 5161), and what commands enable by themselves (RFC 7162 section 3.1).

use waypost_mail::Uid;
use waypost_storage::Row;

use super::{Failure, Operation};
use crate::{
    machine::{IMAP4REV2, Ran, UTF8_ACCEPT},
    view::View,
    wire::{
        CommandBody, FetchItem, Language, ListReturn, ModSeqs, Numbers, Search, SearchKey, SequenceMatch,
        SequenceSet, Spelling, Status, StatusItem,
        encode::{self, Recent},
        spoken,
    },
};

const QRESYNC: &str = "QRESYNC";
const METADATA: &str = "METADATA";
const UIDONLY: &str = "UIDONLY";

/// What a client has enabled; nothing is ever disabled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Enabled {
    /// CONDSTORE: FETCH responses carry modification sequences.
    pub(crate) condstore: bool,
    /// QRESYNC, never without CONDSTORE: VANISHED instead of EXPUNGE.
    pub(crate) qresync: bool,
    /// In which language people are spoken to; not by ENABLE, but by LANGUAGE.
    pub(crate) language: Language,
    /// UIDONLY: no message sequence numbers (RFC 9586).
    pub(crate) uidonly: bool,
    /// IMAP4rev2: names in UTF-8, ESEARCH, no RECENT.
    pub(crate) rev2: bool,
    /// UTF8=ACCEPT: names in UTF-8, and messages with UTF-8 in their headers (RFC 6855).
    pub(crate) utf8: bool,
}

impl Enabled {
    /// How names of mailboxes are written.
    pub(crate) fn spelling(self) -> Spelling {
        if self.rev2 || self.utf8 { Spelling::Utf8 } else { Spelling::Utf7 }
    }

    /// How a response with items of a message begins: `* n FETCH (`, or `* uid UIDFETCH (` (RFC 9586 section 4).
    pub(crate) fn fetch_head(self, out: &mut Vec<u8>, number: u32, row: &Row) {
        let (number, name) =
            if self.uidonly { (row.uid.value(), " UIDFETCH (") } else { (number, " FETCH (") };
        out.extend_from_slice(b"* ");
        encode::number(out, number.into());
        out.extend_from_slice(name.as_bytes());
    }

    /// `\Recent` as the encoder takes it.
    pub(super) fn recent_mark(self, view: &View, uid: Uid) -> Recent {
        if view.is_recent(uid) && !self.rev2 { Recent::Yes } else { Recent::No }
    }

    /// What stands before FLAGS in a FETCH response that nobody asked for: the UID for UID commands, with IMAP4rev2
    /// (RFC 9051 section 7.5.2) and with CONDSTORE (RFC 7162 section 3.2.4), and the modification sequence.
    pub(super) fn beside_flags(self, numbers: Numbers, row: &Row) -> String {
        let mut items = String::new();
        if !self.uidonly && (numbers == Numbers::Uid || self.rev2 || self.condstore) {
            items.push_str(&format!("UID {} ", row.uid));
        }
        if self.condstore {
            items.push_str(&format!("MODSEQ ({}) ", row.modseq));
        }
        items
    }
}

impl Operation<'_, '_> {
    /// ENABLE: what is not known is passed over.
    pub(super) async fn enable(&mut self, names: &[String]) -> Result<Ran, Failure> {
        let mut out = b"* ENABLED".to_vec();
        if names.iter().any(|name| name == "CONDSTORE") {
            out.extend(b" CONDSTORE");
        }
        if names.iter().any(|name| name == QRESYNC) {
            self.user.enabled.qresync = true;
            out.extend(b" QRESYNC");
        }
        if names.iter().any(|name| name == METADATA) {
            self.enable_metadata().await?;
            out.extend(b" METADATA");
        }
        if names.iter().any(|name| name == UIDONLY) {
            self.user.enabled.uidonly = true;
            out.extend(b" UIDONLY");
        }
        if names.iter().any(|name| name == IMAP4REV2) {
            self.user.enabled.rev2 = true;
            out.extend(b" IMAP4rev2");
        }
        if names.iter().any(|name| name == UTF8_ACCEPT) {
            self.user.enabled.utf8 = true;
            out.extend(b" UTF8=ACCEPT");
        }
        out.extend(b"\r\n");
        self.output.write(&out).await?;
        Ok(Ran::ok("done"))
    }

    /// A command that shows a client to know CONDSTORE enables it; the first one tells what the selected mailbox has.
    pub(super) async fn enable_condstore(&mut self, command: &CommandBody) -> Result<(), Failure> {
        if self.user.enabled.condstore || !enables_condstore(command) {
            return Ok(());
        }
        self.user.enabled.condstore = true;
        let selecting = matches!(command, CommandBody::Select(..));
        if let Some(selected) = self.user.selected.as_ref().filter(|_| !selecting) {
            let mut out = Vec::new();
            let code = selected.view.highest_modseq_code();
            encode::untagged(
                &mut out,
                Status::Ok,
                Some(&code),
                &spoken(self.user.enabled.language, "modification sequences are told from now on"),
            );
            self.output.write(&out).await?;
        }
        Ok(())
    }
}

/// The "CONDSTORE enabling commands" (RFC 7162 section 3.1).
fn enables_condstore(command: &CommandBody) -> bool {
    let status = |items: &[StatusItem]| items.contains(&StatusItem::HighestModSeq);
    match command {
        CommandBody::Select(_, _, parameters) => parameters.modseqs == ModSeqs::Tell,
        CommandBody::Status(_, items) => status(items),
        CommandBody::List(list) => list
            .returned
            .iter()
            .any(|returned| matches!(returned, ListReturn::Status(items) if status(items))),
        CommandBody::Fetch(_, _, items, modifiers) => {
            modifiers.changed_since.is_some() || items.contains(&FetchItem::ModSeq)
        }
        CommandBody::Search(_, search) => names_modseq(search),
        CommandBody::Store(_, _, store) => store.unchanged_since.is_some(),
        CommandBody::Enable(names) => names.iter().any(|name| name == "CONDSTORE" || name == QRESYNC),
        _ => false,
    }
}

/// What only a client that has enabled QRESYNC may say (RFC 7162 section 3.2.3).
pub(super) fn needs_qresync(command: &CommandBody) -> bool {
    match command {
        CommandBody::Select(_, _, parameters) => parameters.resync.is_some(),
        CommandBody::Fetch(_, _, _, modifiers) => modifiers.changed_since.is_some_and(|since| since.vanished),
        _ => false,
    }
}

/// What a client that has enabled UIDONLY may not say: it names message sequence numbers (RFC 9586 sections 3.2, 3.5 and 3.7).
pub(super) fn names_numbers(command: &CommandBody) -> bool {
    match command {
        CommandBody::Search(Numbers::Uid, search) => {
            names(&search.keys, |key| matches!(key, SearchKey::Sequence(_)))
        }
        CommandBody::Search(numbers, _)
        | CommandBody::Fetch(numbers, ..)
        | CommandBody::Store(numbers, ..)
        | CommandBody::Copy(numbers, ..)
        | CommandBody::Move(numbers, ..) => *numbers == Numbers::Sequence,
        CommandBody::Select(_, _, parameters) => {
            parameters.resync.as_ref().is_some_and(|resync| resync.matched != SequenceMatch::default())
        }
        _ => false,
    }
}

/// What a client that has enabled UTF8=ACCEPT may not say any more (RFC 6855 section 3).
pub(super) fn names_charset(command: &CommandBody) -> bool {
    matches!(command, CommandBody::Search(_, search) if search.charset.is_some())
}

/// Whether a search has the criterion MODSEQ.
pub(super) fn names_modseq(search: &Search) -> bool {
    names(&search.keys, |key| matches!(key, SearchKey::ModSeq(_)))
}

/// Whether a search has message sequence numbers among its criteria.
pub(super) fn names_sequence(search: &Search) -> bool {
    names(&search.keys, |key| matches!(key, SearchKey::Sequence(SequenceSet::Ranges(_))))
}

fn names(keys: &[SearchKey], is_named: fn(&SearchKey) -> bool) -> bool {
    keys.iter().any(|key| match key {
        SearchKey::Not(key) => names(std::slice::from_ref(key), is_named),
        SearchKey::Or(one, other) => {
            [one, other].iter().any(|key| names(std::slice::from_ref(key), is_named))
        }
        SearchKey::And(keys) => names(keys, is_named),
        key => is_named(key),
    })
}
