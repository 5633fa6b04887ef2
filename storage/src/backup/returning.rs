//! Messages of one account out of a backup into the store that runs.
//!
//! They come back as copies: octets, flags, keywords and internal dates are kept, UIDs and ids are new. A message that the
//! mailbox holds already is passed over, so that what was interrupted is simply begun again.

use std::{collections::HashMap, path::Path, sync::Arc};

use bytes::Bytes;
use waypost_mail::{Address, DateTime, MailboxId, Uid};
use waypost_message::{Splitter, Structure};
use xxhash_rust::xxh3::Xxh3Default;

use super::{Told, manifest::Manifest, view};
use crate::{
    accept::{Acceptance, Delivery},
    account::Account,
    annotation::{AnnotationLimits, Audience},
    content::{Content, Reader},
    disk::Disk,
    error::StoreError,
    journal::Files,
    opening,
    progress::Report,
    recovery,
    snapshot::WholeAccount,
    state::{MailboxState, Row},
    store::Store,
};

/// Messages that are taken as one entry.
const BATCH_MESSAGES_MAX: usize = 64;
/// Octets after which an entry takes no more messages.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// What is wanted of a backup.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The account, by its address.
    pub address: Address,
    /// One mailbox; `None`: all.
    pub mailbox: Option<String>,
    /// Some of the messages; `None`: all.
    pub message: Option<Found>,
}

/// How a message is found in a backup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// By its UID at that time.
    Uid(Uid),
    /// By its Message-ID, with or without angle brackets.
    MessageId(String),
}

/// What came back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Returned {
    /// Messages that came back.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Messages that the mailboxes held already.
    pub held: u64,
    /// Messages that are damaged in the backup, one sentence each.
    pub damage: Vec<String>,
}

impl Store {
    /// Brings messages back out of a backup, into the mailboxes of the same names; those that are missing are created.
    /// Errors: `NoSuchAccount`, in the backup or here; `NoSuchMailbox` in the backup; `Open`, `Damaged`; those of [`Store::accept`].
    pub async fn restore_from(
        &self,
        backup: &Path,
        wanted: Wanted,
        report: Report,
    ) -> Result<Returned, StoreError> {
        let id = {
            let directory = self.directory().borrow().clone();
            let mut accounts = directory.accounts.values();
            let live = accounts.find(|account| account.address.same_mailbox(&wanted.address));
            live.ok_or(StoreError::NoSuchAccount)?.id
        };
        let (backup, account) = (backup.to_owned(), self.account(id).await?);
        let source =
            self.blocking(move |shared| Source::open(Arc::clone(&shared.disk), &backup, &wanted)).await?;
        let messages = source.mailboxes.iter().map(|(_, rows)| rows.len() as u64).sum();
        let mut returning = Returning {
            store: self,
            account,
            files: &source.files,
            whole: &source.whole,
            told: Told::new(report, "messages", messages),
            returned: Returned::default(),
        };
        for (mailbox, rows) in &source.mailboxes {
            returning.mailbox(mailbox, rows).await?;
        }
        Ok(returning.returned)
    }
}

/// What a backup has of what is wanted.
struct Source {
    files: Arc<Files>,
    whole: WholeAccount,
    mailboxes: Vec<(Arc<MailboxState>, Vec<Row>)>,
}

impl Source {
    fn open(disk: Arc<dyn Disk>, backup: &Path, wanted: &Wanted) -> Result<Self, StoreError> {
        let (manifest, _) = Manifest::expect(disk.as_ref(), backup)?;
        let files = view::journal(disk, backup, &manifest)?;
        let directory = opening::read_directory(&files)?;
        let mut accounts = directory.accounts.values();
        let account = accounts.find(|account| account.address.same_mailbox(&wanted.address));
        let whole = recovery::read(&files, account.ok_or(StoreError::NoSuchAccount)?.id)?;
        let mailboxes: Vec<Arc<MailboxState>> = match &wanted.mailbox {
            Some(name) => vec![whole.state.by_name(name).cloned().ok_or(StoreError::NoSuchMailbox)?],
            None => whole.state.mailboxes.values().cloned().collect(),
        };
        let chosen = |mailbox: Arc<MailboxState>| {
            let rows = mailbox.rows().filter(|row| is_wanted(&whole, row, wanted.message.as_ref()));
            let rows: Vec<Row> = rows.cloned().collect();
            // An empty mailbox comes back, too, unless single messages are looked for.
            (wanted.message.is_none() || !rows.is_empty()).then(|| (Arc::clone(&mailbox), rows))
        };
        let mailboxes = mailboxes.into_iter().filter_map(chosen).collect();
        Ok(Self { files, whole, mailboxes })
    }
}

fn is_wanted(whole: &WholeAccount, row: &Row, message: Option<&Found>) -> bool {
    match message {
        None => true,
        Some(Found::Uid(uid)) => row.uid == *uid,
        Some(Found::MessageId(wanted)) => {
            let found = structure(whole, row).and_then(|structure| structure.envelope.message_id);
            found.is_some_and(|found| bare(&found) == bare(wanted.as_bytes()))
        }
    }
}

/// A Message-ID without its angle brackets.
fn bare(id: &[u8]) -> &[u8] {
    let id = id.trim_ascii();
    let inner = id.strip_prefix(b"<").unwrap_or(id);
    inner.strip_suffix(b">").unwrap_or(inner)
}

fn structure(whole: &WholeAccount, row: &Row) -> Option<Structure> {
    Structure::decode(whole.structures.get(&row.email)?).ok()
}

/// What two messages have in common that may be the same.
type Likeness = (u64, DateTime);

fn likeness(row: &Row) -> Likeness {
    (row.content.size(), row.internal_date)
}

/// Messages on their way back.
struct Returning<'a> {
    store: &'a Store,
    account: Account,
    files: &'a Arc<Files>,
    whole: &'a WholeAccount,
    told: Told,
    returned: Returned,
}

impl Returning<'_> {
    async fn mailbox(&mut self, mailbox: &MailboxState, rows: &[Row]) -> Result<(), StoreError> {
        let to = self.destination(mailbox).await?;
        let selection = self.account.select(to).await?;
        let live = selection.state().ok_or(StoreError::NoSuchMailbox)?;
        let mut held: HashMap<Likeness, Vec<Row>> = HashMap::new();
        live.rows().for_each(|row| held.entry(likeness(row)).or_default().push(row.clone()));
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for row in rows {
            match self.message(mailbox, row, to, held.get_mut(&likeness(row))).await {
                Ok(None) => self.returned.held += 1,
                Ok(Some(acceptance)) => {
                    bytes += row.content.size();
                    batch.push(acceptance);
                }
                Err(StoreError::Damaged(what)) => {
                    self.returned.damage.push(format!("{}, UID {}: {what}", mailbox.name, row.uid));
                }
                Err(error) => return Err(error),
            }
            self.told.step(1);
            if batch.len() >= BATCH_MESSAGES_MAX || bytes >= BATCH_BYTES {
                self.accept(std::mem::take(&mut batch), std::mem::take(&mut bytes)).await?;
            }
        }
        self.accept(batch, bytes).await
    }

    async fn accept(&mut self, batch: Vec<Acceptance>, bytes: u64) -> Result<(), StoreError> {
        let messages = batch.len() as u64;
        self.store.accept_all(batch).await?;
        self.returned.messages += messages;
        self.returned.bytes += bytes;
        Ok(())
    }

    /// The mailbox of the same name; one that is missing is created as it was.
    async fn destination(&self, mailbox: &MailboxState) -> Result<MailboxId, StoreError> {
        let live = self.account.state();
        if let Some(found) = live.by_name(&mailbox.name) {
            return Ok(found.id);
        }
        let taken = live.mailboxes.values().any(|other| other.special_use == mailbox.special_use);
        let special_use = mailbox.special_use.filter(|_| !taken);
        let id = self.account.create_mailbox(&mailbox.name, special_use).await?;
        if self.whole.state.subscriptions.contains(&mailbox.name) {
            self.account.subscribe(&mailbox.name, true).await?;
        }
        self.annotations(mailbox.id, id).await?;
        Ok(id)
    }

    /// The annotations of a mailbox that its owner sees; what others have there stays away, as do their rights.
    async fn annotations(&self, from: MailboxId, to: MailboxId) -> Result<(), StoreError> {
        let annotations = &self.whole.state.annotations;
        let mut changes = Vec::new();
        for (was, is) in [
            (Audience::Shared, Audience::Shared),
            (Audience::Private(self.whole.state.id), Audience::Private(self.account.id())),
        ] {
            let found = annotations.of(Some(from), was);
            changes.extend(
                found.map(|(name, value)| ((Some(to), is, name.to_owned()), Some(Arc::clone(value)))),
            );
        }
        self.account.annotate(changes, AnnotationLimits::NONE).await
    }

    /// A message to be accepted; `None`: one of those that are held is the same. Each of those stands for one only.
    async fn message(
        &self,
        mailbox: &MailboxState,
        row: &Row,
        to: MailboxId,
        held: Option<&mut Vec<Row>>,
    ) -> Result<Option<Acceptance>, StoreError> {
        if let Some(held) = held
            && let Some(at) = self.find(row, held).await?
        {
            held.swap_remove(at);
            return Ok(None);
        }
        let content = &row.content;
        let (prefix, header) = (content.prefix_size(), u64::from(content.header.1));
        let prefix_octets = self.files.read(content, 0, prefix).await?.to_vec();
        let header_octets = self.files.read(content, prefix, header).await?;
        let mut splitter = structure(self.whole, row).is_none().then(Splitter::new);
        splitter.iter_mut().for_each(|splitter| splitter.feed(&header_octets));
        let mut reader = self.files.reader(content, prefix + header, u64::MAX);
        let mut body = self.store.body_writer();
        loop {
            let octets: Bytes = reader.next().await?;
            if octets.is_empty() {
                break;
            }
            splitter.iter_mut().for_each(|splitter| splitter.feed(&octets));
            body.write(&octets).await?;
        }
        let found = splitter.map(Splitter::finish).or_else(|| structure(self.whole, row));
        let delivery = Delivery {
            account: self.account.id(),
            mailbox: Some(to),
            prefix: prefix_octets,
            flags: mailbox.flags(row),
            internal_date: row.internal_date,
        };
        Ok(Some(Acceptance {
            id: self.store.new_entry_id(),
            header: header_octets,
            body: body.finish().await?,
            structure: found.unwrap_or_default(),
            local: vec![delivery],
            relay: None,
        }))
    }

    /// Which of some messages of the same size and date is the same: by its EmailId, else by its octets.
    async fn find(&self, row: &Row, held: &[Row]) -> Result<Option<usize>, StoreError> {
        if let Some(at) = held.iter().position(|other| other.email == row.email) {
            return Ok(Some(at));
        }
        let wanted = hash(self.reader(&row.content)).await?;
        for (at, other) in held.iter().enumerate() {
            if hash(self.store.reader(&other.content, 0, u64::MAX)).await? == wanted {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn reader(&self, content: &Content) -> Reader {
        self.files.reader(content, 0, u64::MAX)
    }
}

async fn hash(mut reader: Reader) -> Result<u64, StoreError> {
    let mut hasher = Xxh3Default::new();
    loop {
        let octets = reader.next().await?;
        if octets.is_empty() {
            return Ok(hasher.digest());
        }
        hasher.update(&octets);
    }
}
