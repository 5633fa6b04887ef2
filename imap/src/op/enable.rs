//! ENABLE (RFC 5161), and what commands enable by themselves (RFC 7162 section 3.1).

use waypost_mail::Uid;
use waypost_storage::Row;

use super::{Failure, Operation};
use crate::{
    machine::{IMAP4REV2, Ran},
    view::View,
    wire::{
        CommandBody, FetchItem, ListReturn, ModSeqs, Numbers, Search, SearchKey, Spelling, Status,
        StatusItem,
        encode::{self, Recent},
    },
};

/// What a client has enabled; nothing is ever disabled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Enabled {
    /// CONDSTORE: FETCH responses carry modification sequences.
    pub(crate) condstore: bool,
    /// IMAP4rev2: names in UTF-8, ESEARCH, no RECENT.
    pub(crate) rev2: bool,
}

impl Enabled {
    /// How names of mailboxes are written.
    pub(crate) fn spelling(self) -> Spelling {
        if self.rev2 { Spelling::Utf8 } else { Spelling::Utf7 }
    }

    /// `\Recent` as the encoder takes it.
    pub(super) fn recent_mark(self, view: &View, uid: Uid) -> Recent {
        if view.is_recent(uid) && !self.rev2 { Recent::Yes } else { Recent::No }
    }

    /// What stands before FLAGS in a FETCH response that nobody asked for: the UID for UID commands, with IMAP4rev2
    /// (RFC 9051 section 7.5.2) and with CONDSTORE (RFC 7162 section 3.2.4), and the modification sequence.
    pub(super) fn beside_flags(self, numbers: Numbers, row: &Row) -> String {
        let mut items = String::new();
        if numbers == Numbers::Uid || self.rev2 || self.condstore {
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
        if names.iter().any(|name| name == IMAP4REV2) {
            self.user.enabled.rev2 = true;
            out.extend(b" IMAP4rev2");
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
            let code = format!("HIGHESTMODSEQ {}", selected.view.state().highest_modseq);
            encode::untagged(
                &mut out,
                Status::Ok,
                Some(&code),
                "modification sequences are told from now on",
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
        CommandBody::Select(_, _, modseqs) => *modseqs == ModSeqs::Tell,
        CommandBody::Status(_, items) => status(items),
        CommandBody::List(list) => list
            .returned
            .iter()
            .any(|returned| matches!(returned, ListReturn::Status(items) if status(items))),
        CommandBody::Fetch(_, _, items, since) => since.is_some() || items.contains(&FetchItem::ModSeq),
        CommandBody::Search(_, search) => names_modseq(search),
        CommandBody::Store(_, _, store) => store.unchanged_since.is_some(),
        CommandBody::Enable(names) => names.iter().any(|name| name == "CONDSTORE"),
        _ => false,
    }
}

/// Whether a search has the criterion MODSEQ.
pub(super) fn names_modseq(search: &Search) -> bool {
    fn within(key: &SearchKey) -> bool {
        match key {
            SearchKey::ModSeq(_) => true,
            SearchKey::Not(key) => within(key),
            SearchKey::Or(one, other) => within(one) || within(other),
            SearchKey::And(keys) => keys.iter().any(within),
            _ => false,
        }
    }
    search.keys.iter().any(within)
}
