//! Passwords: argon2id PHC strings, verified off the async threads by a bounded pool. What was verified is believed for a while,
//! so that a client that logs in again and again costs one hash, not a hundred.

mod cache;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use aws_lc_rs::{constant_time, hmac, rand};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use self::cache::Verified;
use crate::{
    LoginError,
    directory::Secret,
    locked,
    sasl::{ScramHash, Verifier, scram::ITERATIONS},
};

/// Hashes computed at once.
pub(crate) const HASHES_AT_ONCE: usize = 2;
/// Longest wait until a hash can be computed: many others are checked before.
const HASH_WAIT: Duration = Duration::from_secs(10);
/// Longest password in octets that is looked at.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;
/// Octets of a verifier's salt.
const SALT_BYTES: usize = 16;

/// A password could not be hashed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

impl HashError {
    pub(crate) fn no_randomness() -> Self {
        Self("no randomness".into())
    }
}

/// What is stored of a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Secrets {
    /// PHC string.
    pub password_hash: String,
    /// SCRAM verifiers in their text form; none where SCRAM cannot carry the password.
    pub scram_verifiers: Vec<String>,
}

impl Secrets {
    /// Those of a password, with random salts. Takes tens of milliseconds. Errors: those of [`hash_password`].
    pub fn of(password: &str) -> Result<Self, HashError> {
        let password_hash = hash_password(password)?;
        let mut scram_verifiers = Vec::new();
        for hash in ScramHash::ALL {
            let mut salt = vec![0; SALT_BYTES];
            rand::fill(&mut salt).map_err(|_| HashError::no_randomness())?;
            let verifier = Verifier::derive(hash, password, salt, ITERATIONS);
            scram_verifiers.extend(verifier.map(|verifier| verifier.to_string()));
        }
        Ok(Self { password_hash, scram_verifiers })
    }
}

/// A PHC string (argon2id, random salt) of a password. Takes tens of milliseconds. Errors: a password of over 1,024 octets, no randomness.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(HashError(format!("it has more than {PASSWORD_BYTES_MAX} octets")));
    }
    let hash =
        Argon2::default().hash_password(password.as_bytes()).map_err(|error| HashError(error.to_string()))?;
    Ok(hash.to_string())
}

/// What the password of an unknown user is compared with, so that it takes as long as that of a known one.
static DUMMY_HASH: LazyLock<String> = LazyLock::new(|| hash_password("nobody's").unwrap_or_default());

/// Checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    pub(crate) permits: Arc<Semaphore>,
    /// Random, and of this process alone.
    key: hmac::Key,
    verified: Mutex<Verified>,
    computed: AtomicU64,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let mut secret = [0; 32];
        // Without system randomness the key is fixed: the cache is then only as good as a plain hash, and still only in memory.
        if rand::fill(&mut secret).is_err() {
            tracing::warn!("no system randomness for the password cache");
        }
        Self {
            permits: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            verified: Mutex::default(),
            computed: AtomicU64::new(0),
        }
    }

    /// How often argon2 was computed.
    #[cfg(test)]
    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// Whether the password is right. Without a secret the work is the same and the answer is no.
    pub(crate) async fn verify(&self, secret: Option<&Secret>, password: &str) -> Result<bool, LoginError> {
        // A password that nobody can have takes as long as another that is wrong.
        match secret.filter(|_| password.len() <= PASSWORD_BYTES_MAX) {
            Some(Secret::Plain(expected)) => {
                let tag = |text: &str| hmac::sign(&self.key, text.as_bytes());
                let matches =
                    constant_time::verify_slices_are_equal(tag(expected).as_ref(), tag(password).as_ref());
                // A wrong password takes as long as an unknown user.
                if matches.is_ok() { Ok(true) } else { self.compute(None, password).await }
            }
            Some(Secret::Hash(hash)) => self.verify_hash(hash, password).await,
            None => self.compute(None, password).await,
        }
    }

    /// The tag holds the hash, so a secret that was changed is not believed any more.
    async fn verify_hash(&self, hash: &str, password: &str) -> Result<bool, LoginError> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [hash.as_bytes(), &[0], password.as_bytes()] {
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        if locked(&self.verified).contains(&tag) {
            return Ok(true);
        }
        let matches = self.compute(Some(hash), password).await?;
        if matches {
            locked(&self.verified).insert(tag);
        }
        Ok(matches)
    }

    /// argon2. Without a hash the work is done all the same, and the answer is no.
    async fn compute(&self, hash: Option<&str>, password: &str) -> Result<bool, LoginError> {
        // No more than a few octets over the longest password that can be right.
        let cut = password.floor_char_boundary(PASSWORD_BYTES_MAX);
        let (hash, password) = (hash.map(str::to_owned), password[..cut].to_owned());
        self.computed.fetch_add(1, Ordering::Relaxed);
        self.blocking(move || {
            let parsed = PasswordHash::new(hash.as_ref().unwrap_or(&DUMMY_HASH));
            let matches = parsed
                .is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
            matches && hash.is_some()
        })
        .await
    }

    /// The verifier of a password; milliseconds.
    pub(crate) async fn derive(
        &self,
        hash: ScramHash,
        password: String,
        salt: Vec<u8>,
        iterations: NonZeroU32,
    ) -> Result<Option<Verifier>, LoginError> {
        self.blocking(move || Verifier::derive(hash, &password, salt, iterations)).await
    }

    /// Work for the blocking pool, a few at a time.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LoginError> {
        let permit = timeout(HASH_WAIT, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| LoginError::Busy)?.map_err(|_| LoginError::Busy)?;
        let work = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        work.await.map_err(|_| LoginError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_salted() {
        assert_ne!(hash_password("x"), hash_password("x"));
        assert!(hash_password(&"x".repeat(PASSWORD_BYTES_MAX)).is_ok());
        assert!(hash_password(&"x".repeat(PASSWORD_BYTES_MAX + 1)).is_err());
        let (one, other) = (Secrets::of("x").unwrap(), Secrets::of("x").unwrap());
        assert_eq!(one.scram_verifiers.len(), 2);
        assert_ne!(one.scram_verifiers, other.scram_verifiers);
        assert!(Secrets::of("a\u{7}").unwrap().scram_verifiers.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_comes_again_costs_one_hash() {
        let passwords = Passwords::new();
        let secret = |password| Some(Secret::Hash(hash_password(password).unwrap()));
        let old = secret("old");
        for _ in 0..100 {
            assert_eq!(passwords.verify(old.as_ref(), "old").await, Ok(true));
        }
        assert_eq!(passwords.computed(), 1);
        // Wrong ones are not kept.
        for _ in 0..3 {
            assert_eq!(passwords.verify(old.as_ref(), "new").await, Ok(false));
        }
        assert_eq!(passwords.computed(), 4);
        // After a change of the password the old one is not believed.
        let new = secret("new");
        assert_eq!(passwords.verify(new.as_ref(), "old").await, Ok(false));
        assert_eq!(passwords.verify(new.as_ref(), "new").await, Ok(true));
        assert_eq!(passwords.computed(), 6);
        // One that nobody can have, and nobody's.
        assert_eq!(passwords.verify(new.as_ref(), &"x".repeat(PASSWORD_BYTES_MAX + 1)).await, Ok(false));
        assert_eq!(passwords.verify(None, "new").await, Ok(false));
        assert_eq!(passwords.computed(), 8);
    }
}
