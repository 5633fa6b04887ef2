//! The configuration as the rest of Waypost sees it: paths are absolute, times are durations, names are values.

use std::path::PathBuf;

use waypost_mail::Domain;

use crate::{
    account::{AccountConfig, AliasConfig, SendAsConfig},
    authenticity::AuthenticityConfig,
    dkim::DkimConfig,
    dns::DnsConfig,
    domain::DomainConfig,
    imap::ImapConfig,
    limits::LimitsConfig,
    listener::Listeners,
    network::Network,
    oauth::OauthConfig,
    pop3::Pop3Config,
    queue::QueueConfig,
    reports::ReportsConfig,
    route::RouteConfig,
    srs::SrsConfig,
    storage::StorageConfig,
    tls::{OutboundTlsConfig, TlsConfig},
};

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// EHLO name, Received, DSN.
    pub hostname: Domain,
    /// Where all state lives.
    pub state_dir: PathBuf,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[tls]`; needed where a listener has TLS.
    pub tls: Option<TlsConfig>,
    /// `[[listener]]`
    pub listeners: Listeners,
    /// `[[domain]]`
    pub domains: Vec<DomainConfig>,
    /// `[[account]]`
    pub accounts: Vec<AccountConfig>,
    /// `[[alias]]`
    pub aliases: Vec<AliasConfig>,
    /// `[[send_as]]`
    pub send_as: Vec<SendAsConfig>,
    /// `[[route]]`
    pub routes: Vec<RouteConfig>,
    /// `[[trust]]`, flattened.
    pub trust: Vec<Network>,
    /// `[dns]`
    pub dns: DnsConfig,
    /// TLS towards other servers.
    pub outbound_tls: OutboundTlsConfig,
    /// `[queue]`
    pub queue: QueueConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[srs]`
    pub srs: SrsConfig,
    /// `[authenticity]`
    pub authenticity: AuthenticityConfig,
    /// `[dkim]`
    pub dkim: DkimConfig,
    /// `[reports]`
    pub reports: ReportsConfig,
    /// `[imap]`
    pub imap: ImapConfig,
    /// `[pop3]`
    pub pop3: Pop3Config,
    /// `[oauth]`
    pub oauth: Option<OauthConfig>,
}
