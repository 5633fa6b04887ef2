//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9), with selection and return options (RFC 5258), special uses (RFC 6154),
//! and STATUS (RFC 5819).
//!
//! Special uses and `\HasChildren` are always shown. A level that exists only because a mailbox below it does is listed with
//! `\NonExistent`, and with `\Noselect` for clients that do not know that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use waypost_storage::{AccountState, MailboxState, SpecialUse};

use super::{Failure, Operation, pattern::Pattern};
use crate::{
    machine::Ran,
    wire::{List, ListReturn, ListSelection, encode},
};

/// What separates the levels of hierarchy.
pub(super) const DELIMITER: char = '/';

/// A name in an answer.
#[derive(Clone, Debug, Default)]
struct Listed {
    name: String,
    mailbox: Option<Arc<MailboxState>>,
    children: bool,
    subscribed: bool,
    /// A name below it is subscribed and is not listed itself: `CHILDINFO`.
    subscribed_below: bool,
}

impl Operation<'_, '_> {
    pub(super) async fn list(&mut self, list: &List) -> Result<Ran, Failure> {
        if list.patterns.iter().all(String::is_empty) {
            // RFC 3501 section 6.3.8: an empty name asks for the delimiter and the root of the reference.
            self.output.write(b"* LIST (\\Noselect) \"/\" \"\"\r\n").await?;
            return Ok(Ran::ok("listed"));
        }
        let state = self.user.account.state();
        let mut out = Vec::new();
        for listed in listed(&state, list) {
            line(&mut out, "LIST", &attributes(&listed, list), &listed);
            for returned in &list.returned {
                if let (ListReturn::Status(items), Some(mailbox)) = (returned, &listed.mailbox) {
                    self.status_line(&mut out, mailbox, items);
                }
            }
        }
        self.output.write(&out).await?;
        Ok(Ran::ok("listed"))
    }

    pub(super) async fn lsub(&mut self, reference: &str, pattern: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mut out = Vec::new();
        for (name, attributes) in subscribed(&state.subscriptions, &Pattern::new(reference, pattern)) {
            line(&mut out, "LSUB", attributes, &Listed { name, ..Listed::default() });
        }
        self.output.write(&out).await?;
        Ok(Ran::ok("listed"))
    }
}

/// `* LIST (attributes) "/" name`, with CHILDINFO (RFC 5258 section 4) where it says something.
fn line(out: &mut Vec<u8>, response: &str, attributes: &str, listed: &Listed) {
    out.extend(format!("* {response} ({attributes}) \"{DELIMITER}\" ").as_bytes());
    encode::mailbox(out, &listed.name);
    if listed.subscribed_below {
        out.extend(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    out.extend(b"\r\n");
}

/// The names that LIST answers with, in order.
fn listed(state: &AccountState, list: &List) -> Vec<Listed> {
    let patterns: Vec<Pattern> =
        list.patterns.iter().map(|pattern| Pattern::new(&list.reference, pattern)).collect();
    let selects = |selection| list.selection.contains(&selection);
    let only_subscribed = selects(ListSelection::Subscribed);
    let mut names = all(state);
    if only_subscribed {
        for name in state.subscriptions.iter() {
            names.entry(name.clone()).or_default().subscribed = true;
        }
    }
    let matches = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    let special =
        |listed: &Listed| listed.mailbox.as_ref().is_some_and(|mailbox| mailbox.special_use.is_some());
    let selected = |listed: &Listed| {
        (!only_subscribed || listed.subscribed) && (!selects(ListSelection::SpecialUse) || special(listed))
    };
    let mut below: BTreeSet<String> = BTreeSet::new();
    if selects(ListSelection::RecursiveMatch) {
        let unlisted = names.iter().filter(|(name, listed)| selected(listed) && !matches(name));
        below.extend(unlisted.flat_map(|(name, _)| parents(name).map(str::to_owned)));
        for name in &below {
            names.entry(name.clone()).or_default();
        }
    }
    let chosen = names.into_iter().filter_map(|(name, mut listed)| {
        listed.subscribed_below = only_subscribed && below.contains(&name);
        (matches(&name) && (selected(&listed) || below.contains(&name))).then_some(Listed { name, ..listed })
    });
    chosen.collect()
}

/// All mailboxes, and the levels above them.
fn all(state: &AccountState) -> BTreeMap<String, Listed> {
    let mut names: BTreeMap<String, Listed> = BTreeMap::new();
    for mailbox in state.mailboxes.values() {
        names.entry(mailbox.name.clone()).or_default().mailbox = Some(mailbox.clone());
        for parent in parents(&mailbox.name) {
            names.entry(parent.to_owned()).or_default().children = true;
        }
    }
    for (name, listed) in &mut names {
        listed.subscribed = state.subscriptions.contains(name);
    }
    names
}

/// The levels above a name.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(DELIMITER).map(|(at, _)| &name[..at]).filter(|parent| !parent.is_empty())
}

fn attributes(listed: &Listed, list: &List) -> String {
    let mut attributes = Vec::new();
    if listed.mailbox.is_none() {
        attributes.extend(["\\NonExistent", "\\Noselect"]);
    }
    let subscriptions = list.selection.contains(&ListSelection::Subscribed)
        || list.returned.contains(&ListReturn::Subscribed);
    if listed.subscribed && subscriptions {
        attributes.push("\\Subscribed");
    }
    attributes.push(if listed.children { "\\HasChildren" } else { "\\HasNoChildren" });
    let special_use = listed.mailbox.as_ref().and_then(|mailbox| mailbox.special_use);
    let named = SpecialUse::NAMES.iter().find(|(named, _)| Some(*named) == special_use);
    attributes.extend(named.map(|(_, name)| *name));
    attributes.join(" ")
}

/// What LSUB answers with: subscribed names that match, and levels above others that match, which are not subscribed
/// themselves, with `\Noselect` (RFC 3501 section 6.3.9).
fn subscribed(subscriptions: &BTreeSet<String>, pattern: &Pattern) -> BTreeMap<String, &'static str> {
    let mut names = BTreeMap::new();
    for name in subscriptions {
        if pattern.matches(name) {
            names.insert(name.clone(), "");
            continue;
        }
        for parent in
            parents(name).filter(|parent| pattern.matches(parent) && !subscriptions.contains(*parent))
        {
            names.insert(parent.to_owned(), "\\Noselect");
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use waypost_mail::{AccountId, MailboxId, ModSeq, Uid, UidValidity};

    use super::*;

    fn account(mailboxes: &[(&str, Option<SpecialUse>)], subscriptions: &[&str]) -> AccountState {
        let mailbox = |(index, (name, special_use)): (usize, &(&str, Option<SpecialUse>))| {
            let id = MailboxId(index as u64 + 1);
            let state = MailboxState {
                id,
                name: (*name).to_owned(),
                uid_validity: UidValidity::FIRST,
                uid_next: Uid::FIRST,
                highest_modseq: ModSeq::FIRST,
                special_use: *special_use,
                keywords: Vec::new(),
                count: 0,
                unseen: 0,
                deleted: 0,
                bytes: 0,
                partial: false,
                chunks: Vec::new(),
                digest: 0,
            };
            (id, Arc::new(state))
        };
        AccountState {
            id: AccountId(1),
            seq: 1,
            mailboxes: mailboxes.iter().enumerate().map(mailbox).collect(),
            subscriptions: Arc::new(subscriptions.iter().map(|name| (*name).to_owned()).collect()),
            next_mailbox: MailboxId(99),
            last_uid_validity: 1,
            bytes: 0,
        }
    }

    fn sample() -> AccountState {
        account(
            &[("INBOX", None), ("Sent", Some(SpecialUse::Sent)), ("a/b", None), ("a/b/c", None)],
            &["INBOX", "a/b/c", "gone/x"],
        )
    }

    fn answers(selection: &[ListSelection], pattern: &str, returned: &[ListReturn]) -> Vec<String> {
        let list = List {
            selection: selection.to_vec(),
            reference: String::new(),
            patterns: vec![pattern.to_owned()],
            returned: returned.to_vec(),
        };
        let mut out = Vec::new();
        for one in listed(&sample(), &list) {
            line(&mut out, "LIST", &attributes(&one, &list), &one);
        }
        String::from_utf8(out).unwrap().lines().map(|line| line[7..].to_owned()).collect()
    }

    #[test]
    fn list_shows_what_is_there() {
        assert_eq!(
            answers(&[], "*", &[]),
            [
                "(\\HasNoChildren) \"/\" INBOX",
                "(\\HasNoChildren \\Sent) \"/\" Sent",
                "(\\NonExistent \\Noselect \\HasChildren) \"/\" a",
                "(\\HasChildren) \"/\" a/b",
                "(\\HasNoChildren) \"/\" a/b/c",
            ]
        );
        assert_eq!(answers(&[], "%", &[]).len(), 3);
        assert_eq!(answers(&[], "x", &[]), [""; 0]);
        assert_eq!(
            answers(&[], "inbox", &[ListReturn::Subscribed]),
            ["(\\Subscribed \\HasNoChildren) \"/\" INBOX"]
        );
        assert_eq!(answers(&[ListSelection::SpecialUse], "*", &[]), ["(\\HasNoChildren \\Sent) \"/\" Sent"]);
    }

    #[test]
    fn list_selects_subscribed_names() {
        use ListSelection::{RecursiveMatch, Subscribed};
        assert_eq!(
            answers(&[Subscribed], "*", &[]),
            [
                "(\\Subscribed \\HasNoChildren) \"/\" INBOX",
                "(\\Subscribed \\HasNoChildren) \"/\" a/b/c",
                "(\\NonExistent \\Noselect \\Subscribed \\HasNoChildren) \"/\" gone/x",
            ]
        );
        assert_eq!(
            answers(&[Subscribed, RecursiveMatch], "%", &[]),
            [
                "(\\Subscribed \\HasNoChildren) \"/\" INBOX",
                "(\\NonExistent \\Noselect \\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "(\\NonExistent \\Noselect \\HasNoChildren) \"/\" gone (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            ]
        );
    }

    #[test]
    fn lsub_shows_levels_above() {
        let names = |pattern| subscribed(&sample().subscriptions, &Pattern::new("", pattern));
        let entry = |name: &str, attributes| (name.to_owned(), attributes);
        assert_eq!(
            names("%"),
            [entry("INBOX", ""), entry("a", "\\Noselect"), entry("gone", "\\Noselect")].into()
        );
        assert_eq!(names("*"), [entry("INBOX", ""), entry("a/b/c", ""), entry("gone/x", "")].into());
        assert_eq!(names("a/%"), [entry("a/b", "\\Noselect")].into());
    }
}
