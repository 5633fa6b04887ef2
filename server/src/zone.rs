//! The records that a domain publishes so that mail of this server arrives and its users' programs find it, as the configuration has it.

use serde::Serialize;
use waypost_config::{Config, DomainConfig, Service, TlsMode};
use waypost_mail::Domain;
use waypost_web::{policy, services::port};

use crate::admin::dkim::DkimLine;

/// How long resolvers may remember a record, in seconds: short enough to mend a mistake within an hour.
const TTL: u32 = 3600;
/// Longest string of a TXT record in octets (RFC 1035 section 3.3).
const STRING_BYTES_MAX: usize = 255;

/// What services are called in SRV records, with implicit TLS and with STARTTLS (RFC 6186, RFC 8314 section 5.1).
const SERVICES: [(Service, &str, &str); 3] = [
    (Service::Submission, "_submissions", "_submission"),
    (Service::Imap, "_imaps", "_imap"),
    (Service::Pop3, "_pop3s", "_pop3"),
];

/// A record to publish.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ZoneRecord {
    /// Its name, without the last dot.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its data: of TXT the text, of others as they stand in a zone file.
    pub data: String,
}

/// What stands in the zone file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ZoneLine {
    /// A record.
    Record(ZoneRecord),
    /// Something for who reads it.
    Comment(String),
}

impl std::fmt::Display for ZoneLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record(ZoneRecord { name, kind: "TXT", data }) => f.write_str(&txt(name, data)),
            Self::Record(ZoneRecord { name, kind, data }) => write!(f, "{name}. {TTL} IN {kind} {data}"),
            Self::Comment(text) => write!(f, "; {text}"),
        }
    }
}

/// A TXT record as a zone file has it: its text in strings of at most 255 octets (RFC 6376 section 3.6.2.2).
pub fn txt(name: &str, text: &str) -> String {
    let strings = text.as_bytes().chunks(STRING_BYTES_MAX).map(|part| {
        let text = String::from_utf8_lossy(part);
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    });
    format!("{name}. {TTL} IN TXT {}", strings.collect::<Vec<_>>().join(" "))
}

/// All lines for a domain, given its keys.
pub fn lines(config: &Config, domain: &DomainConfig, keys: &[DkimLine]) -> Vec<ZoneLine> {
    let mut zone = Zone { config, name: &domain.name, lines: Vec::new() };
    zone.exchanger(domain);
    if domain.relay_to.is_none() {
        zone.spf();
        zone.dkim(keys);
        zone.dmarc(domain, keys);
        zone.tls(domain);
        zone.services();
    }
    zone.lines
}

/// A zone while it is written.
struct Zone<'a> {
    config: &'a Config,
    name: &'a Domain,
    lines: Vec<ZoneLine>,
}

impl Zone<'_> {
    fn say(&mut self, text: impl Into<String>) {
        self.lines.push(ZoneLine::Comment(text.into()));
    }

    fn record(&mut self, name: &str, kind: &'static str, data: impl Into<String>) {
        let name = match name {
            "" => self.name.to_string(),
            below => format!("{below}.{}", self.name),
        };
        self.lines.push(ZoneLine::Record(ZoneRecord { name, kind, data: data.into() }));
    }

    /// A name of ours in data: with its last dot.
    fn host(&self) -> String {
        format!("{}.", self.config.hostname)
    }

    /// Where reports are to come: to an address in the domain, as others would have to agree in DNS (RFC 7489 section 7.1).
    fn reports(&self) -> String {
        let configured = self.config.reports.addresses.iter().find(|address| address.domain == *self.name);
        configured.map_or_else(|| format!("postmaster@{}", self.name), ToString::to_string)
    }

    fn exchanger(&mut self, domain: &DomainConfig) {
        let host = self.config.hostname.clone();
        self.say(format!(
            "{host} needs A and AAAA records of its own, and its addresses point back to it (PTR)"
        ));
        match domain.relay_to.is_some() {
            true => self.record("", "MX", format!("20 {}", self.host())),
            false => self.record("", "MX", format!("10 {}", self.host())),
        }
    }

    /// Who may send for the domain (RFC 7208), and for the name that the server greets with (section 2.3).
    fn spf(&mut self) {
        let queue = &self.config.queue.sources;
        let routes = self.config.routes.iter().map(|route| &route.sources);
        let mut sources = Vec::new();
        for source in std::iter::once(queue).chain(routes) {
            let (v4, v6) = (source.v4.map(|ip| format!("ip4:{ip}")), source.v6.map(|ip| format!("ip6:{ip}")));
            sources.extend(v4.into_iter().chain(v6));
        }
        sources.sort();
        sources.dedup();
        let sources: String = sources.iter().map(|source| format!(" {source}")).collect();
        if self.config.routes.iter().any(|route| route.domain.is_none()) {
            self.say("a [[route]] sends mail by another server: add what its operator says (include:…) before ~all");
        }
        self.record("", "TXT", format!("v=spf1 mx{sources} ~all"));
        let suffix = format!(".{}", self.name);
        if let Some(below) = self.config.hostname.as_str().strip_suffix(&suffix) {
            let below = below.to_owned();
            self.record(&below, "TXT", format!("v=spf1 a{sources} -all"));
        }
    }

    fn dkim(&mut self, keys: &[DkimLine]) {
        if keys.is_empty() {
            self.say(format!("mail is not signed: `waypost dkim new {}` makes keys", self.name));
        }
        for key in keys.iter().filter(|key| key.state != "unused") {
            self.say(format!("the DKIM key {} is {}", key.selector, key.state));
            let (name, data) = (key.name.clone(), key.record.clone());
            self.lines.push(ZoneLine::Record(ZoneRecord { name, kind: "TXT", data }));
        }
    }

    /// RFC 9989 section 4.7. Without signatures, forwarded mail would fail.
    fn dmarc(&mut self, domain: &DomainConfig, keys: &[DkimLine]) {
        let is_signed = domain.dkim && keys.iter().any(|key| key.state == "active");
        let policy = if is_signed { "quarantine" } else { "none" };
        if !is_signed {
            self.say("p=quarantine once mail is signed");
        }
        self.say("p=reject once the reports are good");
        self.record("_dmarc", "TXT", format!("v=DMARC1; p={policy}; rua=mailto:{}", self.reports()));
    }

    /// Reports about TLS (RFC 8460), and MTA-STS (RFC 8461), whose policy a listener for HTTPS serves.
    fn tls(&mut self, domain: &DomainConfig) {
        self.record("_smtp._tls", "TXT", format!("v=TLSRPTv1; rua=mailto:{}", self.reports()));
        let policy = policy::text(self.config, domain);
        let id = format!("v=STSv1; id={}", policy::id(&policy));
        if self.has_https() {
            self.say(format!("MTA-STS: the certificate has to be good for mta-sts.{}, too", self.name));
            self.record("mta-sts", "CNAME", self.host());
            self.record("_mta-sts", "TXT", id);
            return;
        }
        self.say("MTA-STS: no [[listener]] with service \"http\" is on port 443. With one, or once a web server has this text at");
        self.say(format!("https://mta-sts.{}{}", self.name, policy::PATH));
        policy.lines().for_each(|line| self.say(format!("    {line}")));
        self.say("publish this record, with another id whenever the text changes:");
        let record = txt(&format!("_mta-sts.{}", self.name), &id);
        self.say(format!("    {record}"));
    }

    /// Whether the documents are found where they are looked for.
    fn has_https(&self) -> bool {
        port(self.config, Service::Http, TlsMode::Implicit) == Some(443)
    }

    /// Where users' programs log in; what is not served is said to be absent (RFC 6186 section 3.4).
    fn services(&mut self) {
        let host = self.host();
        for (service, implicit, starttls) in SERVICES {
            for (tls, name, priority) in [(TlsMode::Implicit, implicit, 0), (TlsMode::StartTls, starttls, 10)]
            {
                let data = match port(self.config, service, tls) {
                    Some(port) => format!("{priority} 1 {port} {host}"),
                    None => "0 0 0 .".to_owned(),
                };
                self.record(&format!("{name}._tcp"), "SRV", data);
            }
        }
        if !self.has_https() {
            self.say("autoconfig and autodiscover need a [[listener]] with service \"http\" on port 443");
            return;
        }
        let (autoconfig, autodiscover) =
            (format!("autoconfig.{}", self.name), format!("autodiscover.{}", self.name));
        self.say(format!("the certificate has to be good for {autoconfig} and {autodiscover}, too"));
        self.record("autoconfig", "CNAME", host.clone());
        self.record("autodiscover", "CNAME", host.clone());
        self.record("_autodiscover._tcp", "SRV", format!("0 1 443 {autodiscover}."));
    }
}

#[cfg(test)]
mod tests;
