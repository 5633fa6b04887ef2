//! Bearer tokens: JSON Web Tokens (RFC 7519) that are signed with a key of the issuer's set (RFC 7515, RFC 7517, RFC 7518). Only
//! signatures by public keys: RS256, ES256 and EdDSA. The key says which algorithm it is for, never the token.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use waypost_config::OauthConfig;

/// By how many seconds the issuer's clock may differ from ours.
const LEEWAY_SECONDS: i64 = 60;
/// Most keys of a set.
const KEYS_MAX: usize = 100;

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenFault {
    /// It is no JSON Web Token, or lacks a claim.
    #[error("not a token")]
    Form,
    /// No key of the set has signed it.
    #[error("wrong signature of the token")]
    Signature,
    /// It is for somebody else's service, or by somebody else.
    #[error("token of another issuer or for another audience")]
    Audience,
    /// Its time is over, or has not come.
    #[error("expired token")]
    Time,
}

/// Who issues tokens for us, and what they are checked with.
#[derive(Debug)]
pub struct Issuer {
    config: OauthConfig,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Issuer {
    /// Reads the key set. Errors: what is wrong with it.
    pub fn new(config: OauthConfig) -> Result<Self, String> {
        let set: Value = serde_json::from_str(&config.keys).map_err(|error| error.to_string())?;
        let all = set.get("keys").and_then(Value::as_array).ok_or("it has no \"keys\"")?;
        if all.len() > KEYS_MAX {
            return Err(format!("it has more than {KEYS_MAX} keys"));
        }
        // Keys for something else may stand in the same set.
        let keys: Vec<Key> = all.iter().filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err("it has no RSA, P-256 or Ed25519 key for signatures".to_owned());
        }
        Ok(Self { config, keys })
    }

    /// The login name in a token that is valid at a time, in seconds since 1970.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<String, TokenFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Form)?;
        let (header, claims) = (object(header)?, object(claims)?);
        let signature = decoded(signature).ok_or(TokenFault::Form)?;
        let text = |object: &Map<String, Value>, name: &str| {
            object.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        // RFC 7515 section 4.1.11: what must be understood is not.
        if header.contains_key("crit") {
            return Err(TokenFault::Form);
        }
        let (algorithm, id) = (text(&header, "alg").ok_or(TokenFault::Form)?, text(&header, "kid"));
        let fits = |key: &&Key| {
            key.public.algorithm() == algorithm && (id.is_none() || key.id.is_none() || key.id == id)
        };
        if !self.keys.iter().filter(fits).any(|key| key.public.has_signed(signed.as_bytes(), &signature)) {
            return Err(TokenFault::Signature);
        }
        if text(&claims, "iss").as_deref() != Some(&self.config.issuer) || !self.is_for_us(&claims) {
            return Err(TokenFault::Audience);
        }
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let (now, leeway) = (now as f64, LEEWAY_SECONDS as f64);
        let expires = time("exp").ok_or(TokenFault::Form)?;
        if now >= expires + leeway || time("nbf").is_some_and(|from| now + leeway < from) {
            return Err(TokenFault::Time);
        }
        text(&claims, &self.config.claim).filter(|login| !login.is_empty()).ok_or(TokenFault::Form)
    }

    fn is_for_us(&self, claims: &Map<String, Value>) -> bool {
        match claims.get("aud") {
            Some(Value::String(one)) => *one == self.config.audience,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(&self.config.audience)),
            _ => false,
        }
    }
}

impl Key {
    /// `None`: it is for something else, or of a kind that is not known here.
    fn parse(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let octets = |name: &str| text(name).and_then(decoded);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => Public::Rsa { n: octets("n")?, e: octets("e")? },
            // An uncompressed point (SEC 1 section 2.3.3).
            ("EC", Some("P-256")) => Public::P256([vec![4], octets("x")?, octets("y")?].concat()),
            ("OKP", Some("Ed25519")) => Public::Ed25519(octets("x")?),
            _ => return None,
        };
        let same = text("alg").is_none_or(|algorithm| algorithm == public.algorithm());
        same.then(|| Self { id: text("kid").map(str::to_owned), public })
    }
}

impl Public {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature).is_ok()
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature).is_ok()
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok(),
        }
    }
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
