//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9), with selection and return options (RFC 5258), special uses (RFC 6154),
//! and STATUS (RFC 5819).
//!
//! Special uses and `\HasChildren` are always shown. A level that exists only because a mailbox below it does is listed for
//! patterns that end in `%` (RFC 9051 section 6.3.9): with `\NonExistent`, to clients that may not know that with `\Noselect`; the
//! grammar allows one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use waypost_storage::{MailboxState, Rights, SpecialUse};

use super::{Enabled, Failure, Operation, pattern::Patterns, place::Space};
use crate::{
    machine::Ran,
    wire::{List, ListReturn, ListSelection, ListSyntax, acl::rights_data, encode},
};

/// What separates the levels of hierarchy.
pub(super) const DELIMITER: char = '/';

/// Text that is gathered before it is sent.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A mailbox that may be seen.
#[derive(Clone, Debug)]
struct Shown {
    name: String,
    /// Among whose it is: the place in the list of those.
    space: usize,
    mailbox: Arc<MailboxState>,
    /// What it is for, to its owner.
    special_use: Option<SpecialUse>,
}

/// A name in an answer.
#[derive(Clone, Debug, Default)]
struct Listed {
    name: String,
    mailbox: Option<Shown>,
    children: bool,
    subscribed: bool,
    /// It meets the selection options itself; else it is listed for what is below.
    selected: bool,
    /// A name below it meets the selection options: CHILDINFO (RFC 5258 section 4).
    selected_below: bool,
}

impl Operation<'_, '_> {
    pub(super) async fn list(&mut self, list: &List) -> Result<Ran, Failure> {
        if list.syntax == ListSyntax::Basic && list.patterns.iter().all(String::is_empty) {
            // RFC 3501 section 6.3.8: an empty name asks for the delimiter and the root of the reference.
            self.output.write(b"* LIST (\\Noselect) \"/\" \"\"\r\n").await?;
            return Ok(Ran::ok("listed"));
        }
        let spaces = self.spaces().await?;
        let mut out = Vec::new();
        for listed in listed(&self.user.account.state().subscriptions, &shown(&spaces), list).await? {
            let info = if listed.selected_below { child_info(list) } else { String::new() };
            self.line(&mut out, "LIST", &attributes(&listed, list, self.user.enabled), &listed.name, &info);
            // RFC 5819 section 2: not for names that are listed only for what is below them.
            let asked = list.returned.iter().find_map(|returned| match returned {
                ListReturn::Status(items) => Some(items),
                _ => None,
            });
            if let (Some(Shown { space, mailbox, .. }), true) = (&listed.mailbox, listed.selected) {
                let space = &spaces[*space];
                let rights = space.account.rights(mailbox);
                // RFC 8440 section 3
                if list.returned.contains(&ListReturn::MyRights) {
                    let spelling = self.user.enabled.spelling();
                    rights_data(&mut out, "MYRIGHTS", &listed.name, spelling, &[rights.to_string()]);
                }
                let entries = list.returned.iter().find_map(|returned| match returned {
                    ListReturn::Metadata(entries) => Some(entries),
                    _ => None,
                });
                if let Some(entries) = entries {
                    self.list_metadata(&mut out, space, mailbox, entries);
                }
                if let Some(items) = asked.filter(|_| rights.contains(Rights::READ)) {
                    self.status_line(&mut out, space, mailbox, items).await?;
                }
            }
            self.send_beyond_bound(&mut out).await?;
        }
        self.output.write(&out).await?;
        Ok(Ran::ok("listed"))
    }

    pub(super) async fn lsub(&mut self, reference: &str, pattern: &str) -> Result<Ran, Failure> {
        let state = self.user.account.state();
        let mut out = Vec::new();
        for (name, attributes) in subscribed(&state.subscriptions, reference, pattern).await? {
            self.line(&mut out, "LSUB", attributes, &name, "");
            self.send_beyond_bound(&mut out).await?;
        }
        self.output.write(&out).await?;
        Ok(Ran::ok("listed"))
    }

    async fn send_beyond_bound(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if out.len() >= TEXT_BYTES_MAX {
            self.output.write(out).await?;
            out.clear();
        }
        Ok(())
    }

    /// The LIST response of SELECT (RFC 9051 section 6.3.2).
    pub(super) fn list_selected(&self, out: &mut Vec<u8>, space: &Space, mailbox: &MailboxState) {
        self.list_one(out, space, mailbox, "");
    }

    /// A mailbox with the name that it had before (RFC 9051 section 6.3.9.7).
    pub(super) fn list_renamed(&self, out: &mut Vec<u8>, space: &Space, mailbox: &MailboxState, from: &str) {
        let mut info = b" (\"OLDNAME\" (".to_vec();
        encode::mailbox(&mut info, from, self.user.enabled.spelling());
        info.extend(b"))");
        self.list_one(out, space, mailbox, &String::from_utf8_lossy(&info));
    }

    fn list_one(&self, out: &mut Vec<u8>, space: &Space, mailbox: &MailboxState, info: &str) {
        let list = List { returned: vec![ListReturn::Subscribed], ..List::default() };
        let name = space.name(mailbox);
        let subscriptions = &self.user.account.state().subscriptions;
        let mut shown = shown(std::slice::from_ref(space));
        // It may be open without being seen in lists.
        if !shown.iter().any(|shown| shown.name == name) {
            let (name, mailbox) = (name.clone(), Arc::new(mailbox.clone()));
            shown.push(Shown { name, space: 0, mailbox, special_use: None });
        }
        if let Some(listed) = all(subscriptions, &shown).get(&name) {
            self.line(out, "LIST", &attributes(listed, &list, self.user.enabled), &name, info);
        }
    }

    /// `* LIST (attributes) "/" name`, and an extended item.
    fn line(&self, out: &mut Vec<u8>, response: &str, attributes: &str, name: &str, info: &str) {
        out.extend(format!("* {response} ({attributes}) \"{DELIMITER}\" ").as_bytes());
        encode::mailbox(out, name, self.user.enabled.spelling());
        out.extend(info.as_bytes());
        out.extend(b"\r\n");
    }
}

/// `childinfo-extended-item` (RFC 5258 section 6): the selection options that something below meets.
fn child_info(list: &List) -> String {
    let named =
        [(ListSelection::Subscribed, "\"SUBSCRIBED\""), (ListSelection::SpecialUse, "\"SPECIAL-USE\"")];
    let met: Vec<&str> =
        named.iter().filter(|(option, _)| list.selection.contains(option)).map(|(_, name)| *name).collect();
    format!(" (\"CHILDINFO\" ({}))", met.join(" "))
}

/// The names that LIST answers with, in order.
async fn listed(
    subscriptions: &BTreeSet<String>,
    shown: &[Shown],
    list: &List,
) -> Result<Vec<Listed>, Failure> {
    let named = list.patterns.iter().filter(|pattern| !pattern.is_empty());
    let mut patterns = Patterns::new(&list.reference, named)?;
    let selects = |selection| list.selection.contains(&selection);
    let only_subscribed = selects(ListSelection::Subscribed);
    let mut names = all(subscriptions, shown);
    if only_subscribed {
        for name in subscriptions {
            names.entry(name.clone()).or_default().subscribed = true;
        }
    }
    let special = |listed: &Listed| special_use(listed).is_some();
    let special_only = selects(ListSelection::SpecialUse);
    let selected =
        |listed: &Listed| (!only_subscribed || listed.subscribed) && (!special_only || special(listed));
    // Levels above what is selected: all of them, and those above something that the patterns leave out.
    let (mut above, mut above_hidden) = (BTreeSet::new(), BTreeSet::new());
    if selects(ListSelection::RecursiveMatch) {
        for (name, _) in names.iter().filter(|(_, listed)| selected(listed)) {
            above.extend(parents(name).map(str::to_owned));
            if !patterns.matches(name).await?.name {
                above_hidden.extend(parents(name).map(str::to_owned));
            }
        }
        for name in &above_hidden {
            names.entry(name.clone()).or_default();
        }
    }
    let mut chosen = Vec::new();
    for (name, listed) in names {
        let matched = patterns.matches(&name).await?;
        let exists = listed.mailbox.is_some() || only_subscribed || matched.level;
        let selected = selected(&listed) && exists;
        if matched.name && (selected || above_hidden.contains(&name)) {
            let selected_below = above.contains(&name);
            chosen.push(Listed { name, selected, selected_below, ..listed });
        }
    }
    Ok(chosen)
}

/// The mailboxes that may be seen (RFC 4314 section 4).
fn shown(spaces: &[Space]) -> Vec<Shown> {
    let mut shown = Vec::new();
    for (index, space) in spaces.iter().enumerate() {
        let owns = space.account.reader().is_none();
        let seen = |mailbox: &&Arc<MailboxState>| space.account.rights(mailbox).contains(Rights::LOOKUP);
        let state = space.account.state();
        shown.extend(state.mailboxes.values().filter(seen).map(|mailbox| Shown {
            name: space.name(mailbox),
            space: index,
            mailbox: Arc::clone(mailbox),
            special_use: mailbox.special_use.filter(|_| owns),
        }));
    }
    shown
}

/// All of them, and the levels above them.
fn all(subscriptions: &BTreeSet<String>, shown: &[Shown]) -> BTreeMap<String, Listed> {
    let mut names: BTreeMap<String, Listed> = BTreeMap::new();
    for mailbox in shown {
        for parent in parents(&mailbox.name) {
            names.entry(parent.to_owned()).or_default().children = true;
        }
        // One's own come first, and stay.
        names.entry(mailbox.name.clone()).or_default().mailbox.get_or_insert_with(|| mailbox.clone());
    }
    for (name, listed) in &mut names {
        listed.subscribed = subscriptions.contains(name);
    }
    names
}

/// The levels above a name.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(DELIMITER).map(|(at, _)| &name[..at]).filter(|parent| !parent.is_empty())
}

fn special_use(listed: &Listed) -> Option<SpecialUse> {
    listed.mailbox.as_ref().and_then(|mailbox| mailbox.special_use)
}

fn attributes(listed: &Listed, list: &List, enabled: Enabled) -> String {
    let mut attributes = Vec::new();
    if listed.mailbox.is_none() {
        let known = enabled.rev2 || list.syntax == ListSyntax::Extended;
        attributes.push(if known { "\\NonExistent" } else { "\\Noselect" });
    }
    let subscriptions = list.selection.contains(&ListSelection::Subscribed)
        || list.returned.contains(&ListReturn::Subscribed);
    if listed.subscribed && subscriptions {
        attributes.push("\\Subscribed");
    }
    attributes.push(if listed.children { "\\HasChildren" } else { "\\HasNoChildren" });
    let special_use = special_use(listed);
    let named = SpecialUse::NAMES.iter().find(|(named, _)| Some(*named) == special_use);
    attributes.extend(named.map(|(_, name)| *name));
    attributes.join(" ")
}

/// What LSUB answers with: subscribed names that match; for a pattern that ends in `%` also levels above others, which are not
/// subscribed themselves, with `\Noselect` (RFC 3501 section 6.3.9).
async fn subscribed(
    subscriptions: &BTreeSet<String>,
    reference: &str,
    pattern: &str,
) -> Result<BTreeMap<String, &'static str>, Failure> {
    let mut patterns = Patterns::new(reference, [pattern.to_owned()].iter())?;
    let mut names = BTreeMap::new();
    for name in subscriptions {
        if patterns.matches(name).await?.name {
            names.insert(name.clone(), "");
            continue;
        }
        for parent in parents(name).filter(|parent| !subscriptions.contains(*parent)) {
            if !names.contains_key(parent) && patterns.matches(parent).await?.level {
                names.insert(parent.to_owned(), "\\Noselect");
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use waypost_mail::{AccountId, MailboxId, UidValidity};
    use waypost_storage::AccountState;

    use super::*;

    fn account(mailboxes: &[(&str, Option<SpecialUse>)], subscriptions: &[&str]) -> AccountState {
        let mailbox = |(index, (name, special_use)): (usize, &(&str, Option<SpecialUse>))| {
            let id = MailboxId(index as u64 + 1);
            let state = MailboxState {
                special_use: *special_use,
                ..MailboxState::new(id, (*name).to_owned(), UidValidity::FIRST)
            };
            (id, Arc::new(state))
        };
        AccountState {
            mailboxes: mailboxes.iter().enumerate().map(mailbox).collect(),
            subscriptions: Arc::new(subscriptions.iter().map(|name| (*name).to_owned()).collect()),
            ..AccountState::empty(AccountId(1))
        }
    }

    fn sample() -> AccountState {
        account(
            &[("INBOX", None), ("Sent", Some(SpecialUse::Sent)), ("a/b", None), ("a/b/c", None)],
            &["INBOX", "a/b/c", "gone/x"],
        )
    }

    async fn answers(selection: &[ListSelection], pattern: &str, returned: &[ListReturn]) -> Vec<String> {
        let extended = !selection.is_empty() || !returned.is_empty();
        let list = List {
            syntax: if extended { ListSyntax::Extended } else { ListSyntax::Basic },
            selection: selection.to_vec(),
            reference: String::new(),
            patterns: vec![pattern.to_owned()],
            returned: returned.to_vec(),
        };
        let line = |one: Listed| {
            let info = if one.selected_below { child_info(&list) } else { String::new() };
            format!("({}) {}{info}", attributes(&one, &list, Enabled::default()), one.name)
        };
        let sample = sample();
        let shown: Vec<Shown> = sample
            .mailboxes
            .values()
            .map(|mailbox| Shown {
                name: mailbox.name.clone(),
                space: 0,
                mailbox: Arc::clone(mailbox),
                special_use: mailbox.special_use,
            })
            .collect();
        listed(&sample.subscriptions, &shown, &list).await.unwrap().into_iter().map(line).collect()
    }

    #[tokio::test]
    async fn list_shows_what_is_there() {
        assert_eq!(
            answers(&[], "*", &[]).await,
            [
                "(\\HasNoChildren) INBOX",
                "(\\HasNoChildren \\Sent) Sent",
                "(\\HasChildren) a/b",
                "(\\HasNoChildren) a/b/c",
            ]
        );
        assert_eq!(answers(&[], "%", &[]).await.last().unwrap(), "(\\Noselect \\HasChildren) a");
        assert_eq!(
            answers(&[], "%", &[ListReturn::Children]).await.last().unwrap(),
            "(\\NonExistent \\HasChildren) a"
        );
        assert_eq!(answers(&[], "x", &[]).await, [""; 0]);
        assert_eq!(answers(&[], "", &[ListReturn::Children]).await, [""; 0]);
        assert_eq!(
            answers(&[], "inbox", &[ListReturn::Subscribed]).await,
            ["(\\Subscribed \\HasNoChildren) INBOX"]
        );
        assert_eq!(answers(&[ListSelection::SpecialUse], "*", &[]).await, ["(\\HasNoChildren \\Sent) Sent"]);
    }

    #[tokio::test]
    async fn list_selects_subscribed_names() {
        use ListSelection::{RecursiveMatch, Subscribed};
        assert_eq!(
            answers(&[Subscribed], "*", &[]).await,
            [
                "(\\Subscribed \\HasNoChildren) INBOX",
                "(\\Subscribed \\HasNoChildren) a/b/c",
                "(\\NonExistent \\Subscribed \\HasNoChildren) gone/x",
            ]
        );
        assert_eq!(
            answers(&[Subscribed, RecursiveMatch], "%", &[]).await,
            [
                "(\\Subscribed \\HasNoChildren) INBOX",
                "(\\NonExistent \\HasChildren) a (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "(\\NonExistent \\HasNoChildren) gone (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            ]
        );
    }

    #[tokio::test]
    async fn child_info_names_what_is_met() {
        use ListSelection::{RecursiveMatch, SpecialUse, Subscribed};
        assert_eq!(
            answers(&[Subscribed, RecursiveMatch], "a/%", &[]).await,
            ["(\\HasChildren) a/b (\"CHILDINFO\" (\"SUBSCRIBED\"))"]
        );
        // All below is listed itself: nothing is said of the levels above it.
        assert_eq!(
            answers(&[Subscribed, RecursiveMatch], "a*", &[]).await,
            ["(\\Subscribed \\HasNoChildren) a/b/c"]
        );
        assert_eq!(answers(&[SpecialUse, RecursiveMatch], "*", &[]).await, ["(\\HasNoChildren \\Sent) Sent"]);
    }

    #[tokio::test]
    async fn lsub_shows_levels_above() {
        let sample = sample();
        let names = async |pattern: &str| subscribed(&sample.subscriptions, "", pattern).await.unwrap();
        let entry = |name: &str, attributes| (name.to_owned(), attributes);
        assert_eq!(
            names("%").await,
            [entry("INBOX", ""), entry("a", "\\Noselect"), entry("gone", "\\Noselect")].into()
        );
        assert_eq!(names("*").await, [entry("INBOX", ""), entry("a/b/c", ""), entry("gone/x", "")].into());
        assert_eq!(names("a/%").await, [entry("a/b", "\\Noselect")].into());
        for pattern in ["a", "a/b", "g*e", "%/b"] {
            assert_eq!(names(pattern).await, [].into(), "{pattern}");
        }
    }
}
