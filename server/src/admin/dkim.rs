//! The keys that mail of our domains is signed with: making, listing, rotating and removing them.

use serde::{Deserialize, Serialize};
use waypost_auth::Live;
use waypost_config::{Config, DomainConfig};
use waypost_mail::{Domain, Timestamp};
use waypost_mta::{
    authenticity::{
        keys::SigningKey,
        rotation::{self, Proof},
    },
    dns::Resolver,
};
use waypost_storage::{DkimState, Store};

/// What is asked of the keys.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DkimJob {
    /// Lists them.
    List {
        /// Only those of this domain.
        domain: Option<String>,
    },
    /// Makes the first keys of a domain.
    New {
        /// The domain.
        domain: String,
        /// Signs with them at once, whether their records are there or not.
        now: bool,
    },
    /// Signs with the keys that wait, where their records are there; makes new ones where none waits.
    Rotate {
        /// The domain.
        domain: String,
        /// Signs with them at once, whether their records are there or not.
        now: bool,
    },
    /// Forgets a key.
    Remove {
        /// The domain.
        domain: String,
        /// Its selector.
        selector: String,
    },
}

/// What became of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DkimAnswer {
    /// All keys that were asked about, as they are now.
    pub keys: Vec<DkimLine>,
    /// Selectors of those that were made.
    pub made: Vec<String>,
    /// Selectors of those that sign from now on.
    pub activated: Vec<String>,
    /// Those that wait, where their records were looked for.
    pub waiting: Vec<DkimWaits>,
    /// Whether the configuration has mail of the domains signed.
    pub signed: bool,
}

/// A key that waits.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DkimWaits {
    /// Its selector.
    pub selector: String,
    /// What is missing.
    pub why: String,
}

/// A key without what is secret of it. Times are RFC 3339.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DkimLine {
    /// Its domain.
    pub domain: String,
    /// Its selector.
    pub selector: String,
    /// `rsa` or `ed25519`.
    pub algorithm: String,
    /// `waiting`, `active` or `retired`; `unused`: the domain has keys in files, which sign in its place.
    pub state: String,
    /// Whether it is in a file that the configuration names.
    pub in_file: bool,
    /// When it was made.
    pub created: Option<String>,
    /// Since when it signs, or signed.
    pub activated: Option<String>,
    /// Since when it signs no more.
    pub retired: Option<String>,
    /// The name of its record in DNS.
    pub name: String,
    /// The text of its record.
    pub record: String,
}

/// Does what is asked. Errors: a sentence.
pub(super) async fn run(
    store: &Store,
    live: &Live,
    resolver: &Resolver,
    job: DkimJob,
) -> Result<DkimAnswer, String> {
    let config = &live.config;
    match job {
        DkimJob::List { domain } => {
            let domain = domain.as_deref().map(|domain| ours(config, domain)).transpose()?;
            Ok(answer(config, store, domain))
        }
        DkimJob::New { domain, now } => {
            let domain = kept(config, &domain)?;
            if !store.dkim_keys(&domain.name).is_empty() {
                return Err(format!(
                    "{0} has keys already: `waypost dkim rotate {0}` makes new ones",
                    domain.name
                ));
            }
            make(config, store, resolver, domain, now).await
        }
        DkimJob::Rotate { domain, now } => {
            let domain = kept(config, &domain)?;
            let waits = store.dkim_keys(&domain.name).iter().any(|key| key.state() == DkimState::Waiting);
            match waits {
                true => activate(config, store, resolver, domain, proof(now)).await,
                false => make(config, store, resolver, domain, now).await,
            }
        }
        DkimJob::Remove { domain, selector } => {
            let domain = ours(config, &domain)?;
            let removed = store.remove_dkim_key(domain.name.clone(), selector).await;
            removed.map_err(|error| error.to_string())?;
            Ok(answer(config, store, Some(domain)))
        }
    }
}

fn proof(now: bool) -> Proof {
    if now { Proof::Waived } else { Proof::Demanded }
}

async fn make(
    config: &Config,
    store: &Store,
    resolver: &Resolver,
    domain: &DomainConfig,
    now: bool,
) -> Result<DkimAnswer, String> {
    let made = rotation::make(store, &domain.name).await.map_err(|error| error.to_string())?;
    let made = made.into_iter().map(|key| key.selector).collect();
    let answer = match now {
        true => activate(config, store, resolver, domain, Proof::Waived).await?,
        false => answer(config, store, Some(domain)),
    };
    Ok(DkimAnswer { made, ..answer })
}

async fn activate(
    config: &Config,
    store: &Store,
    resolver: &Resolver,
    domain: &DomainConfig,
    proof: Proof,
) -> Result<DkimAnswer, String> {
    let done = rotation::activate(store, resolver, &domain.name, proof).await;
    let (activated, waiting) = done.map_err(|error| error.to_string())?;
    let waits = |waits: rotation::Waits| DkimWaits { selector: waits.selector, why: waits.why };
    let waiting = waiting.into_iter().map(waits).collect();
    Ok(DkimAnswer { activated, waiting, ..answer(config, store, Some(domain)) })
}

/// A domain whose mail is delivered here.
fn ours<'a>(config: &'a Config, text: &str) -> Result<&'a DomainConfig, String> {
    let domain = Domain::new(text).map_err(|_| format!("{text} is not a domain"))?;
    let found = config.domains.iter().find(|ours| ours.name == domain && ours.relay_to.is_none());
    found.ok_or_else(|| format!("the configuration has no [[domain]] {domain} whose mail is delivered here"))
}

/// A domain whose keys the store keeps.
fn kept<'a>(config: &'a Config, text: &str) -> Result<&'a DomainConfig, String> {
    let domain = ours(config, text)?;
    match config.dkim.keys.iter().any(|key| key.domain == domain.name) {
        true => {
            Err(format!("the keys of {} are in files: see [[dkim.key]] of the configuration", domain.name))
        }
        false => Ok(domain),
    }
}

/// All keys, or those of one domain.
fn answer(config: &Config, store: &Store, domain: Option<&DomainConfig>) -> DkimAnswer {
    let is_meant = |of: &DomainConfig| domain.is_none_or(|domain| domain.name == of.name);
    let meant: Vec<_> = config.domains.iter().filter(|of| of.relay_to.is_none() && is_meant(of)).collect();
    let keys = meant.iter().flat_map(|domain| lines(config, store, &domain.name)).collect();
    DkimAnswer { keys, signed: meant.iter().all(|domain| domain.dkim), ..DkimAnswer::default() }
}

fn lines(config: &Config, store: &Store, domain: &Domain) -> Vec<DkimLine> {
    let of_files = config.dkim.keys.iter().filter(|key| key.domain == *domain).filter_map(|named| {
        let read = SigningKey::of_pem(domain.clone(), named.selector.clone(), named.pem.text()).ok()?;
        Some(line(&read, "active", true))
    });
    let mut lines: Vec<DkimLine> = of_files.collect();
    let is_in_files = !lines.is_empty();
    for key in store.dkim_keys(domain) {
        let Ok(read) = SigningKey::new(domain.clone(), key.selector.clone(), key.secret.pkcs8()) else {
            continue;
        };
        let state = if is_in_files { "unused" } else { key.state().name() };
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let (created, activated, retired) = (time(Some(key.created)), time(key.activated), time(key.retired));
        lines.push(DkimLine { created, activated, retired, ..line(&read, state, false) });
    }
    lines
}

fn line(key: &SigningKey, state: &str, in_file: bool) -> DkimLine {
    DkimLine {
        domain: key.domain().to_string(),
        selector: key.selector().to_owned(),
        algorithm: key.algorithm().name().to_owned(),
        state: state.to_owned(),
        in_file,
        created: None,
        activated: None,
        retired: None,
        name: key.record_name(),
        record: key.record(),
    }
}
