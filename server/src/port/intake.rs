//! Messages on their way into a mailbox: several are accepted as one entry, and the next are read meanwhile.

use std::collections::{BTreeSet, HashMap};

use tokio::task::JoinHandle;
use waypost_mail::{DateTime, Flags, Keyword, MailboxId, Uid};
use waypost_storage::{
    Acceptance, Content, Delivery, MessageError, MessageWriter, StoreError, Written, state::KEYWORDS_MAX,
};

use super::{
    Ended, Work,
    ledger::{Group, Ledger, Print},
};

/// Most messages in one entry.
const GROUP_MESSAGES_MAX: usize = 64;
/// Octets after which a group takes no more messages.
const GROUP_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What a message counts at most: larger ones have files of their own.
const MESSAGE_WEIGHT_MAX: u64 = 512 * 1024;
/// Largest message in octets: what IMAP4rev1 can say of a size (RFC 3501 section 9).
const MESSAGE_BYTES_MAX: u64 = u32::MAX as u64;

/// Why a message was not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// It cannot be imported.
    Message(String),
    /// Nothing can be.
    All(Ended),
}

impl From<MessageError> for Refused {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Store(error) => Self::All(Ended::store(error)),
            error => Self::Message(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::Message(super::source::why(&error))
    }
}

/// A message as it is read.
pub(super) struct Reading<'a> {
    work: &'a Work,
    writer: MessageWriter,
}

impl<'a> Reading<'a> {
    pub(super) fn new(work: &'a Work) -> Self {
        Self { work, writer: work.store.message_writer() }
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> Result<(), Refused> {
        if self.writer.size() + octets.len() as u64 > MESSAGE_BYTES_MAX {
            return Err(Refused::Message("the message is larger than 4 GiB".to_owned()));
        }
        Ok(self.work.wait(self.writer.write(octets))?)
    }

    pub(super) fn finish(self) -> Result<Written, Refused> {
        if self.writer.size() == 0 {
            return Err(Refused::Message("the message is empty".to_owned()));
        }
        self.work.wait(self.writer.finish()).map_err(|error| Refused::All(Ended::store(error)))
    }
}

/// Where a message of a group comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A file of a Maildir, by its name without flags.
    File(String),
    /// Octets of an mbox.
    Range(u64, u64),
    /// Another server: UIDVALIDITY, and UIDs of which the last is the message's; there are no others among them.
    Uids { uid_validity: u32, from: u32, to: u32 },
}

/// The mailbox that messages go to now.
#[derive(Debug)]
struct Target {
    folder: String,
    mailbox: MailboxId,
    keywords: BTreeSet<Keyword>,
}

/// Takes messages in.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) ledger: Ledger,
    target: Option<Target>,
    messages: Vec<Acceptance>,
    weight: u64,
    octets: u64,
    group: Group,
    /// The group before, on its way.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    task: JoinHandle<Result<(), StoreError>>,
    messages: u64,
    octets: u64,
}

impl Intake {
    pub(super) fn new(ledger: Ledger) -> Self {
        let (messages, group) = (Vec::new(), Group::default());
        Self { ledger, target: None, messages, weight: 0, octets: 0, group, pending: None }
    }

    /// What follows goes into this mailbox.
    pub(super) fn turn_to(&mut self, work: &mut Work, folder: &str, mailbox: MailboxId) -> Result<(), Ended> {
        self.flush(work)?;
        let state = work.account.state();
        let known = state.mailboxes.get(&mailbox).map(|mailbox| mailbox.keywords.iter().cloned().collect());
        self.target =
            Some(Target { folder: folder.to_owned(), mailbox, keywords: known.unwrap_or_default() });
        Ok(())
    }

    /// Takes a message; it is durable when [`Intake::finish`] resolves.
    pub(super) fn add(
        &mut self,
        work: &mut Work,
        written: Written,
        mut flags: Flags,
        internal_date: DateTime,
        origin: Origin,
    ) -> Result<(), Ended> {
        let Some(target) = &mut self.target else { return Ok(()) };
        let left_out = target.limit(&mut flags);
        let delivery = Delivery {
            account: work.account.id(),
            mailbox: Some(target.mailbox),
            prefix: Vec::new(),
            flags,
            internal_date,
        };
        if left_out {
            let warning = format!(
                "{}: a mailbox has at most {KEYWORDS_MAX} keywords; others were left out",
                target.folder
            );
            if !work.summary.warnings.contains(&warning) {
                work.summary.warnings.push(warning);
            }
        }
        let size = written.size();
        if let Origin::Uids { uid_validity, from, to } = origin {
            self.group.source_validity = Some(uid_validity);
            self.group.ranges.push((from, to));
            self.group.first.get_or_insert_with(|| Print::of(size, &written.header));
        }
        self.octets += size;
        self.weight += size.min(MESSAGE_WEIGHT_MAX);
        self.messages.push(written.for_mailbox(&work.store, delivery));
        match origin {
            Origin::File(name) => self.group.files.push(name),
            Origin::Range(from, to) => {
                if self.messages.len() == 1 {
                    self.group.from = from;
                }
                self.group.to = to;
            }
            Origin::Uids { .. } => {}
        }
        match self.messages.len() >= GROUP_MESSAGES_MAX || self.weight >= GROUP_BYTES_MAX {
            true => self.flush(work),
            false => Ok(()),
        }
    }

    /// Something is not imported; with `--strict` that is the end, once what was read is in the store.
    pub(super) fn refuse(
        &mut self,
        work: &mut Work,
        what: impl Into<String>,
        why: impl Into<String>,
        strict: bool,
    ) -> Result<(), Ended> {
        let trouble = work.failed(what, why)?;
        if strict {
            self.finish(work)?;
            return Err(Ended::Strict(trouble));
        }
        Ok(())
    }

    /// Waits until all that was taken is durable, and notes it.
    pub(super) fn finish(&mut self, work: &mut Work) -> Result<(), Ended> {
        self.flush(work)?;
        self.settle(work)?;
        self.ledger.settle().map_err(noting)
    }

    /// Hands the group to the store, once the one before is there.
    fn flush(&mut self, work: &mut Work) -> Result<(), Ended> {
        if self.messages.is_empty() {
            return Ok(());
        }
        self.settle(work)?;
        let Some(target) = &self.target else { return Ok(()) };
        let state = work.account.state();
        let mailbox = state.mailboxes.get(&target.mailbox).ok_or(StoreError::NoSuchMailbox)?;
        let group = Group {
            folder: target.folder.clone(),
            mailbox: target.mailbox.0,
            uid_validity: mailbox.uid_validity.value(),
            uid_next: mailbox.uid_next.value(),
            messages: self.messages.len() as u64,
            ..std::mem::take(&mut self.group).joined()
        };
        self.ledger.begin(group).map_err(noting)?;
        let messages = std::mem::take(&mut self.messages);
        let (count, octets) = (messages.len() as u64, std::mem::take(&mut self.octets));
        self.weight = 0;
        let store = work.store.clone();
        let task = work.runtime.spawn(async move { store.accept_all(messages).await.map(drop) });
        self.pending = Some(Pending { task, messages: count, octets });
        Ok(())
    }

    /// Waits for the group on its way.
    fn settle(&mut self, work: &mut Work) -> Result<(), Ended> {
        let Some(Pending { task, messages, octets }) = self.pending.take() else { return Ok(()) };
        work.wait(task).unwrap_or(Err(StoreError::Closed)).map_err(Ended::store)?;
        work.summary.messages += messages;
        work.summary.octets += octets;
        Ok(())
    }
}

impl Target {
    /// Leaves out the keywords that the mailbox has no room for; whether there were any.
    fn limit(&mut self, flags: &mut Flags) -> bool {
        let before = flags.keywords.len();
        flags.keywords.retain(|keyword| {
            let known = self.keywords.contains(keyword);
            if !known && self.keywords.len() < KEYWORDS_MAX {
                self.keywords.insert(keyword.clone());
                return true;
            }
            known
        });
        flags.keywords.len() < before
    }
}

pub(super) fn noting(error: std::io::Error) -> Ended {
    Ended::File("what is done cannot be noted in the state directory".to_owned(), error)
}

/// What came into a mailbox since a group was begun: if the group was accepted, its messages are among it.
#[derive(Debug)]
pub(super) struct Arrived(Vec<Content>);

impl Arrived {
    /// Since the group was begun; nothing where the mailbox is gone or another.
    pub(super) fn since(work: &Work, group: &Group) -> Result<Self, Ended> {
        let mailbox = MailboxId(group.mailbox);
        let selection = match work.wait(work.account.select(mailbox)) {
            Err(StoreError::NoSuchMailbox) => return Ok(Self(Vec::new())),
            selection => selection?,
        };
        let state = selection.state().filter(|state| state.uid_validity.value() == group.uid_validity);
        let since = Uid::new(group.uid_next).unwrap_or(Uid::FIRST)..=Uid::new(u32::MAX).unwrap_or(Uid::FIRST);
        Ok(Self(
            state.map_or_else(Vec::new, |state| state.range(since).map(|row| row.content.clone()).collect()),
        ))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a message is there that is known by this.
    pub(super) fn holds_print(&self, work: &Work, print: &Print) -> Result<bool, Ended> {
        for content in self.0.iter().filter(|content| content.size() == print.size) {
            let header = work.wait(work.store.read(content, 0, print.header_size))?;
            if Print::of(print.size, &header) == *print {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a message is there: of the same size and with the same header block.
    pub(super) fn holds(&self, work: &Work, message: &Written) -> Result<bool, Ended> {
        for content in self.0.iter().filter(|content| content.size() == message.size()) {
            let header = work.wait(work.store.read(content, 0, message.header.len() as u64))?;
            if header == message.header {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What a mailbox holds, to be compared with messages that may be in it already; each counts for one.
#[derive(Debug)]
pub(super) struct Present(HashMap<u64, Vec<Content>>);

impl Present {
    pub(super) fn of(work: &Work, mailbox: MailboxId) -> Result<Self, Ended> {
        let selection = work.wait(work.account.select(mailbox))?;
        let mut present: HashMap<u64, Vec<Content>> = HashMap::new();
        for row in selection.state().iter().flat_map(|state| state.rows()) {
            present.entry(row.content.size()).or_default().push(row.content.clone());
        }
        Ok(Self(present))
    }

    /// Whether a message is there, of the same size and with the same header block; it is not found again.
    pub(super) fn take(&mut self, work: &Work, message: &Written) -> Result<bool, Ended> {
        let Some(alike) = self.0.get_mut(&message.size()) else { return Ok(false) };
        for (at, content) in alike.iter().enumerate() {
            let header = work.wait(work.store.read(content, 0, message.header.len() as u64))?;
            if header == message.header {
                alike.swap_remove(at);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
