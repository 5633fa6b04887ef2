//! Tables for `decide` and `apply`: commands over a state in memory, with the outcome and the state behind it.

use std::sync::Arc;

use waypost_mail::{
    AccessKey, AccountCertificate, AccountId, AccountSource, Address, ApopSecret, AppPassword, BodyType,
    DateTime, EnhancedStatus, EntryId, Flag, Flags, LoginService, MailboxId, ModSeq, Reply, ReversePath,
    Timestamp, TotpSecret, Uid,
};

use super::{
    Command, Undecided,
    accept::{Accept, Deliver, Incoming, Local, Replace},
    access_key::{GiveAccessKey, Present, RemoveAccessKeys},
    decide,
    directory::{
        AddAppPassword, AddCertificate, CreateAccount, Mend, RemoveAccount, RemoveAppPassword,
        RemoveCertificate, SetApop, SetPassword, SetQuota, SetTotp, UseCode,
    },
    mailboxes::{CreateMailbox, DeleteMailbox, MAILBOXES_MAX, RenameMailbox, Subscribe},
    maildrop::{ExpireRetrieved, UpdateMaildrop},
    messages::{ChangeFlags, Copy, Expunge, Originals, Route, Which},
    queue::{Hold, Remove, Reschedule, Settle},
    sharing::{Annotate, RightsChange, SetAcl, SetSpecialUse},
};
use crate::{
    Attempt, FlagChange, FlagMode, Missing, NewAccount, Outcome, QueueEntry, RecipientOutcome, Relay,
    RelayRecipient, Replaced, StoreError,
    acl::{ACL_ENTRIES_MAX, Acl, FlagRights, Identifier, Rights, Sign},
    annotation::{AnnotationLimits, Audience},
    apply::{State, apply, rows},
    content::BodyPlace,
    journal::{Placement, Position},
    record::{self, Change, Record},
    retrieved::day,
    seen::UidSet,
    state::{AccountState, CHUNK_ROWS_MAX, MailboxState, SpecialUse},
};

const ACCOUNT: AccountId = AccountId(1);
const INBOX: MailboxId = MailboxId(1);
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A state with the commands that were done on it, each through the records as the journal keeps them.
struct World {
    state: State,
    entries: u64,
}

impl World {
    fn entry(&self, id: EntryId) -> QueueEntry {
        self.state.queue.entries.entry(id).unwrap()
    }

    fn new() -> Self {
        let mut world = Self { state: State::default(), entries: 0 };
        let account = NewAccount {
            address: Address::parse("user@example.org").unwrap(),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: None,
        };
        assert_eq!(world.run(&CreateAccount(account)), Ok(ACCOUNT));
        world
    }

    fn run<C: Command>(&mut self, command: &C) -> Result<C::Outcome, Undecided> {
        let (records, outcome) = decide(&self.state, NOW, command)?;
        self.entries += 1;
        let at = Position { segment: 7, offset: self.entries };
        let placement = Placement { at, area_at: self.entries * 1000, area_bytes: 1000 };
        for record in &records {
            let raw = record.encode();
            let change = record::decode(&raw).unwrap().unwrap();
            let kept = Record { stream: raw.stream, seq: raw.seq, change };
            assert_eq!(kept, *record, "a record is read as it was written");
            apply(&mut self.state, &kept, &placement).unwrap();
        }
        Ok(outcome)
    }

    fn refused<C: Command<Outcome: std::fmt::Debug>>(&mut self, command: &C) -> StoreError {
        match self.run(command) {
            Err(Undecided::Refused(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn account(&self) -> &Arc<AccountState> {
        &self.state.accounts[&ACCOUNT]
    }

    fn mailbox(&self, id: MailboxId) -> &MailboxState {
        let mailbox = &self.account().mailboxes[&id];
        assert_eq!(mailbox.digest, rows::digest(mailbox.rows()));
        assert_eq!(mailbox.count as usize, mailbox.rows().count());
        assert!(mailbox.chunks.iter().all(|chunk| (1..=CHUNK_ROWS_MAX).contains(&chunk.rows.len())));
        mailbox
    }

    fn uids(&self, id: MailboxId) -> Vec<u32> {
        self.mailbox(id).rows().map(|row| row.uid.value()).collect()
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.account().mailboxes.values().map(|mailbox| mailbox.name.as_str()).collect();
        names.retain(|name| !["Drafts", "Sent", "Junk", "Trash", "Archive"].contains(name));
        names.sort_unstable();
        names
    }

    fn create(&mut self, name: &str) -> Result<MailboxId, Undecided> {
        self.run(&CreateMailbox { account: ACCOUNT, name: name.into(), special_use: None })
    }

    fn rename(&mut self, mailbox: MailboxId, name: &str) -> Result<(), Undecided> {
        self.run(&RenameMailbox { account: ACCOUNT, mailbox, name: name.into() })
    }

    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            self.run(&Accept(vec![incoming(EntryId(0), Flags::default(), None)])).unwrap();
        }
    }

    fn change(
        &mut self,
        uids: &[u32],
        mode: FlagMode,
        names: &[&str],
        since: Option<u64>,
    ) -> Result<crate::FlagsOutcome, Undecided> {
        let change = FlagChange { mode, flags: flags(names), unchanged_since: since };
        let (reader, may) = (None, FlagRights::ALL);
        self.run(&ChangeFlags { account: ACCOUNT, mailbox: INBOX, uids: uids_of(uids), change, reader, may })
    }

    fn expunge(&mut self, uids: &[u32], which: Which) -> Vec<Uid> {
        self.run(&Expunge { account: ACCOUNT, mailbox: INBOX, uids: uids_of(uids), which }).unwrap()
    }
}

fn incoming(id: EntryId, flags: Flags, relay: Option<Relay>) -> Incoming {
    let internal_date = DateTime { seconds: 5, offset_minutes: -90 };
    let local = Local { account: ACCOUNT, mailbox: None, prefix: (0, 10), flags, internal_date };
    Incoming {
        id,
        header: (10, 20),
        body: BodyPlace::Area(30),
        body_bytes: 70,
        structure: vec![1, 2, 3],
        thread_key: None,
        local: vec![local],
        relay,
        relay_prefix: (5, 3),
    }
}

fn flags(names: &[&str]) -> Flags {
    names.iter().filter_map(|name| Flag::parse(name)).collect()
}

fn uids_of(uids: &[u32]) -> Vec<Uid> {
    uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
}

#[test]
fn mailboxes_are_created_with_those_above_them() {
    let mut world = World::new();
    world.create("a/b/c").unwrap();
    world.create("inbox/x").unwrap();
    assert_eq!(world.names(), ["INBOX", "INBOX/x", "a", "a/b", "a/b/c"]);
    assert_eq!(world.account().by_name("iNboX/x").unwrap().name, "INBOX/x");
    assert!(world.account().by_name("INBOX/X").is_none());
    for (name, error) in [("a", StoreError::MailboxExists), ("iNbOx", StoreError::MailboxExists)] {
        assert_eq!(world.create(name), Err(error.into()));
    }
    assert!(matches!(world.create("a//b"), Err(Undecided::Refused(StoreError::MailboxName(_)))));
    let mut validities: Vec<_> =
        world.account().mailboxes.values().map(|mailbox| mailbox.uid_validity).collect();
    assert_eq!(validities[0].value(), 1_800_000_000);
    validities.dedup();
    assert_eq!(validities.len(), world.account().mailboxes.len(), "no UIDVALIDITY repeats");
}

#[test]
fn an_account_has_a_bound_of_mailboxes() {
    let mut world = World::new();
    let missing = MAILBOXES_MAX - world.account().mailboxes.len();
    // One below the other, so that one command creates many.
    let deep = |at: usize, levels: usize| format!("n{at}{}", "/x".repeat(levels - 1));
    let (whole, rest) = (missing / 400, missing % 400);
    for at in 0..whole {
        world.create(&deep(at, 400)).unwrap();
    }
    assert!(matches!(world.create(&deep(whole, rest + 1)), Err(Undecided::Refused(StoreError::Limit(_)))));
    world.create(&deep(whole, rest)).unwrap();
    assert!(matches!(world.create("one more"), Err(Undecided::Refused(StoreError::Limit(_)))));
}

#[test]
fn mailboxes_are_renamed_with_those_below_them() {
    let mut world = World::new();
    let a = world.create("a").unwrap();
    world.create("a/b").unwrap();
    let other = world.create("ab").unwrap();
    let validity = world.mailbox(a).uid_validity;
    world.rename(a, "x/y").unwrap();
    assert_eq!(world.names(), ["INBOX", "ab", "x", "x/y", "x/y/b"]);
    assert_eq!(world.mailbox(a).uid_validity, validity);
    assert_eq!(world.rename(other, "inbox"), Err(StoreError::MailboxExists.into()));
    assert_eq!(world.rename(other, "x"), Err(StoreError::MailboxExists.into()));
    assert!(matches!(world.rename(a, "x/y/z"), Err(Undecided::Refused(StoreError::MailboxName(_)))));
    assert!(matches!(world.rename(MailboxId(99), "z"), Err(Undecided::Refused(StoreError::NoSuchMailbox))));
}

#[test]
fn a_mailbox_moves_into_the_place_of_the_one_above_it() {
    let mut world = World::new();
    let child = world.create("a/b").unwrap();
    world.create("a/b/b").unwrap();
    let above = world.account().by_name("a").unwrap().id;
    world.run(&DeleteMailbox { account: ACCOUNT, mailbox: above }).unwrap();
    world.rename(child, "a").unwrap();
    assert_eq!(world.names(), ["INBOX", "a", "a/b"]);
    assert_eq!(world.mailbox(child).name, "a");
    let other = world.create("c").unwrap();
    world.create("c/b").unwrap();
    assert_eq!(world.rename(other, "a"), Err(StoreError::MailboxExists.into()));
}

#[test]
fn renaming_inbox_moves_its_messages() {
    let mut world = World::new();
    world.deliver(3);
    let before: Vec<_> = world.mailbox(INBOX).rows().cloned().collect();
    world.rename(INBOX, "old/mail").unwrap();
    assert_eq!(world.names(), ["INBOX", "old", "old/mail"]);
    assert!(world.uids(INBOX).is_empty());
    assert_eq!(world.mailbox(INBOX).uid_next.value(), 4);
    let moved = world.account().by_name("old/mail").unwrap();
    let ids = |row: &crate::Row| (row.email, row.thread, row.uidl, row.content.clone());
    assert!(moved.rows().map(ids).eq(before.iter().map(ids)));
}

#[test]
fn deleted_mailboxes_leave_those_below_them() {
    let mut world = World::new();
    world.create("a/b").unwrap();
    let a = world.account().by_name("a").unwrap().id;
    world.run(&DeleteMailbox { account: ACCOUNT, mailbox: a }).unwrap();
    assert_eq!(world.names(), ["INBOX", "a/b"]);
    assert!(matches!(
        world.refused(&DeleteMailbox { account: ACCOUNT, mailbox: INBOX }),
        StoreError::MailboxName(_)
    ));
    assert_eq!(world.refused(&DeleteMailbox { account: ACCOUNT, mailbox: a }), StoreError::NoSuchMailbox);
    let again = world.create("a").unwrap();
    assert!(again > a, "ids are never reused");
}

#[test]
fn names_are_subscribed_whether_they_exist_or_not() {
    let mut world = World::new();
    let command = |name: &str, subscribed| Subscribe { account: ACCOUNT, name: name.into(), subscribed };
    let seq = world.account().seq;
    world.run(&command("inbox", true)).unwrap();
    assert_eq!(world.account().seq, seq, "it is subscribed already");
    world.run(&command("none", true)).unwrap();
    world.run(&command("INBOX", false)).unwrap();
    assert!(
        world.account().subscriptions.contains("none") && !world.account().subscriptions.contains("INBOX")
    );
}

#[test]
fn a_new_message_gets_its_ids_from_its_record() {
    let mut world = World::new();
    let accepted = world.run(&Accept(vec![incoming(EntryId(3), flags(&["\\Seen", "work"]), None)])).unwrap();
    let (account, mailbox) = (world.account(), world.mailbox(INBOX));
    let row = mailbox.rows().next().unwrap();
    // The keyword's record came before.
    assert_eq!(
        (row.modseq.value(), row.email.0, row.uidl.0, row.thread.0),
        (account.seq, account.seq, account.seq, account.seq)
    );
    assert_eq!((row.save_date, row.internal_date.offset_minutes), (NOW, -90));
    assert_eq!((mailbox.flags(row), mailbox.unseen, mailbox.bytes), (flags(&["\\Seen", "work"]), 0, 100));
    assert_eq!((accepted[0].local[0].uid, accepted[0].local[0].uidl), (row.uid, row.uidl));
    assert_eq!((row.content.segment, row.content.prefix, row.content.size()), (7, (0, 10), 100));
}

#[test]
fn quotas_hold_for_accepting_and_copying_but_not_for_moving() {
    let mut world = World::new();
    world.run(&SetQuota { account: ACCOUNT, quota_bytes: Some(250) }).unwrap();
    world.deliver(2);
    let accept = Accept(vec![incoming(EntryId(0), Flags::default(), None)]);
    assert_eq!(world.refused(&accept), StoreError::OverQuota);
    let copy = |originals| copy(&[1], MailboxId(2), originals);
    assert_eq!(world.refused(&copy(Originals::Stay)), StoreError::OverQuota);
    world.run(&copy(Originals::Go)).unwrap();
    assert_eq!(world.account().bytes, 200);
    world.run(&SetQuota { account: ACCOUNT, quota_bytes: Some(300) }).unwrap();
    world.run(&accept).unwrap();
    assert_eq!(world.account().bytes, 300);
}

#[test]
fn a_recipient_that_was_let_in_gets_its_message_whatever_the_quota() {
    let mut world = World::new();
    world.run(&SetQuota { account: ACCOUNT, quota_bytes: Some(250) }).unwrap();
    world.deliver(2);
    let message = incoming(EntryId(0), Flags::default(), None);
    world.run(&Deliver { message, notification: None }).unwrap();
    assert_eq!(world.account().bytes, 300);
    let strict = Accept(vec![incoming(EntryId(0), Flags::default(), None)]);
    assert_eq!(world.refused(&strict), StoreError::OverQuota);
}

#[test]
fn flags_change_in_one_record() {
    let mut world = World::new();
    world.deliver(40);
    let outcome = world.change(&[1, 2, 3, 30, 99], FlagMode::Add, &["\\Seen", "k"], None).unwrap();
    assert_eq!(outcome.modseq.map(ModSeq::value), Some(world.account().seq));
    assert_eq!(
        (world.mailbox(INBOX).unseen, world.mailbox(INBOX).highest_modseq),
        (36, outcome.modseq.unwrap())
    );
    assert_eq!(
        world.change(&[1, 2], FlagMode::Add, &["\\Seen"], None).unwrap().modseq,
        None,
        "nothing changes"
    );
    assert_eq!(world.change(&[1], FlagMode::Remove, &["unknown"], None).unwrap().modseq, None);
    let since = outcome.modseq.map(|modseq| modseq.value() - 1);
    let outcome = world.change(&[4, 3, 2], FlagMode::Replace, &["\\Flagged"], since).unwrap();
    assert_eq!(outcome.modified, uids_of(&[2, 3]));
    world.change(&[1], FlagMode::Remove, &["\\Seen"], None).unwrap();
    let mailbox = world.mailbox(INBOX);
    let flags_of = |uid| mailbox.flags(mailbox.row(Uid::new(uid).unwrap()).unwrap()).to_string();
    assert_eq!([1, 2, 4, 5].map(flags_of), ["k", "\\Seen k", "\\Flagged", ""]);
}

#[test]
fn a_mailbox_has_64_keywords() {
    let mut world = World::new();
    world.deliver(1);
    let names: Vec<String> = (0..65).map(|number| format!("k{number}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    world.change(&[1], FlagMode::Add, &all[..64], None).unwrap();
    assert!(matches!(
        world.change(&[1], FlagMode::Add, &all[64..], None),
        Err(Undecided::Refused(StoreError::Limit(_)))
    ));
    world.change(&[1], FlagMode::Add, &["K63"], None).unwrap();
    assert_eq!(world.mailbox(INBOX).rows().next().unwrap().keywords, u64::MAX);
}

#[test]
fn messages_are_expunged() {
    let mut world = World::new();
    world.deliver(300);
    world.change(&[2, 3, 250], FlagMode::Add, &["\\Deleted"], None).unwrap();
    assert_eq!(world.expunge(&[1, 2, 3, 4], Which::Deleted), uids_of(&[2, 3]));
    assert_eq!(world.expunge(&[2, 3], Which::All), []);
    assert_eq!((world.mailbox(INBOX).deleted, world.mailbox(INBOX).count), (1, 298));
    let most: Vec<u32> = (1..300).collect();
    world.expunge(&most, Which::All);
    assert_eq!(world.uids(INBOX), [300]);
    world.deliver(1);
    assert_eq!(world.uids(INBOX), [300, 301]);
    assert_eq!(world.account().bytes, 200);
}

#[test]
fn copies_share_the_message_but_not_the_unique_id() {
    let mut world = World::new();
    world.deliver(2);
    world.change(&[2], FlagMode::Add, &["a", "b"], None).unwrap();
    let to = world.create("to").unwrap();
    let command = |originals| copy(&[2, 9, 1, 2], to, originals);
    let copied = world.run(&command(Originals::Stay)).unwrap();
    assert_eq!(copied.uids, [1, 2].map(|uid| (Uid::new(uid).unwrap(), Uid::new(uid).unwrap())));
    let moved = world.run(&command(Originals::Go)).unwrap();
    assert_eq!(moved.uids.iter().map(|(_, new)| new.value()).collect::<Vec<_>>(), [3, 4]);
    let rows: Vec<_> = world.mailbox(to).rows().collect();
    assert_eq!((rows[0].email, rows[0].thread), (rows[2].email, rows[2].thread));
    assert_ne!(rows[0].uidl, rows[2].uidl);
    assert_eq!(rows[2].uidl.0, rows[2].email.0);
    assert_eq!(world.mailbox(to).flags(rows[3]), flags(&["a", "b"]));
    assert!(world.uids(INBOX).is_empty());
    assert_eq!(world.account().bytes, 400);
}

#[test]
fn moving_within_a_mailbox_gives_new_uids() {
    let mut world = World::new();
    world.deliver(2);
    world.run(&copy(&[1], INBOX, Originals::Go)).unwrap();
    assert_eq!(world.uids(INBOX), [2, 3]);
}

#[test]
fn a_copy_that_may_miss_nothing_copies_all_or_nothing() {
    let mut world = World::new();
    world.deliver(2);
    let to = world.create("to").unwrap();
    for originals in [Originals::Stay, Originals::Go] {
        let strict = |uids| Copy { missing: Missing::Refused, ..copy(uids, to, originals) };
        assert_eq!(world.refused(&strict(&[1, 2, 3])), StoreError::NoSuchMessage);
        assert!(world.uids(to).is_empty());
    }
    let strict = Copy { missing: Missing::Refused, ..copy(&[2, 1, 2], to, Originals::Stay) };
    assert_eq!(world.run(&strict).unwrap().uids.len(), 2);
    let (from, nowhere) = (to, MailboxId(99));
    assert_eq!(world.refused(&copy(&[1], nowhere, Originals::Go)), StoreError::NoSuchDestination);
    let gone = Copy { from: nowhere, ..copy(&[1], from, Originals::Go) };
    assert_eq!(world.refused(&gone), StoreError::NoSuchMailbox);
}

fn copy(uids: &[u32], to: MailboxId, originals: Originals) -> Copy {
    let route = Route::within(ACCOUNT, originals);
    Copy { from: INBOX, uids: uids_of(uids), to, missing: Missing::Skipped, route }
}

#[test]
fn several_messages_are_one_entry() {
    let mut world = World::new();
    let names: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = incoming(EntryId(1), flags(&all), None);
    let second = incoming(EntryId(2), flags(&["k1", "new"]), None);
    let accepted = world.run(&Accept(vec![first, second])).unwrap();
    assert_eq!([accepted[0].local[0].uid.value(), accepted[1].local[0].uid.value()], [1, 2]);
    let mut over = incoming(EntryId(3), Flags::default(), None);
    over.local[0].mailbox = Some(MailboxId(99));
    let both = Accept(vec![incoming(EntryId(3), Flags::default(), None), over]);
    assert_eq!(world.refused(&both), StoreError::NoSuchMailbox);
    assert_eq!(world.uids(INBOX), [1, 2], "all or none");
}

#[test]
fn a_message_takes_the_place_of_another() {
    let replace = |uid: u32, to: MailboxId| {
        let mut message = incoming(EntryId(9), Flags::default(), None);
        message.local[0].mailbox = Some(to);
        Replace {
            message,
            replaced: Replaced { account: ACCOUNT, mailbox: INBOX, uid: Uid::new(uid).unwrap() },
        }
    };
    let mut world = World::new();
    world.deliver(3);
    let held = world.account().bytes;
    // Full: only what is more than before counts.
    world.run(&SetQuota { account: ACCOUNT, quota_bytes: Some(held) }).unwrap();
    assert_eq!(
        world.refused(&Accept(vec![incoming(EntryId(8), Flags::default(), None)])),
        StoreError::OverQuota
    );
    let accepted = world.run(&replace(2, INBOX)).unwrap();
    assert_eq!(accepted.local[0].uid.value(), 4);
    assert_eq!((world.uids(INBOX), world.account().bytes), (vec![1, 3, 4], held));
    let mut larger = replace(3, INBOX);
    larger.message.body_bytes += 1;
    assert_eq!(world.refused(&larger), StoreError::OverQuota);
    assert_eq!(world.refused(&replace(2, INBOX)), StoreError::NoSuchMessage);
    assert_eq!(world.refused(&replace(3, MailboxId(99))), StoreError::NoSuchDestination);
    assert_eq!(world.uids(INBOX), [1, 3, 4], "both or nothing");
    let create = CreateMailbox { account: ACCOUNT, name: "Other".to_owned(), special_use: None };
    let other = world.run(&create).unwrap();
    world.run(&replace(3, other)).unwrap();
    assert_eq!((world.uids(INBOX), world.uids(other)), (vec![1, 4], vec![1]));
}

#[test]
fn a_mailbox_keeps_its_access_key_until_it_gets_another() {
    let mut world = World::new();
    let give = |key: u8, present| {
        let (account, mailbox) = (ACCOUNT, INBOX);
        GiveAccessKey { account, mailbox, key: AccessKey([key; 32]), present }
    };
    assert_eq!(world.run(&give(1, Present::Stays)), Ok(AccessKey([1; 32])));
    let seq = world.account().seq;
    assert_eq!(world.run(&give(2, Present::Stays)), Ok(AccessKey([1; 32])));
    assert_eq!(world.account().seq, seq, "nothing changed");
    assert_eq!(world.run(&give(3, Present::Goes)), Ok(AccessKey([3; 32])));
    assert_eq!(world.account().mailboxes[&INBOX].access_key, Some(AccessKey([3; 32])));
    world.run(&RemoveAccessKeys { account: ACCOUNT }).unwrap();
    assert_eq!(world.account().mailboxes[&INBOX].access_key, None);
    let seq = world.account().seq;
    world.run(&RemoveAccessKeys { account: ACCOUNT }).unwrap();
    assert_eq!(world.account().seq, seq);
    let nowhere = GiveAccessKey { mailbox: MailboxId(99), ..give(1, Present::Goes) };
    assert_eq!(world.refused(&nowhere), StoreError::NoSuchMailbox);
}

/// What a session on INBOX leaves behind.
fn left(world: &World, deleted: &[u32], retrieved: &[u32]) -> UpdateMaildrop {
    let mut set = UidSet::default();
    uids_of(retrieved).into_iter().for_each(|uid| set.insert(uid));
    let (uid_validity, deleted) = (world.mailbox(INBOX).uid_validity, uids_of(deleted));
    UpdateMaildrop { account: ACCOUNT, mailbox: INBOX, uid_validity, deleted, retrieved: set }
}

#[test]
fn a_maildrop_is_updated_in_one_entry() {
    let mut world = World::new();
    world.deliver(6);
    let entries = world.entries;
    world.expunge(&[6], Which::All);
    let update = left(&world, &[1, 3, 6, 9], &[1, 2, 4, 6, 9]);
    world.run(&update).unwrap();
    assert_eq!((world.uids(INBOX), world.entries), (vec![2, 4, 5], entries + 2));
    let retrieved = |world: &World| {
        let retrieved = world.mailbox(INBOX).retrieved.clone();
        (1..=9).filter_map(Uid::new).filter(|uid| retrieved.day(*uid) == Some(day(NOW))).count()
    };
    assert_eq!(retrieved(&world), 2, "what is gone is not known as retrieved");
    // Nothing is left to be done.
    let seq = world.account().seq;
    world.run(&update).unwrap();
    assert_eq!(world.account().seq, seq);
    world.run(&left(&world, &[2], &[2])).unwrap();
    assert_eq!((world.uids(INBOX), retrieved(&world)), (vec![4, 5], 1));
    let validity = world.mailbox(INBOX).uid_validity.next();
    let other = UpdateMaildrop { uid_validity: validity, ..left(&world, &[4], &[]) };
    assert_eq!(world.refused(&other), StoreError::NoSuchMessage);
    assert_eq!(world.refused(&UpdateMaildrop { mailbox: MailboxId(99), ..other }), StoreError::NoSuchMailbox);
}

#[test]
fn what_was_retrieved_expires_and_nothing_else() {
    let mut world = World::new();
    world.deliver(5);
    world.run(&left(&world, &[], &[1, 2, 4])).unwrap();
    let expire = |before| ExpireRetrieved { account: ACCOUNT, before };
    assert_eq!(world.run(&expire(day(NOW))), Ok(0), "not on the same day");
    // Elsewhere it is safe, and stays so when it comes back.
    let archive = world.create("Kept").unwrap();
    let go = |from, to, uid| Copy {
        from,
        uids: uids_of(&[uid]),
        to,
        missing: Missing::Skipped,
        route: Route::within(ACCOUNT, Originals::Go),
    };
    world.run(&go(INBOX, archive, 4)).unwrap();
    world.run(&go(archive, INBOX, 1)).unwrap();
    assert_eq!(world.uids(INBOX), [1, 2, 3, 5, 6]);
    assert_eq!(world.run(&expire(day(NOW) + 1)), Ok(2));
    assert_eq!((world.uids(INBOX), world.run(&expire(u32::MAX))), (vec![3, 5, 6], Ok(0)));
    assert_eq!(world.mailbox(INBOX).retrieved.oldest(), None);
}

#[test]
fn an_account_has_one_secret_for_apop() {
    let mut world = World::new();
    let set = |secret: Option<&str>| SetApop {
        account: ACCOUNT,
        secret: secret.map(|secret| ApopSecret(secret.to_owned())),
    };
    let kept = |world: &World| world.state.directory.accounts[&ACCOUNT].apop.clone();
    for secret in [Some("one"), Some("two"), None] {
        world.run(&set(secret)).unwrap();
        assert_eq!(kept(&world), secret.map(|secret| ApopSecret(secret.to_owned())));
    }
    let seq = world.state.directory.seq;
    world.run(&set(None)).unwrap();
    assert_eq!(world.state.directory.seq, seq, "nothing changed");
    let nobody = SetApop { account: AccountId(9), secret: None };
    assert_eq!(world.refused(&nobody), StoreError::NoSuchAccount);
}

#[test]
fn what_is_not_loaded_is_asked_for() {
    let mut world = World::new();
    world.deliver(1);
    let command = Expunge { account: ACCOUNT, mailbox: INBOX, uids: uids_of(&[1]), which: Which::All };
    let account = Arc::make_mut(world.state.accounts.get_mut(&ACCOUNT).unwrap());
    let inbox = Arc::make_mut(account.mailboxes.get_mut(&INBOX).unwrap());
    (inbox.partial, inbox.chunks) = (true, Vec::new());
    assert_eq!(world.run(&command), Err(Undecided::Rows(ACCOUNT, INBOX)));
    world.deliver(1);
    assert_eq!(world.account().mailboxes[&INBOX].count, 2, "deliveries need no rows");
    world.state.accounts.clear();
    assert_eq!(world.run(&command), Err(Undecided::Account(ACCOUNT)));
    world.run(&RemoveAccount(ACCOUNT)).unwrap();
    assert_eq!(world.run(&command), Err(StoreError::NoSuchAccount.into()));
}

#[test]
fn app_passwords_have_names_and_a_bound() {
    let mut world = World::new();
    let add = |name: &str| AddAppPassword {
        account: ACCOUNT,
        app_password: AppPassword {
            name: name.to_owned(),
            hash: format!("hash of {name}"),
            services: vec![LoginService::Imap, LoginService::Pop3],
            created: Timestamp(7),
        },
    };
    let remove = |name: &str| RemoveAppPassword { account: ACCOUNT, name: name.to_owned() };
    world.run(&add("one")).unwrap();
    world.run(&add("two")).unwrap();
    assert_eq!(world.refused(&add("one")), StoreError::AppPasswordExists);
    let kept = |world: &World| world.state.directory.accounts[&ACCOUNT].app_passwords.clone();
    assert_eq!(kept(&world), [add("one").app_password, add("two").app_password]);
    world.run(&remove("one")).unwrap();
    assert_eq!(kept(&world), [add("two").app_password]);
    assert_eq!(world.refused(&remove("one")), StoreError::NoSuchAppPassword);
    (1..100).for_each(|number| world.run(&add(&number.to_string())).unwrap());
    assert!(matches!(world.refused(&add("one more")), StoreError::Limit(_)));
    let nobody = RemoveAppPassword { account: AccountId(99), name: "two".into() };
    assert_eq!(world.refused(&nobody), StoreError::NoSuchAccount);
}

#[test]
fn codes_are_turned_on_once() {
    let mut world = World::new();
    let set = |account, secret: Option<&[u8]>| SetTotp {
        account,
        secret: secret.map(|octets| TotpSecret(octets.to_vec())),
    };
    let kept = |world: &World| world.state.directory.accounts[&ACCOUNT].totp.clone();
    world.run(&set(ACCOUNT, None)).unwrap();
    world.run(&set(ACCOUNT, Some(b"one"))).unwrap();
    assert_eq!(world.refused(&set(ACCOUNT, Some(b"two"))), StoreError::TotpExists);
    assert_eq!(kept(&world), Some(TotpSecret(b"one".to_vec())));
    assert!(!format!("{:?}", kept(&world)).contains("one"), "a secret in a log");
    world.run(&set(ACCOUNT, None)).unwrap();
    assert_eq!(kept(&world), None);
    assert_eq!(world.refused(&set(AccountId(99), Some(b"one"))), StoreError::NoSuchAccount);
}

#[test]
fn certificates_have_names_and_a_bound() {
    let mut world = World::new();
    let add = |name: &str, octet: u8| AddCertificate {
        account: ACCOUNT,
        certificate: AccountCertificate { name: name.into(), sha256: [octet; 32], added: Timestamp(7) },
    };
    let remove = |name: &str| RemoveCertificate { account: ACCOUNT, name: name.into() };
    let kept = |world: &World| world.state.directory.accounts[&ACCOUNT].certificates.clone();
    world.run(&add("one", 1)).unwrap();
    world.run(&add("two", 2)).unwrap();
    assert_eq!(world.refused(&add("one", 3)), StoreError::CertificateExists);
    assert_eq!(world.refused(&add("three", 2)), StoreError::CertificateExists);
    assert_eq!(kept(&world), [add("one", 1).certificate, add("two", 2).certificate]);
    world.run(&remove("one")).unwrap();
    assert_eq!(world.refused(&remove("one")), StoreError::NoSuchCertificate);
    assert_eq!(kept(&world), [add("two", 2).certificate]);
    (101..200).for_each(|number| world.run(&add(&number.to_string(), number)).unwrap());
    assert!(matches!(world.refused(&add("one more", 201)), StoreError::Limit(_)));
    let nobody = RemoveCertificate { account: AccountId(99), name: "two".into() };
    assert_eq!(world.refused(&nobody), StoreError::NoSuchAccount);
}

#[test]
fn a_code_is_used_once() {
    let mut world = World::new();
    let code = |step| UseCode { account: ACCOUNT, step };
    let secret = |octets: &[u8]| SetTotp { account: ACCOUNT, secret: Some(TotpSecret(octets.to_vec())) };
    assert_eq!(world.run(&code(7)), Ok(false), "no codes");
    world.run(&secret(b"one")).unwrap();
    for (step, is_good) in [(7, true), (7, false), (6, false), (8, true), (7, false), (9, true)] {
        assert_eq!(world.run(&code(step)), Ok(is_good), "{step}");
    }
    // other codes, with a clock that is right again
    world.run(&SetTotp { account: ACCOUNT, secret: None }).unwrap();
    assert_eq!(world.run(&code(10)), Ok(false));
    world.run(&secret(b"two")).unwrap();
    assert_eq!(world.run(&code(0)), Ok(true));
    assert_eq!(world.run(&code(0)), Ok(false));
    assert_eq!(world.refused(&UseCode { account: AccountId(99), step: 1 }), StoreError::NoSuchAccount);
    world.run(&RemoveAccount(ACCOUNT)).unwrap();
    assert!(world.state.directory.used_codes.is_empty());
}

#[test]
fn a_password_changes_with_its_verifiers() {
    let mut world = World::new();
    let change = |hash: &str, verifiers: &[&str]| SetPassword {
        account: ACCOUNT,
        password_hash: Some(hash.to_owned()),
        scram_verifiers: verifiers.iter().map(|text| (*text).to_owned()).collect(),
    };
    for change in [change("a", &["x", "y"]), change("a", &["x"]), change("b", &[])] {
        world.run(&change).unwrap();
        let account = &world.state.directory.accounts[&ACCOUNT];
        assert_eq!(account.password_hash, change.password_hash);
        assert_eq!(account.scram_verifiers, change.scram_verifiers);
    }
}

#[test]
fn a_mended_account_has_new_uid_validities() {
    let mut world = World::new();
    let before: Vec<_> = world.account().mailboxes.values().map(|mailbox| mailbox.uid_validity).collect();
    world.run(&Mend(ACCOUNT)).unwrap();
    let after: Vec<_> = world.account().mailboxes.values().map(|mailbox| mailbox.uid_validity).collect();
    assert!(after.iter().all(|new| before.iter().all(|old| new > old)));
}

#[test]
fn an_entry_leaves_the_queue_with_its_last_recipient() {
    let mut world = World::new();
    let recipient = |name: &str| RelayRecipient::new(Address::parse(name).unwrap());
    let relay = Relay {
        body: BodyType::EightBitMime,
        smtputf8: true,
        ..Relay::new(ReversePath::Null, vec![recipient("a@example.net"), recipient("b@example.net")])
    };
    let id = EntryId(5);
    world.run(&Accept(vec![incoming(id, Flags::default(), Some(relay))])).unwrap();
    let entry = world.entry(id);
    assert_eq!((entry.content.prefix, entry.content.without_prefix().size()), ((5, 3), 90));
    assert_eq!(entry.next_attempt(), Some(NOW));
    let reply = Reply::new(451, EnhancedStatus(4, 7, 1), "later");
    let attempt = |outcomes: Vec<RecipientOutcome>| Settle {
        attempt: Attempt {
            id,
            at: NOW,
            outcomes,
            next_attempt: Timestamp(9),
            warned: true,
            dialogues: Vec::new(),
        },
        caused: Vec::new(),
    };
    let deferred = Outcome::Deferred { peer: String::new(), reply: reply.clone() };
    let failed = Outcome::Failed { peer: "mx".into(), reply: reply.clone() };
    let delivered = Outcome::Delivered { peer: "mx".into(), reply };
    world
        .run(&attempt(vec![
            RecipientOutcome { recipient: 0, outcome: deferred.clone() },
            RecipientOutcome { recipient: 1, outcome: delivered.clone() },
        ]))
        .unwrap();
    let entry = world.entry(id);
    assert_eq!((entry.attempts, entry.next_attempt()), (1, Some(Timestamp(9))));
    assert_eq!(entry.recipients.iter().map(|queued| queued.warned).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        entry.recipients.iter().map(crate::QueuedRecipient::is_open).collect::<Vec<_>>(),
        [true, false]
    );
    world.run(&Reschedule { id, at: Timestamp(3) }).unwrap();
    assert_eq!((world.entry(id).next_attempt(), world.entry(id).attempts), (Some(Timestamp(3)), 1));
    for recipient in [1, 2] {
        let outcome = RecipientOutcome { recipient, outcome: delivered.clone() };
        assert!(matches!(world.refused(&attempt(vec![outcome])), StoreError::Limit(_)));
    }
    // A full mailbox still takes the notification.
    world.run(&SetQuota { account: ACCOUNT, quota_bytes: Some(1) }).unwrap();
    let mut last = attempt(vec![RecipientOutcome { recipient: 0, outcome: failed }]);
    last.caused = vec![incoming(EntryId(6), Flags::default(), None)];
    world.run(&last).unwrap();
    assert!(!world.state.queue.entries.contains(id));
    assert_eq!(world.uids(INBOX), [1, 2], "the notification came with it");
    assert_eq!(world.refused(&Reschedule { id, at: NOW }), StoreError::NoSuchEntry);
    assert_eq!(world.refused(&Hold { id, why: None }), StoreError::NoSuchEntry);
    assert_eq!(world.refused(&Remove { id }), StoreError::NoSuchEntry);
}

#[test]
fn tails_are_folded_into_chunks() {
    let mut world = World::new();
    world.deliver(600);
    let sizes: Vec<usize> = world.mailbox(INBOX).chunks.iter().map(|chunk| chunk.rows.len()).collect();
    assert_eq!(sizes, [256, 256, 80, 8]);
    assert!(world.uids(INBOX).into_iter().eq(1..=600));
    let inbox = world.mailbox(INBOX);
    assert!((1..=600).all(|uid| inbox.row(Uid::new(uid).unwrap()).is_some()));
}

#[test]
fn unknown_records_are_passed_over_only_if_they_may_be() {
    let world = World::new();
    let subscribe = Subscribe { account: ACCOUNT, name: "x".into(), subscribed: true };
    let (records, ()) = decide(&world.state, NOW, &subscribe).unwrap();
    let mut raw = records[0].encode();
    assert!(matches!(record::decode(&raw), Ok(Some(Change::Account(_)))));
    raw.version = 2;
    assert!(matches!(record::decode(&raw), Err(StoreError::Open(_))));
    raw.ignorable = true;
    assert_eq!(record::decode(&raw), Ok(None));
    (raw.version, raw.payload) = (1, vec![0xff]);
    assert!(matches!(record::decode(&raw), Err(StoreError::Damaged(_))));
}

#[test]
fn each_recipient_has_its_own_times() {
    let mut world = World::new();
    let recipient = |name: &str| RelayRecipient::new(Address::parse(name).unwrap());
    let earliest = Timestamp(NOW.0 + 50);
    let relay = Relay {
        not_before: Some(earliest),
        held: Some("too many".to_owned()),
        ..Relay::new(ReversePath::Null, vec![recipient("a@example.net"), recipient("b@example.org")])
    };
    let id = EntryId(5);
    world.run(&Accept(vec![incoming(id, Flags::default(), Some(relay))])).unwrap();
    let entry = world.entry(id);
    assert_eq!((entry.next_attempt(), entry.begun()), (Some(earliest), earliest));
    assert_eq!(entry.held, Some(crate::Held { at: NOW, why: "too many".to_owned() }));
    world.run(&Hold { id, why: None }).unwrap();
    let outcome = Outcome::Deferred { peer: "mx".into(), reply: Reply::plain(451, "later") };
    let attempt = Attempt {
        id,
        at: NOW,
        outcomes: vec![RecipientOutcome { recipient: 1, outcome }],
        next_attempt: Timestamp(NOW.0 + 900),
        warned: false,
        dialogues: Vec::new(),
    };
    world.run(&Settle { attempt, caused: Vec::new() }).unwrap();
    let entry = world.entry(id);
    let times = |entry: &QueueEntry| {
        entry
            .recipients
            .iter()
            .map(|queued| (queued.tries, queued.next_attempt.0 - NOW.0))
            .collect::<Vec<_>>()
    };
    assert_eq!((times(&entry), &entry.held), (vec![(0, 50), (1, 900)], &None));
    assert_eq!(entry.next_attempt(), Some(earliest));
    world.run(&Hold { id, why: Some("by hand".to_owned()) }).unwrap();
    world.run(&Hold { id, why: Some("by hand".to_owned()) }).unwrap();
    world.run(&Reschedule { id, at: NOW }).unwrap();
    assert_eq!(times(&world.entry(id)), [(0, 0), (1, 0)]);
    world.run(&Remove { id }).unwrap();
    assert!(!world.state.queue.entries.contains(id));
}

const OTHER: AccountId = AccountId(2);

impl World {
    /// A world with a second account.
    fn shared() -> Self {
        let mut world = Self::new();
        let account = NewAccount {
            address: Address::parse("other@example.org").unwrap(),
            source: AccountSource::Store,
            password_hash: None,
            scram_verifiers: Vec::new(),
            quota_bytes: Some(350),
        };
        assert_eq!(world.run(&CreateAccount(account)), Ok(OTHER));
        world
    }

    fn grant(&mut self, mailbox: MailboxId, key: (Identifier, Sign), letters: &str) -> Result<(), Undecided> {
        let change = RightsChange::Replace(Rights::parse(letters).unwrap());
        self.run(&SetAcl { account: ACCOUNT, mailbox, key, change })
    }

    fn reach(&self, account: AccountId) -> Vec<AccountId> {
        self.state.directory.shared_with(account).collect()
    }

    /// A reader's flags.
    fn change_as(&mut self, uids: &[u32], mode: FlagMode, names: &[&str], letters: &str) -> Option<ModSeq> {
        let change = FlagChange { mode, flags: flags(names), unchanged_since: None };
        let may = FlagRights::from(Rights::parse(letters).unwrap());
        let reader = Some(OTHER);
        let command =
            ChangeFlags { account: ACCOUNT, mailbox: INBOX, uids: uids_of(uids), change, reader, may };
        self.run(&command).unwrap().modseq
    }

    fn seen_by(&self, mailbox: MailboxId, reader: AccountId) -> Vec<u32> {
        let mailbox = self.mailbox(mailbox);
        let seen = mailbox.seen.by(reader);
        let seen = mailbox.rows().filter(|row| seen.is_some_and(|seen| seen.contains(row.uid)));
        seen.map(|row| row.uid.value()).collect()
    }
}

const GIVEN: (Identifier, Sign) = (Identifier::Account(OTHER), Sign::Given);

#[test]
fn grants_stand_in_the_directory_as_long_as_a_list_gives_something() {
    let mut world = World::shared();
    let [one, two] = ["one", "two"].map(|name| world.create(name).unwrap());
    assert!(world.reach(OTHER).is_empty());
    world.grant(one, GIVEN, "lr").unwrap();
    assert_eq!(world.reach(OTHER), [ACCOUNT]);
    assert_eq!(world.mailbox(one).acl.rights_of(OTHER), Rights::parse("lr").unwrap());
    let add = RightsChange::Add(Rights::parse("sr").unwrap());
    world.run(&SetAcl { account: ACCOUNT, mailbox: one, key: GIVEN, change: add }).unwrap();
    let remove = RightsChange::Remove(Rights::parse("lx").unwrap());
    world.run(&SetAcl { account: ACCOUNT, mailbox: one, key: GIVEN, change: remove }).unwrap();
    assert_eq!(world.mailbox(one).acl.rights_of(OTHER), Rights::parse("rs").unwrap());
    // What is taken gives nothing; one mailbox more changes nothing in the directory.
    world.grant(two, (Identifier::Anyone, Sign::Taken), "l").unwrap();
    world.grant(two, GIVEN, "l").unwrap();
    let seq = world.state.directory.seq;
    world.grant(two, GIVEN, "lr").unwrap();
    assert_eq!(world.state.directory.seq, seq);
    world.grant(two, GIVEN, "").unwrap();
    assert_eq!(world.reach(OTHER), [ACCOUNT]);
    world.run(&DeleteMailbox { account: ACCOUNT, mailbox: one }).unwrap();
    assert!(world.reach(OTHER).is_empty());
    world.grant(two, (Identifier::Anyone, Sign::Given), "l").unwrap();
    assert_eq!(world.reach(OTHER), [ACCOUNT]);
    assert!(world.reach(ACCOUNT).is_empty());
    world.run(&RemoveAccount(ACCOUNT)).unwrap();
    assert!(world.reach(OTHER).is_empty());
}

#[test]
fn entries_of_accounts_that_are_gone_go() {
    let mut world = World::shared();
    world.grant(INBOX, GIVEN, "lr").unwrap();
    world.run(&RemoveAccount(OTHER)).unwrap();
    assert!(world.state.directory.grants.is_empty());
    assert_eq!(world.mailbox(INBOX).acl.len(), 1);
    let nobody = world.grant(INBOX, GIVEN, "lr").unwrap_err();
    assert_eq!(nobody, StoreError::NoSuchAccount.into());
    world.grant(INBOX, (Identifier::Anyone, Sign::Given), "p").unwrap();
    let entries: Vec<_> = world.mailbox(INBOX).acl.entries().map(|(key, _)| key).collect();
    assert_eq!(entries, [(Identifier::Anyone, Sign::Given)]);
}

#[test]
fn a_list_has_a_bound() {
    let mut world = World::shared();
    let full: Acl = (3..)
        .take(ACL_ENTRIES_MAX)
        .map(|id| ((Identifier::Account(AccountId(id)), Sign::Given), Rights::READ))
        .collect();
    let accounts = Arc::make_mut(&mut Arc::make_mut(&mut world.state.directory).accounts);
    let template = accounts[&OTHER].clone();
    for id in (3..).take(ACL_ENTRIES_MAX).map(AccountId) {
        accounts.insert(id, waypost_mail::AccountRecord { id, ..template.clone() });
    }
    let account = Arc::make_mut(world.state.accounts.get_mut(&ACCOUNT).unwrap());
    Arc::make_mut(account.mailboxes.get_mut(&INBOX).unwrap()).acl = Arc::new(full);
    assert!(matches!(world.grant(INBOX, GIVEN, "l"), Err(Undecided::Refused(StoreError::Limit(_)))));
    world.grant(INBOX, (Identifier::Account(AccountId(3)), Sign::Given), "").unwrap();
    world.grant(INBOX, GIVEN, "l").unwrap();
}

#[test]
fn new_mailboxes_inherit_the_list_above_them_and_keep_it_when_they_move() {
    let mut world = World::shared();
    let top = world.create("top").unwrap();
    world.grant(top, GIVEN, "lrk").unwrap();
    world.create("top/a/b").unwrap();
    let rights = |world: &World, name: &str| world.account().by_name(name).unwrap().acl.rights_of(OTHER);
    for name in ["top/a", "top/a/b"] {
        assert_eq!(rights(&world, name), Rights::parse("lrk").unwrap(), "{name}");
    }
    assert_eq!(rights(&world, "INBOX"), Rights::NONE);
    let moved = world.account().by_name("top/a").unwrap().id;
    world.rename(moved, "elsewhere").unwrap();
    assert_eq!(rights(&world, "elsewhere/b"), Rights::parse("lrk").unwrap());
}

#[test]
fn a_reader_has_a_seen_of_their_own_and_changes_what_they_may() {
    let mut world = World::shared();
    world.deliver(3);
    world.change(&[1], FlagMode::Add, &["\\Seen", "$kept"], None).unwrap();
    assert!(world.change_as(&[2, 3, 9], FlagMode::Add, &["\\Seen", "\\Deleted", "x"], "lrs").is_some());
    assert_eq!(world.seen_by(INBOX, OTHER), [2, 3]);
    let inbox = world.mailbox(INBOX);
    assert_eq!((inbox.unseen, inbox.unseen_by(Some(OTHER)), inbox.deleted), (2, 1, 0));
    assert_eq!(inbox.keywords.len(), 1);
    let highest = inbox.highest_modseq;
    assert_eq!(inbox.row(Uid::new(2).unwrap()).unwrap().modseq, highest);
    // Nothing changes: no record.
    assert_eq!(world.change_as(&[2], FlagMode::Add, &["\\Seen"], "lrs"), None);
    assert_eq!(world.change_as(&[2], FlagMode::Replace, &["\\Flagged"], "lr"), None);
    assert_eq!(world.mailbox(INBOX).highest_modseq, highest);
    // Replacing leaves alone what may not be changed.
    world.change_as(&[1, 2], FlagMode::Replace, &["\\Deleted", "\\Flagged"], "lrst").unwrap();
    assert_eq!(world.seen_by(INBOX, OTHER), [3]);
    let row = |world: &World, uid| {
        let inbox = world.mailbox(INBOX);
        inbox.flags(inbox.row(Uid::new(uid).unwrap()).unwrap())
    };
    assert_eq!(row(&world, 1), flags(&["\\Seen", "\\Deleted", "$kept"]));
    assert_eq!(row(&world, 2), flags(&["\\Deleted"]));
    world.change_as(&[1], FlagMode::Replace, &["\\Flagged"], "lrw").unwrap();
    assert_eq!(row(&world, 1), flags(&["\\Seen", "\\Deleted", "\\Flagged"]));
    world.change_as(&[3], FlagMode::Remove, &["\\Seen"], "lrs").unwrap();
    assert!(world.mailbox(INBOX).seen.is_empty());
    world.change_as(&[2, 3], FlagMode::Replace, &["\\Seen"], "lrs").unwrap();
    world.expunge(&[2], Which::All);
    assert_eq!(world.seen_by(INBOX, OTHER), [3]);
    assert_eq!(world.mailbox(INBOX).unseen_by(Some(OTHER)), 1);
}

#[test]
fn copies_carry_what_each_has_seen() {
    let mut world = World::shared();
    world.deliver(2);
    world.change(&[1], FlagMode::Add, &["\\Seen"], None).unwrap();
    world.change_as(&[2], FlagMode::Add, &["\\Seen"], "lrs").unwrap();
    let to = world.create("to").unwrap();
    for (actor, letters, owner, other) in [
        (ACCOUNT, "swt", vec![1], vec![2]),
        (OTHER, "s", vec![3], vec![2, 4]),
        (OTHER, "", vec![5], vec![2, 4]),
    ] {
        let may = FlagRights::from(Rights::parse(letters).unwrap());
        let route = Route { actor, may, ..Route::within(ACCOUNT, Originals::Stay) };
        world.run(&Copy { route, ..copy(&[1, 2], to, Originals::Stay) }).unwrap();
        let seen: Vec<u32> = world
            .mailbox(to)
            .rows()
            .filter(|row| row.flags.contains(waypost_mail::SystemFlags::SEEN))
            .map(|row| row.uid.value())
            .collect();
        assert_eq!(seen.last(), owner.last());
        assert_eq!(world.seen_by(to, OTHER), other);
    }
}

#[test]
fn messages_go_to_another_account_with_new_ids() {
    let mut world = World::shared();
    world.deliver(4);
    world.change(&[1, 2], FlagMode::Add, &["\\Seen", "\\Flagged", "mine"], None).unwrap();
    world.change_as(&[2], FlagMode::Add, &["\\Seen"], "lrs").unwrap();
    world.state.retention.window = std::time::Duration::from_secs(60);
    world.state.retention.bytes_max = 1 << 30;
    let structures = world.mailbox(INBOX).rows().map(|row| (row.email, vec![7])).collect();
    let route = |originals| Route {
        to: OTHER,
        actor: OTHER,
        structures: std::collections::HashMap::clone(&structures),
        ..Route::within(ACCOUNT, originals)
    };
    let across = |uids: &[u32], originals| Copy { route: route(originals), ..copy(uids, INBOX, originals) };
    // Its quota counts.
    assert_eq!(world.refused(&across(&[1, 2, 3, 4], Originals::Stay)), StoreError::OverQuota);
    let copied = world.run(&across(&[1, 2], Originals::Stay)).unwrap();
    assert_eq!(copied.uids.iter().map(|(_, new)| new.value()).collect::<Vec<_>>(), [1, 2]);
    let other = world.state.accounts[&OTHER].clone();
    let inbox = other.inbox().unwrap();
    let rows: Vec<_> = inbox.rows().collect();
    assert_eq!(inbox.flags(rows[0]), flags(&["\\Flagged", "mine"]));
    assert_eq!(inbox.flags(rows[1]), flags(&["\\Seen", "\\Flagged", "mine"]));
    assert!(rows.iter().all(|row| row.email.0 == row.uidl.0 && row.modseq.value() == row.email.0));
    assert_eq!((other.bytes, world.account().bytes), (200, 400));
    world.run(&across(&[3], Originals::Go)).unwrap();
    assert_eq!(world.uids(INBOX), [1, 2, 4]);
    assert_eq!((world.state.accounts[&OTHER].bytes, world.account().bytes), (300, 300));
    // Its owner can have it back.
    assert_eq!(world.account().retained.count, 1);
    // What nobody gave a structure for is not there any more.
    let bare = Route { structures: Default::default(), ..route(Originals::Stay) };
    let bare = Copy { route: bare, ..copy(&[4], INBOX, Originals::Stay) };
    world.state.directory = {
        let mut directory = (*world.state.directory).clone();
        Arc::make_mut(&mut directory.accounts).get_mut(&OTHER).unwrap().quota_bytes = None;
        Arc::new(directory)
    };
    assert_eq!(world.refused(&bare), StoreError::NoSuchMessage);
}

#[test]
fn annotations_are_all_changed_or_none_within_their_bounds() {
    let mut world = World::shared();
    let limits = AnnotationLimits { entries_max: 2, value_bytes_max: 3, ..AnnotationLimits::NONE };
    let key = |mailbox, audience, name: &str| (mailbox, audience, name.to_owned());
    let value = |octets: &[u8]| Some(Arc::<[u8]>::from(octets));
    let mut annotate = |changes| world.run(&Annotate { account: ACCOUNT, changes, limits });
    let (here, mine) = (Some(INBOX), Audience::Private(ACCOUNT));
    annotate(vec![
        (key(here, Audience::Shared, "/comment"), value(b"abc")),
        (key(here, mine, "/comment"), value(b"\0")),
        (key(None, mine, "/comment"), value(b"")),
    ])
    .unwrap();
    let too_large = annotate(vec![
        (key(here, mine, "/other"), value(b"")),
        (key(here, Audience::Shared, "/comment"), value(b"abcd")),
    ]);
    assert_eq!(too_large, Err(StoreError::AnnotationTooLarge(3).into()));
    let changes = ["/a", "/b"].map(|name| (key(here, mine, name), value(b"x")));
    assert_eq!(annotate(changes.to_vec()), Err(StoreError::TooManyAnnotations.into()));
    // What goes makes room in the same command.
    annotate([(key(here, mine, "/comment"), None)].into_iter().chain(changes).collect()).unwrap();
    assert_eq!(
        annotate(vec![(key(Some(MailboxId(99)), mine, "/comment"), value(b""))]),
        Err(StoreError::NoSuchMailbox.into())
    );
    let names = |world: &World, mailbox, audience| -> Vec<String> {
        world.account().annotations.of(mailbox, audience).map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(names(&world, here, mine), ["/a", "/b"]);
    assert_eq!(names(&world, here, Audience::Shared), ["/comment"]);
    assert_eq!(names(&world, None, mine), ["/comment"]);
    // Names and values count: 15 octets of this audience, 26 of all.
    for (audience_bytes_max, account_bytes_max, fits) in
        [(14, 99, false), (15, 99, true), (99, 25, false), (99, 26, true)]
    {
        let changes = vec![(key(here, mine, "/a"), value(b"xx")), (key(here, mine, "/b"), value(b"x"))];
        let limits = AnnotationLimits { audience_bytes_max, account_bytes_max, ..limits };
        let before = world.state.clone();
        let done = world.run(&Annotate { account: ACCOUNT, changes, limits });
        assert_eq!(done.is_ok(), fits, "{audience_bytes_max} {account_bytes_max}");
        world.state = before;
    }
    let gone = world.create("gone").unwrap();
    let changes = vec![(key(Some(gone), mine, "/comment"), value(b"x"))];
    world.run(&Annotate { account: ACCOUNT, changes, limits }).unwrap();
    world.rename(gone, "renamed").unwrap();
    assert_eq!(names(&world, Some(gone), mine), ["/comment"]);
    world.run(&DeleteMailbox { account: ACCOUNT, mailbox: gone }).unwrap();
    assert!(names(&world, Some(gone), mine).is_empty());
}

#[test]
fn a_special_use_has_one_mailbox() {
    let mut world = World::new();
    let drafts = world.account().by_name("Drafts").unwrap().id;
    let set = |mailbox, special_use| SetSpecialUse { account: ACCOUNT, mailbox, special_use };
    let mine = world.create("mine").unwrap();
    assert_eq!(world.run(&set(mine, Some(SpecialUse::Drafts))).unwrap(), [drafts]);
    assert_eq!(world.mailbox(drafts).special_use, None);
    assert_eq!(world.mailbox(mine).special_use, Some(SpecialUse::Drafts));
    assert!(world.run(&set(mine, Some(SpecialUse::Drafts))).unwrap().is_empty());
    assert!(world.run(&set(mine, None)).unwrap().is_empty());
    assert_eq!(world.mailbox(mine).special_use, None);
}
