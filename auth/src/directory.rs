//! The directory: one immutable snapshot of domains, accounts and aliases, made from the configuration and the store's accounts.

mod resolution;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use waypost_config::{Config, DomainConfig, Password, Pop3Policy, SendAsAddress, SendAsConfig};
use waypost_mail::{
    AccountId, AccountRecord, AccountSource, Address, ApopSecret, AppPassword, Domain, LoginService,
    TotpSecret,
};

use crate::{
    app_password,
    sasl::{Certificate, Scram, ScramHash, Verifier, prepare},
    token::Issuer,
};

pub use resolution::{DeadEnd, Leads, Means, Resolution, Step};

/// Who has logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// Its address.
    pub address: Address,
}

/// By what right an account sends from an address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SendRight {
    /// Its mail reaches the account alone: the account's own address, with or without detail, an alias, a catch-all.
    Own,
    /// By the configuration (`[[send_as]]`).
    Granted {
        /// Whether the message is to tell which account sent it.
        add_sender: bool,
    },
}

/// Why a directory cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DirectoryError {
    /// An address is declared in the file and in the store.
    #[error("{0} is declared in the configuration file and as an account of the store")]
    Twice(Address),
    /// The keys of `[oauth]`.
    #[error("the keys of [oauth]: {0}")]
    Keys(String),
}

/// How an account's password is checked.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Secret {
    /// PHC string.
    Hash(String),
    /// The password itself.
    Plain(String),
}

/// What a proof of SCRAM is verified with.
pub(crate) enum ScramSecret<'a> {
    /// The account's verifier.
    Stored(&'a Verifier),
    /// The password, of which one is made.
    Plain(&'a str),
}

#[derive(Clone)]
struct Account {
    address: Address,
    secret: Option<Secret>,
    verifiers: Vec<Verifier>,
    app_passwords: Vec<AppPassword>,
    totp: Option<TotpSecret>,
    apop: Option<ApopSecret>,
    quota_bytes: Option<u64>,
    /// SHA-256 of the certificates that log in to it; empty: those that name its address.
    certificates: Vec<[u8; 32]>,
}

impl Account {
    fn scram_secret(&self, hash: ScramHash) -> Option<ScramSecret<'_>> {
        match &self.secret {
            // No proof says anything of a code.
            _ if self.totp.is_some() => None,
            Some(Secret::Plain(password)) => prepare(password).map(|_| ScramSecret::Plain(password)),
            Some(Secret::Hash(_)) => {
                self.verifiers.iter().find(|verifier| verifier.hash == hash).map(ScramSecret::Stored)
            }
            None => None,
        }
    }

    /// Whether SCRAM fails for the account though it has a password.
    fn lacks_scram(&self) -> bool {
        self.secret.is_some() && ScramHash::ALL.iter().any(|hash| self.scram_secret(*hash).is_none())
    }
}

/// The snapshot. Immutable; a change makes a new one.
pub struct Directory {
    domains: HashMap<Domain, DomainConfig>,
    first_domain: Option<Domain>,
    /// First domain whose mail goes on to its own server.
    first_relayed: Option<Domain>,
    accounts: HashMap<AccountId, Account>,
    /// Account of each folded address.
    by_address: HashMap<String, AccountId>,
    /// Targets of each folded alias.
    aliases: HashMap<String, Vec<Address>>,
    send_as: Vec<SendAsConfig>,
    /// First account of each domain.
    first_accounts: HashMap<Domain, AccountId>,
    /// First account of all.
    first_account: Option<AccountId>,
    missing: Vec<Address>,
    scram: Scram,
    issuer: Option<Arc<Issuer>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (domains, accounts) = (self.domains.len(), self.accounts.len());
        f.debug_struct("Directory")
            .field("domains", &domains)
            .field("accounts", &accounts)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// Makes a snapshot. Accounts of the file whose ids the store does not know yet are left out and named by
    /// [`Directory::missing`]; accounts that the file no longer declares, or whose domain is gone, get no mail and no login.
    pub fn new(config: &Config, records: &[AccountRecord]) -> Result<Arc<Self>, DirectoryError> {
        let first = |wanted: &dyn Fn(&&DomainConfig) -> bool| {
            config.domains.iter().find(wanted).map(|domain| domain.name.clone())
        };
        let mut directory = Self {
            domains: config.domains.iter().map(|domain| (domain.name.clone(), domain.clone())).collect(),
            first_domain: first(&|domain| domain.relay_to.is_none()),
            first_relayed: first(&|domain| domain.relay_to.is_some()),
            accounts: HashMap::new(),
            by_address: HashMap::new(),
            aliases: config.aliases.iter().map(|alias| (alias.from.folded(), alias.to.clone())).collect(),
            send_as: config.send_as.clone(),
            first_accounts: HashMap::new(),
            first_account: None,
            missing: Vec::new(),
            scram: Scram::Absent,
            issuer: match config.oauth.clone().map(Issuer::new).transpose() {
                Ok(issuer) => issuer.map(Arc::new),
                Err(problem) => return Err(DirectoryError::Keys(problem)),
            },
        };
        let by_address: HashMap<String, &AccountRecord> =
            records.iter().map(|record| (record.address.folded(), record)).collect();
        for account in &config.accounts {
            let secret = match &account.password {
                Password::Hash(hash) => Secret::Hash(hash.clone()),
                Password::Plain(password) => Secret::Plain(password.clone()),
            };
            match by_address.get(&account.address.folded()) {
                None => directory.missing.push(account.address.clone()),
                Some(record) if record.source == AccountSource::Store => {
                    return Err(DirectoryError::Twice(account.address.clone()));
                }
                Some(record) => {
                    directory.add(record, &account.address, Some(secret), account.quota_bytes);
                    let added = directory.accounts.get_mut(&record.id);
                    added.into_iter().for_each(|added| added.certificates.clone_from(&account.certificates));
                }
            }
        }
        let mut stored: Vec<_> =
            records.iter().filter(|record| record.source == AccountSource::Store).collect();
        stored.sort_by_key(|record| record.id);
        for record in stored {
            let secret = record.password_hash.clone().map(Secret::Hash);
            directory.add(record, &record.address, secret, record.quota_bytes);
        }
        if !directory.accounts.values().any(Account::lacks_scram) {
            directory.scram = Scram::Offered;
        }
        Ok(Arc::new(directory))
    }

    fn add(
        &mut self,
        record: &AccountRecord,
        address: &Address,
        secret: Option<Secret>,
        quota_bytes: Option<u64>,
    ) {
        if !self.domains.contains_key(&address.domain) {
            return;
        }
        let id = record.id;
        let account = Account {
            address: address.clone(),
            secret,
            verifiers: record.scram_verifiers.iter().filter_map(|text| Verifier::parse(text)).collect(),
            app_passwords: record.app_passwords.clone(),
            totp: record.totp.clone(),
            apop: record.apop.clone(),
            quota_bytes,
            certificates: record.certificates.iter().map(|certificate| certificate.sha256).collect(),
        };
        self.accounts.insert(id, account);
        self.by_address.insert(address.folded(), id);
        self.first_accounts.entry(address.domain.clone()).or_insert(id);
        self.first_account.get_or_insert(id);
    }

    /// Whether there is nobody whom mail for `postmaster` and `abuse` of our domains could go to but by an alias.
    pub fn has_no_account(&self) -> bool {
        self.first_account.is_none()
    }

    /// Accounts of the file that the store has no id for yet.
    pub fn missing(&self) -> &[Address] {
        &self.missing
    }

    /// Whether a domain is ours.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.domains.get(domain).is_some_and(|domain| domain.relay_to.is_none())
    }

    /// Our first domain whose mail is delivered here.
    pub fn first_domain(&self) -> Option<&Domain> {
        self.first_domain.as_ref()
    }

    /// The domain whose postmaster gets mail for a bare `postmaster`: our first one, or where we only hand mail on, the first of those
    /// (RFC 5321 section 4.5.1 wants a postmaster of each system that relays).
    pub fn postmaster_domain(&self) -> Option<&Domain> {
        self.first_domain.as_ref().or(self.first_relayed.as_ref())
    }

    /// An account's address.
    pub fn address(&self, account: AccountId) -> Option<&Address> {
        self.accounts.get(&account).map(|account| &account.address)
    }

    /// Bytes an account may hold; `None`: no bound.
    pub fn quota_bytes(&self, account: AccountId) -> Option<u64> {
        self.accounts.get(&account).and_then(|account| account.quota_bytes)
    }

    /// By what right the account sends from an address; `None`: it may not. Who alone gets the answers may also ask the questions.
    pub fn send_right(&self, account: AccountId, address: &Address) -> Option<SendRight> {
        if let Resolution::Deliver { accounts, remote, .. } = self.resolve(address)
            && accounts == [account]
            && remote.is_empty()
        {
            return Some(SendRight::Own);
        }
        let own = self.address(account)?;
        let granted = self.send_as.iter().filter(|granted| {
            granted.accounts.iter().any(|account| account.same_mailbox(own))
                && granted.addresses.iter().any(|granted| self.is_granted(granted, address))
        });
        granted.map(|granted| SendRight::Granted { add_sender: granted.add_sender }).min()
    }

    fn is_granted(&self, granted: &SendAsAddress, address: &Address) -> bool {
        match granted {
            SendAsAddress::Domain(domain) => *domain == address.domain,
            SendAsAddress::Address(granted) if granted.same_mailbox(address) => true,
            SendAsAddress::Address(granted) => {
                let separator = self.domains.get(&address.domain).and_then(|domain| domain.separator);
                let user = separator.map(|separator| address.local.split_detail(separator).0);
                user.is_some_and(|user| {
                    format!("{}@{}", user.to_lowercase(), address.domain) == granted.folded()
                })
            }
        }
    }

    /// Whether all accounts that have a password can log in by SCRAM.
    pub fn scram(&self) -> Scram {
        self.scram
    }

    /// The account that a login name means, for whom somebody else has checked the password.
    pub fn identity(&self, name: &str) -> Option<Identity> {
        self.login(name).map(|(identity, _)| identity)
    }

    /// Who issues bearer tokens.
    pub fn issuer(&self) -> Option<&Arc<Issuer>> {
        self.issuer.as_ref()
    }

    /// The account that a login name means, with its secret: a whole address, or a local part in our first domain.
    pub(crate) fn login(&self, name: &str) -> Option<(Identity, Option<&Secret>)> {
        let (id, account) = self.account(name)?;
        Some((Identity { account: id, address: account.address.clone() }, account.secret.as_ref()))
    }

    /// The accounts that a certificate logs in to: those that name it, and those whose address it names and that name none.
    pub(crate) fn of_certificate(&self, certificate: &Certificate) -> Vec<Identity> {
        let named = certificate.emails.iter().filter_map(|email| {
            let id = self.by_address.get(&Address::parse(email).ok()?.folded())?;
            self.accounts.get(id).filter(|account| account.certificates.is_empty()).map(|_| *id)
        });
        let naming =
            self.accounts.iter().filter(|(_, account)| account.certificates.contains(&certificate.sha256));
        let ids: BTreeSet<AccountId> = named.chain(naming.map(|(id, _)| *id)).collect();
        let identity =
            |id| self.address(id).map(|address| Identity { account: id, address: address.clone() });
        ids.into_iter().filter_map(identity).collect()
    }

    /// A login name as it is counted, whether or not there is such an account: all ways to write it are one.
    pub(crate) fn login_name(&self, name: &str) -> String {
        self.login_address(name).map_or_else(|| name.to_lowercase(), |address| address.folded())
    }

    /// What a proof of the account is verified with; `None`: there is no account, or SCRAM is not possible for it.
    pub(crate) fn scram_secret(&self, name: &str, hash: ScramHash) -> Option<ScramSecret<'_>> {
        self.account(name).and_then(|(_, account)| account.scram_secret(hash))
    }

    /// What the account's codes are made of, where its password is protected by them.
    pub(crate) fn totp(&self, name: &str) -> Option<(AccountId, &TotpSecret)> {
        let (id, account) = self.account(name)?;
        account.totp.as_ref().map(|secret| (id, secret))
    }

    /// What the account shares with its clients for APOP.
    pub(crate) fn apop(&self, name: &str) -> Option<&ApopSecret> {
        self.account(name)?.1.apop.as_ref()
    }

    /// What holds for POP3 sessions of the account.
    pub fn pop3_policy(&self, account: AccountId) -> Pop3Policy {
        let domain = self.address(account).and_then(|address| self.domains.get(&address.domain));
        domain.map(|domain| domain.pop3).unwrap_or_default()
    }

    /// What holds for POP3 sessions of the domains whose mail is delivered here.
    pub fn pop3_policies(&self) -> impl Iterator<Item = Pop3Policy> {
        self.domains.values().filter(|domain| domain.relay_to.is_none()).map(|domain| domain.pop3)
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.accounts.keys().copied()
    }

    /// The name of the account's app password that a password is, and that is for the service.
    pub(crate) fn app_password(&self, name: &str, password: &str, service: LoginService) -> Option<&str> {
        let (_, account) = self.account(name)?;
        app_password::find(&account.app_passwords, password, service).map(|found| found.name.as_str())
    }

    fn account(&self, name: &str) -> Option<(AccountId, &Account)> {
        let id = *self.by_address.get(&self.login_address(name)?.folded())?;
        self.accounts.get(&id).map(|account| (id, account))
    }

    fn login_address(&self, name: &str) -> Option<Address> {
        match (Address::parse(name), &self.first_domain) {
            (Ok(address), _) => Some(address),
            (Err(_), Some(domain)) if !name.contains('@') => Address::parse(&format!("{name}@{domain}")).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
