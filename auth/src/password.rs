//! Passwords: argon2id PHC strings, verified off the async threads by a bounded pool.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use aws_lc_rs::{constant_time, hmac, rand};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    directory::{Directory, Identity, Secret},
    sasl::Credentials,
    seats::Seats,
};

/// How long a secret that was verified is believed without argon2.
const CACHE_TIME: Duration = Duration::from_secs(600);
/// Most secrets in the cache.
const CACHE_MAX: usize = 10_000;
/// Hashes computed at once.
const HASHES_AT_ONCE: usize = 2;
/// Longest wait until a hash can be computed: many others are checked before.
const HASH_WAIT: Duration = Duration::from_secs(10);
/// The span in which failures are counted.
const FAILURE_SPAN: Duration = Duration::from_secs(60);
/// Most peers whose failures are counted.
const FAILING_PEERS_MAX: usize = 100_000;
/// Longest password in octets that is looked at.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Why a login failed. Peers are told no more than this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// Unknown user or wrong password: not told apart, also not by time.
    #[error("wrong user name or password")]
    Invalid,
    /// Too many failures from this address; try later.
    #[error("too many failed logins, try again later")]
    Throttled,
    /// The password is right, but the authorization identity is another user's (RFC 4616 section 2).
    #[error("acting as another user is not possible")]
    AnotherUser,
    /// Too many passwords are being checked; try later.
    #[error("the password cannot be checked now, try again later")]
    Busy,
}

/// A password could not be hashed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

/// Verifies logins for all protocols. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator {
    shared: Arc<Shared>,
    seats: Seats,
}

#[derive(Debug)]
struct Shared {
    failures_per_minute: u32,
    failures: Mutex<HashMap<IpAddr, (Instant, u32)>>,
    permits: Arc<Semaphore>,
    key: hmac::Key,
    verified: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Authenticator {
    /// `failures_per_minute` from one address (IPv6: one /64); 0: no bound.
    pub fn new(failures_per_minute: u32) -> Self {
        let mut secret = [0; 32];
        // Without system randomness the key is fixed: the cache is then only as good as a plain hash, and still only in memory.
        if rand::fill(&mut secret).is_err() {
            tracing::warn!("no system randomness for the password cache");
        }
        Self {
            shared: Arc::new(Shared {
                failures_per_minute,
                failures: Mutex::default(),
                permits: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
                key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
                verified: Mutex::default(),
            }),
            seats: Seats::default(),
        }
    }

    /// How many sessions each account has: who logs in takes a seat for as long as the session lasts.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// Checks a login by address and password. The failed ones are logged with the peer's address, never the password.
    pub async fn login(
        &self,
        directory: &Directory,
        credentials: &Credentials,
        peer: IpAddr,
    ) -> Result<Identity, LoginError> {
        let Credentials { authorization, login, password } = credentials;
        let peer = network(peer);
        if self.is_throttled(peer) {
            tracing::info!(user = login, %peer, "login refused: too many failures");
            return Err(LoginError::Throttled);
        }
        let found = directory.login(login);
        let secret = found.as_ref().and_then(|(_, secret)| *secret);
        // A password that nobody can have takes as long as another that is wrong.
        let secret = secret.filter(|_| password.len() <= PASSWORD_BYTES_MAX);
        let matches = self.verify(secret, password).await?;
        // Many logins at once from one address wait for each other's hashes: what failed meanwhile counts, too.
        if self.is_throttled(peer) {
            return Err(LoginError::Throttled);
        }
        match found.filter(|_| matches) {
            Some((identity, _)) => {
                let other = |acting: &Identity| acting.account != identity.account;
                let acting = directory.login(authorization).map(|(acting, _)| acting);
                if !authorization.is_empty() && acting.as_ref().is_none_or(other) {
                    tracing::info!(user = login, %peer, "login refused: for another user");
                    return Err(LoginError::AnotherUser);
                }
                Ok(identity)
            }
            None => {
                self.note_failure(peer);
                tracing::info!(user = login, %peer, "login failed");
                Err(LoginError::Invalid)
            }
        }
    }

    /// Whether the password is right. Without a secret the work is the same and the answer is no.
    async fn verify(&self, secret: Option<&Secret>, password: &str) -> Result<bool, LoginError> {
        match secret {
            Some(Secret::Plain(expected)) => {
                let tag = |text: &str| hmac::sign(&self.shared.key, text.as_bytes());
                let matches =
                    constant_time::verify_slices_are_equal(tag(expected).as_ref(), tag(password).as_ref());
                // A wrong password takes as long as an unknown user.
                if matches.is_ok() { Ok(true) } else { self.compute(None, password).await }
            }
            Some(Secret::Hash(hash)) => self.verify_hash(hash, password).await,
            None => self.compute(None, password).await,
        }
    }

    async fn verify_hash(&self, hash: &str, password: &str) -> Result<bool, LoginError> {
        let mut context = hmac::Context::with_key(&self.shared.key);
        context.update(hash.as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        let known = lock(&self.shared.verified).get(&tag).is_some_and(|since| since.elapsed() < CACHE_TIME);
        if known {
            return Ok(true);
        }
        let matches = self.compute(Some(hash), password).await?;
        if matches {
            let mut verified = lock(&self.shared.verified);
            if verified.len() >= CACHE_MAX {
                verified.retain(|_, since| since.elapsed() < CACHE_TIME);
            }
            if verified.len() < CACHE_MAX {
                verified.insert(tag, Instant::now());
            }
        }
        Ok(matches)
    }

    /// argon2, on the blocking pool, a few at a time. Without a hash the work is done all the same, and the answer is no.
    async fn compute(&self, hash: Option<&str>, password: &str) -> Result<bool, LoginError> {
        let permit = timeout(HASH_WAIT, self.shared.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| LoginError::Busy)?.map_err(|_| LoginError::Busy)?;
        // No more than a few octets over the longest password that can be right.
        let cut = password.floor_char_boundary(PASSWORD_BYTES_MAX);
        let (hash, password) = (hash.map(str::to_owned), password[..cut].to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let parsed = PasswordHash::new(hash.as_ref().unwrap_or(&DUMMY_HASH));
            let matches = parsed
                .is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
            matches && hash.is_some()
        });
        work.await.map_err(|_| LoginError::Busy)
    }

    fn is_throttled(&self, peer: IpAddr) -> bool {
        let bound = self.shared.failures_per_minute;
        let failures = lock(&self.shared.failures);
        let within = |(since, count): &(Instant, u32)| since.elapsed() < FAILURE_SPAN && *count >= bound;
        bound > 0 && failures.get(&peer).is_some_and(within)
    }

    fn note_failure(&self, peer: IpAddr) {
        let mut failures = lock(&self.shared.failures);
        if failures.len() >= FAILING_PEERS_MAX && !failures.contains_key(&peer) {
            failures.retain(|_, (since, _)| since.elapsed() < FAILURE_SPAN);
            // All within one minute: an attack from everywhere, of which the next minute counts anew.
            if failures.len() >= FAILING_PEERS_MAX {
                tracing::warn!("logins fail from too many addresses to be counted");
                failures.clear();
            }
        }
        let (since, count) = failures.entry(peer).or_insert((Instant::now(), 0));
        if since.elapsed() >= FAILURE_SPAN {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
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

/// The address, or the /64 of an IPv6 address.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::directory;

    const PEER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6));
    const NEIGHBOUR: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 9, 9, 9, 9));

    fn credentials(authorization: &str, login: &str, password: &str) -> Credentials {
        Credentials {
            authorization: authorization.to_owned(),
            login: login.to_owned(),
            password: password.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_user_may_act_as_herself_however_she_is_written() {
        let (directory, authenticator) = (directory(), Authenticator::new(0));
        for (authorization, password, expected) in [
            ("alice", "open sesame", Ok("Alice@a.test")),
            ("ALICE@a.test", "open sesame", Ok("Alice@a.test")),
            ("bob@a.test", "open sesame", Err(LoginError::AnotherUser)),
            ("nobody", "open sesame", Err(LoginError::AnotherUser)),
            ("bob@a.test", "wrong", Err(LoginError::Invalid)),
        ] {
            let credentials = credentials(authorization, "alice", password);
            let identity = authenticator.login(&directory, &credentials, PEER).await;
            let address = identity.map(|identity| identity.address.to_string());
            assert_eq!(address.as_deref().map_err(|error| *error), expected, "{authorization} {password}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_checked_soon_is_told_so() {
        let (directory, authenticator) = (directory(), Authenticator::new(0));
        let _taken = authenticator.shared.permits.acquire_many(HASHES_AT_ONCE as u32).await.unwrap();
        let credentials = credentials("", "bob@a.test", "bob's");
        assert_eq!(authenticator.login(&directory, &credentials, PEER).await, Err(LoginError::Busy));
    }

    #[tokio::test]
    async fn logins_are_checked() {
        let (directory, authenticator) = (directory(), Authenticator::new(0));
        for (login, password, address) in [
            ("alice@a.test", "open sesame", Some("Alice@a.test")),
            ("ALICE@A.test", "open sesame", Some("Alice@a.test")),
            ("alice", "open sesame", Some("Alice@a.test")),
            ("bob@a.test", "bob's", Some("bob@a.test")),
            ("bob@a.test", "bob's", Some("bob@a.test")),
            ("bob@a.test", "Bob's", None),
            ("bob@a.test", "", None),
            ("alice@a.test", "open sesam", None),
            ("nobody@a.test", "x", None),
            ("gone@a.test", "x", None),
            ("x@no-longer.test", "bob's", None),
            ("", "", None),
        ] {
            let identity = authenticator.login(&directory, &credentials("", login, password), PEER).await;
            assert_eq!(
                identity.ok().map(|identity| identity.address.to_string()).as_deref(),
                address,
                "{login} {password}"
            );
        }
    }

    #[tokio::test]
    async fn an_address_that_fails_too_often_waits() {
        let (directory, authenticator) = (directory(), Authenticator::new(2));
        let login = async |peer, password| {
            authenticator.login(&directory, &credentials("", "alice@a.test", password), peer).await
        };
        assert_eq!(login(PEER, "x").await, Err(LoginError::Invalid));
        assert!(login(PEER, "open sesame").await.is_ok());
        assert_eq!(login(NEIGHBOUR, "x").await, Err(LoginError::Invalid));
        assert_eq!(login(PEER, "open sesame").await, Err(LoginError::Throttled));
        assert!(login("192.0.2.1".parse().unwrap(), "open sesame").await.is_ok());
    }

    #[test]
    fn hashes_are_salted() {
        assert_ne!(hash_password("x"), hash_password("x"));
        assert!(hash_password(&"x".repeat(PASSWORD_BYTES_MAX)).is_ok());
        assert!(hash_password(&"x".repeat(PASSWORD_BYTES_MAX + 1)).is_err());
    }
}
