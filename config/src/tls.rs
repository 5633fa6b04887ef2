//! `[tls]`, `[outbound_tls]` and `[[tls_policy]]`: our certificates, and what is demanded of other servers.

use std::path::PathBuf;

use waypost_mail::Domain;

use crate::{
    facts::FileFacts,
    reader::{Found, Section, values},
    texts::domain,
};

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

const TLS_LEVELS: [(&str, TlsLevel); 5] = [
    ("none", TlsLevel::None),
    ("opportunistic", TlsLevel::Opportunistic),
    ("encrypt", TlsLevel::Encrypt),
    ("verify", TlsLevel::Verify),
    ("dane", TlsLevel::Dane),
];

const LOST_TLS: [(&str, LostTls); 3] =
    [("ignore", LostTls::Ignore), ("warn", LostTls::Warn), ("defer", LostTls::Defer)];

impl FileFacts<'_> {
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
            section.refuse_empty_list("names");
            section.end();
            Some(CertificateConfig { names: values(names?), certificate: certificate?, key: key? })
        });
        let certificates = certificates.collect();
        section.end();
        let channel_binding = channel_binding.is_some_and(|binding| binding.value);
        Some(TlsConfig { certificate: certificate?, key: key?, channel_binding, certificates })
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
            roots: roots.map(values).unwrap_or_default(),
            mta_sts,
            mta_sts_port: port.unwrap_or(443),
            lost,
            domains: values(domains),
        }
    }
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
    section.refuse_empty_list("mx");
    section.end();
    let Found { value: domain, place } = destination?;
    let exchangers = exchangers.map(values).unwrap_or_default();
    Some(Found { value: TlsPolicyConfig { domain, level: level?, exchangers }, place })
}
