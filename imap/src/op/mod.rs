//! Commands, one file each: async functions over the selected view and the store that write untagged responses to the output
//! and give back how the command ended.
//!
//! A command acts on the selected mailbox as it is when the command begins, its numbers on what the client was told before.
//! After each command the client is told what changed. EXPUNGE is held back after FETCH, STORE and SEARCH by sequence number
//! (RFC 3501 section 7.4.1), and their OK says so (RFC 5530: EXPUNGEISSUED); everything else is said after every command.
//! With QRESYNC it is VANISHED (RFC 7162 section 3.2.10); where that is held back HIGHESTMODSEQ says up to where all was told.

mod acl;
pub(crate) mod append;
mod catenate;
mod close;
mod comparator;
mod copy;
mod create;
mod delete;
mod enable;
mod expunge;
mod fetch;
mod limit;
mod list;
pub(crate) mod login;
pub(crate) mod metadata;
mod pattern;
pub(crate) mod place;
mod progress;
mod quota;
mod rename;
mod resync;
mod search;
mod select;
mod status;
mod store;
mod subscribe;
mod turn;
mod uidbatches;
mod urlauth;

use waypost_net::{Disconnect, Output};
use waypost_storage::{FlagRights, Rights, StoreError};

pub(crate) use comparator::Comparator;
pub(crate) use enable::Enabled;
pub(crate) use progress::Progress;

use self::place::{NO_RIGHT, OTHER_USERS, SHARED_FOLDERS};
use crate::{
    machine::Ran,
    session::{Context, Selected, User},
    view::{Known, View},
    wire::{Access, Command, CommandBody, Numbers, SequenceSet, Status, encode, spoken},
};

pub(crate) const ACCOUNT_GONE: &str = "the account was removed";
pub(crate) const CLOSING: &str = "the server stops";
pub(crate) const MAILBOX_GONE: &str = "the selected mailbox was deleted";
pub(crate) const RIGHT_GONE: &str = "the selected mailbox may not be read any more";
pub(crate) const LOGIN_FIRST: &str = "log in first";
pub(crate) const NOT_NOW: &str = "not in this state";
pub(crate) const NO_SUCH_NUMBER: &str = "no such message sequence number";
const UIDS_ONLY: &str = "message sequence numbers are not used once UIDONLY is enabled";
const QRESYNC_FIRST: &str = "enable QRESYNC first";
const NO_CHARSET: &str = "with UTF8=ACCEPT a search has no charset";
const SELECT_FIRST: &str = "select a mailbox first";
const READ_ONLY: &str = "the mailbox is read-only";
const NO_SUCH_MAILBOX: &str = "no such mailbox";
const SOME_GONE: &str = "some of the messages are gone";
const INTERNAL: &str = "internal error, it was logged";

/// Why a command did not end with OK.
#[derive(Debug)]
pub(crate) enum Failure {
    /// NO or BAD.
    Refused(Ran),
    /// The session is over; why.
    Bye(&'static str),
    /// The peer is gone, or must be cut off.
    Disconnect(Disconnect),
}

impl Failure {
    /// BAD
    pub(crate) fn bad(text: &str) -> Self {
        Self::Refused(Ran::bad(text))
    }

    /// NO with a response code (RFC 5530)
    pub(crate) fn no(code: &str, text: &str) -> Self {
        Self::Refused(Ran::no(text).with_code(code))
    }
}

impl From<Disconnect> for Failure {
    fn from(error: Disconnect) -> Self {
        Self::Disconnect(error)
    }
}

impl From<StoreError> for Failure {
    /// The one place where errors of the store become responses.
    fn from(error: StoreError) -> Self {
        let too_large;
        let code = match &error {
            StoreError::NoSuchMailbox | StoreError::NoSuchAccount => "NONEXISTENT",
            StoreError::NoSuchDestination => "TRYCREATE",
            StoreError::NoSuchMessage => "EXPUNGEISSUED",
            StoreError::MailboxExists | StoreError::AccountExists => "ALREADYEXISTS",
            StoreError::MailboxName(_) => "CANNOT",
            StoreError::OverQuota => "OVERQUOTA",
            StoreError::TooManyAnnotations => "METADATA TOOMANY",
            StoreError::AnnotationTooLarge(bytes_max) => {
                too_large = format!("METADATA MAXSIZE {bytes_max}");
                &too_large
            }
            StoreError::Limit(_) => "LIMIT",
            StoreError::Full | StoreError::Closed => "UNAVAILABLE",
            // RFC 5530: until someone restarts the server it does not get better.
            StoreError::Poisoned => "CONTACTADMIN",
            StoreError::Damaged(_) => "CORRUPTION",
            StoreError::Io(_)
            | StoreError::Open(_)
            | StoreError::NoSuchEntry
            | StoreError::TotpExists
            | StoreError::AppPasswordExists
            | StoreError::NoSuchAppPassword
            | StoreError::CertificateExists
            | StoreError::NoSuchCertificate
            | StoreError::DkimKeyExists
            | StoreError::NoSuchDkimKey => "SERVERBUG",
        };
        match error {
            StoreError::Damaged(_) | StoreError::Io(_) | StoreError::Open(_) | StoreError::NoSuchEntry => {
                tracing::error!(%error, "an IMAP command failed");
                Self::no(code, INTERNAL)
            }
            error => Self::no(code, &error.to_string()),
        }
    }
}

/// Whether messages that are gone may lose their numbers now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expunges {
    /// EXPUNGE is said.
    Report,
    /// The numbers stay (RFC 3501 section 7.4.1).
    Hold,
}

/// Whether VANISHED was said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// It was.
    Vanished,
    /// It was not, or EXPUNGE instead.
    NoVanished,
}

/// A command while it runs.
pub(crate) struct Operation<'a, 'o> {
    pub(crate) context: &'a Context,
    pub(crate) user: &'a mut User,
    pub(crate) output: &'a mut Output<'o>,
    pub(crate) progress: Progress,
}

impl Operation<'_, '_> {
    /// Runs a command, then tells the client what changed in the selected mailbox.
    pub(crate) async fn run(&mut self, Command { tag, body: command }: Command) -> Result<Ran, Failure> {
        self.progress.begin(&tag, tokio::time::Instant::now().into_std());
        if self.user.enabled.uidonly && enable::names_numbers(&command) {
            return Err(uids_only());
        }
        if enable::needs_qresync(&command) && !self.user.enabled.qresync {
            return Err(Failure::bad(QRESYNC_FIRST));
        }
        if self.user.enabled.utf8 && enable::names_charset(&command) {
            return Err(Failure::bad(NO_CHARSET));
        }
        self.enable_condstore(&command).await?;
        let (expunges, numbers) = match &command {
            // RFC 7162 section 3.2.10.2: also with UIDs, where it names numbers.
            CommandBody::Search(numbers, search) if enable::names_sequence(search) => {
                (Expunges::Hold, *numbers)
            }
            CommandBody::Fetch(numbers, ..)
            | CommandBody::Store(numbers, ..)
            | CommandBody::Search(numbers, ..) => {
                (if *numbers == Numbers::Uid { Expunges::Report } else { Expunges::Hold }, *numbers)
            }
            CommandBody::Copy(numbers, ..) | CommandBody::Move(numbers, ..) => (Expunges::Report, *numbers),
            CommandBody::Expunge(Some(_)) => (Expunges::Report, Numbers::Uid),
            _ => (Expunges::Report, Numbers::Sequence),
        };
        // What is left behind may be gone.
        if !matches!(command, CommandBody::Select(..) | CommandBody::Unselect) {
            self.refresh()?;
        }
        let before = if matches!(command, CommandBody::Expunge(_)) { self.known_modseq() } else { None };
        let ran = self.dispatch(&tag, command).await;
        self.tell_changes(ran, expunges, numbers, before).await
    }

    /// Up to which modification sequence the client knows the selected mailbox.
    fn known_modseq(&self) -> Option<u64> {
        self.user.selected.as_ref().map(|selected| selected.view.known_modseq())
    }

    /// Tells the client what changed, and then how its command ended. `before`: what the client knew before a command that may have
    /// removed messages.
    async fn tell_changes(
        &mut self,
        ran: Result<Ran, Failure>,
        expunges: Expunges,
        numbers: Numbers,
        before: Option<u64>,
    ) -> Result<Ran, Failure> {
        let ran = match ran {
            Err(Failure::Refused(ran)) => ran,
            other => other?,
        };
        let said = self.sync(expunges, numbers).await?;
        let Some(selected) = &self.user.selected else { return Ok(ran) };
        let (has_gone, code) = (selected.view.has_gone(), selected.view.highest_modseq_code());
        // RFC 7162 sections 3.2.7 and 3.2.9.
        let expunged = before.is_some_and(|before| before < selected.view.known_modseq());
        if has_gone && self.user.enabled.qresync {
            // RFC 7162 section 3.2: else the client took the highest one that it saw for its own, and missed what is held back.
            let mut out = Vec::new();
            let text = spoken(self.user.enabled.language, "VANISHED is held back");
            encode::untagged(&mut out, Status::Ok, Some(&code), &text);
            self.output.write(&out).await?;
        }
        let needs_code = has_gone || said == Said::Vanished || self.user.enabled.qresync && expunged;
        let ran = if needs_code { self.make_room(ran).await? } else { ran };
        Ok(match ran {
            Ran { status: Status::Ok, code: None, .. } if has_gone => ran.with_code("EXPUNGEISSUED"),
            Ran { status: Status::Ok, code: None, .. }
                if said == Said::Vanished || self.user.enabled.qresync && expunged =>
            {
                ran.with_code(code)
            }
            ran => ran,
        })
    }

    async fn dispatch(&mut self, tag: &str, command: CommandBody) -> Result<Ran, Failure> {
        match command {
            CommandBody::Noop | CommandBody::Check => Ok(Ran::ok("done")),
            CommandBody::Enable(names) => self.enable(&names).await,
            CommandBody::Namespace => self.namespace().await,
            CommandBody::Select(name, access, parameters) => {
                self.select(&name, access, parameters.resync.as_deref()).await
            }
            CommandBody::Create(name, uses) => self.create(&name, &uses).await,
            CommandBody::Delete(name) => self.delete(&name).await,
            CommandBody::Rename(from, to) => self.rename(&from, &to).await,
            CommandBody::Subscribe(name) => self.subscribe(&name, true).await,
            CommandBody::Unsubscribe(name) => self.subscribe(&name, false).await,
            CommandBody::List(list) => self.list(&list).await,
            CommandBody::Lsub(reference, pattern) => self.lsub(&reference, &pattern).await,
            CommandBody::Status(name, items) => self.status(&name, &items).await,
            CommandBody::GenUrlAuth(urls) => self.genurlauth(&urls).await,
            CommandBody::UrlFetch(urls) => self.urlfetch(&urls).await,
            CommandBody::ResetKey(named) => self.resetkey(named).await,
            CommandBody::Close => self.close().await,
            CommandBody::Unselect => self.unselect(),
            CommandBody::Expunge(set) => self.expunge(set.as_ref()).await,
            CommandBody::Search(numbers, search) => self.search(tag, numbers, &search).await,
            CommandBody::Fetch(numbers, set, items, modifiers) => {
                self.fetch(numbers, &set, items, modifiers).await
            }
            CommandBody::Comparator(orders) => self.comparator(&orders).await,
            CommandBody::UidBatches(asked) => self.uid_batches(tag, asked).await,
            CommandBody::Store(numbers, set, store) => self.store(numbers, &set, store).await,
            CommandBody::Copy(numbers, set, name) => self.copy(numbers, &set, &name).await,
            CommandBody::Move(numbers, set, name) => self.move_to(numbers, &set, &name).await,
            CommandBody::Quota(command) => self.quota(&command).await,
            CommandBody::Acl(command) => self.acl(&command).await,
            CommandBody::Metadata(command) => self.metadata(command).await,
            CommandBody::Capability
            | CommandBody::Logout
            | CommandBody::StartTls
            | CommandBody::Authenticate(..)
            | CommandBody::Login(..)
            | CommandBody::LoginOctets
            | CommandBody::Id(_)
            | CommandBody::Compress(_)
            | CommandBody::Language(_)
            | CommandBody::Unauthenticate
            | CommandBody::Append(_)
            | CommandBody::Idle => Err(Failure::bad(NOT_NOW)),
        }
    }

    /// Goes on to the newest state of the selected mailbox; nothing is said yet.
    fn refresh(&mut self) -> Result<(), Failure> {
        let Some(selected) = &mut self.user.selected else { return Ok(()) };
        selected.refresh(self.context).map_err(Failure::Bye)
    }

    /// Tells the client what changed in the selected mailbox.
    pub(crate) async fn sync(&mut self, expunges: Expunges, numbers: Numbers) -> Result<Said, Failure> {
        self.tell_annotation_news().await?;
        self.refresh()?;
        let Some(selected) = &mut self.user.selected else { return Ok(Said::NoVanished) };
        let vanished = expunges == Expunges::Report && self.user.enabled.qresync && selected.view.has_gone();
        let updates = updates(selected, expunges, numbers, self.user.enabled);
        self.output.write(&updates).await?;
        Ok(if vanished { Said::Vanished } else { Said::NoVanished })
    }

    /// NAMESPACE: one's own, those of other users, and the shared ones where an account is named for them (RFC 2342 section 5).
    async fn namespace(&mut self) -> Result<Ran, Failure> {
        let shared = match self.shared_account() {
            Some(_) => format!("((\"{SHARED_FOLDERS}/\" \"/\"))"),
            None => "NIL".to_owned(),
        };
        let namespaces = format!("NAMESPACE ((\"\" \"/\")) ((\"{OTHER_USERS}/\" \"/\")) {shared}");
        let mut out = Vec::new();
        encode::data(&mut out, &namespaces);
        self.output.write(&out).await?;
        Ok(Ran::ok("done"))
    }

    fn selected(&mut self) -> Result<&mut Selected, Failure> {
        self.user.selected.as_mut().ok_or(Failure::bad(SELECT_FIRST))
    }

    /// For a command that changes messages and needs a right on the mailbox; `None`: which one, the command asks itself.
    fn selected_for_writing(&mut self, needed: Option<Rights>) -> Result<&mut Selected, Failure> {
        let selected = self.selected()?;
        match selected.access {
            Access::ReadWrite if needed.is_none_or(|needed| selected.rights.contains(needed)) => Ok(selected),
            Access::ReadWrite => Err(Failure::no("NOPERM", NO_RIGHT)),
            Access::ReadOnly => Err(Failure::no("READ-ONLY", READ_ONLY)),
        }
    }
}

/// A client that has enabled UIDONLY named a message by its number (RFC 9586 section 3).
fn uids_only() -> Failure {
    Failure::Refused(Ran::bad(UIDS_ONLY).with_code("UIDREQUIRED"))
}

/// Whether messages that another session has removed are an error: a client that names them by number believes them there.
fn names_what_it_sees(numbers: Numbers, set: &SequenceSet) -> bool {
    numbers == Numbers::Sequence && *set != SequenceSet::Saved
}

/// What changed since the client was told: EXPUNGE or VANISHED, EXISTS, RECENT, FLAGS and FETCH responses.
pub(crate) fn updates(
    selected: &mut Selected,
    expunges: Expunges,
    numbers: Numbers,
    enabled: Enabled,
) -> Vec<u8> {
    let mut out = Vec::new();
    if selected.take_new_rights() {
        select::new_rights(&mut out, selected.view.state(), selected.may(), enabled);
    }
    let may = selected.may();
    out.extend(view_updates(&mut selected.view, may, expunges, numbers, enabled));
    out
}

/// The same of a view alone.
pub(crate) fn view_updates(
    view: &mut View,
    may: FlagRights,
    expunges: Expunges,
    numbers: Numbers,
    enabled: Enabled,
) -> Vec<u8> {
    let mut out = Vec::new();
    if expunges == Expunges::Report && (enabled.qresync || enabled.uidonly) {
        encode::vanished(&mut out, view.take_vanished());
    } else if expunges == Expunges::Report {
        for number in view.take_expunged() {
            encode::data(&mut out, &format!("{number} EXPUNGE"));
        }
    }
    if let Some(exists) = view.take_exists() {
        encode::data(&mut out, &format!("{exists} EXISTS"));
    }
    if let Some(recent) = view.take_recent().filter(|_| !enabled.rev2) {
        encode::data(&mut out, &format!("{recent} RECENT"));
    }
    if view.take_new_keywords() {
        select::new_keywords(&mut out, view.state(), may, enabled);
    }
    for uid in view.take_changed() {
        let Some(known) = view.by_uid(uid) else { continue };
        flags_response(&mut out, view, known, numbers, enabled);
    }
    out
}

/// A FETCH response that nobody asked for by its items.
fn flags_response(out: &mut Vec<u8>, view: &View, known: Known<'_>, numbers: Numbers, enabled: Enabled) {
    let items = enabled.beside_flags(numbers, known.row);
    enabled.fetch_head(out, known.number, known.row);
    out.extend_from_slice(items.as_bytes());
    out.extend_from_slice(b"FLAGS ");
    encode::flag_list(out, &view.state().flags(known.row), enabled.recent_mark(view, known.row.uid));
    out.extend(b")\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_store_have_codes() {
        for (error, code) in [
            (StoreError::NoSuchMailbox, "NONEXISTENT"),
            (StoreError::NoSuchDestination, "TRYCREATE"),
            (StoreError::NoSuchMessage, "EXPUNGEISSUED"),
            (StoreError::MailboxExists, "ALREADYEXISTS"),
            (StoreError::MailboxName("x"), "CANNOT"),
            (StoreError::OverQuota, "OVERQUOTA"),
            (StoreError::Limit("x"), "LIMIT"),
            (StoreError::TooManyAnnotations, "METADATA TOOMANY"),
            (StoreError::AnnotationTooLarge(9), "METADATA MAXSIZE 9"),
            (StoreError::Full, "UNAVAILABLE"),
            (StoreError::Poisoned, "CONTACTADMIN"),
            (StoreError::Damaged("x".to_owned()), "CORRUPTION"),
            (StoreError::Io("x".to_owned()), "SERVERBUG"),
        ] {
            let text = error.to_string();
            let Failure::Refused(ran) = Failure::from(error) else { panic!("{text}") };
            assert_eq!((ran.status, ran.code.as_deref()), (Status::No, Some(code)), "{text}");
        }
    }
}
