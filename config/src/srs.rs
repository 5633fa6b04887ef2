//! `[srs]`: forwarded mail with a sender of ours.

use waypost_mail::Domain;

use crate::{
    domain::{DomainConfig, is_delivered_here},
    reader::{Found, Section},
    texts::domain,
};

/// `[srs]`: the reverse path of what aliases forward to addresses elsewhere. The default is off, which is not that of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SrsConfig {
    /// Whether it is rewritten.
    pub enabled: bool,
    /// The domain of the new path; default: that of the alias.
    pub domain: Option<Domain>,
}

pub(crate) fn read(root: &Section<'_, '_>, domains: &[Found<DomainConfig>]) -> SrsConfig {
    let section = root.table("srs");
    let enabled = section.boolean("enabled").is_none_or(|enabled| enabled.value);
    let domain = section.parsed("domain", |text| {
        let name = domain(text)?;
        if is_delivered_here(domains, &name) {
            Ok(name)
        } else {
            Err(format!("{text:?} is no [[domain]] whose mail is delivered here"))
        }
    });
    section.end();
    SrsConfig { enabled, domain: domain.map(|found| found.value) }
}
