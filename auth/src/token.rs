//! Bearer tokens: JSON Web Tokens (RFC 7519) that are signed with a key of the issuer's set (RFC 7515, RFC 7517, RFC 7518), or
//! tokens that the issuer is asked about (RFC 7662). Only signatures by public keys: RS256, ES256 and EdDSA. The key says which
//! algorithm it is for, never the token.
//!
//! Here is what a token and an answer say; [`checker`] knows what was fetched and asked, and when. Neither opens a connection:
//! [`Ask`] does.

mod checker;
mod keys;

use std::{future::Future, pin::Pin, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use waypost_config::{OauthConfig, TokenSource};

pub(crate) use self::checker::Checker;
use self::keys::KeySet;

/// By how many seconds the issuer's clock may differ from ours.
const LEEWAY_SECONDS: i64 = 60;

/// What the issuer is asked for over the network.
#[derive(Clone, Eq, PartialEq)]
pub enum Errand {
    /// Its key set: what is at `keys_url`.
    KeySet,
    /// About this token: what `introspection_url` answers (RFC 7662 section 2.1).
    Introspect(String),
}

/// What comes of an [`Errand`]: the JSON that a status of 200 came with, or why there is none.
pub type Asking = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// Does an [`Errand`] for an issuer, within a time and a size of its own.
pub type Ask = Arc<dyn Fn(Arc<Issuer>, Errand) -> Asking + Send + Sync>;

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenFault {
    /// It is no JSON Web Token, or lacks a claim.
    #[error("not a token")]
    Form,
    /// The set has no key of this name.
    #[error("token of an unknown key")]
    Key,
    /// No key of the set has signed it.
    #[error("wrong signature of the token")]
    Signature,
    /// It is for somebody else's service, or by somebody else.
    #[error("token of another issuer or for another audience")]
    Audience,
    /// Its time is over, or has not come.
    #[error("expired token")]
    Time,
    /// The issuer says so.
    #[error("the issuer does not know the token, or its time is over")]
    Inactive,
}

/// Who issues tokens for us, and what they are checked with.
#[derive(Debug)]
pub struct Issuer {
    config: OauthConfig,
    /// Where the configuration holds them.
    keys: Option<KeySet>,
}

/// What the issuer says of a token that is valid.
#[derive(Clone, Debug, PartialEq)]
struct Active {
    login: String,
    /// When its time is over, in seconds since 1970; `None`: it does not say.
    expires: Option<f64>,
}

impl Issuer {
    /// Reads the key set where the configuration holds it. Errors: what is wrong with it.
    pub fn new(config: OauthConfig) -> Result<Self, String> {
        let keys = match &config.source {
            TokenSource::Keys(json) => Some(KeySet::parse(json.as_bytes())?),
            TokenSource::KeysUrl(_) | TokenSource::Introspection(_) => None,
        };
        Ok(Self { config, keys })
    }

    /// What it was made of.
    pub fn config(&self) -> &OauthConfig {
        &self.config
    }

    /// The login name in a token that a key of the set has signed, and that is valid at a time, in seconds since 1970.
    fn verify(&self, keys: &KeySet, token: &str, now: i64) -> Result<String, TokenFault> {
        let claims = keys.claims(token)?;
        if text(&claims, "iss") != Some(&self.config.issuer) || !self.is_for_us(claims.get("aud")) {
            return Err(TokenFault::Audience);
        }
        let expires = seconds(&claims, "exp").ok_or(TokenFault::Form)?;
        in_time(&claims, Some(expires), now)?;
        self.login(&claims).ok_or(TokenFault::Form)
    }

    /// What an answer to introspection says (RFC 7662 section 2.2). Errors: it is no such answer.
    fn introspected(&self, answer: &[u8], now: i64) -> Result<Result<Active, TokenFault>, String> {
        let answer: Map<String, Value> =
            serde_json::from_slice(answer).map_err(|error| format!("the answer about a token: {error}"))?;
        let active = answer.get("active").and_then(Value::as_bool);
        let active = active.ok_or("the answer about a token does not say whether it is active")?;
        if !active {
            return Ok(Err(TokenFault::Inactive));
        }
        Ok(self.active(&answer, now))
    }

    fn active(&self, answer: &Map<String, Value>, now: i64) -> Result<Active, TokenFault> {
        // A token that was given to somebody else's program must not open mailboxes: what says whom it is for must be there.
        let audience = answer.get("aud").or_else(|| answer.get("client_id"));
        if text(answer, "iss").is_some_and(|issuer| issuer != self.config.issuer) || !self.is_for_us(audience)
        {
            return Err(TokenFault::Audience);
        }
        let expires = seconds(answer, "exp");
        in_time(answer, expires, now)?;
        let login = self.login(answer).ok_or(TokenFault::Form)?;
        Ok(Active { login, expires })
    }

    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        match audience {
            Some(Value::String(one)) => *one == self.config.audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(&self.config.audience)),
            _ => false,
        }
    }

    fn login(&self, claims: &Map<String, Value>) -> Option<String> {
        text(claims, &self.config.claim).filter(|login| !login.is_empty()).map(str::to_owned)
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// `NumericDate` (RFC 7519 section 2)
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<f64> {
    claims.get(name).and_then(Value::as_f64)
}

fn in_time(claims: &Map<String, Value>, expires: Option<f64>, now: i64) -> Result<(), TokenFault> {
    let (now, leeway) = (now as f64, LEEWAY_SECONDS as f64);
    let is_over = expires.is_some_and(|expires| now >= expires + leeway);
    if is_over || seconds(claims, "nbf").is_some_and(|from| now + leeway < from) {
        return Err(TokenFault::Time);
    }
    Ok(())
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn object(part: &str) -> Result<Map<String, Value>, TokenFault> {
    let value = decoded(part).and_then(|octets| serde_json::from_slice(&octets).ok());
    match value {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(TokenFault::Form),
    }
}

#[cfg(test)]
pub(crate) mod tests;
