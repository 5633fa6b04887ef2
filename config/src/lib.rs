//! The configuration: one TOML file, checked as a whole, typed.
//!
//! `reference.toml` documents every key; unknown keys are errors with line, column and the nearest known key.

mod account;
mod authenticity;
mod config;
mod dkim;
mod dns;
mod domain;
mod facts;
mod imap;
mod limits;
mod listener;
pub mod load;
mod network;
mod next_hop;
mod oauth;
mod pop3;
mod queue;
mod reader;
pub mod reference;
mod reports;
mod route;
mod srs;
mod storage;
mod texts;
mod tls;

pub use account::{AccountConfig, AliasConfig, Password, SendAsAddress, SendAsConfig};
pub use authenticity::{AuthenticityConfig, DmarcMode};
pub use config::Config;
pub use dkim::{DkimConfig, DkimKeyConfig, PrivatePem};
pub use dns::{DnsConfig, Dnssec};
pub use domain::{DomainConfig, Pop3Policy, StsMode};
pub use imap::ImapConfig;
pub use limits::{LimitsConfig, RatesConfig};
pub use listener::{
    ImapRules, ListenAddress, ListenerConfig, ListenerRules, Listeners, Service, SocketFile, TlsMode,
};
pub use load::{ConfigError, load, parse};
pub use network::Network;
pub use next_hop::{NextHop, SourceAddresses};
pub use oauth::{Introspection, OauthConfig, TokenSource};
pub use pop3::{Pop3Config, WithoutUtf8};
pub use queue::{DestinationConfig, QueueConfig, Schedule, SourceConfig, SuppressionConfig};
pub use reference::{explain, reference};
pub use reports::ReportsConfig;
pub use route::{RouteConfig, RouteProtocol, RouteTls};
pub use srs::SrsConfig;
pub use storage::StorageConfig;
pub use texts::{duration as parse_duration, size as parse_size};
pub use tls::{
    CertificateConfig, LostTls, OutboundTlsConfig, TlsConfig, TlsLevel, TlsPolicyConfig,
    fingerprint as parse_fingerprint,
};
