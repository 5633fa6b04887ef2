//! The addresses that reports come to: those of the configuration, `postmaster@` each domain, as `waypost dns` prints it, and those that
//! the domains' own records name (`rua` and `ruf` of RFC 9989 section 4.7, `rua` of RFC 8460 section 3).

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use waypost_config::Config;
use waypost_mail::{Address, Domain};

use crate::dns::Resolver;

/// Most domains whose records are looked up.
const DOMAINS_MAX: usize = 1_000;
/// Most addresses of one record.
const ADDRESSES_MAX: usize = 10;

/// The addresses of this moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(Arc<RwLock<Arc<HashSet<String>>>>);

impl Addresses {
    /// Whether reports may come to this address.
    pub(super) fn holds(&self, address: &Address) -> bool {
        self.all().contains(&address.folded())
    }

    /// All of them, as [`Address::folded`] has them.
    pub(super) fn all(&self) -> Arc<HashSet<String>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes those that are known without asking.
    pub(super) fn configure(&self, config: &Config) {
        self.set(known(config));
    }

    /// Takes those that DNS names, too. Where it does not answer, those that it named before stay.
    pub(super) async fn refresh(&self, config: &Config, resolver: &Resolver) {
        let before = self.all();
        let mut addresses = known(config);
        let domains = config.domains.iter().filter(|domain| domain.relay_to.is_none()).take(DOMAINS_MAX);
        let names = |domain: &Domain| [format!("_dmarc.{domain}"), format!("_smtp._tls.{domain}")];
        let owners: Vec<String> = domains.flat_map(|domain| names(&domain.name)).collect();
        let mut is_complete = true;
        for found in resolver.texts_of(&owners).await {
            match found {
                Ok(texts) => addresses.extend(texts.iter().flat_map(|text| named(text)).map(|a| a.folded())),
                Err(crate::dns::DnsError::Temporary(..)) => is_complete = false,
                Err(_) => {}
            }
        }
        if !is_complete {
            addresses.extend(before.iter().cloned());
        }
        self.set(addresses);
    }

    fn set(&self, addresses: HashSet<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(addresses);
    }
}

/// What needs no answer.
fn known(config: &Config) -> HashSet<String> {
    let postmasters = config.domains.iter().filter(|domain| domain.relay_to.is_none());
    let postmasters =
        postmasters.filter_map(|domain| Address::parse(&format!("postmaster@{}", domain.name)).ok());
    let configured = config.reports.addresses.iter().cloned();
    configured.chain(postmasters).map(|address| address.folded()).collect()
}

/// The mailboxes that a record asks reports to be sent to; none where it is no such record.
fn named(text: &[u8]) -> Vec<Address> {
    let text = String::from_utf8_lossy(text);
    let mut tags = text.split(';').map(str::trim);
    let version = tags.next().unwrap_or_default().replace(' ', "");
    if version != "v=DMARC1" && version != "v=TLSRPTv1" {
        return Vec::new();
    }
    let wanted = tags.filter_map(|tag| {
        let (name, value) = tag.split_once('=')?;
        ["rua", "ruf"].contains(&name.trim().to_ascii_lowercase().as_str()).then_some(value)
    });
    // dmarc-uri = URI [ "!" 1*DIGIT [ "k" / "m" / "g" / "t" ] ] (RFC 7489 section 6.4)
    let mailbox = |uri: &str| {
        let uri = uri.trim();
        let (scheme, rest) = uri.split_at_checked(7)?;
        let address = rest.split('!').next()?.split('?').next()?;
        scheme.eq_ignore_ascii_case("mailto:").then(|| Address::parse(address.trim()).ok()).flatten()
    };
    wanted.flat_map(|value| value.split(',')).filter_map(mailbox).take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticity::testing::Zone;

    #[test]
    fn records_name_mailboxes() {
        for (text, expected) in [
            (
                "v=DMARC1; p=none; rua=mailto:a@x.test, MAILTO:B@y.test!10m; ruf=mailto:c@x.test",
                "a@x.test B@y.test c@x.test",
            ),
            ("v=TLSRPTv1;rua=https://x.test/r,mailto:t@x.test", "t@x.test"),
            ("v=TLSRPTv1; rua = mailto:t@x.test?subject=x ;", "t@x.test"),
            ("v=DMARC1; p=none", ""),
            ("v=DMARC1; rua=mailto:", ""),
            ("v=DMARC1; rua=mailto:nobody", ""),
            ("v=DMARC1; rua=üüüü", ""),
            ("v=spf1 rua=mailto:a@x.test", ""),
            ("", ""),
        ] {
            let found: Vec<_> = named(text.as_bytes()).iter().map(Address::to_string).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
        let many = format!("v=DMARC1; rua={}", "mailto:a@x.test,".repeat(100));
        assert_eq!(named(many.as_bytes()).len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn addresses_are_those_of_the_configuration_and_of_dns() {
        let config = "hostname = \"mx.a.test\"\nstate_dir = \"s\"\n[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
            [[domain]]\nname = \"a.test\"\n[[domain]]\nname = \"b.test\"\nrelay_to = \"192.0.2.9:25\"\n[reports]\naddresses = [\"Reports@a.test\"]\n";
        let config = waypost_config::parse(std::path::Path::new("/x/waypost.toml"), config).unwrap();
        let addresses = Addresses::default();
        let holds = |text: &str| addresses.holds(&Address::parse(text).unwrap());
        assert!(!holds("reports@a.test"));
        addresses.configure(&config);
        assert!(holds("reports@A.test") && holds("Postmaster@a.test") && !holds("postmaster@b.test"));
        let zone = Zone::default()
            .text("_dmarc.a.test", "v=DMARC1; p=none; rua=mailto:d@a.test")
            .text("_smtp._tls.a.test", "v=TLSRPTv1; rua=mailto:t@a.test");
        addresses.refresh(&config, &zone.resolver()).await;
        assert!(holds("d@a.test") && holds("t@a.test") && holds("reports@a.test") && !holds("x@a.test"));
        // no answer takes nothing away, an answer does
        let silent = Zone::default().text("_dmarc.a.test", "TIMEOUT");
        addresses.refresh(&config, &silent.resolver()).await;
        assert!(holds("d@a.test"));
        addresses.refresh(&config, &Zone::default().resolver()).await;
        assert!(!holds("d@a.test") && holds("reports@a.test"));
    }
}
