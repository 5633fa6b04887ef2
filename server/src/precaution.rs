//! What is looked at before a configuration serves: whether strangers could send mail to anyone, whom `[[trust]]` holds, and addresses that
//! lead nowhere.

use std::{collections::BTreeSet, sync::Arc};

use waypost_auth::{DeadEnd, Directory, DirectoryError, Live, Srs};
use waypost_config::{Config, Network};
use waypost_mail::{AccountId, AccountRecord, AccountSource, Address, Timestamp};
use waypost_mta::server::relays_for_strangers;

/// Refuses a configuration that would relay mail of strangers; the error is the family of their addresses. Before anything is begun: the
/// accounts of the store are not asked for.
pub(crate) fn refuse_open_relay(config: &Config) -> Result<(), &'static str> {
    // what keeps a directory from being made is told when the server starts
    let Ok(directory) = declared(config, &[]) else { return Ok(()) };
    let live = Live { config: Arc::new(config.clone()), directory };
    // no return path is asked about, so that any key does
    relays_for_strangers(&live, &Srs::new(&[0; 32]), Timestamp(0)).map_or(Ok(()), Err)
}

/// Warns of what is odd in a configuration that is to serve.
pub(crate) fn warn(live: &Live) {
    warn_of_trust(&live.config);
    warn_of_addresses(None, live);
}

/// Networks that may relay are trusted with our good name: those that hold more than one site's hosts are told of. What is larger
/// still is refused by the configuration.
fn warn_of_trust(config: &Config) {
    let shown = |network: &Network| format!("{}/{}", network.address, network.prefix);
    for network in &config.trust {
        if network.is_wide() {
            tracing::warn!(
                network = %shown(network),
                "[[trust]] holds a very wide network: every host in it may send mail to anyone through this server"
            );
        } else if network.is_wide_private() {
            tracing::warn!(
                network = %shown(network),
                "[[trust]] holds a very wide private network: behind a NAT or the bridge of containers all clients of the Internet may have an \
                 address in it, and each could send mail to anyone through this server; name the hosts that are meant"
            );
        }
    }
}

/// Warns of addresses that lead nowhere, where they did not before.
pub(crate) fn warn_of_addresses(before: Option<&Live>, live: &Live) {
    let known = before.map(|before| before.directory.dead_ends()).unwrap_or_default();
    for DeadEnd { from, to } in live.directory.dead_ends().difference(&known) {
        tracing::warn!(
            alias = %from,
            target = %to,
            "an alias leads to an address that nobody has: mail for it comes back to its sender"
        );
    }
    let had_account = before.is_none_or(|before| !before.directory.has_no_account());
    if had_account && live.directory.has_no_account() && live.directory.first_domain().is_some() {
        tracing::warn!("there is no account: mail for postmaster is refused, unless an alias takes it");
    }
}

/// The dead ends of a configuration, with accounts that are known to be in the store.
pub(crate) fn dead_ends(config: &Config, stored: &[Address]) -> BTreeSet<DeadEnd> {
    declared(config, stored).map(|directory| directory.dead_ends()).unwrap_or_default()
}

/// The directory as the file declares it, with accounts of the store.
fn declared(config: &Config, stored: &[Address]) -> Result<Arc<Directory>, DirectoryError> {
    let of_file = config.accounts.iter().map(|account| (&account.address, AccountSource::File));
    let is_in_file =
        |address: &Address| config.accounts.iter().any(|account| account.address.same_mailbox(address));
    let of_store =
        stored.iter().filter(|address| !is_in_file(address)).map(|address| (address, AccountSource::Store));
    let record = |(id, (address, source)): (u64, (&Address, AccountSource))| AccountRecord {
        id: AccountId(id),
        address: address.clone(),
        source,
        password_hash: None,
        app_passwords: Vec::new(),
        scram_verifiers: Vec::new(),
        totp: None,
        apop: None,
        certificates: Vec::new(),
        quota_bytes: None,
    };
    let records: Vec<_> = (1..).zip(of_file.chain(of_store)).map(record).collect();
    Directory::new(config, &records)
}
