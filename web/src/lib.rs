//! The documents that others look for over HTTP: the policy of MTA-STS (RFC 8461), how mail programs set themselves up, and whether the
//! server is well.
//!
//! `site` says which document a request asks for, `policy`, `autoconfig` and `autodiscover` make them from the configuration. Nothing here
//! depends on who asks: whoever asks may know it.

mod autoconfig;
mod autodiscover;
pub mod policy;
pub mod services;
mod site;

use std::sync::Arc;

use tokio::sync::watch;
use waypost_auth::Live;
use waypost_net::{Connection, serve_http};
use waypost_storage::Store;

/// What the documents are made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    store: Store,
    live: watch::Receiver<Arc<Live>>,
}

impl Context {
    /// Documents of the newest configuration.
    pub fn new(store: Store, live: watch::Receiver<Arc<Live>>) -> Self {
        Self { store, live }
    }
}

/// Answers the requests of one connection.
pub async fn serve(connection: Connection, context: Context) {
    let peer = connection.peer;
    let answered = serve_http(connection, |query| {
        let config = context.live.borrow().config.clone();
        let reply = site::reply(&config, !context.store.is_poisoned(), &query);
        tracing::debug!(%peer, host = query.host, path = query.path, status = reply.status, "a document was asked for");
        reply
    });
    if let Err(error) = answered.await {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}
