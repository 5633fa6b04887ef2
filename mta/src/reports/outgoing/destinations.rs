//! Who gets a report: what the domain asks for, and whether those who are elsewhere want it (RFC 9990 section 4).

use std::collections::BTreeMap;

use waypost_mail::Domain;

use super::uri::{Consent, ReportUri, consent, tls_destinations};
use crate::{
    authenticity::dmarc::organizations,
    dns::{DnsError, Resolver},
};

/// Longest name in DNS, in octets (RFC 1035 section 2.3.4), without what ends it.
const DNS_NAME_BYTES_MAX: usize = 253;

/// The destinations of a report.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Destinations {
    /// Those that want it.
    pub(crate) wanted: Vec<ReportUri>,
    /// Those that do not get it, with the reason.
    pub(crate) refused: Vec<(String, &'static str)>,
    /// Why it is not known of some whether they want it.
    pub(crate) open: Option<String>,
}

/// Who gets a report of DMARC about a policy domain whose record has this `rua`.
pub(crate) async fn of_dmarc(resolver: &Resolver, domain: &str, report_uris: &str) -> Destinations {
    let mut found = Destinations::default();
    // each host is asked once
    let mut consents: BTreeMap<Domain, Result<Consent, String>> = BTreeMap::new();
    for uri in ReportUri::list(report_uris) {
        let ReportUri::Mail { address, bytes_max } = &uri else {
            found.refused.push((uri.to_string(), "reports of DMARC are sent by mail alone"));
            continue;
        };
        let host = &address.domain;
        if !consents.contains_key(host) {
            consents.insert(host.clone(), ask(resolver, domain, host).await);
        }
        match &consents[host] {
            Ok(Consent::Yes) => found.add(uri.clone()),
            Ok(Consent::Instead(ReportUri::Mail { address, .. })) => {
                found.add(ReportUri::Mail { address: address.clone(), bytes_max: *bytes_max });
            }
            Ok(Consent::No | Consent::Instead(_)) => {
                found.refused.push((uri.to_string(), "its domain does not say that it wants these reports"));
            }
            Err(problem) => found.open = Some(problem.clone()),
        }
    }
    found
}

/// Who gets a report of TLS towards a domain.
pub(crate) async fn of_tls(resolver: &Resolver, domain: &str) -> Destinations {
    match resolver.texts(&format!("_smtp._tls.{domain}")).await {
        Ok(texts) => Destinations { wanted: tls_destinations(&texts), ..Destinations::default() },
        Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => Destinations::default(),
        Err(error @ DnsError::Temporary(..)) => {
            Destinations { open: Some(error.to_string()), ..Destinations::default() }
        }
    }
}

impl Destinations {
    fn add(&mut self, uri: ReportUri) {
        if !self.wanted.iter().any(|known| known.to_string() == uri.to_string()) {
            self.wanted.push(uri);
        }
    }
}

/// Whether a host wants reports about a domain: its own organization does. Errors: DNS does not answer.
async fn ask(resolver: &Resolver, domain: &str, host: &Domain) -> Result<Consent, String> {
    if domain == host.as_str() {
        return Ok(Consent::Yes);
    }
    let organizations = organizations(resolver, &[domain, host.as_str()]).await;
    let [Some(ours), Some(theirs)] = &organizations[..] else {
        return Err(format!("DNS does not answer which organizations {domain} and {host} are of"));
    };
    if ours == theirs {
        return Ok(Consent::Yes);
    }
    let name = format!("{domain}._report._dmarc.{host}");
    if name.len() > DNS_NAME_BYTES_MAX {
        return Ok(Consent::No);
    }
    match resolver.texts(&name).await {
        Ok(texts) => Ok(consent(&texts, host)),
        Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => Ok(Consent::No),
        Err(error @ DnsError::Temporary(..)) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticity::testing::Zone;

    fn shown(uris: &[ReportUri]) -> Vec<String> {
        uris.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn who_is_elsewhere_gets_reports_that_it_wants() {
        let policy = "v=DMARC1; p=none";
        let zone = || {
            Zone::default()
                .text("_dmarc.a.test", policy)
                .text("_dmarc.r.test", policy)
                .text("a.test._report._dmarc.yes.test", "v=DMARC1")
                .text("a.test._report._dmarc.no.test", "v=spf1 -all")
                .text("a.test._report._dmarc.there.test", "v=DMARC1; rua=mailto:all@there.test")
                .text("a.test._report._dmarc.bad.test", "v=DMARC1; rua=mailto:all@victim.test")
                .text("a.test._report._dmarc.late.test", "TIMEOUT")
                .resolver()
        };
        for (uris, wanted, refused, is_open) in [
            ("", &[][..], 0, false),
            ("mailto:x@a.test", &["mailto:x@a.test"], 0, false),
            ("mailto:x@reports.a.test", &["mailto:x@reports.a.test"], 0, false),
            ("mailto:x@victim.test", &[], 1, false),
            ("mailto:x@no.test,mailto:y@no.test", &[], 2, false),
            ("mailto:x@yes.test!1k,https://a.test/", &["mailto:x@yes.test"], 1, false),
            ("mailto:x@there.test,mailto:y@there.test", &["mailto:all@there.test"], 0, false),
            ("mailto:x@bad.test", &[], 1, false),
            ("mailto:x@late.test,mailto:x@a.test", &["mailto:x@a.test"], 0, true),
        ] {
            let found = of_dmarc(&zone(), "a.test", uris).await;
            let counted = (shown(&found.wanted), found.refused.len(), found.open.is_some());
            assert_eq!(
                counted,
                (wanted.iter().map(|uri| (*uri).to_owned()).collect(), refused, is_open),
                "{uris}"
            );
        }
        // the domain is one below
        let found = of_dmarc(&zone(), "news.a.test", "mailto:x@a.test").await;
        assert_eq!(shown(&found.wanted), ["mailto:x@a.test"]);
        let long = format!("{}.test", vec!["x".repeat(60); 4].join("."));
        assert_eq!(of_dmarc(&zone(), &long, "mailto:x@yes.test").await.refused.len(), 1);
        let unanswered = zone_without_organization();
        assert!(of_dmarc(&unanswered, "a.test", "mailto:x@yes.test").await.open.is_some());
    }

    fn zone_without_organization() -> Resolver {
        Zone::default().text("_dmarc.yes.test", "TIMEOUT").resolver()
    }

    #[tokio::test]
    async fn a_domain_says_where_reports_of_tls_go() {
        let zone = Zone::default()
            .text("_smtp._tls.a.test", "v=TLSRPTv1; rua=mailto:t@elsewhere.test,https://t.test/x")
            .text("_smtp._tls.late.test", "TIMEOUT");
        let resolver = zone.resolver();
        let found = of_tls(&resolver, "a.test").await;
        assert_eq!(shown(&found.wanted), ["mailto:t@elsewhere.test", "https://t.test/x"]);
        assert!(of_tls(&resolver, "late.test").await.open.is_some());
        assert_eq!(of_tls(&resolver, "b.test").await, Destinations::default());
    }
}
