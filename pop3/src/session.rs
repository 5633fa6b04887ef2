//! The handler: answers what the machine asks from directory and store.

use std::{
    convert::Infallible,
    future::{Future, pending},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::{Buf, BytesMut};
use tokio::sync::watch;
use tracing::Instrument;
use waypost_auth::{
    Authenticator, Identity, Live, LoginError, Origin, Seat,
    sasl::{Claim, Found, Lookup},
};
use waypost_config::ListenerConfig;
use waypost_mail::LoginService;
use waypost_net::{AddressCount, Connection, Disconnect, Handler, Output, TlsRole, drive};
use waypost_storage::Store;

use crate::{
    body::{DotStuffer, Top},
    listing::Message,
    machine::{Answer, Login, Question, Session, Tls, channel},
    maildrop::{Maildrop, Registry, refusal},
    wire::{Code, Encode, Refusal},
};

/// Octets of a message that are sent at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Room for the lines before and behind them.
const LINES_BYTES: usize = 64;

const WRONG_PASSWORD: Refusal = Refusal::with(Code::Auth, "wrong user name or password");
const CODE_MISSING: Refusal =
    Refusal::with(Code::Auth, "this account needs an app password, or a code behind its password");
const THROTTLED: Refusal = Refusal::with(Code::SysTemp, "too many failed logins, try again later");
const BUSY: Refusal = Refusal::with(Code::SysTemp, "the password cannot be checked now, try again later");
const TOO_MANY: Refusal = Refusal::with(Code::SysTemp, "too many sessions of this account, try again later");
const ANOTHER_USER: Refusal = Refusal::with(Code::Auth, "nobody may act for another user");

/// What all POP3 sessions of a server share. Cheap to clone; the clones share the locks on maildrops, too.
#[derive(Clone, Debug)]
pub struct Context {
    store: Store,
    live: watch::Receiver<Arc<Live>>,
    authenticator: Authenticator,
    maildrops: Registry,
}

impl Context {
    /// The mail, configuration and directory, and who checks logins. One for all listeners of a server.
    pub fn new(store: Store, live: watch::Receiver<Arc<Live>>, authenticator: Authenticator) -> Self {
        Self { store, live, authenticator, maildrops: Registry::default() }
    }
}

/// Serves one connection to its end.
pub fn serve(
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> impl Future<Output = ()> + Send + use<> {
    let peer = connection.peer;
    let tls = match (&connection.tls, &connection.starttls) {
        (Some(_), _) => Tls::Active,
        (None, TlsRole::Server(_)) => Tls::Offered,
        (None, _) => Tls::None,
    };
    let live = context.live.borrow().clone();
    let offer = live.offer(connection.tls.as_ref().map(channel).unwrap_or_default());
    let machine = Session::new(&live.config.hostname, tls, login_policy(listener, peer), offer);
    drop(live);
    let counted = connection.counted.clone();
    let handler = Answers { context, peer: peer.ip(), counted, seat: None, maildrop: None };
    let driven = drive(connection, machine, handler);
    let session = async {
        match driven.await.2 {
            Ok(()) => tracing::debug!("session ended"),
            Err(error) => tracing::info!(%error, "session lost"),
        }
    };
    session.instrument(tracing::info_span!("pop3", %peer))
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
        match question {
            Question::LookUp(lookup) => {
                Ok(Answer::Found(Box::pin(self.look_up(&lookup)).await.map(Box::new)))
            }
            Question::Login(claim) => Ok(Answer::Opened(self.log_in(&claim).await)),
            Question::Retrieve { message, lines } => {
                let maildrop =
                    self.maildrop.as_ref().ok_or_else(|| Disconnect::Handler("no maildrop".into()))?;
                send(&self.context.store, maildrop, message, lines, output).await.map(Answer::Retrieved)
            }
            Question::Update { deleted } => {
                // Taken, so that the lock is free before the client reads the reply and comes again.
                let maildrop =
                    self.maildrop.take().ok_or_else(|| Disconnect::Handler("no maildrop".into()))?;
                Ok(Answer::Updated(maildrop.update(&deleted).await))
            }
            Question::Flush => Ok(Answer::Flushed),
        }
    }

    async fn event(&mut self) -> Infallible {
        pending().await
    }
}

impl Answers {
    async fn log_in(&mut self, claim: &Claim) -> Result<Vec<Message>, Refusal> {
        let live = Arc::clone(&self.context.live.borrow());
        let checked = self.context.authenticator.login(&live.directory, claim, self.origin()).await;
        let identity: Identity = self.admitted(checked).await?;
        let sessions_max = self.context.live.borrow().config.limits.connections_per_address;
        let seat = self.context.authenticator.seats().take(identity.account, sessions_max).ok_or(TOO_MANY)?;
        let (maildrop, messages) =
            Maildrop::open(&self.context.store, &self.context.maildrops, identity.account).await?;
        tracing::info!(account = %identity.address, messages = messages.len(), "maildrop opened");
        self.counted.release();
        self.seat = Some(seat);
        self.maildrop = Some(maildrop);
        Ok(messages)
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

/// Sends a message, or its top, as a multi-line reply. What fails before the first octet is refused; what fails later can only be
/// told by hanging up, for a reply that ends looks complete.
async fn send(
    store: &Store,
    maildrop: &Maildrop,
    message: usize,
    lines: Option<u32>,
    output: &mut Output<'_>,
) -> Result<Result<(), Refusal>, Disconnect> {
    let content = match maildrop.row(message) {
        Ok(row) => row.content,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut reader = store.reader(&content, 0, content.size());
    let mut chunk = match reader.next().await {
        Ok(chunk) => chunk,
        Err(error) => return Ok(Err(refusal(&error))),
    };
    let (mut stuffer, mut top) = (DotStuffer::default(), lines.map(Top::new));
    let mut buffer = BytesMut::with_capacity(chunk.len() + LINES_BYTES);
    match lines {
        None => buffer.line(format_args!("+OK {} octets", content.size())),
        Some(_) => buffer.line(format_args!("+OK top of message follows")),
    }
    while !chunk.is_empty() && !top.as_ref().is_some_and(Top::is_done) {
        let shown = top.as_mut().map_or(&chunk[..], |top| top.show(&chunk));
        stuffer.stuff(shown, &mut buffer);
        // In whole pieces: the line before the message and the one behind it go with its octets.
        while buffer.len() >= PIECE_BYTES {
            output.write(&buffer[..PIECE_BYTES]).await?;
            buffer.advance(PIECE_BYTES);
        }
        chunk = reader.next().await.map_err(|error| Disconnect::Handler(error.to_string()))?;
    }
    stuffer.finish(&mut buffer);
    output.write(&buffer).await?;
    Ok(Ok(()))
}
