//! Requests and answers, and how they are carried out.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use waypost_auth::{Live, Secrets};
use waypost_config::Config;
use waypost_mail::{AccountRecord, AccountSource, Address, ApopSecret, TotpSecret};
use waypost_mta::{
    queue::Control,
    reports::{
        incoming::Incoming,
        outgoing::{ReportLine, Reporter},
    },
};
use waypost_storage::{NewAccount, Store, StoreError};

use super::{
    acl::{self, AclJob, AclLine},
    app_password::{self, AppPasswordLine},
    certificate::{self, CertificateLine},
    dkim::{self, DkimAnswer, DkimJob},
    maintenance::{self, Maintained, Maintenance},
    queue::{self, QueueAnswer, QueueJob},
    reports::{self, ReportsAnswer, ReportsJob},
    route::{self, RouteAnswer, Router},
    suppression::{self, SuppressionAnswer, SuppressionJob},
};
use crate::port::{self, Event, Job, Summary};

/// What an administrator asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Creates an account of the store.
    AccountAdd {
        /// Its address.
        address: String,
        /// PHC string.
        password_hash: String,
        /// SCRAM verifiers of the same password.
        #[serde(default)]
        scram_verifiers: Vec<String>,
        /// Bytes it may hold.
        quota_bytes: Option<u64>,
    },
    /// Lists accounts.
    AccountList,
    /// Removes an account with its mail.
    AccountRemove {
        /// Its address.
        address: String,
        /// Also one that was taken out of the configuration file.
        #[serde(default)]
        purge: bool,
    },
    /// Changes a password.
    AccountPassword {
        /// Its address.
        address: String,
        /// PHC string.
        password_hash: String,
        /// SCRAM verifiers of the same password.
        #[serde(default)]
        scram_verifiers: Vec<String>,
    },
    /// Protects an account's password by codes, or no longer.
    AccountTotp {
        /// Its address.
        address: String,
        /// What the codes are made of; `None`: no longer.
        secret: Option<Vec<u8>>,
    },
    /// Gives an account a secret for APOP, or takes it away.
    AccountApop {
        /// Its address.
        address: String,
        /// The secret; `None`: no longer.
        secret: Option<String>,
    },
    /// Gives an account an app password.
    AppPasswordAdd {
        /// The account's address.
        address: String,
        /// What it is called.
        name: String,
        /// Its hash.
        hash: String,
        /// The services it is for.
        services: Vec<String>,
    },
    /// Lists the app passwords of an account.
    AppPasswordList {
        /// The account's address.
        address: String,
    },
    /// Takes an app password away.
    AppPasswordRemove {
        /// The account's address.
        address: String,
        /// What it is called.
        name: String,
    },
    /// Lets a certificate log in to an account.
    CertificateAdd {
        /// The account's address.
        address: String,
        /// What it is called.
        name: String,
        /// Its SHA-256 fingerprint.
        sha256: [u8; 32],
    },
    /// Lists the certificates of an account.
    CertificateList {
        /// The account's address.
        address: String,
    },
    /// Lets a certificate log in to an account no longer.
    CertificateRemove {
        /// The account's address.
        address: String,
        /// What it is called.
        name: String,
    },
    /// Changes a quota.
    AccountQuota {
        /// Its address.
        address: String,
        /// Bytes it may hold; `None`: no bound.
        quota_bytes: Option<u64>,
    },
    /// Tells what would become of a message.
    Route {
        /// Its sender; `<>` or empty: the null path.
        from: String,
        /// Its recipient.
        to: String,
    },
    /// Looks at the queue, or gives it orders. Progress may come before the answer.
    Queue {
        /// What is asked of it.
        job: QueueJob,
    },
    /// Looks at the suppression list, or changes it.
    Suppression {
        /// What is asked of it.
        job: SuppressionJob,
    },
    /// Looks at the reports that arrived.
    Reports {
        /// What is asked of them.
        job: ReportsJob,
    },
    /// Looks at access control lists, or changes them.
    Acl {
        /// What is asked of them.
        job: AclJob,
    },
    /// Looks at the keys that mail is signed with, or changes them.
    Dkim {
        /// What is asked of them.
        job: DkimJob,
    },
    /// Sends the reports about a day again, or before their time.
    ReportsSend {
        /// The day, as `2026-11-25`.
        day: String,
    },
    /// Moves mail of an account in or out; its paths are absolute. Events come before the answer.
    Port {
        /// Its address.
        address: String,
        /// What is to be done.
        job: Job,
    },
    /// Looks after the store. Events come before the answer.
    Maintain {
        /// What is to be done.
        job: Maintenance,
    },
}

/// The answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It is done.
    Done,
    /// Accounts.
    Accounts(Vec<AccountLine>),
    /// App passwords of one account.
    AppPasswords(Vec<AppPasswordLine>),
    /// Certificates of one account.
    Certificates(Vec<CertificateLine>),
    /// What the queue answers.
    Queue(QueueAnswer),
    /// What the suppression list answers.
    Suppression(SuppressionAnswer),
    /// What reports say.
    Reports(Box<ReportsAnswer>),
    /// Entries of access control lists.
    Acl(Vec<AclLine>),
    /// What became of keys, and all that there are.
    Dkim(DkimAnswer),
    /// What became of reports.
    ReportsSent(Vec<ReportLine>),
    /// What would become of a message.
    Route(Box<RouteAnswer>),
    /// Not the answer yet: how far it is, and what cannot be done.
    Event(Event),
    /// Mail was moved.
    Ported(Summary),
    /// The store was looked after.
    Maintained(Maintained),
    /// It is not done; why.
    Failed(String),
}

/// One account in a listing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AccountLine {
    /// Its address.
    pub address: String,
    /// `store`, `file`, or `nowhere`: it was taken out of the file, which ended its login and keeps its mail.
    pub declared_in: String,
    /// Messages it holds; `None` where it could not be read.
    pub messages: Option<u64>,
    /// Bytes it holds.
    pub bytes: Option<u64>,
    /// Bytes it may hold.
    pub quota_bytes: Option<u64>,
}

/// What requests are carried out with, besides the store.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Tells where mail goes.
    pub router: Router,
    /// The queue, where it runs.
    pub control: Option<Control>,
    /// Sends reports.
    pub reporter: Reporter,
    /// The reports that arrived.
    pub reports: Incoming,
}

/// Carries a request out. What takes long tells `events`, and ends early where nobody takes them.
pub async fn execute(
    store: &Store,
    live: &Live,
    parts: &Parts,
    request: Request,
    events: mpsc::Sender<Event>,
) -> Response {
    let result = match request {
        Request::AccountAdd { address, password_hash, scram_verifiers, quota_bytes } => {
            add(store, live, &address, Secrets { password_hash, scram_verifiers }, quota_bytes).await
        }
        Request::AccountList => Ok(Response::Accounts(accounts(store, &live.config).await)),
        Request::AccountRemove { address, purge } => match removable(store, live, &address, purge) {
            Ok(record) => done(store.remove_account(record.id).await),
            Err(problem) => Err(problem),
        },
        Request::AccountPassword { address, password_hash, scram_verifiers } => {
            match of_the_store(store, live, &address) {
                Ok(record) => done(store.set_password(record.id, Some(password_hash), scram_verifiers).await),
                Err(problem) => Err(problem),
            }
        }
        Request::AccountTotp { address, secret } => match named(store, &address) {
            Ok(record) => done(store.set_totp(record.id, secret.map(TotpSecret)).await),
            Err(problem) => Err(problem),
        },
        Request::AccountApop { address, secret } => match named(store, &address) {
            Ok(record) => done(store.set_apop(record.id, secret.map(ApopSecret)).await),
            Err(problem) => Err(problem),
        },
        Request::AppPasswordAdd { address, name, hash, services } => {
            app_password::add(store, &address, name, hash, &services).await
        }
        Request::AppPasswordList { address } => app_password::list(store, &address),
        Request::AppPasswordRemove { address, name } => app_password::remove(store, &address, name).await,
        Request::CertificateAdd { address, name, sha256 } => {
            certificate::add(store, live, &address, name, sha256).await
        }
        Request::CertificateList { address } => certificate::list(store, live, &address),
        Request::CertificateRemove { address, name } => {
            certificate::remove(store, live, &address, name).await
        }
        Request::AccountQuota { address, quota_bytes } => match of_the_store(store, live, &address) {
            Ok(record) => done(store.set_quota(record.id, quota_bytes).await),
            Err(problem) => Err(problem),
        },
        Request::Queue { job } => queue::run(store, live, parts, job, &events).await.map(Response::Queue),
        Request::Suppression { job } => suppression::run(store, live, job).await.map(Response::Suppression),
        Request::Reports { job } => reports::run(store, live, parts, job).await,
        Request::Acl { job } => acl::run(store, job).await.map(Response::Acl),
        Request::Dkim { job } => {
            dkim::run(store, live, &parts.router.resolver, job).await.map(Response::Dkim)
        }
        Request::ReportsSend { day } => {
            reports::send(live, &parts.reporter, &day).await.map(Response::ReportsSent)
        }
        Request::Route { from, to } => route::run(store, live, &parts.router, &from, &to).await,
        Request::Port { address, job } => port(store, live, parts, &address, job, events).await,
        Request::Maintain { job } => maintenance::run(store, job, events).await,
    };
    result.unwrap_or_else(Response::Failed)
}

pub(super) fn done(result: Result<(), StoreError>) -> Result<Response, String> {
    result.map(|()| Response::Done).map_err(|error| error.to_string())
}

async fn port(
    store: &Store,
    live: &Live,
    parts: &Parts,
    address: &str,
    job: Job,
    events: mpsc::Sender<Event>,
) -> Result<Response, String> {
    let record = named(store, address)?;
    let account = store.account(record.id).await.map_err(|error| error.to_string())?;
    let (state_dir, resolver) = (&live.config.state_dir, &parts.router.resolver);
    port::run(store, account, state_dir, resolver, job, events).await.map(Response::Ported)
}

async fn add(
    store: &Store,
    live: &Live,
    address: &str,
    secrets: Secrets,
    quota_bytes: Option<u64>,
) -> Result<Response, String> {
    let address = Address::parse(address).map_err(|problem| format!("{address}: {problem}"))?;
    may_be_added(&live.config, &address)?;
    if let Some(record) = find(store, &address).filter(|record| record.source == AccountSource::File) {
        let address = record.address;
        return Err(format!(
            "{address} was an account of the configuration file, and its mail is kept: put it back there, or \
             delete it with its mail by `waypost account remove --purge {address}`"
        ));
    }
    let Secrets { password_hash, scram_verifiers } = secrets;
    let account = NewAccount {
        address,
        source: AccountSource::Store,
        password_hash: Some(password_hash),
        scram_verifiers,
        quota_bytes,
    };
    done(store.create_account(account).await.map(|_| ()))
}

/// Whether a configuration lets an address become an account of the store; if not, why.
pub fn may_be_added(config: &Config, address: &Address) -> Result<(), String> {
    match config.domains.iter().find(|domain| domain.name == address.domain) {
        None => return Err(format!("the configuration has no [[domain]] with the name {}", address.domain)),
        Some(domain) if domain.relay_to.is_some() => {
            return Err(format!("mail for {} is handed on (relay_to), not delivered here", domain.name));
        }
        Some(_) => {}
    }
    if config.aliases.iter().any(|alias| alias.from.same_mailbox(address)) {
        return Err(format!("{address} is an alias in the configuration"));
    }
    if is_in_file(config, address) {
        return Err(format!("{address} is an account of the configuration file"));
    }
    Ok(())
}

fn is_in_file(config: &Config, address: &Address) -> bool {
    config.accounts.iter().any(|account| account.address.same_mailbox(address))
}

fn find(store: &Store, address: &Address) -> Option<AccountRecord> {
    let directory = store.directory();
    let directory = directory.borrow();
    directory.accounts.values().find(|record| record.address.same_mailbox(address)).cloned()
}

pub(super) fn named(store: &Store, address: &str) -> Result<AccountRecord, String> {
    let parsed = Address::parse(address).map_err(|problem| format!("{address}: {problem}"))?;
    find(store, &parsed).ok_or_else(|| format!("there is no account {address}"))
}

/// The account of an address, if it is the store's and so can be changed here.
pub(super) fn of_the_store(store: &Store, live: &Live, address: &str) -> Result<AccountRecord, String> {
    let record = named(store, address)?;
    match record.source {
        AccountSource::Store => Ok(record),
        AccountSource::File if is_in_file(&live.config, &record.address) => {
            Err(format!("{address} is declared in the configuration file: change it there"))
        }
        AccountSource::File => Err(format!("{address} was taken out of the configuration file")),
    }
}

/// The account of an address, if it may go: one of the store, or, with `purge`, one that the file declared and no longer does.
fn removable(store: &Store, live: &Live, address: &str, purge: bool) -> Result<AccountRecord, String> {
    let record = named(store, address)?;
    if record.source == AccountSource::Store {
        return Ok(record);
    }
    if is_in_file(&live.config, &record.address) {
        return Err(format!(
            "{address} is declared in the configuration file: take it out there, which ends its login; then \
             `waypost account remove --purge` deletes its mail"
        ));
    }
    if purge {
        return Ok(record);
    }
    Err(format!(
        "{address} was taken out of the configuration file; its mail is kept until `waypost account remove --purge {address}`"
    ))
}

fn declared_in(record: &AccountRecord, config: &Config) -> &'static str {
    match record.source {
        AccountSource::Store => "store",
        AccountSource::File if is_in_file(config, &record.address) => "file",
        AccountSource::File => "nowhere",
    }
}

async fn accounts(store: &Store, config: &Config) -> Vec<AccountLine> {
    let records: Vec<AccountRecord> = store.directory().borrow().accounts.values().cloned().collect();
    let mut lines = Vec::with_capacity(records.len());
    for record in records {
        let state = store.account(record.id).await.map(|account| account.state()).ok();
        let messages = |state: &waypost_storage::AccountState| {
            state.mailboxes.values().map(|mailbox| u64::from(mailbox.count)).sum()
        };
        lines.push(AccountLine {
            address: record.address.to_string(),
            declared_in: declared_in(&record, config).to_owned(),
            messages: state.as_ref().map(|state| messages(state)),
            bytes: state.as_ref().map(|state| state.bytes),
            quota_bytes: record.quota_bytes,
        });
    }
    lines.sort_by(|a, b| a.address.cmp(&b.address));
    lines
}
