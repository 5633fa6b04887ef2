//! What can change while serving, as one value: sessions take it at connect, MAIL and login.

use std::{sync::Arc, time::SystemTime};

use waypost_config::Config;

use crate::{
    directory::Directory,
    sasl::{Bindings, Offer, Scram, Tokens},
};

/// Configuration and directory of one moment. A reload, or a change of an account, makes a new one.
#[derive(Clone, Debug)]
pub struct Live {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who is here.
    pub directory: Arc<Directory>,
}

impl Live {
    /// What a session offers that begins now, with the channel bindings of its TLS.
    pub fn offer(&self, bindings: Bindings) -> Offer {
        let bound = self.config.tls.as_ref().is_some_and(|tls| tls.channel_binding);
        let scram = match self.directory.scram() {
            Scram::Offered if bound => Scram::Bound,
            scram => scram,
        };
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let tokens = self.directory.issuer().map(|issuer| Tokens { issuer: Arc::clone(issuer), now });
        Offer { scram, bindings, tokens }
    }
}
