//! The configuration as the rest of Waypost sees it: paths are absolute, times are durations, names are values.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use waypost_mail::{Address, Domain, EnhancedStatus, Solicitation};

pub use crate::next_hop::{NextHop, SourceAddresses};

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

/// `[oauth]`: logins by bearer tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct OauthConfig {
    /// `iss` of the tokens.
    pub issuer: String,
    /// `aud` of the tokens.
    pub audience: String,
    /// The claim that holds the login name.
    pub claim: String,
    /// How tokens are checked.
    pub source: TokenSource,
    /// PEM files with the roots that the issuer's host is verified by; empty: the system's.
    pub roots: Vec<PathBuf>,
}

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    /// By the issuer's keys: a JSON Web Key Set (RFC 7517).
    Keys(String),
    /// By the keys that are found at this `https` URL.
    KeysUrl(String),
    /// By asking the issuer (RFC 7662).
    Introspection(Introspection),
}

/// Whom is asked about tokens, and as whom.
#[derive(Clone, PartialEq)]
pub struct Introspection {
    /// An `https` URL.
    pub url: String,
    /// Our name there.
    pub client_id: String,
    /// Our password there.
    pub client_secret: String,
}

impl std::fmt::Debug for Introspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspection").field("url", &self.url).finish_non_exhaustive()
    }
}

/// All listeners.
pub type Listeners = Vec<ListenerConfig>;

/// `[storage]`
#[derive(Clone, Debug, PartialEq)]
pub struct StorageConfig {
    /// How long deleted mail can be brought back; default 14 days.
    pub retention: Duration,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// The default certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whether logins by SCRAM can be bound to their connection.
    pub channel_binding: bool,
    /// Certificates by name.
    pub certificates: Vec<CertificateConfig>,
}

/// `[[tls.certificate_for]]`
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateConfig {
    /// SNI names.
    pub names: Vec<Domain>,
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Service {
    /// SMTP from other servers.
    Smtp,
    /// Submission from users (RFC 6409).
    Submission,
    /// LMTP from programs that keep a queue and have mail for mailboxes here (RFC 2033).
    Lmtp,
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
    /// Documents over HTTP: the policy of MTA-STS, the set-up of mail programs.
    Http,
}

impl Service {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Http => "http",
        }
    }
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsMode {
    /// Never.
    None,
    /// When the client asks.
    StartTls,
    /// At once.
    Implicit,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerConfig {
    /// What it speaks.
    pub service: Service,
    /// Where.
    pub address: ListenAddress,
    /// When TLS begins.
    pub tls: TlsMode,
    /// Login without TLS; only true on loopback addresses.
    pub auth_without_tls: bool,
    /// What it believes and demands.
    pub rules: ListenerRules,
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddress {
    /// IP address and port; port 0: any free one.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(SocketFile),
}

/// A Unix socket to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SocketFile {
    /// Its path, of at most 107 octets.
    pub path: PathBuf,
    /// The mode of the file; default 0660.
    pub mode: u32,
    /// Ids of the users who may connect; empty: whom the mode lets.
    pub users: Vec<u32>,
}

impl ListenAddress {
    /// The IP address with its port.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

/// What a listener believes and demands of its clients; by default nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerRules {
    /// PEM file with the authorities whose certificates clients are asked for.
    pub client_certificates: Option<PathBuf>,
    /// Proxies that say who their client is (PROXY protocol).
    pub proxy_protocol: Vec<Network>,
    /// Proxies that say who their client is by XCLIENT.
    pub xclient: Vec<Network>,
    /// Whether nobody can log in here, where mail from other servers comes.
    pub without_auth: bool,
    /// How long the greeting waits for clients that speak first.
    pub greeting_delay: Duration,
    /// Whether octets behind a command that must be the last of its group end the session.
    pub strict_pipelining: bool,
    /// Whether VRFY tells users who have logged in what exists.
    pub vrfy: bool,
    /// What IMAP sessions do.
    pub imap: ImapRules,
    /// Whether POP3 sessions offer APOP to the accounts that have a secret for it.
    pub apop: bool,
}

/// What a listener has its IMAP sessions do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ImapRules {
    /// Whether UNAUTHENTICATE (RFC 8437) logs out without closing the connection.
    pub unauthenticate: bool,
    /// How many messages one command works on (RFC 9738), at least 1000; `None`: any number.
    pub message_limit: Option<NonZeroU32>,
}

/// `[[domain]]`
#[derive(Clone, Debug, PartialEq)]
pub struct DomainConfig {
    /// Its name.
    pub name: Domain,
    /// Who gets what no one else gets.
    pub catch_all: Option<Address>,
    /// What separates the detail of a local part; default `+`; `None`: no detail.
    pub separator: Option<char>,
    /// Where a backup MX hands the domain's mail on.
    pub relay_to: Option<NextHop>,
    /// Whether mail of its authors is signed (DKIM); default yes, once there are keys.
    pub dkim: bool,
    /// What its policy of MTA-STS asks of senders.
    pub mta_sts: StsMode,
    /// What holds for its accounts over POP3.
    pub pop3: Pop3Policy,
}

/// What holds for POP3 sessions of a domain's accounts; by default nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pop3Policy {
    /// After how many days a message goes that was retrieved (RFC 2449 section 6.7); 0: at the end of the session. `None`: never.
    pub expire_days: Option<u32>,
    /// The least time between two logins (RFC 2449 section 6.5).
    pub login_delay: Duration,
}

/// What a policy of MTA-STS asks of senders (RFC 8461 section 5).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StsMode {
    /// To report where TLS fails, and to deliver all the same.
    #[default]
    Testing,
    /// To deliver by verified TLS only.
    Enforce,
    /// Nothing: an earlier policy is taken back (section 8.3).
    None,
}

impl StsMode {
    /// Its name in policies and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Testing => "testing",
            Self::Enforce => "enforce",
            Self::None => "none",
        }
    }
}

/// A password that the file declares.
#[derive(Clone, PartialEq)]
pub enum Password {
    /// PHC string.
    Hash(String),
    /// The password itself; the file is mode 0600.
    Plain(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// `[[account]]`
#[derive(Clone, Debug, PartialEq)]
pub struct AccountConfig {
    /// Its address; the domain is one of `[[domain]]`.
    pub address: Address,
    /// How it logs in.
    pub password: Password,
    /// Bytes it may hold.
    pub quota_bytes: Option<u64>,
    /// SHA-256 of the certificates that log in to it. Empty: those that name its address.
    pub certificates: Vec<[u8; 32]>,
}

/// `[[alias]]`
#[derive(Clone, Debug, PartialEq)]
pub struct AliasConfig {
    /// An address in one of our domains.
    pub from: Address,
    /// Who gets its mail: ours or elsewhere; at least one.
    pub to: Vec<Address>,
}

/// `[[send_as]]`: addresses that accounts may send from, besides their own.
#[derive(Clone, Debug, PartialEq)]
pub struct SendAsConfig {
    /// The accounts, in the file or in the store; at least one.
    pub accounts: Vec<Address>,
    /// The addresses; at least one.
    pub addresses: Vec<SendAsAddress>,
    /// Whether a field Sender tells which account it was; default yes.
    pub add_sender: bool,
}

/// What an account may send from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SendAsAddress {
    /// One address.
    Address(Address),
    /// Every address of a domain.
    Domain(Domain),
}

/// TLS towards a next hop.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RouteTls {
    /// Where offered, unverified.
    #[default]
    Opportunistic,
    /// Verified, or not at all.
    Required,
    /// Never.
    None,
}

/// What is spoken to a next hop.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RouteProtocol {
    /// SMTP.
    #[default]
    Smtp,
    /// LMTP: one answer for each recipient (RFC 2033).
    Lmtp,
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Destination; `None`: `"*"`, all others.
    pub domain: Option<Domain>,
    /// Only for senders of this domain.
    pub sender: Option<Domain>,
    /// Where its mail goes: these in their order; at least one.
    pub next_hops: Vec<NextHop>,
    /// What is spoken there.
    pub protocol: RouteProtocol,
    /// TLS towards it.
    pub tls: RouteTls,
    /// Login there.
    pub login: Option<(String, String)>,
    /// Where connections go out from.
    pub sources: SourceAddresses,
}

impl RouteConfig {
    /// To one server by SMTP with opportunistic TLS, without login.
    pub fn new(domain: Option<Domain>, next_hop: NextHop) -> Self {
        Self {
            domain,
            sender: None,
            next_hops: vec![next_hop],
            protocol: RouteProtocol::Smtp,
            tls: RouteTls::Opportunistic,
            login: None,
            sources: SourceAddresses::default(),
        }
    }
}

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Its address, host bits zero.
    pub address: IpAddr,
    /// Length of the prefix in bits; at least 1.
    pub prefix: u8,
}

/// IPv4 networks that are larger are more than one site's.
const WIDE_PREFIX_V4: u8 = 16;
/// The same of IPv6: what a registry gives a provider for all its customers.
const WIDE_PREFIX_V6: u8 = 40;

impl Network {
    /// Whether it is very wide, and none of those that everybody may use for himself (private, loopback).
    pub fn is_wide(&self) -> bool {
        match self.address {
            IpAddr::V4(ip) => self.prefix < WIDE_PREFIX_V4 && !ip.is_private() && !ip.is_loopback(),
            IpAddr::V6(ip) => self.prefix < WIDE_PREFIX_V6 && !ip.is_unique_local(),
        }
    }

    /// Whether it is as wide, and one of those that everybody may use for himself (RFC 1918, RFC 4193).
    pub fn is_wide_private(&self) -> bool {
        match self.address {
            IpAddr::V4(ip) => self.prefix < WIDE_PREFIX_V4 && ip.is_private(),
            IpAddr::V6(ip) => self.prefix < WIDE_PREFIX_V6 && ip.is_unique_local(),
        }
    }

    /// Whether the address lies in it (IPv4-mapped IPv6 addresses count as IPv4). The unspecified address, which stands for a client
    /// that nobody knows, lies in none.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (_, unknown) if unknown.is_unspecified() => false,
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (u32::from(network) ^ u32::from(address))
                    .checked_shr(32 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (u128::from(network) ^ u128::from(address))
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// `dns.dnssec`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dnssec {
    /// Validated here.
    Validate,
    /// The resolver's AD bit is believed.
    TrustAd,
    /// Not used.
    Off,
    /// What fits the resolvers: `TrustAd` where all of them are on this machine, else `Validate`.
    #[default]
    Auto,
}

/// `[dns]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DnsConfig {
    /// Resolvers; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// DNSSEC.
    pub dnssec: Dnssec,
    /// DNSKEY records in zone form that validation begins with; default: the root's.
    pub trust_anchors: Option<PathBuf>,
}

/// What is demanded of TLS towards the mail exchangers of a domain. Without a word of the operator it is what the domain publishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsLevel {
    /// No TLS.
    None,
    /// Where offered, unverified, whatever the domain publishes.
    Opportunistic,
    /// Always; verified where the domain publishes how.
    Encrypt,
    /// Always, and verified.
    Verify,
    /// Verified by TLSA records.
    Dane,
}

impl TlsLevel {
    /// Its word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Encrypt => "encrypt",
            Self::Verify => "verify",
            Self::Dane => "dane",
        }
    }
}

/// `[[tls_policy]]`
#[derive(Clone, Debug, PartialEq)]
pub struct TlsPolicyConfig {
    /// The domain of the recipients.
    pub domain: Domain,
    /// What is demanded.
    pub level: TlsLevel,
    /// Names of mail exchangers that are the domain's, `*.` in front stands for one label; empty: those that DNS names.
    pub exchangers: Vec<String>,
}

/// What is done where TLS that was good for weeks is missing or broken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LostTls {
    /// Nothing.
    Ignore,
    /// The log says so.
    #[default]
    Warn,
    /// So it does, and mail waits.
    Defer,
}

/// `[outbound_tls]` and `[[tls_policy]]`. The default is without MTA-STS, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundTlsConfig {
    /// PEM files with trusted roots; empty: the system's.
    pub roots: Vec<PathBuf>,
    /// Whether policies of MTA-STS are fetched and followed.
    pub mta_sts: bool,
    /// Port of the hosts that policies are fetched from; 443 but in tests.
    pub mta_sts_port: u16,
    /// What is done where TLS was lost.
    pub lost: LostTls,
    /// What is demanded for single domains.
    pub domains: Vec<TlsPolicyConfig>,
}

/// `[queue]`
#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    /// Waits between tries; the last one repeats. Default 5m, 15m, 1h, 4h.
    pub retry: Vec<Duration>,
    /// When a message is given up; default 5d.
    pub lifetime: Duration,
    /// When its sender is told that it waits; default 4h.
    pub warn_after: Duration,
    /// Port of the hosts that MX records name; 25 but in tests.
    pub mx_port: u16,
    /// Names beside the hostname that MX records have for this server.
    pub own_names: Vec<Domain>,
    /// Addresses, not of this machine, that lead to this server.
    pub own_addresses: Vec<IpAddr>,
    /// Who gets mail whose mail exchangers take no session; none but over TCP.
    pub fallback_relays: Vec<NextHop>,
    /// TLS towards these; default required.
    pub fallback_tls: RouteTls,
    /// Most connections to other servers at the same time; default 500.
    pub connections: usize,
    /// Most of them to one destination; default 20.
    pub connections_per_destination: usize,
    /// Most messages over one connection; default 100.
    pub messages_per_connection: usize,
    /// Whether the postmaster is told of notifications that cannot be delivered; default yes.
    pub double_bounces: bool,
    /// Whether mail of our users goes on with a reverse path that names the message (VERP); default no.
    pub verp: bool,
    /// Which addresses are sent no mail any more.
    pub suppression: SuppressionConfig,
    /// Where connections go out from, unless a route says otherwise.
    pub sources: SourceAddresses,
    /// What some of our addresses may do.
    pub source_limits: Vec<SourceConfig>,
    /// What differs for some domains.
    pub destinations: Vec<DestinationConfig>,
}

/// `[[queue.source]]`: what goes out from one of our addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SourceConfig {
    /// The address: one of some `source_addresses`.
    pub address: IpAddr,
    /// Most connections from it at the same time; `None`: any number.
    pub connections: Option<usize>,
    /// Most messages from it in a minute; 0: any number, the default.
    pub messages_per_minute: u32,
}

/// `[queue.suppression]`: addresses that are sent no mail any more, as it came back or was complained of.
#[derive(Clone, Debug, PartialEq)]
pub struct SuppressionConfig {
    /// Whether there are any; default no.
    pub enabled: bool,
    /// What servers say of mailboxes that do not exist; default 5.1.1 and 5.1.6.
    pub statuses: Vec<EnhancedStatus>,
    /// How often they say it before mail is suppressed; default 2; 0: it never is.
    pub bounces: u32,
    /// How many complaints of a user's mail suppress further mail of that user; default 1; 0: none do.
    pub complaints: u32,
    /// How long that is counted, and how long mail is suppressed; default 30 days.
    pub expires: Duration,
}

impl Default for SuppressionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            statuses: vec![EnhancedStatus(5, 1, 1), EnhancedStatus(5, 1, 6)],
            bounces: 2,
            complaints: 1,
            expires: Duration::from_secs(30 * 86_400),
        }
    }
}

/// `[[queue.destination]]`: what differs for mail to one domain.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationConfig {
    /// The domain.
    pub domain: Domain,
    /// See [`QueueConfig::retry`].
    pub retry: Option<Vec<Duration>>,
    /// See [`QueueConfig::lifetime`].
    pub lifetime: Option<Duration>,
    /// See [`QueueConfig::warn_after`].
    pub warn_after: Option<Duration>,
    /// Most connections to its mail exchangers at the same time.
    pub connections: Option<usize>,
    /// Most messages over one of them.
    pub messages_per_connection: Option<usize>,
    /// Most messages to them in a minute; 0: any number, the default.
    pub messages_per_minute: u32,
}

/// When messages to one domain are tried again, their senders told, and given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule<'a> {
    /// Waits between tries; the last one repeats.
    pub retry: &'a [Duration],
    /// After which time a message is given up.
    pub lifetime: Duration,
    /// After which time its sender is told that it waits.
    pub warn_after: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            retry: [5, 15, 60, 240].map(|minutes| Duration::from_secs(60 * minutes)).to_vec(),
            lifetime: Duration::from_secs(5 * 86_400),
            warn_after: Duration::from_secs(4 * 3_600),
            mx_port: 25,
            own_names: Vec::new(),
            own_addresses: Vec::new(),
            fallback_relays: Vec::new(),
            fallback_tls: RouteTls::Required,
            connections: 500,
            connections_per_destination: 20,
            messages_per_connection: 100,
            double_bounces: true,
            verp: false,
            suppression: SuppressionConfig::default(),
            sources: SourceAddresses::default(),
            source_limits: Vec::new(),
            destinations: Vec::new(),
        }
    }
}

impl QueueConfig {
    /// What differs for a domain, if anything does.
    pub fn destination(&self, domain: &Domain) -> Option<&DestinationConfig> {
        self.destinations.iter().find(|destination| destination.domain == *domain)
    }

    /// The times of messages to a domain.
    pub fn schedule(&self, domain: &Domain) -> Schedule<'_> {
        self.times(self.destination(domain))
    }

    /// The times that hold beside what differs for a destination.
    pub fn times<'a>(&'a self, own: Option<&'a DestinationConfig>) -> Schedule<'a> {
        Schedule {
            retry: own.and_then(|own| own.retry.as_deref()).unwrap_or(&self.retry),
            lifetime: own.and_then(|own| own.lifetime).unwrap_or(self.lifetime),
            warn_after: own.and_then(|own| own.warn_after).unwrap_or(self.warn_after),
        }
    }
}

/// `[srs]`: the reverse path of what aliases forward to addresses elsewhere. The default is off, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SrsConfig {
    /// Whether it is rewritten.
    pub enabled: bool,
    /// The domain of the new path; default: that of the alias.
    pub domain: Option<Domain>,
}

/// `[authenticity]`: how mail of strangers is checked. The default checks nothing, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthenticityConfig {
    /// Whether it is checked at all; default true.
    pub enabled: bool,
    /// What is done where an author's domain does not stand behind a message; default: what it asks for.
    pub dmarc: DmarcMode,
    /// The same by domain of the author, or of one above it; the longest counts.
    pub domains: Vec<(Domain, DmarcMode)>,
    /// Networks whose mail is not checked; default: loopback. Those of `[[trust]]` are not checked either.
    pub exempt: Vec<Network>,
    /// Who is believed that a message passed when it came to him (ARC); default: nobody.
    pub trusted_sealers: Vec<Domain>,
}

/// What of the wishes of an author's domain is honoured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DmarcMode {
    /// All.
    #[default]
    Enforce,
    /// What would be refused goes to Junk.
    Quarantine,
    /// None; results are written down.
    Observe,
}

impl AuthenticityConfig {
    /// What of the wishes of a domain is honoured.
    pub fn dmarc_for(&self, domain: &str) -> DmarcMode {
        let is_of = |name: &Domain| {
            domain.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let own =
            self.domains.iter().filter(|(name, _)| is_of(name)).max_by_key(|(name, _)| name.as_str().len());
        own.map_or(self.dmarc, |(_, mode)| *mode)
    }

    /// Whether mail from an address is checked.
    pub fn checks(&self, address: IpAddr) -> bool {
        self.enabled && !self.exempt.iter().any(|network| network.contains(address))
    }
}

/// `[pop3]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pop3Config {
    /// How long a session is silent before another one may take its maildrop over; zero: however long it is.
    pub take_over_after: Duration,
    /// What a client without UTF-8 mode gets of a message that needs it.
    pub without_utf8: WithoutUtf8,
}

impl Default for Pop3Config {
    fn default() -> Self {
        Self { take_over_after: Duration::from_secs(60), without_utf8: WithoutUtf8::Surrogate }
    }
}

/// What a client without UTF-8 mode gets of a message with UTF-8 in its header (RFC 6856 section 2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WithoutUtf8 {
    /// A surrogate of it (RFC 6858).
    Surrogate,
    /// A refusal (RFC 6856 section 5).
    Refuse,
}

/// `[imap]`: mailboxes that are shared, who administers, annotations.
#[derive(Clone, Debug, PartialEq)]
pub struct ImapConfig {
    /// The account whose mailboxes stand below `Shared Folders/` for all who have a right on them.
    pub shared: Option<Address>,
    /// Accounts that may see and set everybody's quota.
    pub administrators: Vec<Address>,
    /// Most annotations of a mailbox that all see, and as many that one account sees.
    pub metadata_entries: u64,
    /// Most octets of an annotation.
    pub metadata_size: u64,
}

impl Default for ImapConfig {
    fn default() -> Self {
        Self { shared: None, administrators: Vec::new(), metadata_entries: 100, metadata_size: 16 << 10 }
    }
}

/// `[reports]`: what other domains are told of their mail and of TLS towards them, and what others say of ours. The default tells nothing,
/// which is not that of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportsConfig {
    /// Whether reports are sent; default true.
    pub send: bool,
    /// Name of the organization that reports; default: the domain of `from`.
    pub organization: Option<String>,
    /// The author of mail with reports; default: postmaster of the first domain.
    pub from: Option<Address>,
    /// Whom to ask about reports; default: `from`.
    pub contact: Option<String>,
    /// Most reports of each kind about one day.
    pub daily_max: usize,
    /// Addresses that reports of others come to, beside `postmaster@` each domain and those that our records name.
    pub addresses: Vec<Address>,
    /// The mailbox that mail goes to which may bring reports; `None`: INBOX.
    pub mailbox: Option<String>,
    /// How long what reports say, and what we sent, is kept; default 90 days.
    pub keep: Duration,
}

impl Default for ReportsConfig {
    fn default() -> Self {
        Self {
            send: false,
            organization: None,
            from: None,
            contact: None,
            daily_max: 0,
            addresses: Vec::new(),
            mailbox: None,
            keep: Duration::from_secs(90 * 86_400),
        }
    }
}

/// `[dkim]`: how mail is signed. The default signs mail of users only and changes no keys, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DkimConfig {
    /// Whether mail of hosts in `[[trust]]` is signed for its authors, as that of users is; default yes.
    pub sign_trusted: bool,
    /// Whether mail from elsewhere that an alias forwards is signed for the domain of the alias; default yes.
    pub sign_forwarded: bool,
    /// Whether such mail carries what was found out about it, sealed by that domain (ARC, RFC 8617); default yes.
    pub seal_forwarded: bool,
    /// When new keys are made in the place of those that sign; default 180 days; 0: never.
    pub rotate_after: Duration,
    /// How long a key is kept that signs no more, so that its record is; default 7 days.
    pub keep_retired: Duration,
    /// Keys in files, in the place of those of the store.
    pub keys: Vec<DkimKeyConfig>,
}

/// `[[dkim.key]]`
#[derive(Clone, Debug, PartialEq)]
pub struct DkimKeyConfig {
    /// One of our domains.
    pub domain: Domain,
    /// Its name below `_domainkey`.
    pub selector: String,
    /// The key.
    pub pem: PrivatePem,
}

/// The text of a file with a private key.
#[derive(Clone, PartialEq)]
pub struct PrivatePem(String);

impl PrivatePem {
    /// Of a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivatePem")
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Largest message in bytes; default 50 MiB.
    pub message_size: u64,
    /// Most recipients of one message; default 1,000.
    pub recipients: usize,
    /// Most connections; default 10,000.
    pub connections: usize,
    /// Most connections from one address before login, per account after it; default 50; 0 = no bound.
    pub connections_per_address: usize,
    /// Failed logins from one address in a minute; default 10; 0 = no bound.
    pub auth_failures_per_minute: u32,
    /// Wait before an error is answered; default 1 s; 0 = off.
    pub error_delay: Duration,
    /// The most urgent priority that a user may give a message, 0 to 9; default 4.
    pub priority: i8,
    /// Longest time for which a user may have a message held; default 30 days; 0 = not at all.
    pub future_release: Duration,
    /// Kinds of solicitations that are refused, as EHLO announces (RFC 3865); default: none, and nothing is announced.
    pub no_soliciting: Option<Solicitation>,
    /// What an address, or an account, may do in a time.
    pub rates: RatesConfig,
}

/// The rates of `[limits]`. The default is no bound at all, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RatesConfig {
    /// Connections from one address in a minute; default 300; 0 = no bound.
    pub connections_per_minute: u32,
    /// Messages from one address in a minute; default 300; 0 = no bound.
    pub messages_per_minute: u32,
    /// Recipients that one address asks for in a minute; default 3,000; 0 = no bound.
    pub recipients_per_minute: u32,
    /// Unknown recipients of one address in 10 minutes before refusals come slowly; with twice as many it is sent away.
    /// Default 50; 0 = no bound.
    pub unknown_recipients: u32,
    /// How slowly; default 5 s.
    pub tarpit: Duration,
    /// Recipients that one account sends to in an hour; default 500; 0 = no bound.
    pub recipients_per_hour_per_account: u32,
    /// Recipients that one account sends to in a day; default 1,000; 0 = no bound.
    pub recipients_per_day_per_account: u32,
    /// Whether what goes beyond these two is held until the operator releases it, up to as many recipients again; default true. Else it
    /// is refused.
    pub holds_over_limit: bool,
}
