//! `[dkim]`: how what goes out is signed.

use std::{collections::BTreeSet, time::Duration};

use waypost_mail::Domain;

use crate::{
    domain::DomainConfig,
    facts::FileFacts,
    reader::{Found, Section},
    texts::domain,
};

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

impl FileFacts<'_> {
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
