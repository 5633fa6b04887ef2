//! How Thunderbird and others that follow it set an account up (config-v1.1.xml).

use waypost_config::{Config, Service, TlsMode};
use waypost_mail::Domain;

use crate::services::{Way, escaped, ways};

/// Where it is asked for: at `autoconfig.DOMAIN`, and at the domain itself.
pub(crate) const PATHS: [&str; 2] = ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"];

/// The document for addresses of a domain.
pub(crate) fn document(config: &Config, domain: &Domain) -> String {
    let (name, host) = (escaped(domain.as_str()), escaped(config.hostname.as_str()));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{name}\">\n    \
         <domain>{name}</domain>\n    <displayName>{name}</displayName>\n    <displayShortName>{name}</displayShortName>\n"
    );
    for way in ways(config, Service::Imap).chain(ways(config, Service::Pop3)) {
        xml.push_str(&server("incomingServer", &host, way));
    }
    for way in ways(config, Service::Submission) {
        xml.push_str(&server("outgoingServer", &host, way));
    }
    xml.push_str("  </emailProvider>\n</clientConfig>\n");
    xml
}

fn server(element: &str, host: &str, Way { service, port, tls }: Way) -> String {
    let kind = if service == Service::Submission { "smtp" } else { service.name() };
    let socket = if tls == TlsMode::Implicit { "SSL" } else { "STARTTLS" };
    format!(
        "    <{element} type=\"{kind}\">\n      <hostname>{host}</hostname>\n      <port>{port}</port>\n      \
         <socketType>{socket}</socketType>\n      <authentication>password-cleartext</authentication>\n      \
         <username>%EMAILADDRESS%</username>\n    </{element}>\n"
    )
}
