//! Where mail for an address goes.

use std::collections::{BTreeSet, HashSet};

use waypost_mail::{AccountId, Address};

use super::Directory;

/// Addresses that every domain must have (RFC 5321 section 4.5.1, RFC 2142 section 2): without account or alias their mail goes to
/// the domain's first account; where nobody of the domain gets it, to the first account of all.
const ROLES: [&str; 2] = ["postmaster", "abuse"];

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

impl Directory {
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
        if expansion.leads_nowhere() {
            return Resolution::UnknownUser;
        }
        let Expansion { accounts, remote, missing, .. } = expansion;
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
