//! STORE (RFC 3501 section 6.4.6), conditional with UNCHANGEDSINCE (RFC 7162 section 3.1.3).
//!
//! Messages that another session has removed are passed over; the command by sequence number says so with
//! `NO [EXPUNGEISSUED]` (RFC 2180 section 4.2.1, RFC 5530), after the others were changed.

use std::collections::{BTreeMap, BTreeSet};

use waypost_mail::{Flags, SystemFlags, Uid};
use waypost_storage::{FlagChange, FlagMode, FlagRights, Rights};

use super::{Failure, NO_RIGHT, Operation, SOME_GONE, limit::newest, names_what_it_sees};
use crate::{
    machine::Ran,
    session::Selected,
    wire::{Numbers, SequenceSet, Store, StoreMode, encode},
};

impl Operation<'_, '_> {
    pub(super) async fn store(
        &mut self,
        numbers: Numbers,
        set: &SequenceSet,
        store: Store,
    ) -> Result<Ran, Failure> {
        let limit = self.user.message_limit;
        let selected = self.selected_for_writing(None)?;
        let may = selected.may();
        if !may_change(may, &store) {
            return Err(Failure::no("NOPERM", NO_RIGHT));
        }
        let store = Store { flags: within(store.flags, may), ..store };
        let (ranges, left) = newest(&selected.view, selected.numbers(numbers, set)?, limit);
        let known = ranges.into_iter().flatten().filter_map(|number| selected.view.by_number(number));
        let uids: Vec<Uid> = known.map(|known| known.row.uid).collect();
        let expected = if store.silent { expected(selected, &uids, &store) } else { BTreeMap::new() };
        let mailbox = selected.view.state().id;
        let mut modified = Vec::new();
        if !uids.is_empty() {
            let mode = match store.mode {
                StoreMode::Replace => FlagMode::Replace,
                StoreMode::Add => FlagMode::Add,
                StoreMode::Remove => FlagMode::Remove,
            };
            let change = FlagChange { mode, flags: store.flags, unchanged_since: store.unchanged_since };
            let account = selected.space.account.clone();
            let change = account.change_flags_within(mailbox, uids.clone(), change, may);
            modified = self.patiently(change).await??.modified;
        }
        let gone = self.tell(numbers, &uids, store.silent.then_some(expected), &modified).await?;
        let complain = gone > 0 && names_what_it_sees(numbers, set);
        let ran = if complain { Ran::no(SOME_GONE) } else { Ran::ok("stored") };
        let ran = match self.modified(numbers, &modified) {
            Some(code) => ran.with_code(code),
            None if complain => ran.with_code("EXPUNGEISSUED"),
            None => ran,
        };
        self.limited(ran, left).await
    }

    /// `"MODIFIED" SP sequence-set`: the messages that were left alone (RFC 7162 section 3.1.3).
    fn modified(&self, numbers: Numbers, modified: &[Uid]) -> Option<String> {
        let view = &self.user.selected.as_ref()?.view;
        let shown = |uid: &Uid| match numbers {
            Numbers::Uid => Some(uid.value()),
            Numbers::Sequence => view.by_uid(*uid).map(|known| known.number),
        };
        let set = encode::sequence_set(modified.iter().filter_map(shown));
        (!set.is_empty()).then(|| format!("MODIFIED {set}"))
    }

    /// Says the flags of all messages of the command; with `expected` only of those that are not as the client expects, and of
    /// those that were left alone. With CONDSTORE all are named, with their modification sequences. How many of the messages
    /// are gone.
    async fn tell(
        &mut self,
        numbers: Numbers,
        uids: &[Uid],
        expected: Option<BTreeMap<Uid, Flags>>,
        modified: &[Uid],
    ) -> Result<usize, Failure> {
        let enabled = self.user.enabled;
        self.refresh()?;
        let Some(selected) = &mut self.user.selected else { return Ok(0) };
        let (may, view) = (selected.may(), &mut selected.view);
        let (mut out, mut gone) = (Vec::new(), 0);
        if view.take_new_keywords() {
            super::select::new_keywords(&mut out, view.state(), may, enabled);
        }
        for uid in uids {
            let Some(known) = view.by_uid(*uid).filter(|known| !known.gone) else {
                gone += 1;
                continue;
            };
            let flags = view.state().flags(known.row);
            let silent = match &expected {
                Some(expected) => expected.get(uid) == Some(&flags) && modified.binary_search(uid).is_err(),
                None => false,
            };
            if !silent {
                super::flags_response(&mut out, view, known, numbers, enabled);
            } else if enabled.condstore {
                let items = enabled.beside_flags(numbers, known.row);
                enabled.fetch_head(&mut out, known.number, known.row);
                out.extend_from_slice(items.trim_end().as_bytes());
                out.extend_from_slice(b")\r\n");
            }
            view.flags_told(*uid);
        }
        self.output.write(&out).await?;
        Ok(gone)
    }
}

/// The flags that a client which hears nothing believes the messages to have; not of those that others have changed since it was
/// told, of which it is told the flags (RFC 9051 section 6.4.6).
fn expected(selected: &Selected, uids: &[Uid], store: &Store) -> BTreeMap<Uid, Flags> {
    let view = &selected.view;
    let before = |uid: &Uid| view.by_uid(*uid).map(|known| (*uid, view.state().flags(known.row)));
    let after = |(uid, flags)| (uid, changed(flags, store, selected.may()));
    uids.iter().filter(|uid| !view.is_changed(**uid)).filter_map(before).map(after).collect()
}

/// Whether something may be changed of what is asked (RFC 4314 section 4): a STORE fails only where nothing may.
fn may_change(may: FlagRights, store: &Store) -> bool {
    let named = &store.flags;
    match store.mode {
        StoreMode::Replace => may != FlagRights::from(Rights::NONE),
        StoreMode::Add | StoreMode::Remove => {
            named.is_empty()
                || may.keywords() && !named.keywords.is_empty()
                || may.system().common(named.system) != SystemFlags::EMPTY
        }
    }
}

/// The flags that may be changed.
pub(super) fn within(flags: Flags, may: FlagRights) -> Flags {
    let keywords = if may.keywords() { flags.keywords } else { BTreeSet::new() };
    Flags { system: flags.system.common(may.system()), keywords }
}

fn changed(flags: Flags, store: &Store, may: FlagRights) -> Flags {
    let Flags { system, mut keywords } = flags;
    match store.mode {
        StoreMode::Replace => {
            let keywords = if may.keywords() { store.flags.keywords.clone() } else { keywords };
            Flags { system: system.without(may.system()).with(store.flags.system), keywords }
        }
        StoreMode::Add => {
            keywords.extend(store.flags.keywords.iter().cloned());
            Flags { system: system.with(store.flags.system), keywords }
        }
        StoreMode::Remove => {
            keywords.retain(|keyword| !store.flags.keywords.contains(keyword));
            Flags { system: system.without(store.flags.system), keywords }
        }
    }
}

#[cfg(test)]
mod tests {
    use waypost_mail::Flag;

    use super::*;

    fn flags(names: &str) -> Flags {
        names.split_whitespace().filter_map(Flag::parse).collect()
    }

    #[test]
    fn a_silent_client_expects_what_it_asked_for() {
        for (mode, asked, expected) in [
            (StoreMode::Replace, "\\Draft", "\\Draft"),
            (StoreMode::Add, "\\Draft work", "\\Seen \\Draft home work"),
            (StoreMode::Remove, "\\Seen HOME", ""),
        ] {
            let store = Store { mode, silent: true, flags: flags(asked), unchanged_since: None };
            assert_eq!(changed(flags("\\Seen home"), &store, FlagRights::ALL), flags(expected));
        }
    }
}
