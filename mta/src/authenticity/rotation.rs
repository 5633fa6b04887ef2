//! Keys over time: a new one waits until its record is seen in DNS, takes the place of the old one, whose record stays published while mail
//! that it signed is on its way.

use std::time::Duration;

use waypost_config::{Config, DomainConfig};
use waypost_mail::{Domain, Timestamp};
use waypost_storage::{DkimAlgorithm, DkimKey, DkimState, Store, StoreError};

use super::keys::{self, KeyError, SigningKey};
use crate::dns::{DnsError, Resolver};

/// How often a server looks after its keys.
pub const TEND_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often the log says that a key waits for its record: every so many looks.
const LOOKS_TOLD: u64 = 24;
/// Kinds of keys that a domain has, together: some verifiers know RSA alone (RFC 8463 section 1).
const ALGORITHMS: [DkimAlgorithm; 2] = [DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519];

/// Why keys do not change.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No key.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Whether new keys sign before their records were seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// They wait until then.
    Demanded,
    /// The operator says that the records are there.
    Waived,
}

/// A key that still waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waits {
    /// Its selector.
    pub selector: String,
    /// What is missing.
    pub why: String,
}

/// Makes one key of each algorithm for a domain; they wait.
pub async fn make(store: &Store, domain: &Domain) -> Result<Vec<DkimKey>, RotationError> {
    let now = store.now();
    let known = store.dkim_keys(domain);
    let mut made = Vec::with_capacity(ALGORITHMS.len());
    for algorithm in ALGORITHMS {
        let (domain, selector) = (domain.clone(), selector(algorithm, now, &known));
        let generated =
            tokio::task::spawn_blocking(move || keys::generate(domain, selector, algorithm, now)).await;
        made.push(generated.unwrap_or(Err(KeyError::NotMade))?);
    }
    store.add_dkim_keys(made.clone()).await?;
    Ok(made)
}

/// Signs with the keys that waited and whose records are in DNS; the others still wait.
pub async fn activate(
    store: &Store,
    resolver: &Resolver,
    domain: &Domain,
    proof: Proof,
) -> Result<(Vec<String>, Vec<Waits>), RotationError> {
    let (mut activated, mut waiting) = (Vec::new(), Vec::new());
    for key in store.dkim_keys(domain).into_iter().filter(|key| key.state() == DkimState::Waiting) {
        let missing = match proof {
            Proof::Demanded => missing(resolver, &key).await?,
            Proof::Waived => None,
        };
        match missing {
            Some(why) => waiting.push(Waits { selector: key.selector, why }),
            None => {
                store.activate_dkim_key(domain.clone(), key.selector.clone()).await?;
                tracing::info!(%domain, selector = key.selector, "mail is signed with this DKIM key from now on");
                activated.push(key.selector);
            }
        }
    }
    Ok((activated, waiting))
}

/// What keeps a key's record from being seen; `None`: it is there.
async fn missing(resolver: &Resolver, key: &DkimKey) -> Result<Option<String>, KeyError> {
    let key = SigningKey::new(key.domain.clone(), key.selector.clone(), key.secret.pkcs8())?;
    let name = key.record_name();
    Ok(match resolver.txt(&name).await {
        Ok(texts) if texts.iter().any(|text| publishes(text, &key.public())) => None,
        Ok(_) => Some(format!("{name} has a record of another key")),
        Err(DnsError::NoSuchDomain(_) | DnsError::NoRecords(_)) => {
            Some(format!("{name} has no TXT record yet"))
        }
        Err(error) => Some(error.to_string()),
    })
}

/// Whether a record holds a public key (`p=`, in which white space does not count).
fn publishes(record: &str, public: &str) -> bool {
    let value = |tag: &str| {
        let (name, value) = tag.split_once('=')?;
        (name.trim() == "p").then(|| value.split_ascii_whitespace().collect::<String>())
    };
    record.split(';').find_map(value).is_some_and(|value| value == public)
}

/// A selector that tells kind and day: `rsa-20261126`, with a number behind it where the day has one already.
fn selector(algorithm: DkimAlgorithm, now: Timestamp, known: &[DkimKey]) -> String {
    let kind = match algorithm {
        DkimAlgorithm::Rsa => "rsa",
        DkimAlgorithm::Ed25519 => "ed",
    };
    let day: String = now.to_string().chars().take(10).filter(char::is_ascii_digit).collect();
    let first = format!("{kind}-{day}");
    let more = (2_u32..).map(|number| format!("{first}-{number}"));
    let is_free = |name: &String| known.iter().all(|key| key.selector != *name);
    std::iter::once(first.clone()).chain(more).find(is_free).unwrap_or(first)
}

/// Looks after the keys of all domains now: takes those whose records are there, makes new ones where the old are old enough, forgets
/// those that retired long enough ago. `look` counts the times; a waiting key is told of once a day.
pub async fn tend(store: &Store, config: &Config, resolver: &Resolver, look: u64) {
    for domain in config.domains.iter().filter(|domain| domain.dkim && domain.relay_to.is_none()) {
        let is_in_file = config.dkim.keys.iter().any(|key| key.domain == domain.name);
        if is_in_file {
            continue;
        }
        if let Err(error) = tend_domain(store, config, resolver, domain, look).await {
            tracing::warn!(domain = %domain.name, %error, "the DKIM keys could not be looked after");
        }
    }
}

async fn tend_domain(
    store: &Store,
    config: &Config,
    resolver: &Resolver,
    domain: &DomainConfig,
    look: u64,
) -> Result<(), RotationError> {
    let (name, now) = (&domain.name, store.now());
    let (_, waiting) = activate(store, resolver, name, Proof::Demanded).await?;
    for Waits { selector, why } in waiting.iter().filter(|_| look.is_multiple_of(LOOKS_TOLD)) {
        let text = "a new DKIM key waits for its record: `waypost dkim list` prints it";
        tracing::warn!(alert = "dkim", domain = %name, selector, why, "{text}");
    }
    let known = store.dkim_keys(name);
    for key in &known {
        let is_over = |retired: Timestamp| retired.after(config.dkim.keep_retired) <= now;
        if key.retired.is_some_and(is_over) {
            store.remove_dkim_key(name.clone(), key.selector.clone()).await?;
            tracing::info!(domain = %name, selector = key.selector, "a retired DKIM key is gone: its record may go, too");
        }
    }
    if is_due(&known, config.dkim.rotate_after, now) {
        make(store, name).await?;
        tracing::info!(domain = %name, "new DKIM keys were made, as the old ones are old");
    }
    Ok(())
}

/// Whether keys sign that are old enough, and none waits to take their place.
fn is_due(known: &[DkimKey], rotate_after: Duration, now: Timestamp) -> bool {
    let is_old = |key: &DkimKey| key.activated.is_some_and(|since| since.after(rotate_after) <= now);
    let in_state = |state| known.iter().filter(move |key| key.state() == state);
    !rotate_after.is_zero()
        && in_state(DkimState::Waiting).next().is_none()
        && in_state(DkimState::Active).any(is_old)
}

#[cfg(test)]
mod tests;
