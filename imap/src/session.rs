//! One IMAP connection: the handler that runs what the machine asks for.
//!
//! The machine knows which command is legal; the handler knows who has logged in ([`User`]), which mailbox is selected
//! ([`Selected`]) and runs commands through [`crate::op`]. A selected mailbox that another session deletes, or whose UIDVALIDITY
//! changes, ends the session with BYE, as does the removal of the account (RFC 2180 section 3.3).

use std::{future::Future, net::IpAddr, num::NonZeroU32, ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use waypost_auth::{Authenticator, Identity, Live, Origin, Seat, sasl::Claim};
use waypost_config::{ImapRules, ListenerConfig};
use waypost_mail::{LoginService, Uid};
use waypost_net::{AddressCount, Connection, Disconnect, Driven, Handler, Output, TlsRole};
use waypost_storage::{Account, FlagRights, Rights, Selection, Store};

use crate::{
    machine::{Answer, Event, ImapMachine, PlaintextLogin, Privacy, Question, Settings, channel},
    op::{
        self, Comparator, Enabled, Expunges, Failure, Operation, Progress, append::Appending,
        metadata::KnownAnnotations, place::Space,
    },
    view::{Recent, View},
    wire::{Access, Numbers, SequenceSet},
};

/// What all IMAP sessions of a server share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The mail.
    pub store: Store,
    /// Configuration and directory.
    pub live: watch::Receiver<Arc<Live>>,
    /// Checks logins.
    pub authenticator: Authenticator,
    /// Who has seen what.
    pub(crate) recent: Arc<Recent>,
}

impl Context {
    /// For one server: all its sessions share clones of it.
    pub fn new(store: Store, live: watch::Receiver<Arc<Live>>, authenticator: Authenticator) -> Self {
        Self { store, live, authenticator, recent: Arc::default() }
    }

    /// Configuration and directory as they are now.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.borrow().clone()
    }
}

/// Serves one connection to its end.
pub fn serve(
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> impl Future<Output = ()> + Send + use<> {
    let peer = connection.peer;
    let driven = driven(connection, context, listener);
    async move {
        let (_, session, result) = driven.await;
        let account = session.user.map(|user| user.identity.address.to_string());
        match result {
            Ok(()) => tracing::debug!(%peer, account, "IMAP session ended"),
            Err(error) => tracing::info!(%peer, account, %error, "IMAP session broke off"),
        }
    }
}

/// The session, in its box.
fn driven(
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> Pin<Box<impl Future<Output = Driven<ImapMachine, Session>> + Send + use<>>> {
    let privacy = match (&connection.tls, &connection.starttls) {
        (Some(_), _) => Privacy::Tls,
        (None, TlsRole::None) => Privacy::None,
        (None, _) => Privacy::StartTls,
    };
    let plaintext_login =
        if listener.auth_without_tls { PlaintextLogin::Allowed } else { PlaintextLogin::Refused };
    let live = context.live();
    let hostname = live.config.hostname.to_string();
    let offer = live.offer(connection.tls.as_ref().map(channel).unwrap_or_default());
    let rules = listener.rules.imap;
    let append_limit = op::append::limit(&live.config.limits);
    let machine =
        ImapMachine::new(Settings { hostname, privacy, plaintext_login, offer, rules, append_limit });
    let (peer, counted) = (connection.peer.ip(), connection.counted.clone());
    waypost_net::drive(connection, machine, Session { context, peer, counted, rules, user: None })
}

/// What the handler knows of a connection.
#[derive(Debug)]
struct Session {
    context: Context,
    peer: IpAddr,
    counted: AddressCount,
    rules: ImapRules,
    user: Option<User>,
}

/// Who has logged in.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) identity: Identity,
    /// What the client has enabled.
    pub(crate) enabled: Enabled,
    /// How many messages a command works on; `None`: any number (RFC 9738).
    pub(crate) message_limit: Option<u32>,
    /// How SEARCH compares texts.
    pub(crate) comparator: Comparator,
    pub(crate) account: Account,
    pub(crate) selected: Option<Selected>,
    /// The APPEND whose messages arrive.
    pub(crate) appending: Option<Box<Appending>>,
    /// What it was told of annotations, where it wants to know (RFC 5464 section 4.1).
    pub(crate) annotations: Option<Box<KnownAnnotations>>,
    /// Counts the session.
    pub(crate) _seat: Seat,
}

/// The selected mailbox.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Among whose mailboxes it is.
    pub(crate) space: Box<Space>,
    pub(crate) selection: Selection,
    pub(crate) access: Access,
    /// What may be done with it.
    pub(crate) rights: Rights,
    /// The rights that the client knows of.
    told_rights: Rights,
    pub(crate) view: View,
    /// What the last SEARCH RETURN (SAVE) found, ascending: `$` (RFC 5182).
    pub(crate) saved: Vec<Uid>,
}

impl Selected {
    /// Opens the view of a mailbox. `None`: it is deleted already.
    pub(crate) fn new(selection: Selection, access: Access, space: Space, recent: &Recent) -> Option<Self> {
        let state = selection.state()?;
        let claimed = claim(recent, access, &space.account, &state);
        let rights = space.account.rights(&state);
        let (view, saved) = (View::new(state, claimed), Vec::new());
        let space = Box::new(space);
        Some(Self { space, selection, access, rights, told_rights: rights, view, saved })
    }

    /// The flags that may be changed.
    pub(crate) fn may(&self) -> FlagRights {
        match self.access {
            Access::ReadWrite => self.rights.into(),
            Access::ReadOnly => Rights::NONE.into(),
        }
    }

    /// Whether the rights are others than the client knows; it is told so now.
    pub(crate) fn take_new_rights(&mut self) -> bool {
        std::mem::replace(&mut self.told_rights, self.rights) != self.rights
    }

    /// Goes on to the newest state of the mailbox; else why the session ends.
    pub(crate) fn refresh(&mut self, context: &Context) -> Result<(), &'static str> {
        let account = &self.space.account;
        // Of an account that is gone the last state is still shown.
        let others = account.reader().is_some();
        if others && !context.store.directory().borrow().accounts.contains_key(&account.id()) {
            return Err(op::MAILBOX_GONE);
        }
        let same =
            |state: &Arc<waypost_storage::MailboxState>| state.uid_validity == self.view.state().uid_validity;
        let state = self.selection.state().filter(same).ok_or(op::MAILBOX_GONE)?;
        self.rights = account.rights(&state);
        if !self.rights.contains(Rights::READ) {
            return Err(op::RIGHT_GONE);
        }
        let claimed = claim(&context.recent, self.access, account, &state);
        self.view.advance(state, claimed);
        Ok(())
    }

    /// The sequence numbers that a set names, as ascending ranges, of messages that the client was told of. A sequence number that is not in use is BAD (RFC 9051
    /// section 9, seq-number), `*` in an empty mailbox, too; a UID that is not in use names nothing.
    pub(crate) fn numbers(&self, numbers: Numbers, set: &SequenceSet) -> Result<Vec<Range<u32>>, Failure> {
        let view = &self.view;
        if *set == SequenceSet::Saved {
            let known = self.saved.iter().filter_map(|uid| view.by_uid(*uid));
            return Ok(known.map(|known| known.number..known.number + 1).collect());
        }
        match numbers {
            Numbers::Uid => Ok(set
                .resolve(view.largest_uid())
                .into_iter()
                .map(|uids| view.numbers_of_uids(uids))
                .collect()),
            Numbers::Sequence => {
                let ranges = set.resolve(view.told());
                if ranges.last().is_none_or(|last| *last.end() > view.told()) {
                    return Err(Failure::bad(op::NO_SUCH_NUMBER));
                }
                Ok(ranges.into_iter().map(|range| *range.start()..range.end() + 1).collect())
            }
        }
    }
}

fn claim(
    recent: &Recent,
    access: Access,
    account: &Account,
    state: &waypost_storage::MailboxState,
) -> Range<u32> {
    match access {
        // What is new to its owner is not old because somebody else has looked.
        _ if account.reader().is_some() => state.uid_next.value()..state.uid_next.value(),
        Access::ReadWrite => recent.claim(account.id(), state),
        Access::ReadOnly => recent.unclaimed(account.id(), state),
    }
}

impl Handler<ImapMachine> for Session {
    async fn answer(&mut self, question: Question, output: &mut Output<'_>) -> Result<Answer, Disconnect> {
        let answer = match question {
            Question::LookUp(lookup) => {
                let found = Box::pin(op::login::look_up(&self.context, self.origin(), &lookup)).await;
                found.map(|found| Answer::Found(Box::new(found)))
            }
            Question::Login(claim) => self.login(&claim).await,
            Question::Unauthenticate => Ok(self.unauthenticate()),
            question => self.operate(question, output).await,
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(Failure::Refused(ran)) => Ok(Answer::Ran(ran)),
            Err(Failure::Bye(why)) => Ok(Answer::Bye(why.to_owned())),
            Err(Failure::Disconnect(error)) => Err(error),
        }
    }

    /// Cancel-safe: what was found is given back without waiting again.
    async fn event(&mut self) -> Event {
        loop {
            let Some(user) = &mut self.user else { return std::future::pending().await };
            let selection = user.selected.as_mut().map(|selected| &mut selected.selection);
            // Cancel-safe: watch::Receiver::changed is, and Selection::changed is by contract.
            tokio::select! {
                changed = self.context.live.changed() => {
                    if changed.is_err() {
                        return Event::Bye(op::CLOSING.to_owned());
                    }
                }
                () = changed(selection) => {}
            }
            match user.updates(&self.context) {
                Err(why) => return Event::Bye(why.to_owned()),
                Ok(updates) if updates.is_empty() => {}
                Ok(updates) => return Event::Updates(Bytes::from(updates)),
            }
        }
    }
}

/// Waits for a change of the selected mailbox; for ever where none is selected.
async fn changed(selection: Option<&mut Selection>) {
    match selection {
        Some(selection) => selection.changed().await,
        None => std::future::pending().await,
    }
}

impl Session {
    fn origin(&self) -> Origin {
        Origin { peer: self.peer, service: LoginService::Imap }
    }

    async fn login(&mut self, claim: &Claim) -> Result<Answer, Failure> {
        let (mut user, ran) = op::login::login(&self.context, self.origin(), claim).await?;
        user.message_limit = self.rules.message_limit.map(NonZeroU32::get);
        self.counted.release();
        self.user = Some(user);
        Ok(Answer::Ran(ran))
    }

    /// UNAUTHENTICATE (RFC 8437): nothing of the user is left, and the connection counts among those of its address again.
    fn unauthenticate(&mut self) -> Answer {
        self.user = None;
        self.counted.count_again();
        Answer::Go
    }

    async fn operate(&mut self, question: Question, output: &mut Output<'_>) -> Result<Answer, Failure> {
        let user = self.user.as_mut().ok_or(Failure::bad(op::LOGIN_FIRST))?;
        user.still_exists(&self.context).map_err(Failure::Bye)?;
        let progress = Progress::new(tokio::time::Instant::now().into_std());
        let mut operation = Operation { context: &self.context, user, output, progress };
        match question {
            Question::Login(_) | Question::LookUp(_) | Question::Unauthenticate => {
                Err(Failure::bad(op::NOT_NOW))
            }
            Question::Run(command) => operation.run(command).await.map(Answer::Ran),
            Question::AppendStart(append) => operation.append_start(append).await.map(|()| Answer::Go),
            Question::AppendPiece(piece) => operation.append_piece(piece).await.map(|()| Answer::Go),
            Question::AppendChunk(octets) => operation.append_chunk(&octets).await.map(|()| Answer::Go),
            Question::AppendEnd => operation.append_end().await.map(Answer::Ran),
            Question::AppendAbort => {
                operation.user.appending = None;
                Ok(Answer::Go)
            }
            Question::IdleStart => {
                operation.sync(Expunges::Report, Numbers::Sequence).await.map(|_| Answer::Go)
            }
        }
    }
}

impl User {
    /// Whether the account is still there; else why the session ends.
    fn still_exists(&self, context: &Context) -> Result<(), &'static str> {
        let live = context.live();
        live.directory.address(self.identity.account).map(|_| ()).ok_or(op::ACCOUNT_GONE)
    }

    /// What changed in the selected mailbox, as untagged responses; else why the session ends.
    fn updates(&mut self, context: &Context) -> Result<Vec<u8>, &'static str> {
        self.still_exists(context)?;
        let mut spaces = vec![Space { account: self.account.clone(), prefix: String::new() }];
        spaces.extend(self.selected.as_ref().map(|selected| Space::clone(&selected.space)));
        let mut out = Vec::new();
        self.annotation_news(&mut out, &spaces, &[]);
        let Some(selected) = &mut self.selected else { return Ok(out) };
        selected.refresh(context)?;
        out.extend(op::updates(selected, Expunges::Report, Numbers::Sequence, self.enabled));
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
