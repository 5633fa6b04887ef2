//! Checks tokens, and remembers what the issuer was asked: its keys, and what it said of tokens.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{Context, SHA256};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use waypost_config::{Introspection, TokenSource};

use super::{Active, Ask, Errand, Issuer, TokenFault, keys::KeySet};
use crate::{LoginError, locked};

/// The key set is not fetched more often for a key that is not known.
pub(crate) const FETCH_INTERVAL: Duration = Duration::from_secs(60);
/// How long it is believed what the issuer said of a token.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Most tokens that are remembered.
const ANSWERS_MAX: usize = 10_000;
/// Tokens that the issuer is asked about at once.
const ASKED_AT_ONCE: usize = 8;
/// Longest wait until it can be asked.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// Checks tokens.
pub(crate) struct Checker {
    ask: Option<Ask>,
    fetched: Mutex<Fetched>,
    /// One fetches, the others wait for it.
    fetching: Semaphore,
    asking: Semaphore,
    answers: Mutex<HashMap<[u8; 32], Answer>>,
}

/// What was fetched, and when it was tried last.
#[derive(Default)]
struct Fetched {
    url: String,
    keys: Option<Arc<KeySet>>,
    tried: Option<Instant>,
}

/// What the issuer said of a token.
struct Answer {
    active: Active,
    until: Instant,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("asks", &self.ask.is_some()).finish_non_exhaustive()
    }
}

impl Checker {
    /// Without `ask` only keys of the configuration are known.
    pub(crate) fn new(ask: Option<Ask>) -> Self {
        Self {
            ask,
            fetched: Mutex::default(),
            fetching: Semaphore::new(1),
            asking: Semaphore::new(ASKED_AT_ONCE),
            answers: Mutex::default(),
        }
    }

    /// The login name in a token that is valid now. Errors: it cannot be known now.
    pub(crate) async fn judge(
        &self,
        issuer: &Arc<Issuer>,
        token: &str,
    ) -> Result<Result<String, TokenFault>, LoginError> {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        self.judge_at(issuer, token, now).await
    }

    pub(super) async fn judge_at(
        &self,
        issuer: &Arc<Issuer>,
        token: &str,
        now: i64,
    ) -> Result<Result<String, TokenFault>, LoginError> {
        match (&issuer.config.source, &issuer.keys) {
            (_, Some(keys)) => Ok(issuer.verify(keys, token, now)),
            (TokenSource::Introspection(asked), _) => self.introspect(issuer, asked, token, now).await,
            (TokenSource::KeysUrl(url), _) => self.by_fetched_keys(issuer, url, token, now).await,
            (TokenSource::Keys(_), None) => Err(LoginError::Busy),
        }
    }

    async fn by_fetched_keys(
        &self,
        issuer: &Arc<Issuer>,
        url: &str,
        token: &str,
        now: i64,
    ) -> Result<Result<String, TokenFault>, LoginError> {
        let known = self.keys(url);
        match known.as_ref().map(|keys| issuer.verify(keys, token, now)) {
            None | Some(Err(TokenFault::Key)) => {}
            Some(verdict) => return Ok(verdict),
        }
        let _permit = self.fetching.acquire().await.map_err(|_| LoginError::Busy)?;
        let newest = self.keys(url);
        // Who waited for another's fetch takes what that one got.
        let is_same = known.as_ref().map(Arc::as_ptr) == newest.as_ref().map(Arc::as_ptr);
        if is_same && self.may_fetch(url) {
            // Why there are no new ones stands in the log; the last ones serve on.
            self.fetch(issuer, url).await.unwrap_or_default();
        }
        let keys = self.keys(url).ok_or(LoginError::Busy)?;
        Ok(issuer.verify(&keys, token, now))
    }

    /// Fetches the key set anew where there is one to fetch. Errors: it could not be; the log says why.
    pub(crate) async fn refresh(&self, issuer: &Arc<Issuer>) -> Result<(), String> {
        let TokenSource::KeysUrl(url) = &issuer.config.source else { return Ok(()) };
        let _permit = self.fetching.acquire().await.map_err(|error| error.to_string())?;
        self.fetch(issuer, url).await
    }

    async fn fetch(&self, issuer: &Arc<Issuer>, url: &str) -> Result<(), String> {
        {
            let mut fetched = locked(&self.fetched);
            if fetched.url != url {
                *fetched = Fetched { url: url.to_owned(), ..Fetched::default() };
            }
            fetched.tried = Some(Instant::now());
        }
        let asked = self.send(issuer, Errand::KeySet).await;
        match asked.and_then(|json| KeySet::parse(&json)) {
            Ok(keys) => {
                let mut fetched = locked(&self.fetched);
                // A reload in between asks for another set.
                if fetched.url == url {
                    fetched.keys = Some(Arc::new(keys));
                }
                tracing::debug!(url, "the keys of [oauth] were fetched");
                Ok(())
            }
            Err(problem) => {
                let serves_on = self.keys(url).is_some();
                tracing::warn!(url, problem, serves_on, "the keys of [oauth] cannot be fetched");
                Err(problem)
            }
        }
    }

    fn keys(&self, url: &str) -> Option<Arc<KeySet>> {
        let fetched = locked(&self.fetched);
        fetched.keys.clone().filter(|_| fetched.url == url)
    }

    fn may_fetch(&self, url: &str) -> bool {
        let fetched = locked(&self.fetched);
        fetched.url != url || fetched.tried.is_none_or(|tried| tried.elapsed() >= FETCH_INTERVAL)
    }

    async fn introspect(
        &self,
        issuer: &Arc<Issuer>,
        asked: &Introspection,
        token: &str,
        now: i64,
    ) -> Result<Result<String, TokenFault>, LoginError> {
        let tag = tag(issuer, asked, token);
        if let Some(login) = self.remembered(&tag, now) {
            return Ok(Ok(login));
        }
        let permit = timeout(ASK_WAIT, self.asking.acquire()).await.map_err(|_| LoginError::Busy)?;
        let _permit = permit.map_err(|_| LoginError::Busy)?;
        let answer = self.send(issuer, Errand::Introspect(token.to_owned())).await;
        let verdict = answer.and_then(|answer| issuer.introspected(&answer, now)).map_err(|problem| {
            tracing::warn!(url = asked.url, problem, "the issuer of [oauth] cannot be asked about tokens");
            LoginError::Busy
        })?;
        Ok(verdict.map(|active| {
            let login = active.login.clone();
            self.remember(tag, active);
            login
        }))
    }

    /// What the issuer said a short while ago; never past the token's own time.
    fn remembered(&self, tag: &[u8; 32], now: i64) -> Option<String> {
        let mut answers = locked(&self.answers);
        let Answer { active, until } = answers.get(tag)?;
        let is_good = Instant::now() < *until && active.expires.is_none_or(|expires| (now as f64) < expires);
        let login = is_good.then(|| active.login.clone());
        if login.is_none() {
            answers.remove(tag);
        }
        login
    }

    fn remember(&self, tag: [u8; 32], active: Active) {
        let mut answers = locked(&self.answers);
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(tag, Answer { active, until: Instant::now() + ANSWER_TIME });
    }

    async fn send(&self, issuer: &Arc<Issuer>, errand: Errand) -> Result<Vec<u8>, String> {
        let ask = self.ask.as_ref().ok_or("nobody can be asked")?;
        ask(Arc::clone(issuer), errand).await
    }
}

/// What an answer is remembered by: the token itself is kept nowhere.
fn tag(issuer: &Issuer, asked: &Introspection, token: &str) -> [u8; 32] {
    let config = &issuer.config;
    let mut context = Context::new(&SHA256);
    for part in [&asked.url, &asked.client_id, &config.issuer, &config.audience, &config.claim, token] {
        context.update(&part.len().to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.finish().as_ref());
    tag
}
