//! Logins of all protocols: whether a claim is good.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use aws_lc_rs::rand;
use waypost_mail::{LoginService, text::shortened};

use crate::{
    apop::Apop,
    directory::{Directory, Identity, Secret},
    password::Passwords,
    sasl::{Bearer, Claim, Credentials, Found, Lookup, Proof, Shown, prepare},
    seats::Seats,
    throttle::Throttle,
    token::{Ask, Checker, Issuer},
    totp::{self, UseCode, UsedCodes},
    verifiers::Verifiers,
};

/// Why a login failed. Peers are told no more than this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// Unknown user or wrong password: not told apart, also not by time.
    #[error("wrong user name or password")]
    Invalid,
    /// The password is right, but the account wants a code behind it, or another password.
    #[error("this account needs an app password, or a code behind its password")]
    CodeMissing,
    /// Too many failures from this address or for this account; try later.
    #[error("too many failed logins, try again later")]
    Throttled,
    /// The password is right, but the authorization identity is another user's (RFC 4616 section 2).
    #[error("acting as another user is not possible")]
    AnotherUser,
    /// Too many passwords are being checked; try later.
    #[error("the password cannot be checked now, try again later")]
    Busy,
}

/// Where a login comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The peer.
    pub peer: IpAddr,
    /// What it speaks.
    pub service: LoginService,
}

/// Verifies logins for all protocols. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    shared: Arc<Shared>,
    seats: Seats,
}

#[derive(Debug)]
struct Shared {
    throttle: Throttle,
    passwords: Passwords,
    verifiers: Verifiers,
    tokens: Checker,
    codes: UsedCodes,
}

impl Authenticator {
    /// `failures_per_minute` from one address (IPv6: one /64), and a multiple of it for one account; 0: no bound. Salts of users
    /// who have none stored are those of this process.
    pub fn new(failures_per_minute: u32) -> Self {
        let mut salt_key = [0; 32];
        if rand::fill(&mut salt_key).is_err() {
            tracing::warn!("no system randomness for the salts of unknown users");
        }
        Self::with_salt_key(failures_per_minute, &salt_key, None, None)
    }

    /// The same with a key that stays, so that after a restart the salts of users who have none stored are what they were: else
    /// the others, which stay, could be told apart. `ask` fetches from the issuer of tokens. `use_code` keeps which codes were used;
    /// without it a restart forgets them, and the codes of the time before it are good no more.
    pub fn with_salt_key(
        failures_per_minute: u32,
        salt_key: &[u8; 32],
        ask: Option<Ask>,
        use_code: Option<UseCode>,
    ) -> Self {
        let throttle = Throttle::new(failures_per_minute);
        let (passwords, verifiers) = (Passwords::new(), Verifiers::new(salt_key));
        let codes = UsedCodes::new(use_code, now());
        let shared = Shared { throttle, passwords, verifiers, tokens: Checker::new(ask), codes };
        Self { shared: Arc::new(shared), seats: Seats::default() }
    }

    /// How many sessions each account has: who logs in takes a seat for as long as the session lasts.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Fetches the keys of an issuer anew, where they are at a URL. Errors: they cannot be had; the last ones serve on.
    pub async fn refresh_keys(&self, issuer: &Arc<Issuer>) -> Result<(), String> {
        self.shared.tokens.refresh(issuer).await
    }

    /// What an exchange goes on with. A token that is not valid is a failed login already. Errors: `Throttled`, `Busy`.
    pub async fn look_up(
        &self,
        directory: &Directory,
        lookup: &Lookup,
        origin: Origin,
    ) -> Result<Found, LoginError> {
        match lookup {
            Lookup::ServerFirst { login, hash } => {
                self.admit(directory, login, origin)?;
                self.shared.verifiers.server_first(directory, login, *hash).map(Found::ServerFirst)
            }
            Lookup::Verifier { login, hash } => {
                self.admit(directory, login, origin)?;
                let found = self.shared.verifiers.find(directory, &self.shared.passwords, login, *hash);
                found.await.map(Found::Verifier)
            }
            Lookup::Token { authorization, token } => {
                self.admit(directory, authorization, origin)?;
                let issuer = directory.issuer().ok_or(LoginError::Busy)?;
                let verdict = self.shared.tokens.judge(issuer, token).await?;
                // Counted at once: a client that is told so need not say anything more.
                if let Err(fault) = &verdict {
                    self.failed(directory, authorization, &fault.to_string(), origin);
                }
                Ok(Found::Token(verdict))
            }
        }
    }

    /// Checks a login. The failed ones are logged with the peer's address, never the password; those by token were when they were looked
    /// up.
    pub async fn login(
        &self,
        directory: &Directory,
        claim: &Claim,
        origin: Origin,
    ) -> Result<Identity, LoginError> {
        if let Claim::Token(Bearer { verdict: Err(_), .. }) = claim {
            return Err(LoginError::Invalid);
        }
        let certified = match claim {
            Claim::Certificate(shown) => certified(directory, shown),
            _ => Ok(String::new()),
        };
        let themselves = String::new();
        let (login, authorization) = match claim {
            Claim::Certificate(Shown { authorization, .. }) => {
                (certified.as_ref().unwrap_or(authorization), authorization)
            }
            Claim::Password(Credentials { login, authorization, .. })
            | Claim::Scram(Proof { login, authorization, .. })
            | Claim::Token(Bearer { login, authorization, .. }) => (login, authorization),
            Claim::Apop(Apop { login, .. }) => (login, &themselves),
        };
        self.admit(directory, login, origin)?;
        let (matches, reason) = match claim {
            Claim::Password(credentials) => match self.check(directory, credentials, origin, now()).await? {
                Password::Right => (true, String::new()),
                Password::Wrong => (false, WRONG.to_owned()),
                Password::WithoutCode => (false, WITHOUT_CODE.to_owned()),
            },
            Claim::Scram(Proof { verdict: Err(fault), .. }) => (false, fault.to_string()),
            Claim::Apop(shown) => (shown.is_of(directory.apop(login)), WRONG.to_owned()),
            Claim::Certificate(_) => {
                (certified.is_ok(), certified.as_ref().err().copied().unwrap_or_default().to_owned())
            }
            Claim::Scram(_) | Claim::Token(_) => (true, "no such account".to_owned()),
        };
        // Many logins at once from one address wait for each other's hashes: what failed meanwhile counts, too.
        self.admit(directory, login, origin)?;
        let Some(identity) = directory.login(login).map(|(identity, _)| identity).filter(|_| matches) else {
            let error = self.failed(directory, login, &reason, origin);
            return Err(if reason == WITHOUT_CODE { LoginError::CodeMissing } else { error });
        };
        let acting = directory.login(authorization).map(|(acting, _)| acting.account);
        if !authorization.is_empty() && acting != Some(identity.account) {
            log(login, "for another user", origin);
            return Err(LoginError::AnotherUser);
        }
        self.shared.throttle.note_success(origin.peer, identity.account);
        Ok(identity)
    }

    /// Whether a password is the account's, with a code where it needs one, or one of its app passwords.
    async fn check(
        &self,
        directory: &Directory,
        Credentials { login, password, .. }: &Credentials,
        origin: Origin,
        now: u64,
    ) -> Result<Password, LoginError> {
        if let Some(name) = directory.app_password(login, password, origin.service) {
            tracing::debug!(account = login, app_password = name, "app password");
            return Ok(Password::Right);
        }
        let secret = directory.login(login).and_then(|(_, secret)| secret);
        let Some((account, totp)) = directory.totp(login) else {
            let matches = self.verify(secret, password).await?;
            return Ok(if matches { Password::Right } else { Password::Wrong });
        };
        // One look at a password, as for all accounts: what ends with six digits is one with a code.
        let (password, code) = match totp::split(password) {
            Some((password, code)) => (password, Some(code)),
            None => (password.as_str(), None),
        };
        let matches = self.verify(secret, password).await?;
        Ok(match code {
            _ if !matches => Password::Wrong,
            Some(code) => match self.shared.codes.take(account, totp, code, now).await? {
                true => Password::Right,
                false => Password::Wrong,
            },
            None => Password::WithoutCode,
        })
    }

    /// Whether a password is right, as it was typed or as it is prepared (RFC 4013): programs differ in how they send what is not ASCII.
    async fn verify(&self, secret: Option<&Secret>, password: &str) -> Result<bool, LoginError> {
        if self.shared.passwords.verify(secret, password).await? {
            return Ok(true);
        }
        match prepare(password).filter(|prepared| prepared != password) {
            Some(prepared) => self.shared.passwords.verify(secret, &prepared).await,
            None => Ok(false),
        }
    }

    fn admit(&self, directory: &Directory, login: &str, origin: Origin) -> Result<(), LoginError> {
        let account = directory.login(login).map(|(identity, _)| identity.account);
        if self.shared.throttle.is_throttled(origin.peer, &directory.login_name(login), account) {
            log(login, "too many failures", origin);
            return Err(LoginError::Throttled);
        }
        Ok(())
    }

    fn failed(&self, directory: &Directory, login: &str, reason: &str, origin: Origin) -> LoginError {
        self.shared.throttle.note_failure(origin.peer, &directory.login_name(login));
        log(login, reason, origin);
        LoginError::Invalid
    }
}

/// What a password is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Password {
    Right,
    Wrong,
    /// Right, but not enough.
    WithoutCode,
}

/// Why a password, or what stands for one, does not log in.
const WRONG: &str = "wrong user name or password";
/// Why a password that is right does not log in.
const WITHOUT_CODE: &str = "the password without a code";

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whom a certificate makes of a client: the one account that it logs in to, of several the one that the client wants to act as.
/// Errors: why it is nobody.
fn certified(directory: &Directory, shown: &Shown) -> Result<String, &'static str> {
    let accounts = directory.of_certificate(&shown.certificate);
    let wanted = directory.identity(&shown.authorization).map(|identity| identity.account);
    match (accounts.as_slice(), accounts.iter().find(|identity| Some(identity.account) == wanted)) {
        (_, Some(identity)) | ([identity], None) => Ok(identity.address.to_string()),
        ([], None) => Err("a certificate of no account"),
        _ => Err("a certificate of several accounts, and none of them was named"),
    }
}

/// Most octets of a login name that stand in the log: no address has more (RFC 5321 section 4.5.3.1).
const LOGGED_NAME_BYTES_MAX: usize = 320;

/// The one line of a login that failed. What the peer chose comes last, quoted: it cannot look like another address.
fn log(login: &str, reason: &str, Origin { peer, service }: Origin) {
    let account = shortened(login, LOGGED_NAME_BYTES_MAX);
    tracing::info!(address = %peer.to_canonical(), %service, reason, account = &*account, "login failed");
}

#[cfg(test)]
mod tests;
