//! The configuration: one TOML file, checked as a whole, typed.
//!
//! `reference.toml` documents every key; unknown keys are errors with line, column and the nearest known key.

pub mod load;
mod next_hop;
mod reader;
pub mod reference;
mod sections;
pub mod types;

pub use load::{ConfigError, load, parse};
pub use reader::{duration as parse_duration, size as parse_size};
pub use reference::{explain, reference};
pub use sections::fingerprint as parse_fingerprint;
pub use types::{
    AccountConfig, AliasConfig, AuthenticityConfig, CertificateConfig, Config, DestinationConfig, DkimConfig,
    DkimKeyConfig, DmarcMode, DnsConfig, Dnssec, DomainConfig, ImapConfig, ImapRules, Introspection,
    LimitsConfig, ListenAddress, ListenerConfig, ListenerRules, Listeners, LostTls, Network, NextHop,
    OauthConfig, OutboundTlsConfig, Password, Pop3Config, Pop3Policy, PrivatePem, QueueConfig, RatesConfig,
    RouteConfig, RouteProtocol, RouteTls, Schedule, SendAsAddress, SendAsConfig, Service, SocketFile,
    SourceAddresses, SourceConfig, SrsConfig, StorageConfig, StsMode, SuppressionConfig, TlsConfig, TlsLevel,
    TlsMode, TlsPolicyConfig, TokenSource, WithoutUtf8,
};
