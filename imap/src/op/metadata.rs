//! METADATA (RFC 5464): GETMETADATA, SETMETADATA, and what is told of changes by others.
//!
//! Of a mailbox: `l` is needed, and one of `r`, `s`, `w`, `i`, `p` (RFC 5464 section 3.3); what all see changes who has `w`. Of the
//! server: each account has private entries; the shared ones are made here and read-only. `/private/specialuse` is the special use
//! of a mailbox, to its owner (RFC 6154 section 5.4).

use std::{collections::BTreeMap, sync::Arc};

use waypost_mail::{AccountId, MailboxId};
use waypost_storage::{
    AnnotationKey, AnnotationLimits, Annotations, Audience, MailboxState, Rights, SpecialUse,
};

use super::{
    Failure, NO_RIGHT, NO_SUCH_MAILBOX, Operation,
    create::special_use,
    place::{Found, Space},
};
use crate::{
    machine::Ran,
    session::User,
    wire::{
        Depth, Entry, GetMetadata, MetadataCommand, Scope, Spelling,
        metadata::{metadata, metadata_changed},
    },
};

const ADMIN: &str = "/admin";
const SPECIAL_USE: &str = "/specialuse";
const NO_ENTRY: &str = "an entry has a name behind /shared or /private";
const READ_ONLY: &str = "this entry is read-only";
const BY_ITSELF: &str = "the special use of a mailbox is set by itself";
const ONE_USE: &str = "a mailbox has one special use, of those in LIST";
/// Most octets of annotations that one account has in another one, or in its own; as many that all see.
const AUDIENCE_BYTES_MAX: u64 = 4 << 20;
/// Most octets of annotations in one account: they are in memory while it is.
const ACCOUNT_BYTES_MAX: u64 = 32 << 20;
/// One of these is needed beside `l`.
const TOUCHING: Rights =
    Rights::READ.with(Rights::SEEN).with(Rights::WRITE).with(Rights::INSERT).with(Rights::POST);

/// What a client was told of, by the account that holds it.
pub(crate) type KnownAnnotations = BTreeMap<AccountId, Arc<Annotations>>;

/// An entry with its value as it is told.
type Told<'a> = (Entry, Option<&'a [u8]>);

/// Entries with their values.
type Values = BTreeMap<Entry, Arc<[u8]>>;

impl Operation<'_, '_> {
    pub(super) async fn metadata(&mut self, command: MetadataCommand) -> Result<Ran, Failure> {
        match command {
            MetadataCommand::Get(get) => self.get_metadata(&get).await,
            MetadataCommand::Set(name, values) if name.is_empty() => self.set_server(values).await,
            MetadataCommand::Set(name, values) => self.set_mailbox(&name, values).await,
        }
    }

    async fn get_metadata(&mut self, get: &GetMetadata) -> Result<Ran, Failure> {
        let known = match get.mailbox.as_str() {
            "" => self.of_server(),
            name => {
                let found = self.annotated(name).await?;
                of_mailbox(&found.space, &found.mailbox, self.user.identity.account)
            }
        };
        let (values, longest) = chosen(&known, get);
        let mut out = Vec::new();
        if !values.is_empty() {
            metadata(&mut out, &get.mailbox, self.user.enabled.spelling(), &values);
        }
        self.output.write(&out).await?;
        let ran = Ran::ok("done");
        Ok(match longest {
            Some(bytes) => ran.with_code(format!("METADATA LONGENTRIES {bytes}")),
            None => ran,
        })
    }

    /// The METADATA response of LIST (RFC 9590); nothing where nothing may be told.
    pub(super) fn list_metadata(
        &self,
        out: &mut Vec<u8>,
        space: &Space,
        mailbox: &MailboxState,
        entries: &[Entry],
    ) {
        if !may_touch(space.account.rights(mailbox)) {
            return;
        }
        let known = of_mailbox(space, mailbox, self.user.identity.account);
        let values: Vec<_> =
            entries.iter().map(|entry| (entry.clone(), known.get(entry).map(|value| &**value))).collect();
        metadata(out, &space.name(mailbox), self.user.enabled.spelling(), &values);
    }

    async fn annotated(&mut self, name: &str) -> Result<Found, Failure> {
        let gone = || Failure::no("NONEXISTENT", NO_SUCH_MAILBOX);
        self.find_with(name, may_touch, gone).await
    }

    /// What the server says of itself, and what the account keeps there.
    fn of_server(&self) -> Values {
        let live = self.context.live();
        let state = self.user.account.state();
        let own = Audience::Private(self.user.identity.account);
        let mut values = named(Scope::Private, state.annotations.of(None, own));
        if let Some(domain) = live.directory.first_domain() {
            let entry = Entry { scope: Scope::Shared, name: ADMIN.to_owned() };
            values.insert(entry, Arc::from(format!("mailto:postmaster@{domain}").into_bytes()));
        }
        values
    }

    async fn set_server(&mut self, values: Vec<(Entry, Option<Vec<u8>>)>) -> Result<Ran, Failure> {
        if values.iter().any(|(entry, _)| entry.scope == Scope::Shared) {
            return Err(Failure::no("NOPERM", READ_ONLY));
        }
        let own = self.own();
        self.annotate(&own, None, values).await
    }

    async fn set_mailbox(
        &mut self,
        name: &str,
        mut values: Vec<(Entry, Option<Vec<u8>>)>,
    ) -> Result<Ran, Failure> {
        let found = self.annotated(name).await?;
        let shares = values.iter().any(|(entry, _)| entry.scope == Scope::Shared);
        if shares && !found.rights.contains(Rights::WRITE) {
            return Err(Failure::no("NOPERM", NO_RIGHT));
        }
        let is_use = |entry: &Entry| entry.scope == Scope::Private && entry.name == SPECIAL_USE;
        if values.iter().any(|(entry, _)| is_use(entry)) {
            return match (values.pop(), values.is_empty()) {
                (Some((_, value)), true) => self.set_special_use(&found, value).await,
                _ => Err(Failure::no("CANNOT", BY_ITSELF)),
            };
        }
        self.annotate(&found.space, Some(found.mailbox.id), values).await
    }

    async fn annotate(
        &mut self,
        space: &Space,
        mailbox: Option<MailboxId>,
        values: Vec<(Entry, Option<Vec<u8>>)>,
    ) -> Result<Ran, Failure> {
        if values.iter().any(|(entry, _)| entry.name.is_empty()) {
            return Err(Failure::bad(NO_ENTRY));
        }
        let own = self.user.identity.account;
        let key = |entry: Entry| (mailbox, audience(entry.scope, own), entry.name);
        let changes: Vec<(AnnotationKey, Option<Arc<[u8]>>)> =
            values.into_iter().map(|(entry, value)| (key(entry), value.map(Arc::from))).collect();
        let keys: Vec<AnnotationKey> = changes.iter().map(|(key, _)| key.clone()).collect();
        let config = self.context.live().config.imap.clone();
        let limits = AnnotationLimits {
            entries_max: config.metadata_entries,
            value_bytes_max: config.metadata_size,
            audience_bytes_max: AUDIENCE_BYTES_MAX,
            account_bytes_max: ACCOUNT_BYTES_MAX,
        };
        space.account.annotate(changes, limits).await?;
        // What one has changed oneself is no news.
        let mut out = Vec::new();
        self.user.annotation_news(&mut out, std::slice::from_ref(space), &keys);
        self.output.write(&out).await?;
        Ok(Ran::ok("the annotations are set"))
    }

    /// The use goes away from the mailbox that has it, which is told (RFC 6154 section 5.4).
    async fn set_special_use(&mut self, found: &Found, value: Option<Vec<u8>>) -> Result<Ran, Failure> {
        let account = &found.space.account;
        if account.reader().is_some() {
            return Err(Failure::no("NOPERM", NO_RIGHT));
        }
        let special_use = match value {
            None => None,
            Some(octets) => Some(one_use(&octets).ok_or(Failure::no("USEATTR", ONE_USE))?),
        };
        let without = account.set_special_use(found.mailbox.id, special_use).await?;
        let state = account.state();
        let mut out = Vec::new();
        let entry = Entry { scope: Scope::Private, name: SPECIAL_USE.to_owned() };
        for mailbox in without.iter().filter_map(|id| state.mailboxes.get(id)) {
            let name = found.space.name(mailbox);
            metadata(&mut out, &name, self.user.enabled.spelling(), &[(entry.clone(), None)]);
        }
        self.output.write(&out).await?;
        Ok(Ran::ok("the special use is set"))
    }

    /// ENABLE METADATA: changes by others are told from now on.
    pub(super) async fn enable_metadata(&mut self) -> Result<(), Failure> {
        if self.user.annotations.is_none() {
            let spaces = self.spaces().await?;
            self.user.annotations = Some(Box::new(baseline(&spaces)));
        }
        Ok(())
    }

    /// Tells what others changed, where the client wants to know.
    pub(super) async fn tell_annotation_news(&mut self) -> Result<(), Failure> {
        if self.user.annotations.is_some() {
            let spaces = self.spaces().await?;
            let mut out = Vec::new();
            self.user.annotation_news(&mut out, &spaces, &[]);
            self.output.write(&out).await?;
        }
        Ok(())
    }
}

impl User {
    /// Names of entries that are others than the client was told, without those of `except` (RFC 5464 section 4.4.2).
    pub(crate) fn annotation_news(&mut self, out: &mut Vec<u8>, spaces: &[Space], except: &[AnnotationKey]) {
        let (own, spelling) = (self.identity.account, self.enabled.spelling());
        let Some(known) = &mut self.annotations else { return };
        for space in spaces {
            let state = space.account.state();
            let newest = Arc::clone(&state.annotations);
            let Some(old) = known.insert(space.account.id(), Arc::clone(&newest)) else { continue };
            if Arc::ptr_eq(&old, &newest) {
                continue;
            }
            let mut changed: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
            for key in old.differences(&newest).filter(|key| !except.contains(key)) {
                let (mailbox, by, name) = key;
                let scope = match by {
                    Audience::Shared => Scope::Shared,
                    Audience::Private(account) if *account == own => Scope::Private,
                    Audience::Private(_) => continue,
                };
                let found = mailbox.map(|mailbox| state.mailboxes.get(&mailbox));
                let place = match found {
                    None if space.account.reader().is_none() => String::new(),
                    Some(Some(mailbox)) if may_touch(space.account.rights(mailbox)) => space.name(mailbox),
                    None | Some(_) => continue,
                };
                changed.entry(place).or_default().push(Entry { scope, name: name.clone() });
            }
            tell(out, changed, spelling);
        }
    }
}

fn tell(out: &mut Vec<u8>, changed: BTreeMap<String, Vec<Entry>>, spelling: Spelling) {
    for (place, entries) in changed {
        metadata_changed(out, &place, spelling, &entries);
    }
}

/// What there is now, as if it had been told.
fn baseline(spaces: &[Space]) -> KnownAnnotations {
    let known = |space: &Space| (space.account.id(), Arc::clone(&space.account.state().annotations));
    spaces.iter().map(known).collect()
}

/// RFC 5464 section 3.3.
fn may_touch(rights: Rights) -> bool {
    rights.contains(Rights::LOOKUP) && rights.intersects(TOUCHING)
}

fn audience(scope: Scope, own: AccountId) -> Audience {
    match scope {
        Scope::Shared => Audience::Shared,
        Scope::Private => Audience::Private(own),
    }
}

/// What one sees of a mailbox.
fn of_mailbox(space: &Space, mailbox: &MailboxState, own: AccountId) -> Values {
    let annotations = &space.account.state().annotations;
    let mut values = BTreeMap::new();
    for scope in [Scope::Shared, Scope::Private] {
        values.extend(named(scope, annotations.of(Some(mailbox.id), audience(scope, own))));
    }
    let special_use = mailbox.special_use.filter(|_| space.account.reader().is_none());
    if let Some((_, name)) = SpecialUse::NAMES.iter().find(|(named, _)| Some(*named) == special_use) {
        let entry = Entry { scope: Scope::Private, name: SPECIAL_USE.to_owned() };
        values.insert(entry, Arc::from(name.as_bytes()));
    }
    values
}

fn named<'a>(scope: Scope, found: impl Iterator<Item = (&'a str, &'a Arc<[u8]>)>) -> Values {
    found.map(|(name, value)| (Entry { scope, name: name.to_owned() }, Arc::clone(value))).collect()
}

/// The values that are asked for; and the size of the largest that is left out for its size. An entry that is named and is not
/// there is NIL.
fn chosen<'a>(known: &'a Values, get: &GetMetadata) -> (Vec<Told<'a>>, Option<u64>) {
    let mut chosen: BTreeMap<Entry, Option<&[u8]>> = BTreeMap::new();
    let mut longest = None;
    for (entry, value) in known.iter().filter(|(entry, _)| is_asked(entry, get)) {
        let bytes = value.len() as u64;
        match get.size_max {
            Some(size_max) if bytes > size_max => longest = longest.max(Some(bytes)),
            _ => drop(chosen.insert(entry.clone(), Some(value))),
        }
    }
    for entry in get.entries.iter().filter(|entry| !known.contains_key(entry)) {
        if get.depth == Depth::Zero {
            chosen.insert(entry.clone(), None);
        }
    }
    (chosen.into_iter().collect(), longest)
}

fn is_asked(entry: &Entry, get: &GetMetadata) -> bool {
    let matches = |asked: &Entry| {
        let Some(rest) = entry.name.strip_prefix(&asked.name).filter(|_| entry.scope == asked.scope) else {
            return false;
        };
        match (rest.strip_prefix('/'), get.depth) {
            (None, _) => rest.is_empty(),
            (Some(_), Depth::Zero) => false,
            (Some(below), Depth::One) => !below.contains('/'),
            (Some(_), Depth::Infinity) => true,
        }
    };
    get.entries.iter().any(matches)
}

/// The use that a value names.
fn one_use(octets: &[u8]) -> Option<SpecialUse> {
    special_use(str::from_utf8(octets).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_size_choose() {
        let known: Values = ["", "/a", "/a/b", "/a/b/c", "/ab"]
            .iter()
            .map(|name| {
                (Entry { scope: Scope::Shared, name: (*name).to_owned() }, Arc::from(name.as_bytes()))
            })
            .collect();
        let names = |entry: &str, depth, size_max| {
            let entries = vec![Entry::new(entry).unwrap()];
            let get = GetMetadata { mailbox: String::new(), entries, size_max, depth };
            let (values, longest) = chosen(&known, &get);
            let name = |(entry, value): (Entry, Option<&[u8]>)| {
                format!("{}{}", entry.name, if value.is_none() { "=NIL" } else { "" })
            };
            (values.into_iter().map(name).collect::<Vec<_>>().join(" "), longest)
        };
        for (entry, depth, size_max, expected, longest) in [
            ("/shared/a", Depth::Zero, None, "/a", None),
            ("/shared/a", Depth::One, None, "/a /a/b", None),
            ("/shared/a", Depth::Infinity, None, "/a /a/b /a/b/c", None),
            ("/shared", Depth::One, None, " /a /ab", None),
            ("/shared/a", Depth::Infinity, Some(4), "/a /a/b", Some(6)),
            ("/shared/a", Depth::Infinity, Some(1), "", Some(6)),
            ("/shared/x", Depth::Zero, None, "/x=NIL", None),
            ("/shared/x", Depth::One, None, "", None),
            ("/private/a", Depth::Infinity, None, "", None),
            ("/shared/a/b", Depth::Zero, Some(3), "", Some(4)),
        ] {
            assert_eq!(names(entry, depth, size_max), (expected.to_owned(), longest), "{entry} {depth:?}");
        }
    }
}
