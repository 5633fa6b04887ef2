//! Sending: connects to the servers of a route one after the other until one takes a session, and runs the client machine.
//!
//! What is sent, and what becomes of it, is an [`Outbox`]'s: the queue's, or a user agent's with one message.

mod tls;

use std::{future::Future, time::Duration};

use bytes::Bytes;
use waypost_mail::{Domain, EnhancedStatus, Reply, Severity};
use waypost_net::{
    ConnectError, Connection, Dialler, Disconnect, Handler, Output, Shutdown, TlsError, TlsRole, drive,
};

use crate::{
    route::{Route, Target},
    smtp::client::{Answer, Client, Encryption, End, Finished, Octets, Outgoing, Question, Settings},
    tls_policy::{OnFailure, SessionTls, TlsPolicy, Towards, results::Ends},
};
use tls::client_tls;

/// Longest wait for a TCP connection (and the handshake of implicit TLS). Shorter than RFC 1123 would have it: the next
/// address is tried, and this one again at the next try.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// SMTP with TLS from the first octet (RFC 8314 section 7.3).
pub const IMPLICIT_TLS_PORT: u16 = 465;

/// Has the messages for a connection, and records what became of them.
pub trait Outbox: Send {
    /// The next message to be sent; `None`: there is no more for this connection.
    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send;
    /// What the message given last really holds; `None` if it cannot be read.
    fn octets(&mut self) -> impl Future<Output = Option<Octets>> + Send;
    /// The next octets of the message given last, empty at its end; `None` if it cannot be read.
    fn chunk(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
    /// The message given last is done with. Called once for each.
    fn finish(&mut self, peer: &str, finished: Finished) -> impl Future<Output = ()> + Send;
}

/// How it went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// A server took the session; the outbox knows the rest.
    Done,
    /// None did, and no message was begun.
    Refused {
        /// The one asked last: name and address.
        peer: String,
        /// Its answer, or what happened.
        reply: Reply,
    },
    /// The server stops; nothing was begun.
    Stopped,
}

/// Sends what an outbox has over one session with the first server of the route that takes one (RFC 5321 section 5.1).
pub async fn deliver<O: Outbox>(
    outbox: O,
    route: &Route,
    towards: &Towards<'_>,
    hostname: &Domain,
    dialler: &Dialler,
    shutdown: &Shutdown,
) -> (O, Delivery) {
    let mut session = Session { outbox, peer: String::new() };
    let mut refused = None;
    for target in &route.targets {
        if shutdown.is_stopping() {
            return (session.outbox, Delivery::Stopped);
        }
        session.peer = target.to_string();
        let end;
        (session, end) = speak(session, target, route, towards, hostname, dialler, shutdown).await;
        match end {
            End::Done(finished) => {
                if let Some(finished) = finished {
                    session.outbox.finish(&session.peer, finished).await;
                }
                return (session.outbox, Delivery::Done);
            }
            End::Refused(reply) => refused = Some(worth_more(refused, session.peer.clone(), reply)),
        }
    }
    let (peer, reply) = refused.unwrap_or_else(|| (String::new(), failure("the route has no server")));
    (session.outbox, Delivery::Refused { peer, reply })
}

/// The answer that counts where several servers refused: a temporary one, because that server may take the mail later.
fn worth_more(before: Option<(String, Reply)>, peer: String, reply: Reply) -> (String, Reply) {
    match before {
        Some(before)
            if before.1.severity() == Severity::Transient && reply.severity() == Severity::Permanent =>
        {
            before
        }
        _ => (peer, reply),
    }
}

/// One session with one server, with TLS as its policy says; where that allows it and TLS fails, another one without TLS (RFC 7435
/// section 3).
async fn speak<O: Outbox>(
    session: Session<O>,
    target: &Target,
    route: &Route,
    towards: &Towards<'_>,
    hostname: &Domain,
    dialler: &Dialler,
    shutdown: &Shutdown,
) -> (Session<O>, End) {
    let policy = towards.decide(&target.host, target.address.port()).await;
    tracing::debug!(peer = %target, %policy, "TLS policy");
    let mut ends = Ends { sender: None, host: target.host.clone(), receiver: target.address.ip() };
    let encryption = match tls::encryption(&policy) {
        Ok(encryption) => encryption,
        Err(reply) => {
            towards.heard(&policy, &ends, &SessionTls::NotAsked);
            return (session, End::Refused(reply));
        }
    };
    let caller = Caller { target, route, towards, policy: &policy, hostname, dialler, shutdown };
    let (session, end, seen) = caller.speak(session, encryption, &mut ends).await;
    towards.heard(&policy, &ends, &seen);
    let falls_back = policy.failure == OnFailure::FallBack && matches!(end, End::Refused(_));
    if !falls_back || !matches!(seen, SessionTls::Broken(_)) {
        return (session, end);
    }
    tracing::info!(peer = %target, "the TLS handshake failed; once more without");
    let (session, end, _) = caller.speak(session, Encryption::Never, &mut ends).await;
    (session, end)
}

/// What the sessions with one server have in common.
struct Caller<'a> {
    target: &'a Target,
    route: &'a Route,
    towards: &'a Towards<'a>,
    policy: &'a TlsPolicy,
    hostname: &'a Domain,
    dialler: &'a Dialler,
    shutdown: &'a Shutdown,
}

impl Caller<'_> {
    /// One session, and how TLS went in it.
    async fn speak<O: Outbox>(
        &self,
        session: Session<O>,
        encryption: Encryption,
        ends: &mut Ends,
    ) -> (Session<O>, End, SessionTls) {
        let connection = match self.open(encryption).await {
            Ok(connection) => connection,
            Err(error) => {
                let seen = match &error {
                    ConnectError::Tls(error) => SessionTls::Broken(error.clone()),
                    ConnectError::Io(_) | ConnectError::Timeout(_) => SessionTls::NotAsked,
                };
                return (session, End::Refused(connect_failure(&error)), seen);
            }
        };
        ends.sender = Some(connection.local.ip());
        let settings = Settings {
            hostname: self.hostname.to_string(),
            encryption,
            tls: connection.tls.clone(),
            login: self.route.login.clone(),
            login_in_clear: self.target.address.ip().is_loopback(),
        };
        let (machine, session, result) = drive(connection, Client::new(settings), session).await;
        let seen = match (&result, machine.tls()) {
            (Err(Disconnect::Tls(error)), _) => SessionTls::Broken(error.clone()),
            (_, Some(info)) => SessionTls::On(info.clone()),
            (_, None) if machine.is_without_tls() => SessionTls::NotOffered,
            (_, None) => SessionTls::NotAsked,
        };
        let lost = result.as_ref().map_or_else(lost, |()| failure("the session ended too early"));
        (session, machine.end(&lost), seen)
    }

    /// Connects; on the port for it with implicit TLS, unless the policy is without.
    async fn open(&self, encryption: Encryption) -> Result<Connection, ConnectError> {
        let client = || client_tls(self.target, self.policy, self.towards);
        let (implicit, starttls) = match (encryption, self.target.address.port()) {
            (Encryption::Never, _) => (None, TlsRole::None),
            (_, IMPLICIT_TLS_PORT) => (Some(client()?), TlsRole::None),
            _ => (None, TlsRole::Client(client()?)),
        };
        let (address, shutdown) = (self.target.address, self.shutdown.clone());
        self.dialler.connect(address, CONNECT_TIMEOUT, implicit, starttls, shutdown).await
    }
}

fn connect_failure(error: &ConnectError) -> Reply {
    match error {
        ConnectError::Tls(error) => tls_failure(error),
        ConnectError::Io(_) | ConnectError::Timeout(_) => {
            Reply::new(451, EnhancedStatus(4, 4, 1), format!("no connection: {error}"))
        }
    }
}

fn lost(error: &Disconnect) -> Reply {
    match error {
        Disconnect::Tls(error) => tls_failure(error),
        Disconnect::Io(_) | Disconnect::Stalled | Disconnect::Handler(_) => {
            Reply::new(451, EnhancedStatus(4, 4, 2), format!("the connection was lost: {error}"))
        }
    }
}

fn tls_failure(error: &TlsError) -> Reply {
    Reply::new(454, EnhancedStatus(4, 7, 5), format!("TLS failed: {error}"))
}

fn failure(text: &str) -> Reply {
    Reply::new(451, EnhancedStatus(4, 4, 2), text)
}

/// Answers the machine from an outbox.
struct Session<O> {
    outbox: O,
    peer: String,
}

impl<O: Outbox> Handler<Client> for Session<O> {
    async fn answer(&mut self, question: Question, _: &mut Output<'_>) -> Result<Answer, Disconnect> {
        Ok(match question {
            Question::NextMessage { finished } => {
                if let Some(finished) = finished {
                    self.outbox.finish(&self.peer, finished).await;
                }
                Answer::Message(self.outbox.next().await)
            }
            Question::Octets => self.outbox.octets().await.map_or(Answer::Unreadable, Answer::Octets),
            Question::NextChunk => self.outbox.chunk().await.map_or(Answer::Unreadable, Answer::Chunk),
        })
    }

    async fn event(&mut self) -> std::convert::Infallible {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
