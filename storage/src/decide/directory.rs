//! Commands on the accounts.

use waypost_mail::{
    AccountCertificate, AccountId, ApopSecret, AppPassword, MailboxId, Timestamp, TotpSecret,
};

use super::{Command, Draft, Undecided, mailboxes, name::INBOX};
use crate::{
    error::StoreError,
    record::{
        AccountCreated, AccountRemoved, ApopChanged, AppPasswordsChanged, CertificatesChanged, CodeUsed,
        CodesForgotten, KeptAppPassword, KeptCertificate, NewValidity, PasswordChanged, QuotaChanged,
        StateRestored, Subscribed, TotpChanged, UidValidityChanged,
    },
    state::{DirectoryState, SpecialUse},
    store::NewAccount,
};

/// The mailboxes that a new account has.
const FIRST_MAILBOXES: [(&str, Option<SpecialUse>); 6] = [
    (INBOX, None),
    ("Drafts", Some(SpecialUse::Drafts)),
    ("Sent", Some(SpecialUse::Sent)),
    ("Junk", Some(SpecialUse::Junk)),
    ("Trash", Some(SpecialUse::Trash)),
    ("Archive", Some(SpecialUse::Archive)),
];

/// Creates an account with its first mailboxes, subscribed.
pub(crate) struct CreateAccount(pub(crate) NewAccount);

impl Command for CreateAccount {
    type Outcome = AccountId;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<AccountId, Undecided> {
        let NewAccount { address, source, password_hash, scram_verifiers, quota_bytes } = self.0.clone();
        let directory = &draft.state().directory;
        if directory.accounts.values().any(|account| account.address.same_mailbox(&address)) {
            return Err(StoreError::AccountExists.into());
        }
        let account = AccountId(directory.next_account.max(1));
        draft.directory(AccountCreated {
            account,
            address,
            source,
            password_hash,
            quota_bytes,
            scram_verifiers,
        });
        draft.begin_account(account);
        for (name, special_use) in FIRST_MAILBOXES {
            mailboxes::create(draft, account, name, special_use)?;
            draft.push(account, Subscribed { name: name.to_owned(), subscribed: true })?;
        }
        Ok(account)
    }
}

/// Changes an account's password.
pub(crate) struct SetPassword {
    pub(crate) account: AccountId,
    pub(crate) password_hash: Option<String>,
    pub(crate) scram_verifiers: Vec<String>,
}

impl Command for SetPassword {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        let Self { account, password_hash, scram_verifiers } = self;
        if current.password_hash != *password_hash || current.scram_verifiers != *scram_verifiers {
            draft.directory(PasswordChanged {
                account: *account,
                password_hash: password_hash.clone(),
                scram_verifiers: scram_verifiers.clone(),
            });
        }
        Ok(())
    }
}

/// Most app passwords of an account.
const APP_PASSWORDS_MAX: usize = 100;

/// Gives an account another app password. Errors: `AppPasswordExists` where it has one of the name.
pub(crate) struct AddAppPassword {
    pub(crate) account: AccountId,
    pub(crate) app_password: AppPassword,
}

impl Command for AddAppPassword {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        let mut app_passwords = current.app_passwords.clone();
        if app_passwords.iter().any(|known| known.name == self.app_password.name) {
            return Err(StoreError::AppPasswordExists.into());
        }
        if app_passwords.len() >= APP_PASSWORDS_MAX {
            return Err(StoreError::Limit("100 app passwords of an account").into());
        }
        app_passwords.push(self.app_password.clone());
        draft.directory(changed(self.account, app_passwords));
        Ok(())
    }
}

/// Takes an app password away from an account.
pub(crate) struct RemoveAppPassword {
    pub(crate) account: AccountId,
    pub(crate) name: String,
}

impl Command for RemoveAppPassword {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        let mut app_passwords = current.app_passwords.clone();
        app_passwords.retain(|known| known.name != self.name);
        if app_passwords.len() == current.app_passwords.len() {
            return Err(StoreError::NoSuchAppPassword.into());
        }
        draft.directory(changed(self.account, app_passwords));
        Ok(())
    }
}

fn changed(account: AccountId, app_passwords: Vec<AppPassword>) -> AppPasswordsChanged {
    AppPasswordsChanged { account, app_passwords: app_passwords.into_iter().map(KeptAppPassword).collect() }
}

/// Most certificates of an account.
const CERTIFICATES_MAX: usize = 100;

/// Lets another certificate log in to an account. Errors: `CertificateExists` where it has it, or one of the name.
pub(crate) struct AddCertificate {
    pub(crate) account: AccountId,
    pub(crate) certificate: AccountCertificate,
}

impl Command for AddCertificate {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        let AccountCertificate { name, sha256, .. } = &self.certificate;
        let mut certificates = current.certificates.clone();
        if certificates.iter().any(|known| known.name == *name || known.sha256 == *sha256) {
            return Err(StoreError::CertificateExists.into());
        }
        if certificates.len() >= CERTIFICATES_MAX {
            return Err(StoreError::Limit("100 certificates of an account").into());
        }
        certificates.push(self.certificate.clone());
        draft.directory(with_certificates(self.account, certificates));
        Ok(())
    }
}

/// Lets a certificate log in to an account no longer.
pub(crate) struct RemoveCertificate {
    pub(crate) account: AccountId,
    pub(crate) name: String,
}

impl Command for RemoveCertificate {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        let mut certificates = current.certificates.clone();
        certificates.retain(|known| known.name != self.name);
        if certificates.len() == current.certificates.len() {
            return Err(StoreError::NoSuchCertificate.into());
        }
        draft.directory(with_certificates(self.account, certificates));
        Ok(())
    }
}

fn with_certificates(account: AccountId, certificates: Vec<AccountCertificate>) -> CertificatesChanged {
    CertificatesChanged { account, certificates: certificates.into_iter().map(KeptCertificate).collect() }
}

/// Protects an account's password by codes, or no longer. Errors: `TotpExists` where it is protected already.
pub(crate) struct SetTotp {
    pub(crate) account: AccountId,
    pub(crate) secret: Option<TotpSecret>,
}

impl Command for SetTotp {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        if self.secret.is_some() && current.totp.is_some() {
            return Err(StoreError::TotpExists.into());
        }
        if current.totp != self.secret {
            draft.directory(TotpChanged { account: self.account, secret: self.secret.clone() });
        }
        Ok(())
    }
}

/// Gives an account another secret for APOP, or takes it away.
pub(crate) struct SetApop {
    pub(crate) account: AccountId,
    pub(crate) secret: Option<ApopSecret>,
}

impl Command for SetApop {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        if current.apop != self.secret {
            draft.directory(ApopChanged { account: self.account, secret: self.secret.clone() });
        }
        Ok(())
    }
}

/// Uses the code of a time step; `false` where it is used already, or the account has no codes.
pub(crate) struct UseCode {
    pub(crate) account: AccountId,
    pub(crate) step: u64,
}

impl Command for UseCode {
    type Outcome = bool;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<bool, Undecided> {
        let Self { account, step } = *self;
        let directory = &draft.state().directory;
        let current = directory.accounts.get(&account).ok_or(StoreError::NoSuchAccount)?;
        let used = directory.used_codes.get(&account);
        let is_good = current.totp.is_some() && used.is_none_or(|used| step > *used);
        if is_good {
            draft.directory(CodeUsed { account, step });
        }
        Ok(is_good)
    }
}

/// Seconds of a time step (RFC 6238 section 4.2; its default in section 5.2).
const STEP_SECONDS: u64 = 30;
/// Time steps for which a used code is known: a day. It is good for three of them; the clock may be set back.
const USED_STEPS_KEPT: u64 = 24 * 3600 / STEP_SECONDS;

/// Forgets which codes were used long ago: none of them is good any more.
pub(crate) struct ForgetCodes;

impl Command for ForgetCodes {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let seconds = u64::try_from(draft.now().seconds()).unwrap_or(0);
        let before = (seconds / STEP_SECONDS).saturating_sub(USED_STEPS_KEPT);
        if draft.state().directory.used_codes.values().any(|step| *step < before) {
            draft.directory(CodesForgotten { before });
        }
        Ok(())
    }
}

/// Changes an account's quota.
pub(crate) struct SetQuota {
    pub(crate) account: AccountId,
    pub(crate) quota_bytes: Option<u64>,
}

impl Command for SetQuota {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let current = draft.state().directory.accounts.get(&self.account).ok_or(StoreError::NoSuchAccount)?;
        if current.quota_bytes != self.quota_bytes {
            draft.directory(QuotaChanged { account: self.account, quota_bytes: self.quota_bytes });
        }
        Ok(())
    }
}

/// Removes an account.
pub(crate) struct RemoveAccount(pub(crate) AccountId);

impl Command for RemoveAccount {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        if !draft.state().directory.accounts.contains_key(&self.0) {
            return Err(StoreError::NoSuchAccount.into());
        }
        draft.directory(AccountRemoved { account: self.0 });
        Ok(())
    }
}

/// Numbers that no account passes in one second: the floor of a restore is its second times this.
const SEQS_A_SECOND: u64 = 1 << 20;
/// By how much the floor of a restore is larger than that of the one before, whatever the clock says.
const SEQS_A_RESTORE: u64 = 1 << 32;
/// Ids that stay unused for the accounts that were perhaps created after a backup, whatever the clock says.
const ACCOUNTS_A_RESTORE: u64 = 1 << 20;

/// What begins anew in a state that was just restored. The time is in all of it, so that a backup that is restored twice does not
/// give the same numbers twice.
pub(crate) fn restored(directory: &DirectoryState, now: Timestamp) -> StateRestored {
    let of_clock = u64::try_from(now.seconds()).unwrap_or(0).saturating_mul(SEQS_A_SECOND);
    let before = directory.restores.iter().map(|restore| restore.floor).max().unwrap_or(0);
    let accounts_below = directory.next_account.max(1);
    let milliseconds = u64::try_from(now.0).unwrap_or(0);
    StateRestored {
        at: now,
        accounts_below,
        next_account: milliseconds.max(accounts_below.saturating_add(ACCOUNTS_A_RESTORE)),
        floor: of_clock.max(before.saturating_add(SEQS_A_RESTORE)),
    }
}

/// Mends an account that was just rebuilt from a stream with a gap, or that came out of a backup: an INBOX, and UIDVALIDITYs under
/// which no UID was given.
pub(crate) struct Mend(pub(crate) AccountId);

impl Command for Mend {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let base = draft.base(self.0)?;
        let floor = draft.state().directory.floor(self.0);
        let next_mailbox = (base.seq < floor).then(|| base.next_mailbox.0.max(floor));
        if let Some(next) = next_mailbox {
            draft.begin_behind(self.0, floor, MailboxId(next))?;
        }
        let mut mailboxes = Vec::with_capacity(base.mailboxes.len());
        for id in base.mailboxes.keys() {
            mailboxes.push(NewValidity { mailbox: *id, uid_validity: draft.take_uid_validity(self.0)? });
        }
        draft.push(self.0, UidValidityChanged { mailboxes, next_mailbox })?;
        if base.inbox().is_none() {
            mailboxes::create(draft, self.0, INBOX, None)?;
        }
        Ok(())
    }
}
