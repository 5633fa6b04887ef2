//! Sending: connects to the servers of a route one after the other until one takes a session, and runs the client machine.
//!
//! What is sent, and what becomes of it, is an [`Outbox`]'s: the queue's, or a user agent's with one message.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use waypost_mail::{Domain, EnhancedStatus, Reply, Severity};
use waypost_net::{
    ClientTls, ConnectError, Connection, Dialler, Disconnect, Handler, Output, Shutdown, TlsError, TlsRole,
    Verification, drive,
};

use crate::{
    route::{Route, Target},
    smtp::client::{Answer, Client, Encryption, End, Finished, Octets, Outgoing, Question, Settings},
};

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
        (session, end) = speak(session, target, route, hostname, dialler, shutdown).await;
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

/// One session with one server; where opportunistic TLS fails, another one without TLS (RFC 7435 section 3).
async fn speak<O: Outbox>(
    session: Session<O>,
    target: &Target,
    route: &Route,
    hostname: &Domain,
    dialler: &Dialler,
    shutdown: &Shutdown,
) -> (Session<O>, End) {
    let (session, end, tls_failed) =
        speak_once(session, target, route, route.encryption, hostname, dialler, shutdown).await;
    if !tls_failed || route.encryption != Encryption::Offered {
        return (session, end);
    }
    tracing::info!(peer = %target, "the TLS handshake failed; once more without");
    let (session, end, _) =
        speak_once(session, target, route, Encryption::Never, hostname, dialler, shutdown).await;
    (session, end)
}

async fn speak_once<O: Outbox>(
    session: Session<O>,
    target: &Target,
    route: &Route,
    encryption: Encryption,
    hostname: &Domain,
    dialler: &Dialler,
    shutdown: &Shutdown,
) -> (Session<O>, End, bool) {
    let connection = match open(target, route.encryption, encryption, dialler, shutdown).await {
        Ok(connection) => connection,
        Err(error) => return (session, End::Refused(connect_failure(&error)), false),
    };
    let settings = Settings {
        hostname: hostname.to_string(),
        encryption,
        tls: connection.tls.clone(),
        login: route.login.clone(),
        login_in_clear: target.address.ip().is_loopback(),
    };
    let (machine, session, result) = drive(connection, Client::new(settings), session).await;
    let lost = result.as_ref().map_or_else(lost, |()| failure("the session ended too early"));
    let end = machine.end(&lost);
    let tls_failed = matches!((&result, &end), (Err(Disconnect::Tls(_)), End::Refused(_)));
    (session, end, tls_failed)
}

/// Connects; on the port for it with implicit TLS, unless the route is without.
async fn open(
    target: &Target,
    wanted: Encryption,
    encryption: Encryption,
    dialler: &Dialler,
    shutdown: &Shutdown,
) -> Result<Connection, ConnectError> {
    let verification = match wanted {
        Encryption::Required => Verification::Pkix(Vec::new()),
        Encryption::Offered | Encryption::Never => Verification::None,
    };
    let (implicit, starttls) = match (encryption, target.address.port()) {
        (Encryption::Never, _) => (None, TlsRole::None),
        (_, IMPLICIT_TLS_PORT) => (Some(client_tls(target, &verification)?), TlsRole::None),
        _ => (None, TlsRole::Client(client_tls(target, &verification)?)),
    };
    dialler.connect(target.address, CONNECT_TIMEOUT, implicit, starttls, shutdown.clone()).await
}

/// TLS towards a server by its name; by its address where the name is none that a certificate can have, as an address literal.
/// A name that is not verified is no reason not to send at all.
fn client_tls(target: &Target, verification: &Verification) -> Result<ClientTls, TlsError> {
    let is_literal = target.host.starts_with('[');
    match ClientTls::new(&target.host, verification) {
        Err(_) if is_literal || *verification == Verification::None => {
            ClientTls::new(&target.address.ip().to_string(), verification)
        }
        named => named,
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
