//! How Outlook sets an account for IMAP or POP3 up (Autodiscover, the answer of schema 2006a).

use waypost_config::{Config, Service, TlsMode};

use crate::services::{Way, escaped, ways};

/// Where it is posted to, whatever the case of its letters.
pub(crate) const PATH: &str = "/autodiscover/autodiscover.xml";

/// The document; the program takes the address that it asks for as its login name.
pub(crate) fn document(config: &Config) -> String {
    let host = escaped(config.hostname.as_str());
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n  \
         <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\">\n    \
         <Account>\n      <AccountType>email</AccountType>\n      <Action>settings</Action>\n",
    );
    for service in [Service::Imap, Service::Pop3, Service::Submission] {
        if let Some(way) = ways(config, service).next() {
            xml.push_str(&protocol(&host, way));
        }
    }
    xml.push_str("    </Account>\n  </Response>\n</Autodiscover>\n");
    xml
}

fn protocol(host: &str, Way { service, port, tls }: Way) -> String {
    let kind = match service {
        Service::Submission => "SMTP",
        Service::Pop3 => "POP3",
        _ => "IMAP",
    };
    let encryption = if tls == TlsMode::Implicit { "SSL" } else { "TLS" };
    format!(
        "      <Protocol>\n        <Type>{kind}</Type>\n        <Server>{host}</Server>\n        <Port>{port}</Port>\n        \
         <DomainRequired>off</DomainRequired>\n        <SPA>off</SPA>\n        <SSL>on</SSL>\n        \
         <Encryption>{encryption}</Encryption>\n        <AuthRequired>on</AuthRequired>\n      </Protocol>\n"
    )
}
