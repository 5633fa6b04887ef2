//! Sending: connects to the servers of a route one after the other until one takes a session, and runs the client machine.
//!
//! The addresses of one host are tried as RFC 8305 has it: a quarter of a second after one, the next. What is sent, and what becomes of
//! it, is an [`Outbox`]'s: the queue's, or a user agent's with one message.

mod tls;

use std::{future::Future, net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use waypost_mail::{Domain, EnhancedStatus, Issuer, Reply, Severity, Timestamp};
use waypost_net::{
    ConnectError, Connection, Dial, Dialled, Dialler, Disconnect, Handler, Output, Shutdown, TlsError,
    TlsRole, drive,
};
use waypost_storage::{Dialogue, DialogueTls};

use crate::{
    route::{Place, Route, Target},
    smtp::client::{Answer, Client, Encryption, End, Finished, Octets, Outgoing, Question, Said, Settings},
    tls_policy::{OnFailure, SessionTls, TlsPolicy, Towards, results::Ends},
};
use tls::client_tls;
pub use tls::tls_policy;

/// Longest wait for a TCP connection (and the handshake of implicit TLS). Shorter than RFC 1123 would have it: the next
/// address is tried, and this one again at the next try.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// SMTP with TLS from the first octet (RFC 8314 section 7.3).
pub const IMPLICIT_TLS_PORT: u16 = 465;
/// The server accepts no mail, now and later (RFC 7504 section 3).
const NO_MAIL_EVER: u16 = 521;
/// Octets of a nonce before base 64.
const NONCE_BYTES: usize = 18;

/// Has the messages for a connection, and records what became of them.
pub trait Outbox: Send {
    /// The time, for what is recorded.
    fn now(&self) -> Timestamp;
    /// What the connection waits for from now on, until a server takes the session and the first message is asked for.
    fn waits_for(&mut self, _what: WaitsFor) {}
    /// The address of ours that the connection goes out from, where it is one by IP.
    fn speaks_from(&mut self, _source: Option<IpAddr>) {}
    /// The next message to be sent; `None`: there is no more for this connection.
    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send;
    /// What the message given last really holds; `None` if it cannot be read.
    fn octets(&mut self) -> impl Future<Output = Option<Octets>> + Send;
    /// The next octets of the message given last, empty at its end; `None` if it cannot be read.
    fn chunk(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
    /// The message given last is done with. Called once for each. `dialogues`: with servers that did not take the session before, and
    /// with this one where it did not take the message for all.
    fn finish(
        &mut self,
        peer: &str,
        finished: Finished,
        dialogues: Vec<Dialogue>,
    ) -> impl Future<Output = ()> + Send;
}

/// What a connection waits for before a server has taken the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WaitsFor {
    /// What DNS and MTA-STS say of TLS with the next server.
    Policy,
    /// The server.
    Server,
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
        /// What was said with each that was tried.
        dialogues: Vec<Dialogue>,
    },
    /// The server stops; nothing was begun.
    Stopped,
}

/// Sends what an outbox has over one session with the first server of the route that takes one (RFC 5321 section 5.1), with TLS as the
/// policy of each server demands it.
pub async fn deliver<O: Outbox>(
    outbox: O,
    route: &Route,
    towards: &Towards<'_>,
    hostname: &Domain,
    dialler: &Dialler,
    shutdown: &Shutdown,
) -> (O, Delivery) {
    let caller = Caller { route, towards, hostname, dialler, shutdown };
    let mut session = Session::new(outbox);
    let mut refused = None;
    for host in route.targets.chunk_by(Target::is_same_host) {
        let mut left: Vec<&Target> = host.iter().collect();
        let Some(first) = left.first() else { continue };
        session.outbox.waits_for(WaitsFor::Policy);
        let (policy, encryption) = Box::pin(caller.policy(first)).await;
        session.outbox.waits_for(WaitsFor::Server);
        session.policy = policy.to_string();
        let encryption = match encryption {
            Ok(encryption) => encryption,
            Err(reply) => {
                session.call(first);
                session.failed(&Said { tls: None, lines: vec![format!("*: {}", reply.text())] });
                refused = Some(worth_more(refused, session.peer.clone(), reply));
                continue;
            }
        };
        while !left.is_empty() {
            if shutdown.is_stopping() {
                return (session.outbox, Delivery::Stopped);
            }
            let Reached { won, failed } = Box::pin(reach(dialler, &left)).await;
            for (target, error) in &failed {
                let reply = connect_failure(error);
                session.call(target);
                session.failed(&Said { tls: None, lines: vec![format!("*: {}", reply.text())] });
                refused = Some(worth_more(refused, session.peer.clone(), reply));
            }
            left.retain(|target| !failed.iter().any(|(failed, _)| failed == target));
            let Some((target, line)) = won else { continue };
            left.retain(|other| *other != target);
            let end;
            (session, end) = Box::pin(caller.speak(session, target, line, &policy, encryption)).await;
            match end {
                End::Done(finished) => {
                    if let Some(finished) = finished {
                        session.finish(finished).await;
                    }
                    return (session.outbox, Delivery::Done);
                }
                End::Refused(reply, said) => {
                    session.failed(&said);
                    refused = Some(worth_more(refused, session.peer.clone(), postponed(reply)));
                }
            }
        }
    }
    let (peer, reply) = refused.unwrap_or_else(|| (String::new(), failure("the route has no server")));
    (session.outbox, Delivery::Refused { peer, reply, dialogues: session.dialogues })
}

/// Octets to and from a server, before TLS.
enum Line {
    Tcp(Dialled),
    Socket,
}

/// What came of trying the addresses of one host.
struct Reached<'a> {
    won: Option<(&'a Target, Line)>,
    failed: Vec<(&'a Target, ConnectError)>,
}

/// Connects to one of the addresses of one host, or says that it is behind a socket, which is connected to later.
async fn reach<'a>(dialler: &Dialler, targets: &[&'a Target]) -> Reached<'a> {
    let dial = |target: &&'a Target| match target.place {
        Place::Tcp(address) => Some(Dial { address, source: target.source }),
        Place::Socket(_) => None,
    };
    let dials: Option<Vec<Dial>> = targets.iter().map(dial).collect();
    let Some(dials) = dials else {
        return Reached { won: targets.first().map(|target| (*target, Line::Socket)), failed: Vec::new() };
    };
    let raced = dialler.race(&dials, CONNECT_TIMEOUT).await;
    let target = |at: usize| targets.get(at).copied();
    Reached {
        won: raced.won.and_then(|(at, stream)| Some((target(at)?, Line::Tcp(stream)))),
        failed: raced.failed.into_iter().filter_map(|(at, error)| Some((target(at)?, error))).collect(),
    }
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

/// What a server says to a session before it knows of a message is about us: often that our address is on a list of its, for hours. So it is
/// not taken for the end of the mail that is due there, as the greeting 554 of RFC 5321 section 3.1 could be; only a server that says that
/// it never takes mail is believed (RFC 7504 section 3).
fn postponed(reply: Reply) -> Reply {
    if reply.issuer != Issuer::Peer || reply.severity() != Severity::Permanent || reply.code == NO_MAIL_EVER {
        return reply;
    }
    let status = reply.status.map_or_else(String::new, |status| format!("{status} "));
    let text = format!("the server takes no session from here now: {} {status}{}", reply.code, reply.text());
    Reply::new(451, EnhancedStatus(4, 3, 2), text)
}

/// What all sessions of a delivery have in common.
struct Caller<'a> {
    route: &'a Route,
    towards: &'a Towards<'a>,
    hostname: &'a Domain,
    dialler: &'a Dialler,
    shutdown: &'a Shutdown,
}

impl Caller<'_> {
    /// What is demanded of TLS with a host, and what that makes of the session; or the reply where the host is not used at all.
    async fn policy(&self, target: &Target) -> (TlsPolicy, Result<Encryption, Reply>) {
        let policy = tls_policy(self.towards, target).await;
        tracing::debug!(peer = %target, %policy, "TLS policy");
        let encryption = tls::encryption(&policy);
        if encryption.is_err() {
            self.heard(&policy, target, None, &SessionTls::NotAsked);
        }
        (policy, encryption)
    }

    /// One session with one server; where its policy allows that and TLS fails, another one without TLS (RFC 7435 section 3).
    async fn speak<O: Outbox>(
        &self,
        session: Session<O>,
        target: &Target,
        line: Line,
        policy: &TlsPolicy,
        encryption: Encryption,
    ) -> (Session<O>, End) {
        let (mut session, end, seen) =
            Box::pin(self.speak_once(session, target, line, policy, encryption)).await;
        let End::Refused(_, said) = &end else { return (session, end) };
        if !matches!(seen, SessionTls::Broken(_)) || policy.failure != OnFailure::FallBack {
            return (session, tls::come_back(end, policy, &seen));
        }
        tracing::info!(peer = %target, "the TLS handshake failed; once more without");
        session.failed(said);
        match reach(self.dialler, &[target]).await {
            Reached { won: Some((target, line)), .. } => {
                let (session, end, _) =
                    Box::pin(self.speak_once(session, target, line, policy, Encryption::Never)).await;
                (session, end)
            }
            Reached { failed, .. } => {
                let reply = failed.first().map(|(_, error)| connect_failure(error));
                (session, refused(reply.unwrap_or_else(|| failure("no connection"))))
            }
        }
    }

    /// One session, and how TLS went in it.
    async fn speak_once<O: Outbox>(
        &self,
        mut session: Session<O>,
        target: &Target,
        line: Line,
        policy: &TlsPolicy,
        encryption: Encryption,
    ) -> (Session<O>, End, SessionTls) {
        session.call(target);
        let connection = match Box::pin(self.open(target, line, policy, encryption)).await {
            Ok(connection) => connection,
            Err(error) => {
                let seen = match &error {
                    ConnectError::Tls(error) => SessionTls::Broken(error.clone()),
                    ConnectError::Io(_) | ConnectError::Timeout(_) => SessionTls::NotAsked,
                };
                self.heard(policy, target, None, &seen);
                return (session, refused(connect_failure(&error)), seen);
            }
        };
        let sender = Some(connection.local.ip());
        session.outbox.speaks_from(sender.filter(|ip| target.ip().is_some() && !ip.is_unspecified()));
        let settings = Settings {
            hostname: self.hostname.to_string(),
            protocol: self.route.protocol,
            encryption,
            tls: connection.tls.clone(),
            login: self.route.login.clone(),
            login_in_clear: target.is_local(),
            nonce: self.route.login.as_ref().map_or_else(String::new, |_| nonce()),
        };
        let (machine, session, result) = drive(connection, Client::new(settings), session).await;
        let seen = match (&result, machine.tls()) {
            (Err(Disconnect::Tls(error)), _) => SessionTls::Broken(error.clone()),
            (_, Some(info)) => SessionTls::On(info.clone()),
            (_, None) if machine.is_without_tls() => SessionTls::NotOffered,
            (_, None) => SessionTls::NotAsked,
        };
        if encryption != Encryption::Never {
            self.heard(policy, target, sender, &seen);
        }
        let lost = result.as_ref().map_or_else(lost, |()| failure("the session ended too early"));
        (session, machine.end(&lost), seen)
    }

    fn heard(&self, policy: &TlsPolicy, target: &Target, sender: Option<IpAddr>, seen: &SessionTls) {
        if let Some(receiver) = target.ip() {
            self.towards.heard(policy, &Ends { sender, host: target.host.clone(), receiver }, seen);
        }
    }

    /// Makes a connection of it; on the port for it with implicit TLS, unless the policy is without.
    async fn open(
        &self,
        target: &Target,
        line: Line,
        policy: &TlsPolicy,
        encryption: Encryption,
    ) -> Result<Connection, ConnectError> {
        let (dialled, address) = match (line, &target.place) {
            (Line::Tcp(dialled), Place::Tcp(address)) => (dialled, *address),
            (_, Place::Socket(path)) => {
                return self.dialler.connect_socket(path, CONNECT_TIMEOUT, self.shutdown.clone()).await;
            }
            (Line::Socket, Place::Tcp(_)) => return Err(ConnectError::Io("not connected".into())),
        };
        let client = || client_tls(target, policy, self.towards);
        let (implicit, starttls) = match (encryption, address.port()) {
            (Encryption::Never, _) => (None, TlsRole::None),
            (_, IMPLICIT_TLS_PORT) => (Some(client()?), TlsRole::None),
            _ => (None, TlsRole::Client(client()?)),
        };
        dialled.connection(address, implicit, starttls, self.shutdown.clone()).await
    }
}

/// A session that did not begin.
fn refused(reply: Reply) -> End {
    let lines = vec![format!("*: {}", reply.text())];
    End::Refused(reply, Said { tls: None, lines })
}

/// Printable and random; empty where there is no randomness, and then there is no SCRAM.
fn nonce() -> String {
    let mut octets = [0; NONCE_BYTES];
    getrandom::fill(&mut octets).map_or_else(|_| String::new(), |()| STANDARD.encode(octets))
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
        Disconnect::Io(_) | Disconnect::Stalled | Disconnect::Compression(_) | Disconnect::Handler(_) => {
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
    /// What is demanded of TLS, in words.
    policy: String,
    /// When the dialogue with the peer began.
    begun: Timestamp,
    /// Those that failed and are not told of yet.
    dialogues: Vec<Dialogue>,
}

impl<O: Outbox> Session<O> {
    fn new(outbox: O) -> Self {
        let (peer, policy) = (String::new(), String::new());
        Self { begun: outbox.now(), outbox, peer, policy, dialogues: Vec::new() }
    }

    /// Another server is asked.
    fn call(&mut self, target: &Target) {
        (self.peer, self.begun) = (target.to_string(), self.outbox.now());
    }

    /// The dialogue with the present one failed.
    fn failed(&mut self, said: &Said) {
        let tls = said.tls.as_ref().map(|tls| DialogueTls {
            version: tls.version.clone(),
            cipher: tls.cipher.clone(),
            verified: tls.verified,
        });
        self.dialogues.push(Dialogue {
            at: self.begun,
            peer: self.peer.clone(),
            tls,
            policy: self.policy.clone(),
            lines: said.lines.clone(),
        });
    }

    async fn finish(&mut self, mut finished: Finished) {
        if let Some(said) = finished.said.take() {
            self.failed(&said);
        }
        let dialogues = std::mem::take(&mut self.dialogues);
        self.outbox.finish(&self.peer, finished, dialogues).await;
    }
}

impl<O: Outbox> Handler<Client> for Session<O> {
    /// A short message goes out with its end.
    fn is_quick(&self, question: &Question) -> bool {
        matches!(question, Question::NextChunk)
    }

    async fn answer(&mut self, question: Question, _: &mut Output<'_>) -> Result<Answer, Disconnect> {
        Ok(match question {
            Question::NextMessage { finished } => {
                if let Some(finished) = finished {
                    self.finish(finished).await;
                }
                Answer::Message(self.outbox.next().await)
            }
            Question::LastFinished { finished } => {
                self.finish(finished).await;
                Answer::Heard
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
