//! The handler: answers what the machine asks from directory and store.

mod retrieve;

use std::{
    future::{Future, pending},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use tokio::sync::watch;
use tracing::Instrument;
use waypost_auth::{
    Authenticator, Identity, Live, LoginDelays, LoginError, Origin, Seat, apop,
    sasl::{Claim, Found, Lookup},
};
use waypost_config::ListenerConfig;
use waypost_mail::LoginService;
use waypost_net::{AddressCount, Connection, Disconnect, Driven, Handler, Output, TlsRole, drive};
use waypost_storage::Store;

use crate::{
    machine::{Announced, Answer, Event, Login, Opened, Question, Session, Terms, Tls, channel},
    maildrop::{Maildrop, Registry},
    wire::{Code, Refusal},
};

const WRONG_PASSWORD: Refusal = Refusal::with(Code::AUTH, "wrong user name or password");
const CODE_MISSING: Refusal =
    Refusal::with(Code::AUTH, "this account needs an app password, or a code behind its password");
const THROTTLED: Refusal = Refusal::with(Code::SYS_TEMP, "too many failed logins, try again later");
const BUSY: Refusal = Refusal::with(Code::SYS_TEMP, "the password cannot be checked now, try again later");
const TOO_MANY: Refusal = Refusal::with(Code::SYS_TEMP, "too many sessions of this account, try again later");
const TOO_SOON: Refusal = Refusal::with(Code::LOGIN_DELAY, "too soon after the last login");
const ANOTHER_USER: Refusal = Refusal::with(Code::AUTH, "nobody may act for another user");

/// What all POP3 sessions of a server share. Cheap to clone; the clones share the locks on maildrops, too.
#[derive(Clone, Debug)]
pub struct Context {
    store: Store,
    live: watch::Receiver<Arc<Live>>,
    authenticator: Authenticator,
    maildrops: Registry,
    delays: LoginDelays,
}

impl Context {
    /// The mail, configuration and directory, and who checks logins. One for all listeners of a server.
    pub fn new(store: Store, live: watch::Receiver<Arc<Live>>, authenticator: Authenticator) -> Self {
        Self { store, live, authenticator, maildrops: Registry::default(), delays: LoginDelays::default() }
    }
}

/// Serves one connection to its end.
pub fn serve(
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> impl Future<Output = ()> + Send + use<> {
    let span = tracing::info_span!("pop3", peer = %connection.peer);
    let driven = driven(connection, context, listener);
    // In a box: a future that waits for another holds what comes of it, too.
    let session = async { Box::pin(ended(driven.await)).await };
    session.instrument(span)
}

/// The session, in its box.
fn driven(
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> Pin<Box<impl Future<Output = Driven<Session, Answers>> + Send + use<>>> {
    let peer = connection.peer;
    let tls = match (&connection.tls, &connection.starttls) {
        (Some(_), _) => Tls::Active,
        (None, TlsRole::Server(_)) => Tls::Offered,
        (None, _) => Tls::None,
    };
    let live = context.live.borrow().clone();
    let offer = live.offer(connection.tls.as_ref().map(channel).unwrap_or_default());
    let timestamp = listener.rules.apop.then(|| apop::timestamp(&live.config.hostname).ok()).flatten();
    let announced = Announced::of_all(live.directory.pop3_policies());
    let terms = Terms { tls, login: login_policy(listener, peer), offer, timestamp, announced };
    let machine = Session::new(&live.config.hostname, terms);
    drop(live);
    let counted = connection.counted.clone();
    let handler = Answers { context, peer: peer.ip(), counted, seat: None, maildrop: None };
    drive(connection, machine, handler)
}

async fn ended((_, handler, ended): Driven<Session, Answers>) {
    if let Some(maildrop) = handler.maildrop {
        maildrop.abandon().await;
    }
    match ended {
        Ok(()) => tracing::debug!("session ended"),
        Err(error) => tracing::info!(%error, "session lost"),
    }
}

/// Passwords go over the wire in plain text only where both the listener and the peer are local.
fn login_policy(listener: &ListenerConfig, peer: SocketAddr) -> Login {
    let local = peer.ip().to_canonical().is_loopback();
    if listener.auth_without_tls && local { Login::Always } else { Login::WithTls }
}

/// Answers for one session.
struct Answers {
    context: Context,
    peer: IpAddr,
    counted: AddressCount,
    /// Counts the session, once it has logged in.
    seat: Option<Seat>,
    maildrop: Option<Maildrop>,
}

impl Handler<Session> for Answers {
    async fn answer(&mut self, question: Question, output: &mut Output<'_>) -> Result<Answer, Disconnect> {
        if let Some(maildrop) = &self.maildrop {
            maildrop.alive();
        }
        match question {
            Question::LookUp(lookup) => {
                Ok(Answer::Found(Box::pin(self.look_up(&lookup)).await.map(Box::new)))
            }
            Question::Login(claim) => Ok(Answer::Opened(self.log_in(&claim).await)),
            Question::Retrieve(retrieval) => {
                let maildrop = self.maildrop.as_mut().ok_or_else(no_maildrop)?;
                let without_utf8 = self.context.live.borrow().config.pop3.without_utf8;
                let sent = retrieve::send(maildrop, retrieval, without_utf8, output).await?;
                if sent.is_ok() && retrieval.lines.is_none() {
                    maildrop.note_retrieved(retrieval.message.uid);
                }
                Ok(Answer::Retrieved(sent))
            }
            Question::Update { deleted } => {
                // Taken, so that the lock is free before the client reads the reply and comes again.
                let maildrop = self.maildrop.take().ok_or_else(no_maildrop)?;
                Ok(Answer::Updated(maildrop.update(deleted).await))
            }
            Question::Flush => Ok(Answer::Flushed),
        }
    }

    async fn event(&mut self) -> Event {
        let Some(maildrop) = &mut self.maildrop else { return pending().await };
        // It is asked for when a command was obeyed.
        maildrop.alive();
        maildrop.lost_at_rest().await;
        Event::TakenOver
    }
}

/// The machine asks for what it does not have: our bug.
fn no_maildrop() -> Disconnect {
    Disconnect::Handler("no maildrop".into())
}

impl Answers {
    async fn log_in(&mut self, claim: &Claim) -> Result<Opened, Refusal> {
        let live = Arc::clone(&self.context.live.borrow());
        let checked = self.context.authenticator.login(&live.directory, claim, self.origin()).await;
        let identity: Identity = self.admitted(checked).await?;
        let policy = live.directory.pop3_policy(identity.account);
        if self.context.delays.must_wait(identity.account) {
            return Err(TOO_SOON);
        }
        let sessions_max = live.config.limits.connections_per_address;
        let seat = self.context.authenticator.seats().take(identity.account, sessions_max).ok_or(TOO_MANY)?;
        let Context { store, maildrops, delays, .. } = &self.context;
        let silence = live.config.pop3.take_over_after;
        let opened = Maildrop::open(store, maildrops, identity.account, policy.expire_days, silence);
        let (maildrop, listing) = opened.await?;
        delays.note(identity.account, policy.login_delay);
        tracing::info!(account = %identity.address, messages = listing.drop_listing().0, "maildrop opened");
        self.counted.release();
        self.seat = Some(seat);
        self.maildrop = Some(maildrop);
        Ok(Opened { listing, policy })
    }

    async fn look_up(&self, lookup: &Lookup) -> Result<Found, Refusal> {
        let live = Arc::clone(&self.context.live.borrow());
        let found = self.context.authenticator.look_up(&live.directory, lookup, self.origin()).await;
        self.admitted(found).await
    }

    fn origin(&self) -> Origin {
        Origin { peer: self.peer, service: LoginService::Pop3 }
    }

    /// What was asked for. A refusal comes late, so that guessing takes time.
    async fn admitted<T>(&self, checked: Result<T, LoginError>) -> Result<T, Refusal> {
        let checked = match checked {
            Ok(found) => return Ok(found),
            Err(LoginError::CodeMissing) => Err(CODE_MISSING),
            Err(LoginError::Invalid) => Err(WRONG_PASSWORD),
            Err(LoginError::Throttled) => Err(THROTTLED),
            Err(LoginError::AnotherUser) => Err(ANOTHER_USER),
            Err(LoginError::Busy) => Err(BUSY),
        };
        let delay = self.context.live.borrow().config.limits.error_delay;
        tokio::time::sleep(delay).await;
        checked
    }
}

#[cfg(test)]
mod tests;
