//! Which folders of a server are imported, and into which mailboxes. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use waypost_imap::client::{Folder, Namespaces};
use waypost_storage::SpecialUse;

/// Which folders are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// These, with those below them; none: all of the user's own.
    pub(super) folders: Vec<String>,
    /// Not these, nor those below them.
    pub(super) excludes: Vec<String>,
}

/// What is done with the folders of a server.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What is imported, INBOX first.
    pub(super) folders: Vec<Planned>,
    /// Names of mailboxes that the source is subscribed to.
    pub(super) subscriptions: Vec<String>,
    /// What the server says that mailboxes are for.
    pub(super) uses: BTreeMap<String, SpecialUse>,
    pub(super) notes: Vec<String>,
    /// What was wanted, and is not there.
    pub(super) absent: Option<String>,
}

/// A folder that is imported.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// As the server writes it.
    pub(super) name: Vec<u8>,
    /// For people.
    pub(super) text: String,
    /// The mailbox that it says it is; `None`: no mailbox can have that name.
    pub(super) mailbox: Option<String>,
}

/// Decides. `subscribed`: names of LSUB.
pub(super) fn plan(
    listed: Vec<Folder>,
    subscribed: &BTreeSet<Vec<u8>>,
    namespaces: &Namespaces,
    wanted: &Wanted,
) -> Plan {
    let mut plan = Plan::default();
    let prefixes: Vec<String> = namespaces.personal.iter().filter_map(|prefix| text_of(prefix)).collect();
    let names = mailbox_names(&listed, &prefixes);
    let mut met = BTreeSet::new();
    for (folder, mailbox) in listed.into_iter().zip(names) {
        if !met.insert(folder.name.clone()) {
            continue;
        }
        let shown = with_slashes(&folder);
        let matches = |names: &[String]| {
            let is_in = |name: &String| {
                is_at_or_below(&shown, name) || mailbox.as_ref().is_some_and(|m| is_at_or_below(m, name))
            };
            names.iter().any(is_in)
        };
        let is_foreign =
            namespaces.others.iter().any(|prefix| !prefix.is_empty() && folder.name.starts_with(prefix));
        if matches(&wanted.excludes) || !wanted.folders.is_empty() && !matches(&wanted.folders) {
            continue;
        }
        if is_foreign && wanted.folders.is_empty() {
            plan.notes.push(format!("{shown} is not the user's own, and was left out: --folder names it"));
            continue;
        }
        plan.add(folder, shown, mailbox, subscribed);
    }
    plan.folders.sort_by_key(|folder| (folder.mailbox.as_deref() != Some("INBOX"), folder.text.clone()));
    let is_there = |name: &&String| {
        let named = |folder: &Planned| {
            is_at_or_below(&folder.text, name)
                || folder.mailbox.as_ref().is_some_and(|m| is_at_or_below(m, name))
        };
        plan.folders.iter().any(named)
    };
    plan.absent = wanted.folders.iter().find(|name| !is_there(name)).cloned();
    plan
}

impl Plan {
    fn add(
        &mut self,
        folder: Folder,
        shown: String,
        mailbox: Option<String>,
        subscribed: &BTreeSet<Vec<u8>>,
    ) {
        if folder.is_subscribed || subscribed.contains(&folder.name) {
            self.subscriptions.extend(mailbox.clone());
        }
        if !folder.is_selectable {
            return;
        }
        match (folder.special_use, &mailbox) {
            (Some(SpecialUse::All | SpecialUse::Flagged), _) => self.notes.push(format!(
                "{shown} shows messages of other folders once more: `--exclude \"{shown}\"` leaves it out"
            )),
            (Some(special_use), Some(mailbox)) => drop(self.uses.insert(mailbox.clone(), special_use)),
            _ => {}
        }
        self.folders.push(Planned { name: folder.name, text: shown, mailbox });
    }
}

/// The mailboxes that folders say they are, in their order. The prefix of the user's own folders (`INBOX.`) is left out where no other
/// folder has the name without it.
fn mailbox_names(listed: &[Folder], prefixes: &[String]) -> Vec<Option<String>> {
    let whole: Vec<Option<String>> =
        listed.iter().map(|folder| mailbox_name(&folder.text, folder.delimiter)).collect();
    let short: Vec<Option<String>> = listed
        .iter()
        .map(|folder| {
            let stripped = prefixes.iter().filter(|prefix| !prefix.is_empty());
            let stripped = stripped.filter_map(|prefix| strip_prefix(&folder.text, prefix)).next();
            stripped.and_then(|rest| mailbox_name(rest, folder.delimiter))
        })
        .collect();
    let mut count: HashMap<&str, usize> = HashMap::new();
    for name in short.iter().chain(&whole).flatten() {
        *count.entry(name).or_default() += 1;
    }
    let pairs = short.iter().zip(&whole);
    let chosen = pairs.map(|(short, whole)| match short {
        Some(short) if count.get(short.as_str()) == Some(&1) => Some(short.clone()),
        _ => whole.clone(),
    });
    let chosen: Vec<_> = chosen.collect();
    // Two folders never become one: of those with the same name the first has it.
    let mut taken = BTreeSet::new();
    chosen.into_iter().map(|name| name.filter(|name| taken.insert(name.clone()))).collect()
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let begin = text.get(..prefix.len())?;
    text.get(prefix.len()..).filter(|rest| begin.eq_ignore_ascii_case(prefix) && !rest.is_empty())
}

/// Its levels with `/` between them. A `/` within a level becomes `_`.
fn mailbox_name(text: &str, delimiter: Option<char>) -> Option<String> {
    if text.eq_ignore_ascii_case("INBOX") {
        return Some("INBOX".to_owned());
    }
    let levels: Vec<String> = match delimiter {
        Some(delimiter) => text.split(delimiter).map(|level| level.replace('/', "_")).collect(),
        None => vec![text.replace('/', "_")],
    };
    let is_level = |level: &String| !level.is_empty() && !level.chars().any(char::is_control);
    if !levels.iter().all(is_level) {
        return None;
    }
    let name = levels.join("/");
    // INBOX is INBOX, also above others
    Some(match strip_prefix(&name, "INBOX/") {
        Some(rest) => format!("INBOX/{rest}"),
        None => name,
    })
}

fn with_slashes(folder: &Folder) -> String {
    let printable = folder.text.chars().map(|char| if char.is_control() { '?' } else { char });
    printable.map(|char| if Some(char) == folder.delimiter { '/' } else { char }).collect()
}

fn text_of(name: &[u8]) -> Option<String> {
    waypost_imap::wire::mutf7::decode(name).ok().or_else(|| str::from_utf8(name).ok().map(str::to_owned))
}

/// Whether a folder is the one with a name, or below it.
fn is_at_or_below(folder: &str, name: &str) -> bool {
    let name = name.trim_end_matches('/');
    let is_named = |folder: &str, name: &str| {
        folder == name || name.eq_ignore_ascii_case("INBOX") && folder.eq_ignore_ascii_case(name)
    };
    is_named(folder, name)
        || folder.get(..name.len()).is_some_and(|begin| is_named(begin, name))
            && folder[name.len()..].starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str, delimiter: char) -> Folder {
        Folder {
            name: text.as_bytes().to_vec(),
            text: text.to_owned(),
            delimiter: Some(delimiter),
            is_selectable: true,
            ..Folder::default()
        }
    }

    fn names(listed: &[&str], delimiter: char, prefix: &str) -> Vec<String> {
        let listed = listed.iter().map(|text| folder(text, delimiter)).collect();
        let namespaces = Namespaces { personal: vec![prefix.into()], others: Vec::new() };
        let plan = plan(listed, &BTreeSet::new(), &namespaces, &Wanted::default());
        plan.folders.iter().map(|folder| folder.mailbox.clone().unwrap_or_else(|| "-".into())).collect()
    }

    #[test]
    fn names_have_our_delimiter() {
        assert_eq!(names(&["Work.2026", "inbox", "Entwürfe"], '.', ""), ["INBOX", "Entwürfe", "Work/2026"]);
        assert_eq!(names(&["a/b.c", "d..e", "f\u{7}"], '.', ""), ["a_b/c", "-", "-"]);
        assert_eq!(names(&["a.b", "Inbox/x"], '/', ""), ["INBOX/x", "a.b"]);
        // What Courier and Cyrus put in front of everything.
        assert_eq!(names(&["INBOX", "INBOX.Sent", "INBOX.A.B"], '.', "INBOX."), ["INBOX", "A/B", "Sent"]);
        assert_eq!(names(&["INBOX.A", "A"], '.', "INBOX."), ["A", "INBOX/A"]);
        assert_eq!(names(&["INBOX.INBOX", "INBOX"], '.', "INBOX."), ["INBOX", "INBOX/INBOX"]);
        // Two folders never become one.
        assert_eq!(names(&["a/b.c", "a_b.c"], '.', ""), ["a_b/c", "-"]);
    }

    #[test]
    fn folders_are_chosen() {
        let listed = || {
            let mut sent = folder("Gesendet", '/');
            (sent.special_use, sent.is_subscribed) = (Some(SpecialUse::Sent), true);
            let mut all = folder("[Gmail]/All Mail", '/');
            all.special_use = Some(SpecialUse::All);
            let none = Folder { is_selectable: false, ..folder("[Gmail]", '/') };
            vec![
                folder("INBOX", '/'),
                sent,
                none,
                all,
                folder("Work/A", '/'),
                folder("Workshop", '/'),
                folder("Others/bob", '/'),
            ]
        };
        let namespaces = Namespaces { personal: vec![Vec::new()], others: vec![b"Others/".to_vec()] };
        let chosen = |folders: &[&str], excludes: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let wanted = Wanted { folders: owned(folders), excludes: owned(excludes) };
            let plan = plan(listed(), &BTreeSet::from([b"Work/A".to_vec()]), &namespaces, &wanted);
            let names = plan.folders.iter().map(|folder| folder.text.clone()).collect::<Vec<_>>();
            (names, plan)
        };
        let (names, all) = chosen(&[], &[]);
        assert_eq!(names, ["INBOX", "Gesendet", "Work/A", "Workshop", "[Gmail]/All Mail"]);
        assert_eq!(all.subscriptions, ["Gesendet", "Work/A"]);
        assert_eq!(all.uses, BTreeMap::from([("Gesendet".to_owned(), SpecialUse::Sent)]));
        assert_eq!(all.notes.len(), 2, "{:?}", all.notes);
        assert_eq!(chosen(&[], &["[Gmail]/All Mail", "inbox"]).0, ["Gesendet", "Work/A", "Workshop"]);
        assert_eq!(chosen(&["Work/"], &[]).0, ["Work/A"]);
        assert_eq!(chosen(&["Others"], &[]).0, ["Others/bob"]);
        let (names, plan) = chosen(&["Work", "Nowhere"], &["Work/A"]);
        assert_eq!((names, plan.absent.as_deref()), (vec![], Some("Work")));
    }
}
