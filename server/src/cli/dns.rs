//! `waypost dns DOMAIN`

use waypost_mail::Domain;

use crate::{
    admin::dkim::DkimJob,
    cli::{Failure, arguments::DnsOptions, dkim, target, terminal},
    zone::{self, ZoneLine},
};

/// Runs the command.
pub async fn run(options: DnsOptions) -> Result<(), Failure> {
    let DnsOptions { domain, json, config: file } = options;
    let config = target::load(&file)?;
    let name = Domain::new(&domain).map_err(|_| Failure::new(format!("{domain} is not a domain")))?;
    let found = config.domains.iter().find(|ours| ours.name == name);
    let found = found.ok_or_else(|| Failure::new(format!("the configuration has no [[domain]] {name}")))?;
    let keys = match found.relay_to.is_some() {
        true => Vec::new(),
        false => dkim::ask(&file, DkimJob::List { domain: Some(name.to_string()) }).await?.keys,
    };
    for line in zone::lines(&config, found, &keys) {
        match (json, line) {
            (false, line) => terminal::say(&line.to_string()),
            (true, ZoneLine::Record(record)) => {
                terminal::say(&serde_json::to_string(&record).map_err(Failure::new)?);
            }
            (true, ZoneLine::Comment(_)) => {}
        }
    }
    Ok(())
}
