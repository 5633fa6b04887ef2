//! The formats of all releases are opened: `tests/formats/<name>/state` is what one wrote, `expected` what it held.
//!
//! `WAYPOST_WRITE_FORMAT=NAME cargo test -p waypost-storage --test formats` writes one with the present code, once for each
//! release that changes a format, and never again: it must be read for ever.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use waypost_mail::{
    AccessKey, AccountCertificate, AccountId, AccountRecord, AccountSource, Address, ApopSecret, AppPassword,
    BodyType, DateTime, Domain, EnhancedStatus, EntryId, EnvelopeId, Flag, Flags, LoginService, MailboxId,
    Notify, OriginalRecipient, Overdue, Reply, ReturnContent, ReversePath, Solicitation, SystemFlags,
    Timestamp, TotpSecret, Uid,
};
use waypost_message::{Part, Splitter, Structure};
use waypost_storage::{
    Acceptance, Account, AccountState, AnnotationLimits, Attempt, Audience, Carried, Cause, Deadline,
    Delivery, Dialogue, DialogueTls, DkimAlgorithm, DkimKey, DkimSecret, FlagChange, FlagMode, FlagRights,
    Identifier, MaildropUpdate, Missing, NewAccount, Options, Outcome, Previews, QueueEntry, QueueEvent,
    RecipientOutcome, Relay, RelayRecipient, ReturnedReport, Rights, RightsChange, Seen, Sign, SpecialUse,
    Store, Strike, UidSet, Wishes,
    backup::{Damaged, restore},
    disk::Real,
    progress::silent,
};
use xxhash_rust::xxh3::xxh3_64;

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn options(directory: &Path) -> Options {
    let now = AtomicI64::new(1_800_000_000_000);
    Options {
        clock: Arc::new(move || Timestamp(now.fetch_add(1000, Ordering::Relaxed))),
        segment_bytes: 8 * 1024,
        checkpoint_records: 30,
        retention: Duration::from_secs(3600 * 24 * 365),
        ..Options::new(directory)
    }
}

#[tokio::test]
async fn the_formats_of_all_releases_are_opened() {
    if let Ok(name) = std::env::var("WAYPOST_WRITE_FORMAT") {
        write(&formats().join(name)).await;
    }
    let mut opened = 0;
    for entry in fs::read_dir(formats()).unwrap().map(Result::unwrap) {
        let folder = tempfile::tempdir().unwrap();
        copy(&entry.path().join("state"), folder.path());
        let expected = fs::read_to_string(entry.path().join("expected")).unwrap();
        for round in ["as it was", "again"] {
            let store = Store::open(options(folder.path())).await.unwrap();
            assert_eq!(dump(&store).await, expected, "{} {round}", entry.path().display());
            assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
            store.close().await;
        }
        // And it goes on from there.
        let store = Store::open(options(folder.path())).await.unwrap();
        let account = *store.directory().borrow().accounts.keys().next().unwrap();
        deliver(&store, "one more", &[account], false).await;
        store.checkpoint().await.unwrap();
        store.compact().await.unwrap();
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        store.close().await;
        opened += 1;
    }
    assert!(opened >= 2);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All that a store holds, in words. What earlier formats did not have stands only where it is there.
async fn dump(store: &Store) -> String {
    let mut text = String::new();
    let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
    for record in accounts {
        let account = store.account(record.id).await.unwrap();
        let state = account.state();
        let quota = record.quota_bytes;
        writeln!(text, "account {} {} quota {quota:?} bytes {}", record.id, record.address, state.bytes)
            .unwrap();
        writeln!(text, "  subscribed {:?}", state.subscriptions).unwrap();
        dump_logins(&mut text, &record);
        for mailbox in state.mailboxes.values() {
            let selected = account.select(mailbox.id).await.unwrap().state().unwrap();
            writeln!(
                text,
                "  mailbox {} {} UIDVALIDITY {:?} UIDNEXT {} {:?}",
                selected.id, selected.name, selected.uid_validity, selected.uid_next, selected.special_use
            )
            .unwrap();
            if let Some(key) = &selected.access_key {
                writeln!(text, "    access key {:016x}", xxh3_64(&key.0)).unwrap();
            }
            for (uid, day) in
                (1..100).filter_map(Uid::new).filter_map(|uid| Some((uid, selected.retrieved.day(uid)?)))
            {
                writeln!(text, "    UID {uid} retrieved on day {day}").unwrap();
            }
            for row in selected.rows() {
                let octets = store.read(&row.content, 0, u64::MAX).await.unwrap();
                let kept = store.kept_structure(record.id, row, Previews::Wanted).await.unwrap();
                let structure: Structure = kept.read().unwrap();
                if structure.root.is_multipart() {
                    writeln!(text, "    structure {}", parts(&structure.root)).unwrap();
                }
                if let Some(preview) = kept.preview() {
                    let begin = String::from_utf8_lossy(&preview[..preview.len().min(30)]);
                    let (bytes, hash) = (preview.len(), xxh3_64(preview));
                    writeln!(text, "    preview {begin:?}\u{2026} {bytes} octets {hash:016x}").unwrap();
                }
                writeln!(
                    text,
                    "    UID {} MODSEQ {} {} email {} thread {} uidl {} date {:?} saved {} octets {} {:016x}",
                    row.uid,
                    row.modseq,
                    flags(&selected.flags(row)),
                    row.email,
                    row.thread,
                    row.uidl,
                    row.internal_date,
                    row.save_date,
                    octets.len(),
                    xxh3_64(&octets)
                )
                .unwrap();
            }
        }
        dump_sharing(&mut text, &state);
        for gone in account.retained().await.unwrap() {
            let octets = store.read(&gone.row.content, 0, u64::MAX).await.unwrap();
            writeln!(
                text,
                "  deleted {} {} UID {} at {} {} octets {} {:016x}",
                gone.id,
                gone.mailbox,
                gone.uid,
                gone.deleted,
                flags(&gone.flags),
                octets.len(),
                xxh3_64(&octets)
            )
            .unwrap();
        }
    }
    for entry in store.queue() {
        let octets = store.read(&entry.content, 0, u64::MAX).await.unwrap();
        let recipients: Vec<_> =
            entry.recipients.iter().map(|to| (to.recipient.address.to_string(), to.is_open())).collect();
        // Once an entry had one time for all its recipients, which they have now that were tried.
        let last = entry.open().map(|(_, queued)| queued.next_attempt).max();
        writeln!(
            text,
            "queued {} from {} to {recipients:?} attempts {} next {} octets {} {:016x}",
            entry.id,
            entry.reverse_path,
            entry.attempts,
            last.unwrap(),
            octets.len(),
            xxh3_64(&octets)
        )
        .unwrap();
        entry.recipients.iter().flat_map(|to| &to.outcome).for_each(|outcome| dump_noted(&mut text, outcome));
        dump_wishes(&mut text, &entry);
        dump_history(&mut text, &store.queue_history(entry.id).await.unwrap());
    }
    let directory = store.directory().borrow().clone();
    if !directory.grants.is_empty() {
        writeln!(text, "grants {:?}", directory.grants).unwrap();
    }
    if !directory.paused.is_empty() || !directory.used_codes.is_empty() {
        writeln!(text, "paused {:?} used codes {:?}", directory.paused, directory.used_codes).unwrap();
    }
    for line in directory.suppressions.all(Timestamp(0)) {
        writeln!(
            text,
            "suppressed {} from {:?} {:?} {}\u{d7} {} at {} until {:?}: {}",
            line.recipient,
            line.sender().map(Address::to_string),
            line.cause,
            line.count,
            line.is_active,
            line.at,
            line.until,
            line.why
        )
        .unwrap();
    }
    for key in directory.dkim_keys.values() {
        writeln!(
            text,
            "key {} {} {:?} {:?} made {} active {:?} retired {:?}",
            key.domain,
            key.selector,
            key.algorithm,
            key.secret.pkcs8(),
            key.created,
            key.activated,
            key.retired
        )
        .unwrap();
    }
    text
}

/// A part with its place, and those in it.
fn parts(part: &Part) -> String {
    let kind = [&part.content_type.kind[..], b"/", &part.content_type.subtype].concat();
    let inner = part.message.iter().map(|message| &message.root);
    let inside: Vec<String> = part.children.iter().chain(inner).map(parts).collect();
    let (kind, span, lines) = (String::from_utf8_lossy(&kind).into_owned(), part.body, part.lines);
    format!("{kind} {}..{} of {lines} lines [{}]", span.start, span.end, inside.join(", "))
}

async fn keys(store: &Store) {
    let domain = Domain::new("example.org").unwrap();
    let key = |selector: &str, algorithm| DkimKey {
        domain: domain.clone(),
        selector: selector.to_owned(),
        algorithm,
        secret: DkimSecret::new(vec![0x30, 0x01, 0xff]),
        created: Timestamp(1_700_000_000_000),
        activated: None,
        retired: None,
    };
    let names = ["one", "two", "gone", "waiting"];
    let all = names.map(|name| key(name, DkimAlgorithm::Rsa)).to_vec();
    store.add_dkim_keys([all, vec![key("ed", DkimAlgorithm::Ed25519)]].concat()).await.unwrap();
    for name in ["one", "two", "ed"] {
        store.activate_dkim_key(domain.clone(), name.to_owned()).await.unwrap();
    }
    store.remove_dkim_key(domain, "gone".to_owned()).await.unwrap();
}

async fn suppress(store: &Store) {
    let strike = |name: &str, cause, limit| Strike {
        recipient: address(name),
        sender: (cause == Cause::Complaint).then(|| address("sender")),
        cause,
        why: "550 5.1.1 nobody".to_owned(),
        limit,
        lifetime: Some(Duration::from_secs(86_400 * 30)),
    };
    for strike in [
        strike("bounced", Cause::Bounce, 2),
        strike("bounced", Cause::Bounce, 2),
        strike("once", Cause::Bounce, 2),
        strike("angry", Cause::Complaint, 1),
        strike("forgotten", Cause::Bounce, 1),
    ] {
        store.strike(strike).await.unwrap();
    }
    store.suppress(address("by-hand"), None, "asked for".to_owned(), None).await.unwrap();
    store.unsuppress(address("forgotten")).await.unwrap();
}

/// How one logs in to an account, besides its password.
fn dump_logins(text: &mut String, record: &AccountRecord) {
    if !record.scram_verifiers.is_empty() {
        writeln!(text, "  password {:?} scram {:?}", record.password_hash, record.scram_verifiers).unwrap();
    }
    for AppPassword { name, hash, services, created } in &record.app_passwords {
        writeln!(text, "  app password {name} {hash} {services:?} {created}").unwrap();
    }
    if let Some(TotpSecret(octets)) = &record.totp {
        writeln!(text, "  codes of {octets:?}").unwrap();
    }
    if let Some(ApopSecret(secret)) = &record.apop {
        writeln!(text, "  APOP by {secret}").unwrap();
    }
    for AccountCertificate { name, sha256, added } in &record.certificates {
        writeln!(text, "  certificate {name} {sha256:02x?} {added}").unwrap();
    }
}

/// What others may do and have seen, and annotations.
fn dump_sharing(text: &mut String, state: &AccountState) {
    for mailbox in state.mailboxes.values() {
        for (key, rights) in mailbox.acl.entries() {
            writeln!(text, "  acl {} {key:?} {rights}", mailbox.name).unwrap();
        }
        if *mailbox.seen != Seen::default() {
            writeln!(text, "  seen {} {:?}", mailbox.name, mailbox.seen).unwrap();
        }
        for audience in [Audience::Shared, Audience::Private(AccountId(1)), Audience::Private(AccountId(2))] {
            for (name, value) in state.annotations.of(Some(mailbox.id), audience) {
                writeln!(text, "  annotation {} {audience:?} {name} {value:?}", mailbox.name).unwrap();
            }
        }
    }
    for (name, value) in state.annotations.of(None, Audience::Private(state.id)) {
        writeln!(text, "  annotation {name} {value:?}").unwrap();
    }
}

/// Records that the first format did not have: of what is shared.
/// What sessions on a maildrop leave behind.
async fn retrieve(store: &Store, account: AccountId, deleted: &[u32], retrieved: &[u32]) {
    let account = store.account(account).await.unwrap();
    let inbox = account.state().inbox().unwrap().clone();
    let mut set = UidSet::default();
    retrieved.iter().filter_map(|uid| Uid::new(*uid)).for_each(|uid| set.insert(uid));
    let deleted = deleted.iter().filter_map(|uid| Uid::new(*uid)).collect();
    let update = MaildropUpdate { uid_validity: inbox.uid_validity, deleted, retrieved: set };
    account.update_maildrop(inbox.id, update).await.unwrap();
}

async fn write_sharing(owner: &Account, reader: AccountId) {
    let id = |name: &str| owner.state().by_name(name).unwrap().id;
    let (inbox, work) = (id("INBOX"), id("Work"));
    let rights = |letters| RightsChange::Replace(Rights::parse(letters).unwrap());
    for (mailbox, identifier, sign, letters) in [
        (inbox, Identifier::Account(reader), Sign::Given, "lrs"),
        (work, Identifier::Anyone, Sign::Given, "lrswipkxtea"),
        (work, Identifier::Account(reader), Sign::Taken, "xa"),
        (id("Sent"), Identifier::Anyone, Sign::Given, "l"),
        (id("Sent"), Identifier::Anyone, Sign::Given, ""),
    ] {
        owner.set_acl(mailbox, (identifier, sign), rights(letters)).await.unwrap();
    }
    let store = owner.store();
    let other = store.account_for(owner.id(), reader).await.unwrap();
    let uids = |uids: &[u32]| uids.iter().filter_map(|uid| Uid::new(*uid)).collect::<Vec<_>>();
    let seen = |mode| FlagChange { mode, flags: SystemFlags::SEEN.into(), unchanged_since: None };
    other.change_flags(inbox, uids(&[11, 12, 13, 20]), seen(FlagMode::Add)).await.unwrap();
    other.change_flags(inbox, uids(&[12]), seen(FlagMode::Remove)).await.unwrap();
    let limits = AnnotationLimits {
        entries_max: 10,
        value_bytes_max: 100,
        audience_bytes_max: 1 << 20,
        account_bytes_max: 1 << 20,
    };
    let (mine, theirs) = (Audience::Private(owner.id()), Audience::Private(reader));
    let mut changes = Vec::new();
    for (mailbox, audience, name, value) in [
        (Some(inbox), Audience::Shared, "/comment", Some(&b"for all"[..])),
        (Some(work), mine, "/vendor/a", Some(b"\0\xff")),
        (Some(work), theirs, "/vendor/a", Some(b"")),
        (None, mine, "/comment", Some(b"of the server")),
        (Some(inbox), mine, "/gone", Some(b"x")),
    ] {
        changes.push(((mailbox, audience, name.to_owned()), value.map(Arc::from)));
    }
    changes.push(((Some(inbox), mine, "/gone".to_owned()), None));
    owner.annotate(changes, limits).await.unwrap();
    owner.set_special_use(work, Some(SpecialUse::Archive)).await.unwrap();
    let own = store.account(reader).await.unwrap();
    let to = own.state().by_name("Archive").unwrap().id;
    let carried = Carried { moved: false, may: FlagRights::ALL };
    other.carry(inbox, uids(&[11, 14]), (&own, to), Missing::Skipped, carried).await.unwrap();
}

/// What its sender and the operator want of a message in the queue.
fn dump_wishes(text: &mut String, entry: &QueueEntry) {
    let Wishes { return_content, envelope_id, require_tls, tls_optional, priority, deliver_by, solicitation } =
        &entry.wishes;
    if entry.wishes != Wishes::default() {
        let by = deliver_by.map(|by| (by.at.to_string(), by.overdue, by.trace));
        let tls = (require_tls, tls_optional);
        let envelope_id = envelope_id.as_ref().map(EnvelopeId::as_str);
        writeln!(text, "  wishes {return_content:?} {envelope_id:?} {tls:?} {priority} {by:?}").unwrap();
        if let Some(solicitation) = solicitation {
            writeln!(text, "  solicitation {solicitation}").unwrap();
        }
    }
    for RelayRecipient { notify, orcpt, .. } in entry.recipients.iter().map(|to| &to.recipient) {
        if notify.is_some() || orcpt.is_some() {
            let notify = notify.map(|Notify { success, failure, delay }| (success, failure, delay));
            let orcpt = orcpt.as_ref().map(OriginalRecipient::as_str);
            writeln!(text, "  recipient {notify:?} {orcpt:?}").unwrap();
        }
    }
    if let Some(earliest) = entry.not_before {
        writeln!(text, "  not before {earliest}").unwrap();
    }
    if let Some(held) = &entry.held {
        writeln!(text, "  held {} {}", held.at, held.why).unwrap();
    }
}

/// What happened to a message in the queue, as far as earlier formats did not tell it.
fn dump_history(text: &mut String, history: &[QueueEvent]) {
    for event in history {
        match event {
            QueueEvent::HoldChanged { at, why } => writeln!(text, "  hold {at} {why:?}").unwrap(),
            QueueEvent::Reported { at, reports } => {
                for ReturnedReport { recipient, what, status, said } in reports {
                    writeln!(text, "  report {at} {recipient} {what} {status:?} {said:?}").unwrap();
                }
            }
            QueueEvent::Attempted { outcomes, dialogues, .. } => {
                outcomes.iter().for_each(|said| dump_noted(text, &said.outcome));
                for Dialogue { at, peer, tls, policy, lines } in dialogues {
                    let tls = tls.as_ref().map(|tls| (&tls.version, &tls.cipher, tls.verified));
                    writeln!(text, "  dialogue {at} {peer} {tls:?} {policy} {lines:?}").unwrap();
                }
            }
            _ => {}
        }
    }
}

/// What was found out here of a server that was asked.
fn dump_noted(text: &mut String, outcome: &Outcome) {
    let (peer, reply) = outcome.said();
    if !peer.is_empty() && outcome.is_of_ours() {
        writeln!(text, "  noted of {peer}: {} {:?}", reply.code, reply.lines).unwrap();
    }
}

fn flags(flags: &Flags) -> String {
    let keywords: Vec<_> = flags.keywords.iter().map(waypost_mail::Keyword::as_str).collect();
    format!("{:02x} {keywords:?}", flags.system.bits())
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@example.org")).unwrap()
}

async fn account(store: &Store, name: &str) -> AccountId {
    let password_hash = Some(format!("hash of {name}"));
    let new = NewAccount {
        address: address(name),
        source: AccountSource::Store,
        password_hash,
        scram_verifiers: Vec::new(),
        quota_bytes: None,
    };
    store.create_account(new).await.unwrap()
}

async fn deliver(store: &Store, body: &str, to: &[AccountId], relay: bool) -> EntryId {
    let header = format!("From: a@example.org\r\nSubject: {}\r\n\r\n", &body[..body.len().min(20)]);
    let mut splitter = Splitter::new();
    splitter.feed(header.as_bytes());
    splitter.feed(body.as_bytes());
    let mut writer = store.body_writer();
    writer.write(body.as_bytes()).await.unwrap();
    let delivery = |account: &AccountId| Delivery {
        account: *account,
        mailbox: None,
        prefix: format!("Delivered-To: {account}\r\n").into_bytes(),
        flags: Flags::default(),
        internal_date: DateTime { seconds: 1_700_000_000, offset_minutes: -90 },
    };
    let recipient =
        |name| RelayRecipient { original: Some(address("alias")), ..RelayRecipient::new(address(name)) };
    let relay = relay.then(|| Relay {
        body: BodyType::EightBitMime,
        smtputf8: true,
        ..Relay::new(ReversePath::Address(address("sender")), vec![recipient("far"), recipient("farther")])
    });
    let acceptance = Acceptance {
        id: store.new_entry_id(),
        header: Bytes::from(header),
        body: writer.finish().await.unwrap(),
        structure: splitter.finish(),
        local: to.iter().map(delivery).collect(),
        relay,
    };
    store.accept(acceptance).await.unwrap().id
}

async fn attempt(store: &Store, id: EntryId, recipient: usize, outcome: Outcome) {
    let outcomes = vec![RecipientOutcome { recipient, outcome }];
    let attempt = Attempt {
        id,
        at: Timestamp(1_800_000_000_000),
        outcomes,
        next_attempt: Timestamp(1_900_000_000_000),
        warned: true,
        dialogues: Vec::new(),
    };
    store.settle(attempt, None).await.unwrap();
}

/// Records that the first format did not have: of the directory.
async fn write_logins(store: &Store, account: AccountId) {
    store
        .set_password(account, Some("third hash".to_owned()), vec!["SCRAM-SHA-256$one".to_owned()])
        .await
        .unwrap();
    for (name, services) in [("telephone", LoginService::ALL.to_vec()), ("gone", Vec::new())] {
        let (name, hash) = (name.to_owned(), format!("hash of {name}"));
        let app_password = AppPassword { name, hash, services, created: Timestamp(1_700_000_000_000) };
        store.add_app_password(account, app_password).await.unwrap();
    }
    store.remove_app_password(account, "gone".to_owned()).await.unwrap();
    store.set_totp(account, Some(TotpSecret((0..20).collect()))).await.unwrap();
    assert!(store.use_code(account, 60_000_000).await.unwrap());
    assert!(store.use_code(account, 60_000_001).await.unwrap());
    for (name, octet) in [("laptop", 0xa5), ("gone", 0x5a)] {
        let certificate = AccountCertificate {
            name: name.to_owned(),
            sha256: [octet; 32],
            added: Timestamp(1_700_000_000_000),
        };
        store.add_certificate(account, certificate).await.unwrap();
    }
    store.remove_certificate(account, "gone".to_owned()).await.unwrap();
    for secret in [Some("former"), None, Some("shared secret")] {
        store.set_apop(account, secret.map(|secret| ApopSecret(secret.to_owned()))).await.unwrap();
    }
    store.pause("slow.test".to_owned(), true).await.unwrap();
    store.pause("gone.test".to_owned(), true).await.unwrap();
    store.pause("gone.test".to_owned(), false).await.unwrap();
}

/// Logins by codes that outweigh what the directory says; the account that did so long ago.
async fn log_in_often(store: &Store, often: AccountId) -> AccountId {
    let once = account(store, "three").await;
    store.set_totp(once, Some(TotpSecret(vec![3; 20]))).await.unwrap();
    assert!(store.use_code(once, 59_990_000).await.unwrap());
    for step in 60_000_002..60_000_202 {
        assert!(store.use_code(often, step).await.unwrap());
    }
    once
}

/// Mailboxes of all uses, an account of the configuration file, and a message of parts, with NUL.
async fn write_uses(store: &Store, owner: &Account) {
    for (name, special_use) in
        [("All", SpecialUse::All), ("Starred", SpecialUse::Flagged), ("Important", SpecialUse::Important)]
    {
        owner.create_mailbox(name, Some(special_use)).await.unwrap();
    }
    let of_file = NewAccount {
        address: address("file"),
        source: AccountSource::File,
        password_hash: None,
        scram_verifiers: Vec::new(),
        quota_bytes: Some(1 << 30),
    };
    store.create_account(of_file).await.unwrap();
    let body = "--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\u{fc}\u{df}e\r\n--x\r\n\
                Content-Transfer-Encoding: binary\r\nContent-Type: application/octet-stream\r\n\r\na\0b\n\r\n--x\r\n\
                Content-Type: message/global\r\n\r\nSubject: \u{fc}\r\n\r\ninside\r\n--x--\r\n";
    let header = "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n";
    let mut writer = store.body_writer();
    writer.write(body.as_bytes()).await.unwrap();
    let important = owner.state().by_name("Important").unwrap().id;
    let flags: Flags = ["\\Draft", "$Important"].iter().filter_map(|flag| Flag::parse(flag)).collect();
    let delivery = Delivery {
        account: owner.id(),
        mailbox: Some(important),
        prefix: Vec::new(),
        flags,
        internal_date: DateTime { seconds: 1_700_000_001, offset_minutes: 345 },
    };
    let acceptance = Acceptance {
        id: store.new_entry_id(),
        header: Bytes::from(header),
        body: writer.finish().await.unwrap(),
        structure: Splitter::split(format!("{header}{body}").as_bytes()),
        local: vec![delivery],
        relay: None,
    };
    store.accept(acceptance).await.unwrap();
}

/// Makes a state one that a backup gave back, with what was written since.
async fn restore_from_backup(state: &Path) -> Store {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let store = Store::open(options(state)).await.unwrap();
    store.backup(&backup, silent()).await.unwrap();
    store.close().await;
    fs::remove_dir_all(state).unwrap();
    restore(&Real, &backup, state, Damaged::Refuse, silent()).unwrap();
    let store = Store::open(options(state)).await.unwrap();
    let accounts: Vec<AccountId> = store.directory().borrow().accounts.keys().copied().collect();
    deliver(&store, "behind the restore", &accounts, true).await;
    store
}

/// Records that the first format did not have: of the queue.
async fn write_queue(store: &Store) {
    let wishes = Wishes {
        return_content: Some(ReturnContent::Headers),
        envelope_id: EnvelopeId::new("QQ314159"),
        require_tls: true,
        priority: -4,
        deliver_by: Some(Deadline {
            at: Timestamp(1_850_000_000_000),
            overdue: Overdue::Return,
            trace: true,
        }),
        solicitation: Solicitation::parse("org.example:ADV,b"),
        ..Wishes::default()
    };
    let to = RelayRecipient {
        notify: Some(Notify { success: true, failure: false, delay: true }),
        orcpt: OriginalRecipient::new("rfc822;far@example.org"),
        ..RelayRecipient::new(address("far"))
    };
    let sender = ReversePath::Address(address("sender"));
    let held = Some("beyond a limit".to_owned());
    let not_before = Some(Timestamp(1_840_000_000_000));
    let wishing = Relay { wishes, not_before, held, ..Relay::new(sender.clone(), vec![to]) };
    let (at, overdue) = (Timestamp(1_860_000_000_000), Overdue::Notify);
    let careless = Wishes {
        tls_optional: true,
        return_content: Some(ReturnContent::Full),
        deliver_by: Some(Deadline { at, overdue, trace: false }),
        ..Wishes::default()
    };
    let two = vec![RelayRecipient::new(address("far")), RelayRecipient::new(address("farther"))];
    let tried = Relay { wishes: careless, body: BodyType::BinaryMime, ..Relay::new(sender.clone(), two) };
    let wishing = submit(store, wishing).await;
    let tried = submit(store, tried).await;
    store.hold(wishing, None).await.unwrap();
    store.hold(wishing, Some("by hand".to_owned())).await.unwrap();
    let peer = "mx.far.test [192.0.2.1]".to_owned();
    let tls =
        DialogueTls { version: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into(), verified: true };
    let lines = vec!["S: 220 mx.far.test".to_owned(), "C: EHLO mx.example.org".to_owned()];
    let (at, policy) = (Timestamp(1_800_000_000_000), "encrypt: [[tls_policy]]".to_owned());
    let outcome = Outcome::Deferred { peer: peer.clone(), reply: Reply::plain(451, "later") };
    let attempt = Attempt {
        id: tried,
        at,
        outcomes: vec![RecipientOutcome { recipient: 1, outcome }],
        next_attempt: Timestamp(1_900_000_000_000),
        warned: false,
        dialogues: vec![Dialogue { at, peer, tls: Some(tls), policy, lines }],
    };
    store.settle(attempt, None).await.unwrap();
    let report = |status: Option<&str>, said: Option<&str>| ReturnedReport {
        recipient: "far@example.org".to_owned(),
        what: "delayed".to_owned(),
        status: status.map(str::to_owned),
        said: said.map(str::to_owned),
    };
    let reports = vec![report(Some("4.4.1"), Some("no answer")), report(None, None)];
    store.note_reports(tried, reports).await.unwrap();
    let removed = submit(store, Relay::new(sender, vec![RelayRecipient::new(address("nobody"))])).await;
    store.remove_queued(removed).await.unwrap();
    store.note_reports(removed, vec![report(None, None)]).await.unwrap();
}

async fn submit(store: &Store, relay: Relay) -> EntryId {
    let header = "From: a@example.org\r\n\r\n";
    let mut splitter = Splitter::new();
    splitter.feed(header.as_bytes());
    let acceptance = Acceptance {
        id: store.new_entry_id(),
        header: Bytes::from(header),
        body: store.body_writer().finish().await.unwrap(),
        structure: splitter.finish(),
        local: Vec::new(),
        relay: Some(relay),
    };
    store.accept(acceptance).await.unwrap().id
}

/// Writes a store with a record of every kind, compacted segments, snapshots and body files, and what it holds.
async fn write(folder: &Path) {
    let state = folder.join("state");
    assert!(!folder.exists(), "{} is there already", folder.display());
    fs::create_dir_all(&state).unwrap();
    let store = Store::open(options(&state)).await.unwrap();
    let (one, two, gone) =
        (account(&store, "one").await, account(&store, "two").await, account(&store, "gone").await);
    let opened = store.account(one).await.unwrap();
    let id = |name: &str| opened.state().by_name(name).unwrap().id;
    let uids = |uids: &[u32]| uids.iter().filter_map(|uid| Uid::new(*uid)).collect::<Vec<_>>();
    let all = [one, two, gone];
    for number in 0..60 {
        let body = format!("message {number}\r\n").repeat(20);
        deliver(&store, &body, if number % 3 == 0 { &all } else { &all[..1] }, false).await;
        deliver(&store, &format!("gone {body}"), &[gone], false).await;
    }
    let large = "large\r\n".repeat(38_000);
    deliver(&store, &large, &[one, two], false).await;
    deliver(&store, &format!("other {large}"), &[gone], false).await;
    opened.create_mailbox("Projects/Waypost", None).await.unwrap();
    opened.create_mailbox("Old/Things", None).await.unwrap();
    opened.subscribe("Projects/Waypost", true).await.unwrap();
    let inbox = opened.state().inbox().unwrap().id;
    opened.access_key(inbox, AccessKey([9; 32])).await.unwrap();
    opened.rename_mailbox(id("Projects/Waypost"), "Work").await.unwrap();
    let inbox: MailboxId = id("INBOX");
    let all: Vec<u32> = (1..=61).collect();
    for round in 0..40 {
        let flags: Flags =
            ["\\Seen", "\\Flagged", "$Forwarded", "work"].iter().filter_map(|f| Flag::parse(f)).collect();
        let mode = [FlagMode::Add, FlagMode::Remove, FlagMode::Replace][round % 3];
        let change = FlagChange { mode, flags, unchanged_since: None };
        opened.change_flags(inbox, uids(&all[round..]), change).await.unwrap();
    }
    opened.copy(inbox, uids(&[1, 2, 3]), id("Work"), Missing::Skipped).await.unwrap();
    opened.move_to(inbox, uids(&[4, 5, 6]), id("Old/Things"), Missing::Skipped).await.unwrap();
    opened.expunge(inbox, uids(&[7, 8, 9, 10])).await.unwrap();
    opened.delete_mailbox(id("Old/Things")).await.unwrap();
    opened.undelete(uids(&[1]).into_iter().collect(), None).await.unwrap();
    let later = Reply::new(450, EnhancedStatus(4, 2, 0), "later").of_peer();
    let peer = || ("mx.far.test".to_owned(), later.clone());
    let taken = |(peer, reply)| Outcome::Delivered { peer, reply };
    for number in 0..6 {
        let queued = deliver(&store, &format!("relayed {number}"), &[], true).await;
        let (name, reply) = peer();
        match number {
            0 | 1 => {
                attempt(&store, queued, 0, taken(peer())).await;
                attempt(&store, queued, 1, Outcome::Failed { peer: name, reply }).await;
            }
            2 => attempt(&store, queued, 0, Outcome::Deferred { peer: name, reply }).await,
            3 => store.reschedule(queued, Timestamp(1_850_000_000_000)).await.unwrap(),
            4 => store.hold(queued, Some("looked at".to_owned())).await.unwrap(),
            _ => {}
        }
    }
    retrieve(&store, one, &[], &[14, 15, 30]).await;
    // Once in segments that are compacted, once behind them.
    write_sharing(&opened, two).await;
    write_logins(&store, one).await;
    write_queue(&store).await;
    suppress(&store).await;
    keys(&store).await;
    store.set_password(two, Some("another hash".to_owned()), Vec::new()).await.unwrap();
    store.set_quota(two, Some(5 << 30)).await.unwrap();
    store.remove_account(gone).await.unwrap();
    let three = log_in_often(&store, one).await;
    store.checkpoint().await.unwrap();
    assert!(store.compact().await.unwrap().segments >= 3, "no compacted segment");
    let codes = store.directory().borrow().used_codes.clone();
    assert!(codes.contains_key(&one) && !codes.contains_key(&three), "no snapshot of the directory");
    let other = store.account(two).await.unwrap();
    let second = other.state().inbox().unwrap().id;
    other.expunge(second, uids(&[2, 4])).await.unwrap();
    other.purge().await.unwrap();
    for number in 0..5 {
        deliver(&store, &format!("late {number}"), &[one, two], number == 3).await;
    }
    retrieve(&store, one, &[30], &[15, 16, 31]).await;
    write_sharing(&opened, two).await;
    write_logins(&store, two).await;
    write_queue(&store).await;
    write_uses(&store, &opened).await;
    store.close().await;
    let store = restore_from_backup(&state).await;
    fs::write(folder.join("expected"), dump(&store).await).unwrap();
    store.close().await;
    // What belongs to one run, and what git does not keep.
    fs::remove_file(state.join("lock")).unwrap();
    fs::remove_dir(state.join("index/blobs")).unwrap();
}
