//! Random commands against a plain model, with clean reopens, lost indexes and old indexes between.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use waypost_mail::{
    AccountId, EmailId, Flag, Flags, Keyword, MailboxId, SystemFlags, Uid, UidValidity, UidlId,
};

use super::{accept, account, delivery, options, simulated};
use crate::{
    AnnotationLimits, Audience, Carried, FlagChange, FlagMode, FlagRights, Identifier, Missing, Rights,
    RightsChange, Sign, Store, StoreError,
};

#[derive(Clone, Debug, PartialEq)]
struct Message {
    flags: Flags,
    octets: Vec<u8>,
    email: EmailId,
    uidl: UidlId,
    /// Whether the other account has seen it.
    seen: bool,
}

#[derive(Clone, Debug)]
struct Mailbox {
    name: String,
    uid_validity: UidValidity,
    uid_next: u32,
    messages: BTreeMap<Uid, Message>,
    /// UIDs that vanished, each with a MODSEQ that was there before.
    vanished: Vec<(u64, u32)>,
}

/// A deleted message.
#[derive(Clone, Debug)]
struct Retained {
    id: u32,
    mailbox: MailboxId,
    uid: Uid,
    message: Message,
}

#[derive(Debug)]
struct Model {
    id: AccountId,
    seq: u64,
    mailboxes: BTreeMap<MailboxId, Mailbox>,
    subscriptions: BTreeSet<String>,
    /// Annotations of mailboxes.
    annotations: BTreeMap<(MailboxId, &'static str), Vec<u8>>,
    /// The rights of the other account.
    rights: BTreeMap<MailboxId, Rights>,
    other: AccountId,
    retained: Vec<Retained>,
    next_retained: u32,
    /// Whether deleted messages are retained.
    retains: bool,
    /// Names of mailboxes that were deleted.
    graves: BTreeMap<MailboxId, String>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

impl Mailbox {
    fn remove(&mut self, uid: Uid, modseq: u64) -> Message {
        self.vanished.push((modseq, uid.value()));
        self.messages.remove(&uid).unwrap()
    }

    /// Of what vanished nothing is missing, whenever it is asked for, and nothing that is there is said to have vanished.
    fn check_vanished(&self, found: &crate::MailboxState) {
        let mut asked: Vec<u64> = self.vanished.iter().map(|(modseq, _)| *modseq).collect();
        asked.extend([0, found.highest_modseq.value()]);
        for asked in asked {
            let known = found.vanished.after(asked);
            let told: BTreeSet<u32> = known.unwrap_or_else(|| found.absent()).into_iter().flatten().collect();
            assert!(self.messages.keys().all(|uid| !told.contains(&uid.value())), "{} {asked}", self.name);
            let missing: Vec<_> = self
                .vanished
                .iter()
                .filter(|(modseq, uid)| *modseq >= asked && !told.contains(uid))
                .collect();
            assert!(missing.is_empty(), "{} after {asked}: {missing:?}", self.name);
        }
        assert_eq!(found.vanished.after(found.highest_modseq.value()), Some(Vec::new()));
    }
}

impl Model {
    async fn new(store: &Store, name: &str) -> Self {
        let id = account(store, name).await;
        let state = store.account(id).await.unwrap().state();
        let mailbox = |m: &Arc<crate::MailboxState>| Mailbox {
            name: m.name.clone(),
            uid_validity: m.uid_validity,
            uid_next: 1,
            messages: BTreeMap::new(),
            vanished: Vec::new(),
        };
        let mailboxes = state.mailboxes.values().map(|m| (m.id, mailbox(m))).collect();
        let subscriptions = state.subscriptions.as_ref().clone();
        let (retained, graves) = (Vec::new(), BTreeMap::new());
        Self {
            id,
            seq: 0,
            mailboxes,
            subscriptions,
            annotations: BTreeMap::new(),
            rights: BTreeMap::new(),
            other: id,
            retained,
            next_retained: 1,
            retains: true,
            graves,
        }
    }

    fn any(&self, random: &mut Random) -> MailboxId {
        // INBOX and its neighbour most of the time, so that mailboxes grow beyond a chunk's tail.
        let at = if random.below(3) == 0 { random.below(self.mailboxes.len()) } else { random.below(2) };
        *self.mailboxes.keys().nth(at).unwrap()
    }

    fn uids(&self, mailbox: MailboxId, random: &mut Random) -> Vec<Uid> {
        let all: Vec<Uid> = self.mailboxes[&mailbox].messages.keys().copied().collect();
        let share = 1 + random.below(6);
        let mut uids: Vec<Uid> = all.into_iter().filter(|_| random.below(share) == 0).collect();
        uids.reverse();
        uids.extend(Uid::new(9999));
        uids
    }

    /// Messages of a mailbox are deleted, in the order of their UIDs.
    fn retain(&mut self, mailbox: MailboxId, gone: impl IntoIterator<Item = (Uid, Message)>) {
        for (uid, message) in gone.into_iter().filter(|_| self.retains) {
            self.retained.push(Retained { id: self.next_retained, mailbox, uid, message });
            self.next_retained += 1;
        }
    }

    /// The name of a mailbox that is or was there.
    fn name(&self, mailbox: MailboxId) -> &str {
        self.mailboxes.get(&mailbox).map_or_else(|| &self.graves[&mailbox], |mailbox| &mailbox.name)
    }

    fn by_name(&self, name: &str) -> Option<MailboxId> {
        self.mailboxes.iter().find(|(_, mailbox)| mailbox.name == name).map(|(id, _)| *id)
    }

    /// Adds a mailbox that the store created, and checks its UIDVALIDITY against all others.
    async fn created(&mut self, store: &Store, name: &str) {
        let state = store.account(self.id).await.unwrap().state();
        let new = state.by_name(name).unwrap();
        assert!(self.mailboxes.values().all(|mailbox| mailbox.uid_validity < new.uid_validity));
        let mailbox = Mailbox {
            name: name.to_owned(),
            uid_validity: new.uid_validity,
            uid_next: 1,
            messages: BTreeMap::new(),
            vanished: Vec::new(),
        };
        self.mailboxes.insert(new.id, mailbox);
        // As the one above it.
        let above = name.rsplit_once('/').and_then(|(above, _)| self.by_name(above));
        if let Some(rights) = above.and_then(|above| self.rights.get(&above)) {
            self.rights.insert(new.id, *rights);
        }
    }

    async fn compare(&mut self, store: &Store) {
        let account = store.account(self.id).await.unwrap();
        let state = account.state();
        assert!(state.seq >= self.seq, "MODSEQ went back");
        self.seq = state.seq;
        assert_eq!(*state.subscriptions, self.subscriptions);
        assert!(state.mailboxes.keys().eq(self.mailboxes.keys()));
        let annotations: BTreeMap<_, _> = state
            .annotations
            .iter()
            .map(|((mailbox, _, name), value)| ((mailbox.unwrap(), name.as_str()), value.to_vec()))
            .collect();
        assert!(annotations.iter().eq(&self.annotations));
        let shares = store.directory().borrow().shared_with(self.other).any(|owner| owner == self.id);
        assert_eq!(shares, self.rights.values().any(|rights| !rights.is_empty()));
        let retained = account.retained().await.unwrap();
        assert_eq!(retained.len(), self.retained.len());
        for (found, known) in retained.iter().zip(&self.retained) {
            assert_eq!(
                (found.id.value(), found.mailbox.as_str(), found.uid, &found.flags, found.row.email),
                (known.id, self.name(known.mailbox), known.uid, &known.message.flags, known.message.email)
            );
            let octets = store.read(&found.row.content, 0, u64::MAX).await.unwrap();
            assert_eq!(octets.as_ref(), known.message.octets);
        }
        for (id, mailbox) in &self.mailboxes {
            let selection = account.select(*id).await.unwrap();
            let found = selection.state().unwrap();
            assert!(!found.partial);
            assert_eq!(
                (&found.name, found.uid_validity, found.uid_next.value()),
                (&mailbox.name, mailbox.uid_validity, mailbox.uid_next)
            );
            let uids: Vec<Uid> = found.rows().map(|row| row.uid).collect();
            assert_eq!(uids, mailbox.messages.keys().copied().collect::<Vec<_>>(), "{}", mailbox.name);
            for row in found.rows() {
                let message = &mailbox.messages[&row.uid];
                assert_eq!(
                    (found.flags(row), row.email, row.uidl),
                    (message.flags.clone(), message.email, message.uidl)
                );
                let octets = store.read(&row.content, 0, u64::MAX).await.unwrap();
                assert_eq!(octets.as_ref(), message.octets);
            }
            mailbox.check_vanished(&found);
            let shared = store.account_for(self.id, self.other).await.unwrap();
            let seen = shared.select(*id).await.unwrap().state().unwrap();
            for (row, own) in seen.rows().zip(found.rows()) {
                let theirs = mailbox.messages[&row.uid].seen;
                assert_eq!(row.flags.contains(SystemFlags::SEEN), theirs, "{} {}", mailbox.name, row.uid);
                assert_eq!(row.flags.without(SystemFlags::SEEN), own.flags.without(SystemFlags::SEEN));
            }
            let unseen = mailbox.messages.values().filter(|message| !message.seen).count();
            assert_eq!((seen.unseen as usize, seen.count), (unseen, found.count));
            let rights = self.rights.get(id).copied().unwrap_or_default();
            assert_eq!(shared.rights(&found), rights, "{}", mailbox.name);
            let unseen =
                mailbox.messages.values().filter(|m| !m.flags.system.contains(SystemFlags::SEEN)).count();
            assert_eq!((found.count as usize, found.unseen as usize), (mailbox.messages.len(), unseen));
        }
    }
}

fn random_flags(random: &mut Random) -> Flags {
    let names = ["\\Seen", "\\Deleted", "\\Flagged", "$Forwarded", "work", "play"];
    names.iter().filter(|_| random.below(3) == 0).filter_map(|name| Flag::parse(name)).collect()
}

async fn command(store: &Store, model: &mut Model, random: &mut Random, number: usize) {
    let account = store.account(model.id).await.unwrap();
    let from = model.any(random);
    match random.below(14) {
        0..=4 => {
            for copy in 0..=random.below(20) {
                let flags = random_flags(random);
                let body = format!("body {number}.{copy}\r\n");
                let local = vec![
                    delivery(model.id, Some(from), flags.clone()),
                    delivery(model.id, None, Flags::default()),
                ];
                let placed = accept(store, body.as_bytes(), local).await.unwrap().local;
                for (placed, flags) in placed.into_iter().zip([flags, Flags::default()]) {
                    let mailbox = model.mailboxes.get_mut(&placed.mailbox).unwrap();
                    assert_eq!(
                        (placed.uid.value(), placed.uid_validity),
                        (mailbox.uid_next, mailbox.uid_validity)
                    );
                    mailbox.uid_next += 1;
                    let octets =
                        format!("Delivered-To: {}\r\nSubject: test\r\n\r\n{body}", model.id).into_bytes();
                    let (email, uidl) = (EmailId(placed.uidl.0), placed.uidl);
                    let message = Message { flags, octets, email, uidl, seen: false };
                    mailbox.messages.insert(placed.uid, message);
                }
            }
        }
        5 | 6 => {
            let (uids, flags) = (model.uids(from, random), random_flags(random));
            let mode = [FlagMode::Add, FlagMode::Remove, FlagMode::Replace][random.below(3)];
            let change = FlagChange { mode, flags: flags.clone(), unchanged_since: None };
            account.change_flags(from, uids.clone(), change).await.unwrap();
            for uid in uids {
                let Some(message) = model.mailboxes.get_mut(&from).unwrap().messages.get_mut(&uid) else {
                    continue;
                };
                let message = &mut message.flags;
                let keywords: BTreeSet<Keyword> = match mode {
                    FlagMode::Replace => flags.keywords.clone(),
                    FlagMode::Add => message.keywords.union(&flags.keywords).cloned().collect(),
                    FlagMode::Remove => message.keywords.difference(&flags.keywords).cloned().collect(),
                };
                let system = match mode {
                    FlagMode::Replace => flags.system,
                    FlagMode::Add => message.system.with(flags.system),
                    FlagMode::Remove => message.system.without(flags.system),
                };
                *message = Flags { system, keywords };
            }
        }
        7 => {
            let uids = model.uids(from, random);
            let before = account.state().mailboxes[&from].highest_modseq.value();
            let gone = account.expunge_deleted(from, uids.clone()).await.unwrap();
            let mailbox = model.mailboxes.get_mut(&from).unwrap();
            let messages = &mailbox.messages;
            let mut expected: Vec<Uid> = uids
                .into_iter()
                .filter(|uid| {
                    messages.get(uid).is_some_and(|m| m.flags.system.contains(SystemFlags::DELETED))
                })
                .collect();
            expected.sort_unstable();
            assert_eq!(gone, expected);
            let gone: Vec<_> = gone.iter().map(|uid| (*uid, mailbox.remove(*uid, before))).collect();
            model.retain(from, gone);
        }
        8 | 9 => {
            let (to, uids, moved) = (model.any(random), model.uids(from, random), random.below(2) == 0);
            let before = account.state().mailboxes[&from].highest_modseq.value();
            let outcome = match moved {
                true => account.move_to(from, uids, to, Missing::Skipped).await.unwrap(),
                false => account.copy(from, uids, to, Missing::Skipped).await.unwrap(),
            };
            // Its rows may have been given up since.
            let rows = account.select(to).await.unwrap().state().unwrap();
            for (old, new) in outcome.uids {
                let mut message = model.mailboxes[&from].messages[&old].clone();
                if moved {
                    model.mailboxes.get_mut(&from).unwrap().remove(old, before);
                } else {
                    message.uidl = rows.row(new).unwrap().uidl;
                }
                let mailbox = model.mailboxes.get_mut(&to).unwrap();
                assert_eq!(new.value(), mailbox.uid_next);
                mailbox.uid_next += 1;
                mailbox.messages.insert(new, message);
            }
        }
        10 => {
            let name = ["a", "a/b", "c"][random.below(3)];
            match (account.create_mailbox(name, None).await, model.by_name(name)) {
                (Err(StoreError::MailboxExists), Some(_)) => {}
                (Ok(_), None) => {
                    if name == "a/b" && model.by_name("a").is_none() {
                        model.created(store, "a").await;
                    }
                    model.created(store, name).await;
                }
                (answer, known) => panic!("{answer:?} {known:?}"),
            }
            account.subscribe(name, random.below(2) == 0).await.unwrap();
            model.subscriptions = account.state().subscriptions.as_ref().clone();
        }
        12 => {
            let share = 1 + random.below(3);
            let (back, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut model.retained).into_iter().partition(|_| random.below(share) == 0);
            model.retained = kept;
            let ids = back.iter().map(|gone| Uid::new(gone.id).unwrap()).chain(Uid::new(99_999)).collect();
            let restored = account.undelete(ids, None).await.unwrap();
            assert_eq!(restored.len(), back.len());
            for (gone, restored) in back.into_iter().zip(restored) {
                assert_eq!(
                    (restored.was.value(), restored.mailbox.as_str()),
                    (gone.id, model.name(gone.mailbox))
                );
                let parent = restored.mailbox.split_once('/').map(|(parent, _)| parent);
                for name in parent.into_iter().chain([restored.mailbox.as_str()]) {
                    if model.by_name(name).is_none() {
                        model.created(store, name).await;
                    }
                }
                let target = model.by_name(&restored.mailbox).unwrap();
                let mailbox = model.mailboxes.get_mut(&target).unwrap();
                assert_eq!(restored.uid.value(), mailbox.uid_next);
                mailbox.uid_next += 1;
                let mut message = gone.message;
                message.flags.system = message.flags.system.without(SystemFlags::DELETED);
                message.seen = false;
                mailbox.messages.insert(restored.uid, message);
            }
        }
        13 => {
            if random.below(6) == 0 {
                assert_eq!(account.purge().await.unwrap(), model.retained.len() as u64);
                model.retained.clear();
            }
        }
        _ => {
            let Some(id) = model.by_name(["a", "a/b", "c"][random.below(3)]) else { return };
            let new = ["c", "d", "INBOX"][random.below(3)];
            if new == "INBOX" || model.by_name(new).is_some() {
                account.delete_mailbox(id).await.unwrap();
                let mailbox = model.mailboxes.remove(&id).unwrap();
                model.annotations.retain(|(mailbox, _), _| *mailbox != id);
                model.rights.remove(&id);
                model.graves.insert(id, mailbox.name);
                model.retain(id, mailbox.messages);
            } else if account.rename_mailbox(id, new).await.is_ok() {
                let old = model.mailboxes[&id].name.clone();
                for mailbox in model.mailboxes.values_mut() {
                    if mailbox.name == old || mailbox.name.starts_with(&format!("{old}/")) {
                        mailbox.name = format!("{new}{}", &mailbox.name[old.len()..]);
                    }
                }
            }
        }
    }
}

/// What one account does in the mailboxes of the other.
async fn share(store: &Store, models: &mut [Model; 2], at: usize, random: &mut Random) {
    let [one, two] = models;
    let (owner, reader) = if at == 0 { (one, two) } else { (two, one) };
    let account = store.account_for(owner.id, reader.id).await.unwrap();
    let from = owner.any(random);
    let uids = owner.uids(from, random);
    match random.below(5) {
        0 | 1 => {
            let mode = [FlagMode::Add, FlagMode::Remove, FlagMode::Replace][random.below(3)];
            let seen = random.below(2) == 0;
            let flags = if seen { SystemFlags::SEEN.into() } else { Flags::default() };
            let change = FlagChange { mode, flags, unchanged_since: None };
            let may = FlagRights::from(Rights::SEEN);
            account.change_flags_within(from, uids.clone(), change, may).await.unwrap();
            for uid in uids {
                let Some(message) = owner.mailboxes.get_mut(&from).unwrap().messages.get_mut(&uid) else {
                    continue;
                };
                message.seen = match mode {
                    FlagMode::Replace => seen,
                    FlagMode::Add => message.seen || seen,
                    FlagMode::Remove => message.seen && !seen,
                };
            }
        }
        2 => {
            let rights = Rights::from_bits(random.below(4096) as u16);
            let key = (Identifier::Account(reader.id), Sign::Given);
            account.set_acl(from, key, RightsChange::Replace(rights)).await.unwrap();
            owner.rights.insert(from, rights);
        }
        3 => {
            let name = ["/comment", "/vendor/a", "/vendor/b"][random.below(3)];
            let value = (random.below(3) > 0).then(|| vec![random.below(256) as u8; random.below(200)]);
            let audience = if name == "/comment" { Audience::Shared } else { Audience::Private(reader.id) };
            let key = (Some(from), audience, name.to_owned());
            let limits = AnnotationLimits {
                entries_max: 3,
                value_bytes_max: 200,
                audience_bytes_max: 1 << 20,
                account_bytes_max: 1 << 20,
            };
            account.annotate(vec![(key, value.clone().map(Arc::from))], limits).await.unwrap();
            match value {
                Some(value) => drop(owner.annotations.insert((from, name), value)),
                None => drop(owner.annotations.remove(&(from, name))),
            }
        }
        _ => {
            let (to, moved) = (reader.any(random), random.below(2) == 0);
            let before = account.state().mailboxes[&from].highest_modseq.value();
            let own = store.account(reader.id).await.unwrap();
            let carried = Carried { moved, may: FlagRights::ALL };
            let outcome = account.carry(from, uids, (&own, to), Missing::Skipped, carried).await.unwrap();
            let rows = own.select(to).await.unwrap().state().unwrap();
            let mut gone = Vec::new();
            for (old, new) in outcome.uids {
                let was = owner.mailboxes[&from].messages[&old].clone();
                if moved {
                    owner.mailboxes.get_mut(&from).unwrap().remove(old, before);
                    gone.push((old, was.clone()));
                }
                let mut flags = was.flags.clone();
                flags.system = flags.system.without(SystemFlags::SEEN);
                if was.seen {
                    flags.system = flags.system.with(SystemFlags::SEEN);
                }
                let row = rows.row(new).unwrap();
                let (email, uidl) = (row.email, row.uidl);
                let mailbox = reader.mailboxes.get_mut(&to).unwrap();
                assert_eq!(new.value(), mailbox.uid_next);
                mailbox.uid_next += 1;
                mailbox.messages.insert(new, Message { flags, email, uidl, seen: false, ..was });
            }
            gone.sort_by_key(|(uid, _)| *uid);
            owner.retain(from, gone);
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy_directory(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

async fn run(seed: u64, commands: usize) {
    let directory = tempfile::tempdir().unwrap();
    let disk = simulated(seed);
    let (index, old) = (directory.path().join("index"), directory.path().join("old"));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut store = Store::open(options(directory.path(), disk.clone())).await.unwrap();
    let mut models = [Model::new(&store, "user1").await, Model::new(&store, "user2").await];
    let [one, two] = &mut models;
    (one.other, two.other) = (two.id, one.id);
    for number in 0..commands {
        let at = random.below(2);
        store.set_retention(Duration::from_secs(if models[0].retains { 3600 } else { 0 }));
        match random.below(4) {
            0 => share(&store, &mut models, at, &mut random).await,
            _ => command(&store, &mut models[at], &mut random, number).await,
        }
        match random.below(30) {
            0 => models.iter_mut().for_each(|model| model.retains = !model.retains),
            1 => drop(store.compact().await.unwrap()),
            _ => {}
        }
        if random.below(25) != 0 {
            continue;
        }
        store.close().await;
        match random.below(4) {
            0 => std::fs::remove_dir_all(&index).unwrap(),
            1 if old.exists() => {
                std::fs::remove_dir_all(&index).unwrap();
                copy_directory(&old, &index);
            }
            2 => {
                drop(std::fs::remove_dir_all(&old));
                copy_directory(&index, &old);
            }
            _ => {}
        }
        store = Store::open(options(directory.path(), disk.clone())).await.unwrap();
        for model in &mut models {
            model.compare(&store).await;
        }
    }
    for model in &mut models {
        model.compare(&store).await;
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "seed {seed}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_does_what_a_plain_model_does() {
    let seeds = std::env::var("WAYPOST_MODEL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    for seed in 1..=seeds {
        run(seed, 120).await;
    }
}
