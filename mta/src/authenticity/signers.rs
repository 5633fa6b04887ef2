//! Which keys sign for a domain now: those that the configuration names, else those that the store keeps.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use waypost_config::{Config, DomainConfig};
use waypost_mail::{Domain, Timestamp};
use waypost_message::HeaderBlock;
use waypost_storage::{DkimAlgorithm, DkimState, Store};

use super::{
    keys::{KeyError, SigningKey},
    sign::{Signing, author_domain},
};

/// Most keys that are held ready.
const READY_MAX: usize = 4096;

/// Keys that are ready to sign, each read once. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Signers(Arc<Mutex<HashMap<(Domain, String), Ready>>>);

/// A key with what it was read from.
#[derive(Debug)]
struct Ready {
    source: Vec<u8>,
    key: Arc<SigningKey>,
}

impl Signers {
    /// Checks the keys that the configuration names. Errors: the first that is none, with its selector and domain.
    pub fn check(config: &Config) -> Result<(), String> {
        for named in &config.dkim.keys {
            let (domain, selector) = (named.domain.clone(), named.selector.clone());
            SigningKey::of_pem(domain, selector, named.pem.text()).map_err(|error| {
                format!("the key {} of [[dkim.key]] for {}: {error}", named.selector, named.domain)
            })?;
        }
        Ok(())
    }

    /// The keys that sign mail with this author domain: those of the domain, or of the nearest domain above it that is ours (which DMARC
    /// takes for it, RFC 9989 section 4.4). None where the domain is not ours, has no keys, or is not to be signed.
    pub fn of(&self, config: &Config, store: &Store, author: &Domain) -> Vec<Arc<SigningKey>> {
        let Some(domain) = ours(config, author).filter(|ours| ours.dkim) else { return Vec::new() };
        let named: Vec<_> = config.dkim.keys.iter().filter(|key| key.domain == domain.name).collect();
        if !named.is_empty() {
            let keys = named.into_iter().filter_map(|named| {
                let read = |domain, selector| SigningKey::of_pem(domain, selector, named.pem.text());
                self.ready(&domain.name, &named.selector, named.pem.text().as_bytes(), read)
            });
            return keys.collect();
        }
        let kept = store.dkim_keys(&domain.name);
        let active = kept.iter().filter(|key| key.state() == DkimState::Active);
        let keys = active.filter_map(|kept| {
            let octets = kept.secret.pkcs8();
            self.ready(&domain.name, &kept.selector, octets, |domain, selector| {
                SigningKey::new(domain, selector, octets)
            })
        });
        keys.collect()
    }

    /// Begins to sign a message whose header block is complete: for its author where `author` says that it is of somebody here, else for
    /// `forwarder`, the domain of the alias that it goes on from.
    pub(crate) fn begin(
        &self,
        (config, store): (&Config, &Store),
        header: &mut HeaderBlock,
        author: bool,
        forwarder: Option<&Domain>,
        now: Timestamp,
    ) -> Option<Signing> {
        let mut keys = Vec::new();
        if let Some(author) = author.then(|| author_domain(header)).flatten() {
            keys = self.of(config, store, &author);
        }
        if let Some(forwarder) = forwarder.filter(|_| keys.is_empty()) {
            keys = self.of(config, store, forwarder);
        }
        Signing::begin(&keys, header, now)
    }

    /// The key that seals mail which goes on from a domain (ARC): one alone may, and RSA is what all verifiers know.
    pub(crate) fn sealer(&self, config: &Config, store: &Store, domain: &Domain) -> Option<Arc<SigningKey>> {
        self.of(config, store, domain).into_iter().min_by_key(|key| key.algorithm() != DkimAlgorithm::Rsa)
    }

    fn ready(
        &self,
        domain: &Domain,
        selector: &str,
        source: &[u8],
        read: impl FnOnce(Domain, String) -> Result<SigningKey, KeyError>,
    ) -> Option<Arc<SigningKey>> {
        let name = (domain.clone(), selector.to_owned());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = all.get(&name).filter(|ready| ready.source == source) {
            return Some(Arc::clone(&ready.key));
        }
        match read(name.0.clone(), name.1.clone()) {
            Ok(key) => {
                if all.len() >= READY_MAX {
                    all.clear();
                }
                let key = Arc::new(key);
                all.insert(name, Ready { source: source.to_vec(), key: Arc::clone(&key) });
                Some(key)
            }
            Err(error) => {
                tracing::error!(%domain, selector, %error, "a DKIM key cannot be used: mail is not signed with it");
                None
            }
        }
    }
}

/// The domain of ours that an author domain is, or lies below.
fn ours<'a>(config: &'a Config, author: &Domain) -> Option<&'a DomainConfig> {
    let mut name = author.as_str();
    loop {
        let found = config.domains.iter().find(|domain| domain.name.as_str() == name);
        if found.is_some() {
            return found.filter(|domain| domain.relay_to.is_none());
        }
        (_, name) = name.split_once('.')?;
    }
}
