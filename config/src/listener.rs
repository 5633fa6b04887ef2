//! `[[listener]]`: what is spoken where, and what is believed and demanded there.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use crate::{
    facts::FileFacts,
    network::{Network, networks},
    next_hop::SOCKET_PATH_BYTES_MAX,
    reader::{Found, Section, values},
    texts::{short, socket},
};

/// All listeners.
pub type Listeners = Vec<ListenerConfig>;

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

const TLS_MODES: [(&str, TlsMode); 3] =
    [("none", TlsMode::None), ("starttls", TlsMode::StartTls), ("implicit", TlsMode::Implicit)];

/// Bounds of `listener.message_limit`; RFC 9738 section 3 wants no fewer.
const MESSAGE_LIMIT: std::ops::RangeInclusive<u64> = 1000..=u32::MAX as u64;

impl FileFacts<'_> {
    fn listen_address(&self, text: &str) -> Result<ListenAddress, String> {
        let Some(path) = text.strip_prefix("unix:") else { return socket(text).map(ListenAddress::Ip) };
        let file = SocketFile { path: self.folder.join(path), mode: 0o660, users: Vec::new() };
        match file.path.as_os_str().len() {
            _ if path.is_empty() => Err(format!("{text:?} has no path")),
            ..=SOCKET_PATH_BYTES_MAX => Ok(ListenAddress::Unix(file)),
            _ => Err(format!("the path of a socket has at most {SOCKET_PATH_BYTES_MAX} octets")),
        }
    }
}

/// Three octal digits, with or without a zero before them.
fn socket_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| digits.len() == 3 && !digits.contains('+'));
    mode.ok_or_else(|| format!("{text:?} is not the mode of a file, like \"0660\""))
}

/// The id of a user: a number, or a name in /etc/passwd.
fn user(text: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(text)).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    users
        .lines()
        .find_map(id)
        .ok_or_else(|| format!("{text:?} is neither a user in /etc/passwd nor a number"))
}

pub(crate) fn read(facts: &FileFacts<'_>, section: Section<'_, '_>) -> Option<Found<ListenerConfig>> {
    let service = section.parsed("service", |text| match text {
        "smtp" => Ok(Service::Smtp),
        "submission" => Ok(Service::Submission),
        "imap" => Ok(Service::Imap),
        "pop3" => Ok(Service::Pop3),
        "lmtp" => Ok(Service::Lmtp),
        "http" => Ok(Service::Http),
        _ => Err(format!(
            "{text:?} is none of \"smtp\", \"submission\", \"lmtp\", \"imap\", \"pop3\", \"http\""
        )),
    });
    let service = section.need("service", service);
    let address = section.need("address", section.parsed("address", |text| facts.listen_address(text)));
    let address =
        address.map(|found| unix_socket(&section, found, service.as_ref().map(|service| service.value)));
    let tls = section.word("tls", &TLS_MODES);
    let auth_without_tls = section.boolean("auth_without_tls");
    let rules = rules(facts, &section, service.as_ref().map(|service| service.value));
    let problems = section.problems();
    section.end();
    let (service, Found { value: address, place }) = (service?.value, address?);
    let is_loopback = address.socket().is_some_and(|address| address.ip().is_loopback());
    if let Some(auth) = auth_without_tls.as_ref().filter(|auth| auth.value && !is_loopback) {
        let text = "listener.auth_without_tls is only accepted on loopback addresses: passwords would cross the network in the clear";
        problems.add(Some(auth.place.clone()), text);
    }
    if let Some(auth) = auth_without_tls.as_ref().filter(|auth| auth.value && rules.without_auth) {
        problems.add(Some(auth.place.clone()), "listener.auth_without_tls means nothing where auth is false");
    }
    let auth_without_tls = auth_without_tls.is_some_and(|auth| auth.value);
    let without_tls = auth_without_tls || address.socket().is_none();
    let is_http = service == Service::Http;
    let usual = if is_http { TlsMode::Implicit } else { TlsMode::StartTls };
    let tls = tls.unwrap_or(if without_tls { TlsMode::None } else { usual });
    if is_http && tls == TlsMode::StartTls {
        problems.add(
            Some(place.clone()),
            "listener.tls is \"implicit\" or \"none\" for the service \"http\", which has no STARTTLS",
        );
    }
    if address.socket().is_none() && tls != TlsMode::None {
        problems.add(Some(place.clone()), "listener.tls is \"none\" on a Unix socket");
    }
    if tls == TlsMode::None && rules.client_certificates.is_some() {
        problems.add(Some(place.clone()), "listener.client_certificates needs TLS");
    }
    if address.socket().is_none() && !rules.proxy_protocol.is_empty() {
        problems.add(Some(place.clone()), "listener.proxy_protocol means nothing on a Unix socket");
    }
    let listener = ListenerConfig { service, address, tls, auth_without_tls, rules };
    Some(Found { value: listener, place })
}

/// Adds to a Unix socket what stands beside its path; these keys mean nothing elsewhere.
fn unix_socket(
    section: &Section<'_, '_>,
    found: Found<ListenAddress>,
    service: Option<Service>,
) -> Found<ListenAddress> {
    let mode = section.parsed("socket_mode", socket_mode);
    let users = section.list("socket_users", user);
    let Found { value, place } = found;
    let value = match value {
        ListenAddress::Unix(file) => {
            if service.is_some_and(|service| service != Service::Lmtp) {
                section.wrong("a Unix socket is for the service \"lmtp\" only");
            }
            let mode = mode.map_or(file.mode, |mode| mode.value);
            let users = users.map(values).unwrap_or_default();
            ListenAddress::Unix(SocketFile { mode, users, ..file })
        }
        ip @ ListenAddress::Ip(_) => {
            for key in ["socket_mode", "socket_users"].into_iter().filter(|key| section.has(key)) {
                section.wrong(format!("listener.{key} means nothing without a Unix socket"));
            }
            ip
        }
    };
    Found { value, place }
}

/// What a listener believes and demands; a key that means nothing for its service is told of, or it would be relied on.
fn rules(facts: &FileFacts<'_>, section: &Section<'_, '_>, service: Option<Service>) -> ListenerRules {
    let relays: &[Service] = &[Service::Smtp];
    let takes_mail: &[Service] = &[Service::Smtp, Service::Submission];
    let has_users: &[Service] = &[Service::Submission, Service::Imap, Service::Pop3];
    let has_users_or_relays: &[Service] =
        &[Service::Smtp, Service::Submission, Service::Lmtp, Service::Imap, Service::Pop3];
    for (key, services) in [
        ("xclient", takes_mail),
        ("strict_pipelining", takes_mail),
        ("vrfy", takes_mail),
        ("greeting_delay", relays),
        ("auth", relays),
        ("unauthenticate", &[Service::Imap]),
        ("message_limit", &[Service::Imap]),
        ("apop", &[Service::Pop3]),
        ("client_certificates", has_users),
        ("auth_without_tls", has_users_or_relays),
    ] {
        if let Some(service) = service.filter(|service| section.has(key) && !services.contains(service)) {
            section.wrong(format!("listener.{key} means nothing for the service {:?}", service.name()));
        }
    }
    let certificates = section.has("client_certificates");
    ListenerRules {
        client_certificates: certificates.then(|| facts.file(section, "client_certificates")).flatten(),
        proxy_protocol: networks(section, "proxy_protocol"),
        xclient: networks(section, "xclient"),
        without_auth: section.boolean("auth").is_some_and(|auth| !auth.value),
        greeting_delay: section.parsed("greeting_delay", short).map(|found| found.value).unwrap_or_default(),
        vrfy: section.boolean("vrfy").is_some_and(|vrfy| vrfy.value),
        imap: imap_rules(section),
        apop: section.boolean("apop").is_some_and(|apop| apop.value),
        strict_pipelining: section.boolean("strict_pipelining").is_some_and(|strict| strict.value),
    }
}

/// What IMAP sessions of a listener do.
fn imap_rules(section: &Section<'_, '_>) -> ImapRules {
    let limit = section.number("message_limit", MESSAGE_LIMIT).and_then(|limit| u32::try_from(limit).ok());
    ImapRules {
        unauthenticate: section.boolean("unauthenticate").is_some_and(|may| may.value),
        message_limit: limit.and_then(NonZeroU32::new),
    }
}
