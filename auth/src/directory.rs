//! The directory: one immutable snapshot of domains, accounts and aliases, made from the configuration and the store's accounts.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
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

/// Addresses that every domain must have (RFC 5321 section 4.5.1, RFC 2142 section 2): without account or alias their mail goes to
/// the domain's first account; where nobody of the domain gets it, to the first account of all.
const ROLES: [&str; 2] = ["postmaster", "abuse"];

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

/// Where an address leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// Into accounts, and, through aliases, to addresses elsewhere; at least one of both, each once.
    Deliver {
        /// Accounts that get the mail.
        accounts: Vec<AccountId>,
        /// Addresses elsewhere that get it.
        remote: Vec<Address>,
        /// Addresses of ours that aliases lead to, and that nobody has: the sender is owed a notification for each.
        missing: Vec<Address>,
    },
    /// One of our domains has no such address.
    UnknownUser,
    /// We are a backup MX for the domain: anyone's mail for it is relayed.
    BackupMx,
    /// Not one of our domains: only those who may relay.
    Elsewhere,
}

/// One step on the way from an address to where its mail goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The address.
    pub address: Address,
    /// By what it leads on.
    pub means: Means,
    /// Where to.
    pub leads: Leads,
}

/// By what an address leads on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Means {
    /// By itself.
    Itself,
    /// Without its detail (`user+detail`).
    Detail,
    /// As `postmaster` or `abuse`, which every domain has.
    Role,
    /// By the domain's `catch_all`.
    CatchAll,
}

/// Where an address leads in one step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leads {
    /// Into the mailboxes of an account.
    Account(AccountId),
    /// To other addresses.
    Addresses(Vec<Address>),
    /// Elsewhere: it is none of ours.
    Elsewhere,
    /// Nowhere: nobody has it.
    Nowhere,
}

/// An alias or catch-all that leads to an address of ours that nobody has.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DeadEnd {
    /// The address of the alias; of a catch-all `@` and the domain.
    pub from: String,
    /// The address that nobody has.
    pub to: String,
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

    /// Where mail for an address goes: account, alias (targets may be aliases again; loops end), plus-address, catch-all; for
    /// `postmaster` and `abuse` without account or alias the first account of the domain, and where nobody gets their mail the first
    /// account of all (RFC 5321 section 4.5.1). A bare `postmaster` is asked for as `postmaster@` [`Directory::postmaster_domain`].
    pub fn resolve(&self, address: &Address) -> Resolution {
        match self.domains.get(&address.domain) {
            None => return Resolution::Elsewhere,
            Some(domain) if domain.relay_to.is_some() => return Resolution::BackupMx,
            Some(_) => {}
        }
        let mut expansion = Expansion::default();
        self.expand(address, &mut expansion, |_, _, _| ());
        let Expansion { accounts, remote, missing, .. } = expansion;
        if accounts.is_empty() && remote.is_empty() {
            return Resolution::UnknownUser;
        }
        Resolution::Deliver { accounts, remote, missing }
    }

    /// The steps that [`Directory::resolve`] goes.
    pub fn steps(&self, address: &Address) -> Vec<Step> {
        let mut steps = Vec::new();
        self.expand(address, &mut Expansion::default(), |address, means, next| {
            let leads = match next {
                Next::Account(id) => Leads::Account(*id),
                Next::Addresses(targets) => Leads::Addresses(targets.to_vec()),
                Next::Remote => Leads::Elsewhere,
                Next::Nowhere => Leads::Nowhere,
            };
            steps.push(Step { address: address.clone(), means, leads });
        });
        steps
    }

    /// Follows one address; each is followed once, so that loops end and the addresses of the configuration are the bound. None
    /// may be left out: who accepts mail for an alias owes it to all behind it.
    fn expand(
        &self,
        address: &Address,
        expansion: &mut Expansion,
        mut tell: impl FnMut(&Address, Means, &Next<'_>),
    ) {
        let (first, mut open) = (address, vec![address.clone()]);
        while let Some(address) = open.pop() {
            let folded = address.folded();
            if expansion.seen.contains(&folded) {
                continue;
            }
            let (means, next) = self.step(&address, &folded);
            expansion.seen.insert(folded);
            tell(&address, means, &next);
            match next {
                Next::Account(id) if !expansion.accounts.contains(&id) => expansion.accounts.push(id),
                Next::Remote => expansion.remote.push(address),
                Next::Addresses(targets) => open.extend(targets.iter().rev().cloned()),
                Next::Nowhere => expansion.missing.push(address),
                Next::Account(_) => {}
            }
        }
        if let Some(account) = self.first_account.filter(|_| expansion.leads_nowhere() && is_role(first)) {
            tell(first, Means::Role, &Next::Account(account));
            expansion.accounts.push(account);
            expansion.missing.clear();
        }
    }

    /// Where one address leads in one step; `folded`: what it is known by.
    fn step(&self, address: &Address, folded: &str) -> (Means, Next<'_>) {
        let Some(domain) = self.domains.get(&address.domain).filter(|domain| domain.relay_to.is_none())
        else {
            return (Means::Itself, Next::Remote);
        };
        let known = |key: &str| {
            let account = self.by_address.get(key).map(|id| Next::Account(*id));
            account.or_else(|| self.aliases.get(key).map(|targets| Next::Addresses(targets)))
        };
        let without_detail = || {
            let (user, detail) = address.local.split_detail(domain.separator?);
            detail.and_then(|_| known(&format!("{}@{}", user.to_lowercase(), address.domain)))
        };
        let role = || {
            let first = self.first_accounts.get(&address.domain).filter(|_| is_role(address));
            first.map(|id| Next::Account(*id))
        };
        // it does not catch itself: an address that nobody has is missing there, too
        let catch_all = || {
            let target = domain.catch_all.as_ref().filter(|target| !target.same_mailbox(address));
            target.map(|target| Next::Addresses(std::slice::from_ref(target)))
        };
        let any_account = || self.first_account.filter(|_| is_role(address)).map(Next::Account);
        let by = |means: Means| move |next| (means, next);
        known(folded)
            .map(by(Means::Itself))
            .or_else(|| without_detail().map(by(Means::Detail)))
            .or_else(|| role().map(by(Means::Role)))
            .or_else(|| catch_all().map(by(Means::CatchAll)))
            .or_else(|| any_account().map(by(Means::Role)))
            .unwrap_or((Means::Itself, Next::Nowhere))
    }

    /// Aliases and catch-alls that lead to an address of ours that nobody has, in order: where they lead to others as well, mail for them is
    /// accepted, and its sender told of that address. Those that lead in a circle, too: nobody has what they lead to.
    pub fn dead_ends(&self) -> BTreeSet<DeadEnd> {
        // What leads on to another that nobody has is told of that one alone.
        let leads_nowhere = |to: &Address| {
            let mut expansion = Expansion::default();
            self.expand(to, &mut expansion, |_, _, _| ());
            expansion.leads_nowhere() && expansion.missing.iter().all(|missing| missing == to)
        };
        let aliases =
            self.aliases.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from.clone(), to)));
        let ours = self.domains.values().filter(|domain| domain.relay_to.is_none());
        let catch_alls =
            ours.filter_map(|domain| Some((format!("@{}", domain.name), domain.catch_all.as_ref()?)));
        let ends = aliases.chain(catch_alls).filter(|(_, to)| leads_nowhere(to));
        ends.map(|(from, to)| DeadEnd { from, to: to.to_string() }).collect()
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

#[derive(Default)]
struct Expansion {
    accounts: Vec<AccountId>,
    remote: Vec<Address>,
    missing: Vec<Address>,
    seen: HashSet<String>,
}

impl Expansion {
    fn leads_nowhere(&self) -> bool {
        self.accounts.is_empty() && self.remote.is_empty()
    }
}

/// Whether it is one of those that every domain has.
fn is_role(address: &Address) -> bool {
    ROLES.iter().any(|role| address.local.as_str().eq_ignore_ascii_case(role))
}

enum Next<'a> {
    Account(AccountId),
    Addresses(&'a [Address]),
    Remote,
    Nowhere,
}

#[cfg(test)]
pub(crate) mod tests {
    use waypost_mail::{AccountCertificate, Timestamp};

    use super::*;

    const CONFIG: &str = r#"
        hostname = "mx.a.test"
        state_dir = "state"
        [[listener]]
        service = "smtp"
        address = "127.0.0.1:0"
        tls = "none"
        [[domain]]
        name = "a.test"
        [[domain]]
        name = "c.test"
        catch_all = "Alice@a.test"
        separator = ""
        [[domain]]
        name = "backup.test"
        relay_to = "192.0.2.1:25"
        [[account]]
        address = "Alice@a.test"
        password = "open sesame"
        quota = "1 MiB"
        certificate_sha256 = ["0707070707070707070707070707070707070707070707070707070707070707"]
        [[account]]
        address = "new@a.test"
        password = "x"
        [[alias]]
        from = "team@a.test"
        to = ["alice@a.test", "bob@a.test", "far@elsewhere.test", "again@a.test"]
        [[alias]]
        from = "again@a.test"
        to = ["team@a.test", "x@backup.test"]
        [[alias]]
        from = "void@a.test"
        to = ["nobody@a.test"]
    "#;

    pub(crate) fn record(id: u64, address: &str, source: AccountSource) -> AccountRecord {
        let secrets = (source == AccountSource::Store).then(|| crate::Secrets::of("bob's").unwrap());
        let phone = AppPassword {
            name: "telephone".into(),
            hash: app_password::hash("bobs-telephone"),
            services: vec![LoginService::Imap, LoginService::Submission],
            created: Timestamp(0),
        };
        AccountRecord {
            id: AccountId(id),
            address: Address::parse(address).unwrap(),
            source,
            password_hash: secrets.as_ref().map(|secrets| secrets.password_hash.clone()),
            app_passwords: secrets.iter().map(|_| phone.clone()).collect(),
            scram_verifiers: secrets.map(|secrets| secrets.scram_verifiers).unwrap_or_default(),
            totp: None,
            apop: None,
            certificates: Vec::new(),
            quota_bytes: None,
        }
    }

    /// With codes for bob.
    pub(crate) fn protected(secret: TotpSecret) -> Arc<Directory> {
        with_bob(|bob| bob.totp = Some(secret))
    }

    /// With certificates for bob, each of one octet.
    pub(crate) fn certified(octets: &[u8]) -> Arc<Directory> {
        let certificate = |octet: &u8| AccountCertificate {
            name: octet.to_string(),
            sha256: [*octet; 32],
            added: Timestamp(0),
        };
        with_bob(|bob| bob.certificates = octets.iter().map(certificate).collect())
    }

    /// With an issuer of tokens.
    pub(crate) fn with_issuer(issuer: waypost_config::OauthConfig) -> Arc<Directory> {
        let mut config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
        config.oauth = Some(issuer);
        Directory::new(&config, &[record(1, "alice@a.test", AccountSource::File)]).unwrap()
    }

    /// With a change of bob.
    pub(crate) fn with_bob(change: impl FnOnce(&mut AccountRecord)) -> Arc<Directory> {
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
        let mut bob = record(2, "bob@a.test", AccountSource::Store);
        change(&mut bob);
        Directory::new(&config, &[record(1, "alice@a.test", AccountSource::File), bob]).unwrap()
    }

    pub(crate) fn directory() -> Arc<Directory> {
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
        let records = [
            record(1, "alice@a.test", AccountSource::File),
            record(2, "bob@a.test", AccountSource::Store),
            record(3, "gone@a.test", AccountSource::File),
            record(4, "x@no-longer.test", AccountSource::Store),
        ];
        Directory::new(&config, &records).unwrap()
    }

    fn resolve(address: &str) -> Resolution {
        directory().resolve(&Address::parse(address).unwrap())
    }

    fn accounts(ids: &[u64]) -> Resolution {
        let (accounts, none) = (ids.iter().map(|id| AccountId(*id)).collect(), Vec::new());
        Resolution::Deliver { accounts, remote: none.clone(), missing: none }
    }

    #[test]
    fn addresses_lead_where_they_should() {
        for (address, expected) in [
            ("alice@a.test", accounts(&[1])),
            ("ALICE+lists@A.test", accounts(&[1])),
            ("postmaster@a.test", accounts(&[1])),
            ("Abuse@a.test", accounts(&[1])),
            ("anyone+x@c.test", accounts(&[1])),
            ("nobody@a.test", Resolution::UnknownUser),
            ("void@a.test", Resolution::UnknownUser),
            ("gone@a.test", Resolution::UnknownUser),
            ("new@a.test", Resolution::UnknownUser),
            ("x@backup.test", Resolution::BackupMx),
            ("x@no-longer.test", Resolution::Elsewhere),
            ("x@elsewhere.test", Resolution::Elsewhere),
        ] {
            assert_eq!(resolve(address), expected, "{address}");
        }
    }

    #[test]
    fn the_way_of_an_address_is_told_step_by_step() {
        let address = |text: &str| Address::parse(text).unwrap();
        let step = |text: &str, means, leads| Step { address: address(text), means, leads };
        let steps = |text: &str| directory().steps(&address(text));
        let alice = Leads::Account(AccountId(1));
        for (text, means, leads) in [
            ("alice@a.test", Means::Itself, alice.clone()),
            ("Alice+lists@a.test", Means::Detail, alice.clone()),
            ("abuse@a.test", Means::Role, alice.clone()),
            ("nobody@a.test", Means::Itself, Leads::Nowhere),
            ("x@backup.test", Means::Itself, Leads::Elsewhere),
            ("x@elsewhere.test", Means::Itself, Leads::Elsewhere),
        ] {
            assert_eq!(steps(text), [step(text, means, leads)], "{text}");
        }
        let to_alice = Leads::Addresses(vec![address("Alice@a.test")]);
        assert_eq!(
            steps("any@c.test"),
            [step("any@c.test", Means::CatchAll, to_alice), step("Alice@a.test", Means::Itself, alice)]
        );
        // Each address once, though the aliases lead in a circle.
        let way: Vec<String> = steps("team@a.test").iter().map(|step| step.address.to_string()).collect();
        assert_eq!(
            way,
            [
                "team@a.test",
                "alice@a.test",
                "bob@a.test",
                "far@elsewhere.test",
                "again@a.test",
                "x@backup.test"
            ]
        );
    }

    #[test]
    fn addresses_beyond_ascii_and_rules_of_a_domain() {
        let more = r#"
            [[domain]]
            name = "bücher.test"
            separator = "-"
            catch_all = "Jörg@bücher.test"
            [[account]]
            address = "jörg@xn--bcher-kva.test"
            password = "x"
            [[alias]]
            from = "Größe@bücher.test"
            to = ["JÖRG@bücher.test", "bob@a.test", "ü@ö.test"]
        "#;
        let text = format!("{CONFIG}\n{more}");
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
        let records = [
            record(2, "bob@a.test", AccountSource::Store),
            record(7, "jörg@bücher.test", AccountSource::File),
        ];
        let directory = Directory::new(&config, &records).unwrap();
        let resolve = |address: &str| directory.resolve(&Address::parse(address).unwrap());
        for address in [
            "jörg@bücher.test",
            "JÖRG@BÜCHER.test",
            "Jörg@XN--BCHER-KVA.test",
            "jörg-ab-c@bücher.test",
            "postmaster@bücher.test",
            // Only by catch-all: the separator is another one here.
            "jörg+x@bücher.test",
            "кто-то@bücher.test",
        ] {
            assert_eq!(resolve(address), accounts(&[7]), "{address}");
        }
        let Resolution::Deliver { accounts, remote, .. } = resolve("gRÖße@bücher.test") else {
            panic!("it is an alias")
        };
        assert_eq!(accounts, [AccountId(7), AccountId(2)]);
        assert_eq!(remote[0].to_string(), "ü@xn--nda.test");
        let right = |address: &str| directory.send_right(AccountId(7), &Address::parse(address).unwrap());
        assert_eq!((right("JÖRG-x@bücher.test"), right("größe-x@bücher.test")), (Some(SendRight::Own), None));
        assert_eq!(directory.identity("JÖRG@bücher.test").unwrap().account, AccountId(7));
    }

    #[test]
    fn a_login_name_means_an_account() {
        for (name, account) in
            [("ALICE@a.test", Some(1)), ("bob", Some(2)), ("gone@a.test", None), ("team@a.test", None)]
        {
            let identity = directory().identity(name);
            assert_eq!(identity.map(|identity| identity.account.0), account, "{name}");
        }
    }

    #[test]
    fn aliases_lead_to_several_and_loops_end() {
        let Resolution::Deliver { accounts, remote, missing } = resolve("team@a.test") else {
            panic!("team is an alias")
        };
        assert_eq!(accounts, [AccountId(1), AccountId(2)]);
        assert_eq!(
            remote.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["far@elsewhere.test", "x@backup.test"]
        );
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// The directory of the configuration with more in it.
    fn with(more: &str, records: &[AccountRecord]) -> Arc<Directory> {
        let text = format!("{CONFIG}\n{more}");
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
        Directory::new(&config, records).unwrap()
    }

    fn ends(directory: &Directory) -> Vec<String> {
        directory.dead_ends().iter().map(|end| format!("{} {}", end.from, end.to)).collect()
    }

    #[test]
    fn what_an_alias_leads_to_in_vain_is_told() {
        let more = r#"
            [[alias]]
            from = "Some@a.test"
            to = ["alice@a.test", "Typo@a.test", "bob+x@a.test", "inner@a.test"]
            [[alias]]
            from = "inner@a.test"
            to = ["typo@a.test", "lost@a.test", "x@elsewhere.test", "x@backup.test", "x@c.test"]
            [[domain]]
            name = "d.test"
            catch_all = "nobody@d.test"
        "#;
        let records =
            [record(1, "alice@a.test", AccountSource::File), record(2, "bob@a.test", AccountSource::Store)];
        let directory = with(more, &records);
        let Resolution::Deliver { accounts, missing, .. } =
            directory.resolve(&Address::parse("some@a.test").unwrap())
        else {
            panic!("some is an alias")
        };
        assert_eq!(accounts, [AccountId(1), AccountId(2)]);
        assert_eq!(
            missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["Typo@a.test", "lost@a.test"]
        );
        assert_eq!(
            ends(&directory),
            [
                "@d.test nobody@d.test",
                "inner@a.test lost@a.test",
                "inner@a.test typo@a.test",
                "some@a.test Typo@a.test",
                "void@a.test nobody@a.test",
            ]
        );
        assert_eq!(ends(&self::directory()), ["void@a.test nobody@a.test"]);
    }

    #[test]
    fn aliases_that_go_round_are_told() {
        let records =
            [record(1, "alice@a.test", AccountSource::File), record(2, "bob@a.test", AccountSource::Store)];
        let circles = r#"
            [[alias]]
            from = "self@a.test"
            to = ["Self@a.test"]
            [[alias]]
            from = "here@a.test"
            to = ["there@a.test"]
            [[alias]]
            from = "there@a.test"
            to = ["here@a.test"]
            [[alias]]
            from = "out@a.test"
            to = ["out@a.test", "alice@a.test"]
        "#;
        let directory = with(circles, &records);
        let expected = [
            "here@a.test there@a.test",
            "self@a.test Self@a.test",
            "there@a.test here@a.test",
            "void@a.test nobody@a.test",
        ];
        assert_eq!(ends(&directory), expected);
        assert_eq!(directory.resolve(&Address::parse("self@a.test").unwrap()), Resolution::UnknownUser);
    }

    /// RFC 5321 section 4.5.1.
    #[test]
    fn every_domain_has_a_postmaster_as_long_as_there_is_an_account() {
        let more = r#"
            [[domain]]
            name = "d.test"
            [[domain]]
            name = "e.test"
            catch_all = "nobody@e.test"
            [[domain]]
            name = "f.test"
            catch_all = "bob@a.test"
            [[alias]]
            from = "info@d.test"
            to = ["far@elsewhere.test"]
            [[alias]]
            from = "abuse@d.test"
            to = ["nobody@d.test"]
        "#;
        let records =
            [record(2, "bob@a.test", AccountSource::Store), record(1, "alice@a.test", AccountSource::File)];
        let directory = with(more, &records);
        let resolve = |directory: &Directory, text: &str| directory.resolve(&Address::parse(text).unwrap());
        for (address, expected) in [
            ("postmaster@d.test", accounts(&[1])),
            ("ABUSE@d.test", accounts(&[1])),
            ("abuse@e.test", accounts(&[1])),
            ("postmaster@f.test", accounts(&[2])),
            ("hostmaster@d.test", Resolution::UnknownUser),
            ("postmaster@backup.test", Resolution::BackupMx),
            ("postmaster@elsewhere.test", Resolution::Elsewhere),
        ] {
            assert_eq!(resolve(&directory, address), expected, "{address}");
        }
        let last = directory.steps(&Address::parse("abuse@d.test").unwrap()).pop().unwrap();
        assert_eq!((last.means, last.leads), (Means::Role, Leads::Account(AccountId(1))));
        assert!(!directory.has_no_account());
        let nobody = with(more, &[]);
        assert_eq!(resolve(&nobody, "postmaster@d.test"), Resolution::UnknownUser);
        assert!(nobody.has_no_account());
    }

    #[test]
    fn an_alias_leads_to_all_its_addresses() {
        let targets: Vec<_> = (0..2_000).map(|n| format!("\"x{n}@elsewhere.test\"")).collect();
        let alias = format!("[[alias]]\nfrom = \"all@a.test\"\nto = [{}]", targets.join(", "));
        let text = format!("{CONFIG}\n{alias}");
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
        let directory = Directory::new(&config, &[]).unwrap();
        let Resolution::Deliver { remote, .. } = directory.resolve(&Address::parse("all@a.test").unwrap())
        else {
            panic!("all is an alias")
        };
        assert_eq!(remote.len(), targets.len());
    }

    #[test]
    fn a_sender_must_get_the_mail_of_the_address_alone_or_be_granted_it() {
        let text = format!(
            "{CONFIG}\n[[send_as]]\naccounts = [\"BOB@a.test\"]\naddresses = [\"team@a.test\", \"@lists.test\"]\n\
             [[send_as]]\naccounts = [\"alice@a.test\", \"bob@a.test\"]\naddresses = [\"x@lists.test\"]\nadd_sender = false\n"
        );
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &text).unwrap();
        let records =
            [record(1, "alice@a.test", AccountSource::File), record(2, "bob@a.test", AccountSource::Store)];
        let directory = Directory::new(&config, &records).unwrap();
        let (own, named, hidden) = (
            Some(SendRight::Own),
            Some(SendRight::Granted { add_sender: true }),
            Some(SendRight::Granted { add_sender: false }),
        );
        for (address, alice, bob) in [
            ("alice@a.test", own, None),
            ("ALICE+x@a.test", own, None),
            ("any@c.test", own, None),
            ("team@a.test", None, named),
            ("Team+x@a.test", None, named),
            ("x@lists.test", hidden, hidden),
            ("y@lists.test", None, named),
            ("x@more.lists.test", None, None),
            ("bob@elsewhere.test", None, None),
        ] {
            let parsed = Address::parse(address).unwrap();
            let rights = [1, 2].map(|id| directory.send_right(AccountId(id), &parsed));
            assert_eq!(rights, [alice, bob], "{address}");
        }
        let team = Address::parse("team@a.test").unwrap();
        assert_eq!(directory.send_right(AccountId(99), &team), None);
    }

    #[test]
    fn scram_is_offered_where_it_works_for_all() {
        let config =
            |text: &str| waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), text).unwrap();
        let scram =
            |text: &str, records: &[AccountRecord]| Directory::new(&config(text), records).unwrap().scram();
        assert_eq!(directory().scram(), Scram::Offered);
        let alice = record(1, "alice@a.test", AccountSource::File);
        let mut bob = record(2, "bob@a.test", AccountSource::Store);
        let hashed = CONFIG.replace("\"open sesame\"", &format!("{:?}", bob.password_hash.as_ref().unwrap()));
        let hashed = hashed.replacen("password =", "password_hash =", 1);
        assert_eq!(
            scram(&hashed, std::slice::from_ref(&alice)),
            Scram::Absent,
            "the file holds a hash alone"
        );
        assert_eq!(scram(CONFIG, &[alice.clone(), bob.clone()]), Scram::Offered);
        let odd = CONFIG.replace("open sesame", "open\\u0007sesame");
        assert_eq!(
            scram(&odd, &[alice.clone(), bob.clone()]),
            Scram::Absent,
            "SCRAM cannot carry the password"
        );
        let mut protected = bob.clone();
        protected.totp = Some(TotpSecret(vec![7]));
        assert_eq!(scram(CONFIG, &[alice.clone(), protected]), Scram::Absent, "a proof has no code");
        bob.scram_verifiers.pop();
        assert_eq!(scram(CONFIG, &[alice.clone(), bob.clone()]), Scram::Absent, "a verifier is missing");
        bob.password_hash = None;
        assert_eq!(scram(CONFIG, &[alice, bob]), Scram::Offered, "who has no password needs no verifier");
    }

    #[test]
    fn an_address_in_both_places_is_an_error() {
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), CONFIG).unwrap();
        let records = [record(1, "ALICE@a.test", AccountSource::Store)];
        let error = Directory::new(&config, &records).unwrap_err();
        assert!(matches!(error, DirectoryError::Twice(_)), "{error}");
        let directory = Directory::new(&config, &[]).unwrap();
        assert_eq!(directory.missing().len(), 2);
    }
}
