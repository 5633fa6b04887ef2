//! What can change while serving, as one value: sessions take it at connect, MAIL and login.

use std::sync::Arc;

use waypost_config::Config;

use crate::{
    directory::Directory,
    sasl::{Channel, Offer, Scram, Tokens},
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
    /// What a session offers that begins now, with what is known of its TLS.
    pub fn offer(&self, channel: Channel) -> Offer {
        let bound = self.config.tls.as_ref().is_some_and(|tls| tls.channel_binding);
        let scram = match self.directory.scram() {
            Scram::Offered if bound => Scram::Bound,
            scram => scram,
        };
        let tokens = if self.directory.issuer().is_some() { Tokens::Offered } else { Tokens::Absent };
        Offer { scram, channel, tokens }
    }
}
