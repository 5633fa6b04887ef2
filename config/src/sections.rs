//! Each section of the file, from its table to its type.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use waypost_mail::{Address, Domain, EnhancedStatus, Solicitation};

use crate::{
    load::values,
    next_hop::{SOCKET_PATH_BYTES_MAX, next_hop, relay, server, source_address, source_addresses},
    reader::{Found, Section, duration, size},
    types::*,
};

/// What sections must know of the file.
pub(crate) struct FileFacts<'a> {
    /// The folder that relative paths are relative to.
    pub(crate) folder: &'a Path,
    /// Whether only the file's owner can read it.
    pub(crate) is_private: bool,
}

const TLS_MODES: [(&str, TlsMode); 3] =
    [("none", TlsMode::None), ("starttls", TlsMode::StartTls), ("implicit", TlsMode::Implicit)];
const STS_MODES: [(&str, StsMode); 3] =
    [("testing", StsMode::Testing), ("enforce", StsMode::Enforce), ("none", StsMode::None)];
const ROUTE_TLS: [(&str, RouteTls); 3] =
    [("opportunistic", RouteTls::Opportunistic), ("required", RouteTls::Required), ("none", RouteTls::None)];
const ROUTE_PROTOCOLS: [(&str, RouteProtocol); 2] =
    [("smtp", RouteProtocol::Smtp), ("lmtp", RouteProtocol::Lmtp)];
const DNSSEC: [(&str, Dnssec); 4] = [
    ("validate", Dnssec::Validate),
    ("trust-ad", Dnssec::TrustAd),
    ("off", Dnssec::Off),
    ("auto", Dnssec::Auto),
];

const TLS_LEVELS: [(&str, TlsLevel); 5] = [
    ("none", TlsLevel::None),
    ("opportunistic", TlsLevel::Opportunistic),
    ("encrypt", TlsLevel::Encrypt),
    ("verify", TlsLevel::Verify),
    ("dane", TlsLevel::Dane),
];
const LOST_TLS: [(&str, LostTls); 3] =
    [("ignore", LostTls::Ignore), ("warn", LostTls::Warn), ("defer", LostTls::Defer)];

/// The largest IPv4 network of one owner: 10.0.0.0/8 (RFC 1918 section 3), as the registries give none that is larger.
const TRUST_PREFIX_MIN_V4: u8 = 8;
/// The largest IPv6 network of one owner: fc00::/7, unique local addresses (RFC 4193 section 3.1).
const TRUST_PREFIX_MIN_V6: u8 = 7;
/// What is put behind `state_dir` for the administration socket.
const SOCKET_NAME: &str = "waypost.sock";
/// Bounds of `limits.message_size`: every server takes 64 KiB (RFC 5321 section 4.5.3.1.7), and IMAP tells sizes in 32 bits
/// (RFC 3501 section 9, `number`).
const MESSAGE_SIZE: std::ops::RangeInclusive<u64> = 64 << 10..=u32::MAX as u64;

pub(crate) fn domain(text: &str) -> Result<Domain, String> {
    Domain::new(text).map_err(|_| format!("{text:?} is not a domain"))
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|problem| format!("{text:?} is not an address: {problem}"))
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, like 0.0.0.0:25 or [::]:25"))
}

/// SHA-256 in hexadecimal digits, with or without colons between the octets. Errors: what it is instead.
pub fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let problem = || {
        format!(
            "{text:?} is no SHA-256 fingerprint: 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints"
        )
    };
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let is_hex = digits.len() == 64 && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
    let mut octets = [0; 32];
    for (at, octet) in octets.iter_mut().enumerate().filter(|_| is_hex) {
        let pair = digits.get(2 * at..2 * at + 2).ok_or_else(problem)?;
        *octet = u8::from_str_radix(pair, 16).map_err(|_| problem())?;
    }
    if is_hex { Ok(octets) } else { Err(problem()) }
}

/// Whoever fetches from it looks at the rest.
fn https_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_url = text.bytes().all(|octet| octet.is_ascii_graphic()) && !host.is_empty();
    if is_url && !host.contains('@') && !text.contains('#') {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a URL, like https://id.example.org/keys"))
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

fn network(text: &str) -> Result<Network, String> {
    let problem = || format!("{text:?} is not a network, like 192.0.2.16/28 or 2001:db8::/32");
    let (address, prefix) = text.split_once('/').ok_or_else(problem)?;
    let address: IpAddr = address.parse().map_err(|_| problem())?;
    let prefix = Some(prefix).filter(|prefix| prefix.bytes().all(|b| b.is_ascii_digit()));
    let prefix: u8 = prefix.and_then(|prefix| prefix.parse().ok()).ok_or_else(problem)?;
    if prefix > if address.is_ipv4() { 32 } else { 128 } {
        return Err(problem());
    }
    if prefix == 0 {
        return Err(format!(
            "{text:?} is the whole Internet: a server that trusts it believes everyone and relays for everyone"
        ));
    }
    if prefix < if address.is_ipv4() { TRUST_PREFIX_MIN_V4 } else { TRUST_PREFIX_MIN_V6 } {
        return Err(format!(
            "{text:?} holds networks of strangers: a server that trusts it believes them and relays for them"
        ));
    }
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(format!("{text:?}: write IPv4 networks as such, like 192.0.2.16/28"));
    }
    let network = Network { address, prefix };
    let host_bits = match address {
        IpAddr::V4(address) => u32::from(address).checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
        IpAddr::V6(address) => u128::from(address).checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
    };
    if host_bits { Err(format!("{text:?} has bits set behind its prefix")) } else { Ok(network) }
}

/// Whether a text has the shape of an argon2 PHC string with salt and hash: `$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA`.
/// A truncated one would let nobody in, and nobody would know why.
fn is_argon2(text: &str) -> bool {
    let is_base64 =
        |text: &str| text.len() >= 8 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
    let is_parameter = |text: &str| {
        text.split_once('=').is_some_and(|(name, number)| {
            !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let parts: Vec<&str> = text.split('$').collect();
    let [empty, name, parameters @ .., salt, hash] = parts.as_slice() else { return false };
    empty.is_empty()
        && ["argon2id", "argon2i", "argon2d"].contains(name)
        && (1..=2).contains(&parameters.len())
        && parameters.iter().flat_map(|text| text.split(',')).all(is_parameter)
        && is_base64(salt)
        && is_base64(hash)
}

impl FileFacts<'_> {
    fn path(&self, section: &Section<'_, '_>, key: &str) -> Option<PathBuf> {
        let found = section.string(key)?;
        if found.value.is_empty() {
            section.problems().add(Some(found.place), format!("{key} is empty"));
            return None;
        }
        Some(self.folder.join(found.value))
    }

    fn listen_address(&self, text: &str) -> Result<ListenAddress, String> {
        let Some(path) = text.strip_prefix("unix:") else { return socket(text).map(ListenAddress::Ip) };
        let file = SocketFile { path: self.folder.join(path), mode: 0o660, users: Vec::new() };
        match file.path.as_os_str().len() {
            _ if path.is_empty() => Err(format!("{text:?} has no path")),
            ..=SOCKET_PATH_BYTES_MAX => Ok(ListenAddress::Unix(file)),
            _ => Err(format!("the path of a socket has at most {SOCKET_PATH_BYTES_MAX} octets")),
        }
    }

    /// A file that must be there and readable.
    fn file(&self, section: &Section<'_, '_>, key: &str) -> Option<PathBuf> {
        let path = section.need(key, self.path(section, key))?;
        if let Err(error) = std::fs::File::open(&path) {
            let place = section.string(key).map(|found| found.place);
            section.problems().add(place, format!("{}: {error}", path.display()));
            return None;
        }
        Some(path)
    }

    /// A secret: `key`, or the first line of the file that `key_file` names.
    fn secret<'a>(&self, section: &Section<'a, '_>, key: &str) -> Option<Found<String>> {
        let file_key = format!("{key}_file");
        let inline = section.string(key);
        let Some(file) = section.string(&file_key) else {
            return inline.map(|found| Found { value: found.value.to_owned(), place: found.place });
        };
        if inline.is_some() {
            section.problems().add(Some(file.place), format!("{key} and {file_key} are both there"));
            return None;
        }
        if file.value.is_empty() {
            section.problems().add(Some(file.place), format!("{file_key} is empty"));
            return None;
        }
        match std::fs::read_to_string(self.folder.join(file.value)) {
            Ok(text) => {
                Some(Found { value: text.lines().next().unwrap_or("").to_owned(), place: file.place })
            }
            Err(error) => {
                section.problems().add(Some(file.place), format!("{}: {error}", file.value));
                None
            }
        }
    }

    pub(crate) fn state_dir(&self, root: &Section<'_, '_>) -> Option<PathBuf> {
        let path = root.need("state_dir", self.path(root, "state_dir"))?;
        let socket_bytes = path.join(SOCKET_NAME).as_os_str().len();
        if socket_bytes > SOCKET_PATH_BYTES_MAX {
            let place = root.string("state_dir").map(|found| found.place);
            let most = SOCKET_PATH_BYTES_MAX - SOCKET_NAME.len() - 1;
            root.problems().add(
                place,
                format!("state_dir is too long for its socket: its path has at most {most} octets"),
            );
            return None;
        }
        Some(path)
    }

    pub(crate) fn tls(&self, root: &Section<'_, '_>) -> Option<TlsConfig> {
        if !root.has("tls") {
            return None;
        }
        let section = root.table("tls");
        let certificate = self.file(&section, "certificate");
        let key = self.file(&section, "key");
        let channel_binding = section.boolean("channel_binding");
        let certificates = section.tables("certificate_for").into_iter().filter_map(|section| {
            let names = section.need("names", section.list("names", domain));
            let (certificate, key) = (self.file(&section, "certificate"), self.file(&section, "key"));
            if section.is_empty_list("names") {
                section.wrong("names is empty");
            }
            section.end();
            let names = names?.into_iter().map(|name| name.value).collect();
            Some(CertificateConfig { names, certificate: certificate?, key: key? })
        });
        let certificates = certificates.collect();
        section.end();
        let channel_binding = channel_binding.is_some_and(|binding| binding.value);
        Some(TlsConfig { certificate: certificate?, key: key?, channel_binding, certificates })
    }

    pub(crate) fn dns(&self, root: &Section<'_, '_>) -> DnsConfig {
        let section = root.table("dns");
        let servers = section.list("servers", socket).unwrap_or_default();
        let dnssec = section.word("dnssec", &DNSSEC).unwrap_or_default();
        let trust_anchors =
            if section.has("trust_anchors") { self.file(&section, "trust_anchors") } else { None };
        section.end();
        let servers = servers.into_iter().map(|server| server.value).collect();
        DnsConfig { servers, dnssec, trust_anchors }
    }

    pub(crate) fn outbound_tls(&self, root: &Section<'_, '_>) -> OutboundTlsConfig {
        let section = root.table("outbound_tls");
        let roots = section.list("roots", |text| {
            let file = self.folder.join(text);
            std::fs::File::open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok(file)
        });
        let mta_sts = section.boolean("mta_sts").is_none_or(|follow| follow.value);
        let port = section.number("mta_sts_port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
        let lost = section.word("lost", &LOST_TLS).unwrap_or_default();
        section.end();
        let domains: Vec<_> = root.tables("tls_policy").into_iter().filter_map(tls_policy).collect();
        for (number, policy) in domains.iter().enumerate() {
            if domains.iter().take(number).any(|before| before.value.domain == policy.value.domain) {
                let text = format!("the tls_policy of {} is there twice", policy.value.domain);
                root.problems().add(Some(policy.place.clone()), text);
            }
        }
        OutboundTlsConfig {
            roots: roots.into_iter().flatten().map(|file| file.value).collect(),
            mta_sts,
            mta_sts_port: port.unwrap_or(443),
            lost,
            domains: domains.into_iter().map(|policy| policy.value).collect(),
        }
    }

    pub(crate) fn oauth(&self, root: &Section<'_, '_>) -> Option<OauthConfig> {
        if !root.has("oauth") {
            return None;
        }
        let section = root.table("oauth");
        let string = |key: &str| section.string(key).map(|found| found.value.to_owned());
        let (issuer, audience) =
            (section.need("issuer", string("issuer")), section.need("audience", string("audience")));
        let source = self.token_source(&section);
        // What OpenID's tokens and what introspection (RFC 7662 section 2.2) call it.
        let usual = if matches!(source, Some(TokenSource::Introspection(_))) { "username" } else { "email" };
        let claim = string("claim").unwrap_or_else(|| usual.to_owned());
        let roots = section.list("roots", |file| self.readable(file)).unwrap_or_default();
        let roots = roots.into_iter().map(|file| file.value).collect();
        section.end();
        Some(OauthConfig { issuer: issuer?, audience: audience?, claim, source: source?, roots })
    }

    fn token_source(&self, section: &Section<'_, '_>) -> Option<TokenSource> {
        const WAYS: [&str; 3] = ["keys", "keys_url", "introspection_url"];
        let (keys_url, asked) =
            (section.parsed("keys_url", https_url), section.parsed("introspection_url", https_url));
        let client_id = section.string("client_id").map(|found| found.value.to_owned());
        let client_secret = self.secret(section, "client_secret").map(|found| found.value);
        let keys = section.has("keys").then(|| self.text(section, "keys")).flatten();
        if WAYS.iter().filter(|way| section.has(way)).count() != 1 {
            section.wrong("oauth has one of keys, keys_url and introspection_url");
            return None;
        }
        let credentials = ["client_id", "client_secret", "client_secret_file"];
        if !section.has("introspection_url") && credentials.iter().any(|key| section.has(key)) {
            section.wrong("oauth.client_id and oauth.client_secret_file are only for introspection_url");
        }
        if let Some(url) = asked {
            let (client_id, client_secret) = client_id.zip(client_secret).or_else(|| {
                section.wrong("oauth.introspection_url needs client_id and client_secret_file");
                None
            })?;
            return Some(TokenSource::Introspection(Introspection {
                url: url.value,
                client_id,
                client_secret,
            }));
        }
        keys_url.map(|url| TokenSource::KeysUrl(url.value)).or_else(|| keys.map(TokenSource::Keys))
    }

    pub(crate) fn dkim(&self, root: &Section<'_, '_>, domains: &[Found<DomainConfig>]) -> DkimConfig {
        let section = root.table("dkim");
        let days = |key, default: u64| section.duration(key).unwrap_or(Duration::from_secs(default * 86_400));
        let keys = section.tables("key").into_iter().filter_map(|section| self.dkim_key(section, domains));
        let config = DkimConfig {
            sign_trusted: section.boolean("sign_trusted").is_none_or(|found| found.value),
            sign_forwarded: section.boolean("sign_forwarded").is_none_or(|found| found.value),
            seal_forwarded: section.boolean("seal_forwarded").is_none_or(|found| found.value),
            rotate_after: days("rotate_after", 180),
            keep_retired: days("keep_retired", 7),
            keys: keys.collect(),
        };
        let mut seen = BTreeSet::new();
        for key in &config.keys {
            if !seen.insert((&key.domain, &key.selector)) {
                section
                    .wrong(format!("two [[dkim.key]] of {} have the selector {}", key.domain, key.selector));
            }
        }
        section.end();
        config
    }

    fn dkim_key(&self, section: Section<'_, '_>, domains: &[Found<DomainConfig>]) -> Option<DkimKeyConfig> {
        let domain = section.need(
            "domain",
            section.parsed("domain", |text| {
                let name = domain(text)?;
                let known = domains.iter().any(|ours| ours.value.name == name);
                if known { Ok(name) } else { Err(format!("{text:?} is no [[domain]]")) }
            }),
        );
        let selector = section.need("selector", section.parsed("selector", selector));
        let pem = match section.has("file") {
            true => self.text(&section, "file"),
            false => {
                section.wrong("dkim.key.file is missing");
                None
            }
        };
        section.end();
        Some(DkimKeyConfig { domain: domain?.value, selector: selector?.value, pem: PrivatePem::new(pem?) })
    }

    /// The text of a file.
    fn text(&self, section: &Section<'_, '_>, key: &str) -> Option<String> {
        let file = self.file(section, key)?;
        match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) => {
                let place = section.string(key).map(|found| found.place);
                section.problems().add(place, format!("{}: {error}", file.display()));
                None
            }
        }
    }

    /// A file of a list, which must be there and readable.
    fn readable(&self, file: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(file);
        match std::fs::File::open(&path) {
            Ok(_) if !file.is_empty() => Ok(path),
            Ok(_) => Err("an empty file name".to_owned()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    pub(crate) fn account(&self, section: Section<'_, '_>) -> Option<Found<AccountConfig>> {
        let address = section.need("address", section.parsed("address", address));
        let quota_bytes = section.parsed("quota", size).map(|found| found.value);
        let password = self.password(&section);
        let certificates = section.list("certificate_sha256", fingerprint).unwrap_or_default();
        let certificates = certificates.into_iter().map(|fingerprint| fingerprint.value).collect();
        section.end();
        let Found { value: address, place } = address?;
        Some(Found {
            value: AccountConfig { address, password: password?, quota_bytes, certificates },
            place,
        })
    }

    fn password(&self, section: &Section<'_, '_>) -> Option<Password> {
        let (hash, plain) = (self.secret(section, "password_hash"), self.secret(section, "password"));
        let has = |key: &str| section.has(key) || section.has(&format!("{key}_file"));
        match (hash, plain) {
            (Some(_), Some(plain)) => {
                section.problems().add(Some(plain.place), "password_hash and password are both there");
                None
            }
            (Some(hash), None) if is_argon2(&hash.value) => Some(Password::Hash(hash.value)),
            (Some(hash), None) => {
                let text =
                    "password_hash is not a whole argon2 PHC string; `waypost hash-password` makes one";
                section.problems().add(Some(hash.place), text);
                None
            }
            (None, Some(plain)) if section.has("password") && !self.is_private => {
                let text = "a password in the file is only accepted where no one else can read the file: \
                            chmod 0600, or use password_hash or password_file";
                section.problems().add(Some(plain.place), text);
                None
            }
            (None, Some(plain)) if plain.value.is_empty() => {
                section.problems().add(Some(plain.place), "the password is empty");
                None
            }
            (None, Some(plain)) => Some(Password::Plain(plain.value)),
            (None, None) => {
                if !has("password") && !has("password_hash") {
                    section.wrong("account.password_hash is missing");
                }
                None
            }
        }
    }

    pub(crate) fn route(&self, section: Section<'_, '_>) -> Option<Found<RouteConfig>> {
        let any_domain = |text: &str| if text == "*" { Ok(None) } else { domain(text).map(Some) };
        let destination = section.need("domain", section.parsed("domain", any_domain));
        let sender = section.parsed("sender", domain).map(|found| found.value);
        let hops = section.need("next_hop", section.one_or_more("next_hop", next_hop));
        let hops: Option<Vec<NextHop>> = hops.map(|hops| hops.into_iter().map(|hop| hop.value).collect());
        if section.is_empty_list("next_hop") {
            section.wrong("route.next_hop is empty");
        }
        let hops = hops.filter(|hops| !hops.is_empty());
        let protocol = section.word("protocol", &ROUTE_PROTOCOLS);
        let tls = section.word("tls", &ROUTE_TLS);
        let (username, password) = (section.string("username"), self.secret(&section, "password"));
        if username.is_some() != password.is_some() {
            section.wrong("route.username and route.password_file go together");
        }
        let sources = source_addresses(&section);
        let login = username.zip(password).map(|(name, password)| (name.value.to_owned(), password.value));
        let route = hops.map(|next_hops| {
            // What has a socket here has no port 25, and is no server on the Internet.
            let sockets = next_hops.iter().all(|hop| matches!(hop, NextHop::Socket(_)));
            let protocol =
                protocol.unwrap_or(if sockets { RouteProtocol::Lmtp } else { RouteProtocol::Smtp });
            // A login without a word about TLS is not sent over a connection that was not verified.
            let tls = tls.unwrap_or(if login.is_some() && !sockets {
                RouteTls::Required
            } else {
                RouteTls::default()
            });
            RouteConfig { domain: None, sender, next_hops, protocol, tls, login, sources }
        });
        route.iter().for_each(|route| check_route(&section, route));
        section.end();
        let Found { value: domain, place } = destination?;
        Some(Found { value: RouteConfig { domain, ..route? }, place })
    }
}

/// What of a route does not go together.
fn check_route(section: &Section<'_, '_>, route: &RouteConfig) {
    let RouteConfig { next_hops, protocol, tls, login, .. } = route;
    if login.is_some() && *tls == RouteTls::None && !next_hops.iter().all(NextHop::is_local) {
        section.wrong("route.tls is \"none\", but there is a username: the password would cross the network in the clear");
    }
    if *tls == RouteTls::Required && next_hops.iter().any(|hop| matches!(hop, NextHop::Socket(_))) {
        section.wrong("route.tls is \"required\", but a Unix socket has no TLS");
    }
    let is_smtp_port = |hop: &NextHop| {
        matches!(hop, NextHop::Server { port: 25, .. } | NextHop::Exchangers { port: 25, .. })
    };
    if *protocol == RouteProtocol::Lmtp && next_hops.iter().any(is_smtp_port) {
        section.wrong("route.protocol is \"lmtp\", which is never spoken on port 25 (RFC 2033 section 5): name another port");
    }
}

pub(crate) fn storage(root: &Section<'_, '_>) -> StorageConfig {
    let section = root.table("storage");
    section.parsed("engine", |text| match text {
        "sled" => Ok(()),
        "postgres" => Err("the engine \"postgres\" is not available in this version".to_owned()),
        _ => Err(format!("{text:?} is none of \"sled\", \"postgres\"")),
    });
    let retention = section.duration("retention").unwrap_or(Duration::from_secs(14 * 86_400));
    section.not_available(&["url", "bodies"]);
    section.end();
    StorageConfig { retention }
}

pub(crate) fn listener(facts: &FileFacts<'_>, section: Section<'_, '_>) -> Option<Found<ListenerConfig>> {
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
            let users = users.into_iter().flatten().map(|user| user.value).collect();
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

/// Bounds of `listener.message_limit`; RFC 9738 section 3 wants no fewer.
const MESSAGE_LIMIT: std::ops::RangeInclusive<u64> = 1000..=u32::MAX as u64;

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

/// Networks whose word is taken for something; none where the key is missing.
fn networks(section: &Section<'_, '_>, key: &str) -> Vec<Network> {
    section.list(key, network).into_iter().flatten().map(|network| network.value).collect()
}

pub(crate) fn domain_section(section: Section<'_, '_>) -> Option<Found<DomainConfig>> {
    let name = section.need("name", section.parsed("name", domain));
    let catch_all = section.parsed("catch_all", address).map(|found| found.value);
    let separator = section.parsed("separator", |text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => Ok(None),
            (Some(c), None) if "+-_=#~!$%&*".contains(c) => Ok(Some(c)),
            _ => Err(format!("{text:?} is not one of + - _ = # ~ ! $ % & *, nor empty for no separator")),
        }
    });
    let relay_to = section.parsed("relay_to", server).map(|found| found.value);
    let dkim = section.boolean("dkim").is_none_or(|dkim| dkim.value);
    let mta_sts = section.word("mta_sts", &STS_MODES).unwrap_or_default();
    let pop3 = Pop3Policy {
        expire_days: section.parsed("pop3_expire", expire_days).and_then(|found| found.value),
        login_delay: section
            .parsed("pop3_login_delay", login_delay)
            .map(|found| found.value)
            .unwrap_or_default(),
    };
    section.end();
    let Found { value: name, place } = name?;
    let separator = separator.map_or(Some('+'), |found| found.value);
    Some(Found { value: DomainConfig { name, catch_all, separator, relay_to, dkim, mta_sts, pop3 }, place })
}

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Whole days, or never.
fn expire_days(text: &str) -> Result<Option<u32>, String> {
    if text == "never" {
        return Ok(None);
    }
    let problem = || format!("{text:?} is neither \"never\" nor a number of days, like \"30d\"");
    let seconds = duration(text).map_err(|_| problem())?.as_secs();
    let days = Some(seconds / DAY).filter(|_| seconds.is_multiple_of(DAY));
    days.and_then(|days| u32::try_from(days).ok()).map(Some).ok_or_else(problem)
}

/// One that is longer would lock users out.
fn login_delay(text: &str) -> Result<Duration, String> {
    let delay = duration(text)?;
    if delay <= Duration::from_secs(DAY) { Ok(delay) } else { Err("it is at most 1 day".to_owned()) }
}

/// The least silence after which a maildrop is taken over: a client may be busy between two commands.
const TAKE_OVER_MIN: Duration = Duration::from_secs(10);

const WITHOUT_UTF8: [(&str, WithoutUtf8); 2] =
    [("surrogate", WithoutUtf8::Surrogate), ("refuse", WithoutUtf8::Refuse)];

pub(crate) fn pop3(root: &Section<'_, '_>) -> Pop3Config {
    let section = root.table("pop3");
    let silence = |text: &str| match duration(text)? {
        silence if silence.is_zero() || silence >= TAKE_OVER_MIN => Ok(silence),
        _ => Err("it is at least 10 seconds, or 0".to_owned()),
    };
    let take_over_after = section.parsed("take_over_after", silence).map(|found| found.value);
    let without_utf8 = section.word("without_utf8", &WITHOUT_UTF8);
    section.end();
    let default = Pop3Config::default();
    Pop3Config {
        take_over_after: take_over_after.unwrap_or(default.take_over_after),
        without_utf8: without_utf8.unwrap_or(default.without_utf8),
    }
}

pub(crate) fn alias(section: Section<'_, '_>) -> Option<Found<AliasConfig>> {
    let from = section.need("from", section.parsed("from", address));
    let to = section.need("to", section.list("to", address));
    if section.is_empty_list("to") {
        section.wrong("alias.to is empty");
    }
    section.end();
    let Found { value: from, place } = from?;
    let to: Vec<Address> = to?.into_iter().map(|address| address.value).collect();
    Some(Found { value: AliasConfig { from, to }, place })
}

pub(crate) fn send_as(section: Section<'_, '_>) -> Option<SendAsConfig> {
    let accounts = section.need("accounts", section.list("accounts", address));
    let from = |text: &str| match text.strip_prefix('@') {
        Some(name) => domain(name).map(SendAsAddress::Domain),
        None => address(text).map(SendAsAddress::Address),
    };
    let addresses = section.need("addresses", section.list("addresses", from));
    for key in ["accounts", "addresses"] {
        if section.is_empty_list(key) {
            section.wrong(format!("send_as.{key} is empty"));
        }
    }
    let add_sender = section.boolean("add_sender").is_none_or(|found| found.value);
    section.end();
    Some(SendAsConfig {
        accounts: accounts?.into_iter().map(|found| found.value).collect(),
        addresses: addresses?.into_iter().map(|found| found.value).collect(),
        add_sender,
    })
}

pub(crate) fn trust(root: &Section<'_, '_>) -> Vec<Network> {
    let mut networks = Vec::new();
    for section in root.tables("trust") {
        let listed = section.need("networks", section.list("networks", network));
        section.end();
        networks.extend(listed.into_iter().flatten().map(|network| network.value));
    }
    networks
}

fn tls_policy(section: Section<'_, '_>) -> Option<Found<TlsPolicyConfig>> {
    let destination = section.need("domain", section.parsed("domain", domain));
    let level = section.need("level", section.word("level", &TLS_LEVELS));
    let pattern = |text: &str| {
        let host = domain(text.strip_prefix("*.").unwrap_or(text))?;
        let wildcard = if text.starts_with("*.") { "*." } else { "" };
        Ok(format!("{wildcard}{host}"))
    };
    let exchangers = section.list("mx", pattern);
    if section.has("mx") && level.is_some_and(|level| level != TlsLevel::Verify) {
        section.wrong("tls_policy.mx goes with the level \"verify\" only");
    }
    if section.is_empty_list("mx") {
        section.wrong("tls_policy.mx is empty");
    }
    section.end();
    let Found { value: domain, place } = destination?;
    let exchangers = exchangers.into_iter().flatten().map(|name| name.value).collect();
    Some(Found { value: TlsPolicyConfig { domain, level: level?, exchangers }, place })
}

/// Bounds of what the queue makes at the same time.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=100_000;

pub(crate) fn queue(root: &Section<'_, '_>) -> QueueConfig {
    let section = root.table("queue");
    let default = QueueConfig::default();
    let mx_port = section.number("mx_port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let destinations = section.tables("destination").into_iter().filter_map(destination);
    let config = QueueConfig {
        retry: waits(&section, "queue").unwrap_or(default.retry),
        lifetime: section.duration("lifetime").unwrap_or(default.lifetime),
        warn_after: section.duration("warn_after").unwrap_or(default.warn_after),
        mx_port: mx_port.unwrap_or(default.mx_port),
        own_names: values(section.list("own_names", domain).unwrap_or_default()),
        own_addresses: values(section.list("own_addresses", source_address).unwrap_or_default()),
        fallback_relays: values(section.one_or_more("fallback_relay", relay).unwrap_or_default()),
        fallback_tls: section.word("fallback_tls", &ROUTE_TLS).unwrap_or(default.fallback_tls),
        connections: count(&section, "connections").unwrap_or(default.connections),
        connections_per_destination: count(&section, "connections_per_destination")
            .unwrap_or(default.connections_per_destination),
        messages_per_connection: count(&section, "messages_per_connection")
            .unwrap_or(default.messages_per_connection),
        verp: section.boolean("verp").map_or(default.verp, |found| found.value),
        double_bounces: section.boolean("double_bounces").map_or(default.double_bounces, |found| found.value),
        destinations: destinations.collect(),
        suppression: suppression(section.table("suppression")),
        sources: source_addresses(&section),
        source_limits: section.tables("source").into_iter().filter_map(source).collect(),
    };
    let mut limited = BTreeSet::new();
    for source in &config.source_limits {
        if !limited.insert(source.address) {
            section.wrong(format!("two [[queue.source]] have the address {}", source.address));
        }
    }
    let mut seen = BTreeSet::new();
    for destination in &config.destinations {
        if !seen.insert(&destination.domain) {
            section.wrong(format!("two [[queue.destination]] have the domain {}", destination.domain));
        }
    }
    section.end();
    config
}

fn source(section: Section<'_, '_>) -> Option<SourceConfig> {
    let address = section.need("address", section.parsed("address", source_address));
    let per_minute = section.number("messages_per_minute", 0..=1_000_000);
    let connections = count(&section, "connections");
    section.end();
    let messages_per_minute = per_minute.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Some(SourceConfig { address: address?.value, connections, messages_per_minute })
}

fn suppression(section: Section<'_, '_>) -> SuppressionConfig {
    let default = SuppressionConfig::default();
    let status = |text: &str| {
        EnhancedStatus::parse(text)
            .filter(|status| status.0 == 5)
            .ok_or_else(|| format!("{text:?} is no status that is for good, like \"5.1.1\""))
    };
    let often = |key| section.number(key, 0..=1_000).and_then(|number| u32::try_from(number).ok());
    let expires = |text: &str| match duration(text)? {
        Duration::ZERO => Err("addresses are suppressed for some time".to_owned()),
        expires => Ok(expires),
    };
    let statuses = section.list("statuses", status);
    let config = SuppressionConfig {
        enabled: section.boolean("enabled").map_or(default.enabled, |found| found.value),
        statuses: statuses
            .map_or(default.statuses, |list| list.into_iter().map(|found| found.value).collect()),
        bounces: often("bounces").unwrap_or(default.bounces),
        complaints: often("complaints").unwrap_or(default.complaints),
        expires: section.parsed("expires", expires).map_or(default.expires, |found| found.value),
    };
    section.end();
    config
}

fn destination(section: Section<'_, '_>) -> Option<DestinationConfig> {
    let name = section.need("domain", section.parsed("domain", domain));
    let per_minute = section.number("messages_per_minute", 0..=1_000_000);
    let config = DestinationConfig {
        retry: waits(&section, "queue.destination"),
        lifetime: section.duration("lifetime"),
        warn_after: section.duration("warn_after"),
        connections: count(&section, "connections"),
        messages_per_connection: count(&section, "messages_per_connection"),
        messages_per_minute: per_minute.and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        domain: name?.value,
    };
    section.end();
    Some(config)
}

/// Waits between tries, at least one.
fn waits(section: &Section<'_, '_>, path: &str) -> Option<Vec<Duration>> {
    let wait = |text: &str| {
        duration(text).and_then(|wait| if wait.is_zero() { Err("a wait of 0".to_owned()) } else { Ok(wait) })
    };
    let waits = section.list("retry", wait);
    if section.is_empty_list("retry") {
        section.wrong(format!("{path}.retry is empty"));
    }
    waits.map(|waits| waits.into_iter().map(|wait| wait.value).collect::<Vec<_>>()).filter(|w| !w.is_empty())
}

fn count(section: &Section<'_, '_>, key: &str) -> Option<usize> {
    section.number(key, CONNECTIONS).and_then(|number| usize::try_from(number).ok())
}

pub(crate) fn srs(root: &Section<'_, '_>, domains: &[Found<DomainConfig>]) -> SrsConfig {
    let section = root.table("srs");
    let enabled = section.boolean("enabled").is_none_or(|enabled| enabled.value);
    let domain = section.parsed("domain", |text| {
        let name = domain(text)?;
        let is_ours = |ours: &Found<DomainConfig>| ours.value.name == name && ours.value.relay_to.is_none();
        let known = domains.iter().any(is_ours);
        if known { Ok(name) } else { Err(format!("{text:?} is no [[domain]] whose mail is delivered here")) }
    });
    section.end();
    SrsConfig { enabled, domain: domain.map(|found| found.value) }
}

const DMARC_MODES: [(&str, DmarcMode); 3] =
    [("enforce", DmarcMode::Enforce), ("quarantine", DmarcMode::Quarantine), ("observe", DmarcMode::Observe)];

pub(crate) fn authenticity(root: &Section<'_, '_>) -> AuthenticityConfig {
    let section = root.table("authenticity");
    let loopback = [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
    let loopback = || loopback.map(|(address, prefix)| Network { address, prefix }).to_vec();
    let exempt = section.list("exempt", network).map(values).unwrap_or_else(loopback);
    let config = AuthenticityConfig {
        enabled: section.boolean("enabled").is_none_or(|enabled| enabled.value),
        dmarc: section.word("dmarc", &DMARC_MODES).unwrap_or_default(),
        domains: section.tables("domain").into_iter().filter_map(dmarc_domain).collect(),
        exempt,
        trusted_sealers: section.list("trusted_sealers", domain).map(values).unwrap_or_default(),
    };
    section.end();
    config
}

/// How many annotations there may be; at least 10 (RFC 5464 section 4.1).
const METADATA_ENTRIES: std::ops::RangeInclusive<u64> = 10..=1000;
/// How large one may be: at least 1 KiB (RFC 5464 section 4.1), and within what a command may hold.
const METADATA_SIZE: std::ops::RangeInclusive<u64> = 1 << 10..=64 << 10;

pub(crate) fn imap(root: &Section<'_, '_>) -> ImapConfig {
    let section = root.table("imap");
    let metadata_size = |text: &str| match size(text)? {
        bytes if METADATA_SIZE.contains(&bytes) => Ok(bytes),
        _ => Err("it lies between 1 KiB and 64 KiB".to_owned()),
    };
    let default = ImapConfig::default();
    let size = section.parsed("metadata_size", metadata_size).map(|found| found.value);
    let config = ImapConfig {
        shared: section.parsed("shared", address).map(|found| found.value),
        administrators: section.list("administrators", address).map(values).unwrap_or_default(),
        metadata_entries: section
            .number("metadata_entries", METADATA_ENTRIES)
            .unwrap_or(default.metadata_entries),
        metadata_size: size.unwrap_or(default.metadata_size),
    };
    section.end();
    config
}

/// Most reports of a kind about one day.
const DAILY_REPORTS: std::ops::RangeInclusive<u64> = 1..=10_000;
/// Most characters of a name in reports.
const REPORT_NAME_CHARS_MAX: usize = 200;

/// The least and the most time for which reports are kept.
const REPORTS_KEPT: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(86_400)..=Duration::from_secs(3_650 * 86_400);

pub(crate) fn reports(root: &Section<'_, '_>, domains: &[Found<DomainConfig>]) -> ReportsConfig {
    let section = root.table("reports");
    let name = |key| section.parsed(key, report_name).map(|found| found.value);
    let from = section.parsed("from", |text| {
        let from = address(text)?;
        let is_ours =
            |ours: &Found<DomainConfig>| ours.value.name == from.domain && ours.value.relay_to.is_none();
        let known = domains.iter().any(is_ours) && !from.needs_smtputf8();
        if known {
            Ok(from)
        } else {
            Err(format!("{text:?} is in no [[domain]] whose mail is delivered here"))
        }
    });
    let kept = |text: &str| match duration(text)? {
        keep if REPORTS_KEPT.contains(&keep) => Ok(keep),
        _ => Err("it is at least 1 day".to_owned()),
    };
    let keep = section.parsed("keep", kept).map(|found| found.value);
    let mailbox = section.string("mailbox").map(|found| found.value.to_owned());
    let config = ReportsConfig {
        addresses: section.list("addresses", address).map(values).unwrap_or_default(),
        mailbox: mailbox.filter(|name| !name.is_empty()),
        keep: keep.unwrap_or(ReportsConfig::default().keep),
        send: section.boolean("send").is_none_or(|send| send.value),
        organization: name("organization"),
        from: from.map(|found| found.value),
        contact: name("contact"),
        daily_max: section
            .number("daily_max", DAILY_REPORTS)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(1000),
    };
    section.end();
    config
}

/// What stands in header fields and in XML.
fn report_name(text: &str) -> Result<String, String> {
    let is_name = !text.trim().is_empty()
        && !text.chars().any(char::is_control)
        && text.chars().count() <= REPORT_NAME_CHARS_MAX;
    if is_name { Ok(text.to_owned()) } else { Err("it is one line of at most 200 characters".to_owned()) }
}

fn dmarc_domain(section: Section<'_, '_>) -> Option<(Domain, DmarcMode)> {
    let name = section.need("name", section.parsed("name", domain));
    let mode = section.need("dmarc", section.word("dmarc", &DMARC_MODES));
    section.end();
    Some((name?.value, mode?))
}

/// `selector = sub-domain *( "." sub-domain )` (RFC 6376 section 3.1).
fn selector(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let is_inner =
            label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_');
        is_inner && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    match text.split('.').all(is_label) && text.len() <= 100 {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!("{text:?} is no selector, like \"rsa-20261126\"")),
    }
}

/// Longest wait before an error or a greeting is told.
const ERROR_DELAY_MAX: Duration = Duration::from_secs(60);

fn message_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if MESSAGE_SIZE.contains(&bytes) { Ok(bytes) } else { Err("it lies between 64 KiB and 4 GiB".to_owned()) }
}

/// A longer one would hold sessions, and with them connections, longer than an attacker's patience is worth.
fn short(text: &str) -> Result<Duration, String> {
    let delay = duration(text)?;
    if delay <= ERROR_DELAY_MAX { Ok(delay) } else { Err("it is at most 1 minute".to_owned()) }
}

/// How long messages can be held by their senders: by default, and at most, which nine digits of seconds can say.
const FUTURE_RELEASE: Duration = Duration::from_secs(30 * 86_400);
const FUTURE_RELEASE_MAX: Duration = Duration::from_secs(999_999_999);
/// Whether what goes beyond the send limit of an account is held.
const OVER_SEND_LIMIT: [(&str, bool); 2] = [("hold", true), ("refuse", false)];

/// Most characters of all keywords of `no_soliciting`: they stand in one line of the reply to EHLO, which has 512 octets (RFC 5321 section
/// 4.5.3.1.5).
const NO_SOLICITING_CHARACTERS_MAX: usize = 480;

fn no_soliciting(section: &Section<'_, '_>) -> Option<Solicitation> {
    let one = |text: &str| match Solicitation::parse(text) {
        Some(_) if !text.contains(',') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no solicitation class keyword, like \"org.example:ADV\"")),
    };
    let words = section.list("no_soliciting", one).filter(|words| !words.is_empty())?;
    let place = words.first().map(|word| word.place.clone());
    let words: Vec<String> = words.into_iter().map(|word| word.value).collect();
    let all = Solicitation::parse(&words.join(","))
        .filter(|all| all.to_string().len() <= NO_SOLICITING_CHARACTERS_MAX);
    if all.is_none() {
        let most = NO_SOLICITING_CHARACTERS_MAX;
        section.problems().add(place, format!("limits.no_soliciting has at most {most} characters in all"));
    }
    all
}

/// Most recipients of one message that can be announced: RCPTMAX has six digits (RFC 9422 section 6.2).
const RECIPIENTS_MAX: usize = 999_999;

pub(crate) fn limits(root: &Section<'_, '_>) -> LimitsConfig {
    let section = root.table("limits");
    let number = |key: &str, least: u64, default: usize| {
        section
            .number(key, least..=1_000_000)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default)
    };
    let rate = |key, default| number(key, 0, default).try_into().unwrap_or(u32::MAX);
    let delay =
        |key, default| section.parsed(key, short).map_or(Duration::from_secs(default), |found| found.value);
    let limits = LimitsConfig {
        message_size: section.parsed("message_size", message_size).map_or(50 << 20, |found| found.value),
        recipients: number("recipients", 100, 1_000).min(RECIPIENTS_MAX),
        connections: number("connections", 1, 10_000),
        connections_per_address: number("connections_per_address", 0, 50),
        auth_failures_per_minute: number("auth_failures_per_minute", 0, 10).try_into().unwrap_or(u32::MAX),
        error_delay: delay("error_delay", 1),
        priority: section.number("priority", 0..=9).and_then(|most| i8::try_from(most).ok()).unwrap_or(4),
        future_release: section.duration("future_release").unwrap_or(FUTURE_RELEASE).min(FUTURE_RELEASE_MAX),
        no_soliciting: no_soliciting(&section),
        rates: RatesConfig {
            connections_per_minute: rate("connections_per_minute", 300),
            messages_per_minute: rate("messages_per_minute", 300),
            recipients_per_minute: rate("recipients_per_minute", 3_000),
            unknown_recipients: rate("unknown_recipients", 50),
            tarpit: delay("tarpit", 5),
            recipients_per_hour_per_account: rate("recipients_per_hour_per_account", 500),
            recipients_per_day_per_account: rate("recipients_per_day_per_account", 1_000),
            holds_over_limit: section.word("over_send_limit", &OVER_SEND_LIMIT).unwrap_or(true),
        },
    };
    section.end();
    limits
}
