//! Receiving: what the SMTP server machine asks is answered from directory, routes and store.
//!
//! `session` answers, `guard` counts what addresses and accounts do, `recipient` decides who may be a recipient, `header` rewrites the header block and holds the rules
//! for users' mail, `intake` brings a message into the store while it arrives, `logged` is how it stands in the log, `octets` looks at what it is,
//! `suspicion` does what `authenticity` comes to, `reported` hands mail on that may bring reports, `refusal` says what we say no with; `forecast` tells what would become of a message,
//! `strangers` whether anyone could relay.
//! Not here: the order of commands, bounds of lines and messages (`smtp::server`), sending (`client`, `queue`).

pub mod forecast;
mod guard;
mod header;
mod intake;
mod logged;
mod octets;
mod recipient;
mod refusal;
mod reported;
mod session;
mod strangers;
mod suspicion;
#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::Instrument;
use waypost_auth::{Authenticator, Live, Srs, sasl::Channel};
use waypost_config::{ListenerConfig, Service};
use waypost_mail::{EntryId, Timestamp};
use waypost_net::{Connection, Driven, TlsRole, drive};
use waypost_storage::Store;

use self::session::{Receiver, is_trusted};
pub use self::{
    forecast::{Forecast, forecast},
    guard::Guard,
    strangers::relays_for_strangers,
};
use crate::{
    Random,
    authenticity::Signers,
    dns::Resolver,
    reports::{incoming::Incoming, outgoing::Counts},
    smtp::server::{AuthPolicy, Manners, Role, Server, Settings, StartTls},
};

/// The least that a greeting waits on port 25: as long as it takes to see what came with the connection.
const GREETING_DELAY_MIN: Duration = Duration::from_millis(1);

/// What all SMTP sessions of a server share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The mail and the queue.
    pub store: Store,
    /// Configuration and directory.
    pub live: watch::Receiver<Arc<Live>>,
    /// Checks logins.
    pub authenticator: Authenticator,
    /// Counts what addresses and accounts do.
    pub guard: Guard,
    /// Reads return paths that this server made.
    pub srs: Srs,
    /// For what nobody is to foresee.
    pub random: Random,
    /// Answers where messages of strangers come from.
    pub resolver: Resolver,
    /// The keys that mail is signed with.
    pub signers: Signers,
    /// Counts for reports to authors' domains.
    pub counts: Counts,
    /// Takes mail that may bring reports of others.
    pub reports: Incoming,
}

/// Serves one connection to its end, as MTA or for submission as the listener's service says.
pub fn serve(
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> impl Future<Output = ()> + Send + use<> {
    let session = context.store.new_entry_id();
    let span =
        tracing::info_span!("smtp", %session, service = listener.service.name(), peer = %connection.peer);
    if listener.service == Service::Smtp {
        let peer = connection.peer.ip().to_canonical();
        context.guard.sighted(peer, || is_trusted(&context.live.borrow(), peer));
    }
    let driven = driven(session, connection, context, listener);
    async {
        tracing::debug!("connected");
        match driven.await.2 {
            Ok(()) => tracing::debug!("closed"),
            Err(reason) => tracing::debug!(%reason, "disconnected"),
        }
    }
    .instrument(span)
}

/// The session, in its box.
fn driven(
    session: EntryId,
    connection: Connection,
    context: Context,
    listener: &ListenerConfig,
) -> Pin<Box<impl Future<Output = Driven<Server, Receiver>> + Send + use<>>> {
    let live = context.live.borrow().clone();
    let settings = settings(session, &live, listener, &connection, context.store.now());
    let receiver = Receiver::new(context, settings.role, &connection);
    let machine = Server::new(settings);
    drive(connection, machine, receiver)
}

fn settings(
    session: EntryId,
    live: &Live,
    listener: &ListenerConfig,
    connection: &Connection,
    now: Timestamp,
) -> Settings {
    let can_start_tls = matches!(connection.starttls, TlsRole::Server(_));
    Settings {
        session,
        hostname: live.config.hostname.clone(),
        role: match listener.service {
            Service::Submission => Role::Submission,
            Service::Lmtp => Role::Lmtp,
            Service::Smtp | Service::Imap | Service::Pop3 | Service::Http => Role::Relay,
        },
        message_size: live.config.limits.message_size,
        recipients: live.config.limits.recipients,
        starttls: if can_start_tls { StartTls::Offered } else { StartTls::Absent },
        auth: match listener.rules.without_auth {
            true => AuthPolicy::Never,
            false if listener.auth_without_tls => AuthPolicy::Always,
            false => AuthPolicy::UnderTls,
        },
        offer: live.offer(Channel::default()),
        tls: connection.tls.clone().map(Arc::new),
        future_release: future_release(live, listener, now),
        no_soliciting: live.config.limits.no_soliciting.as_ref().map(|words| words.to_string().into()),
        manners: manners(listener, connection),
    }
}

/// What EHLO says of how long messages can be held (RFC 4865 section 4).
fn future_release(live: &Live, listener: &ListenerConfig, now: Timestamp) -> Option<String> {
    let most = live.config.limits.future_release;
    let is_offered = listener.service == Service::Submission && !most.is_zero();
    let until = Timestamp::from_seconds(now.after(most).seconds());
    is_offered.then(|| format!("{} {}", most.as_secs(), until.to_string().replace(".000", "")))
}

fn manners(listener: &ListenerConfig, connection: &Connection) -> Manners {
    let rules = &listener.rules;
    let is_relay = listener.service == Service::Smtp;
    Manners {
        greeting_delay: is_relay.then(|| rules.greeting_delay.max(GREETING_DELAY_MIN)),
        strict_pipelining: rules.strict_pipelining,
        vrfy: rules.vrfy,
        xclient: rules.xclient.iter().any(|network| network.contains(connection.peer.ip())),
    }
}
