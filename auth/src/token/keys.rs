//! The key set of an issuer (RFC 7517), and the signatures by it (RFC 7515, RFC 7518).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use super::{TokenFault, decoded, object};

/// Most keys of a set.
const KEYS_MAX: usize = 100;

/// The keys of an issuer; at least one.
#[derive(Debug)]
pub(crate) struct KeySet {
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

impl KeySet {
    /// Reads a JSON Web Key Set. Errors: what is wrong with it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let all = set.get("keys").and_then(Value::as_array).ok_or("it has no \"keys\"")?;
        if all.len() > KEYS_MAX {
            return Err(format!("it has more than {KEYS_MAX} keys"));
        }
        // Keys for something else may stand in the same set.
        let keys: Vec<Key> = all.iter().filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err("it has no RSA, P-256 or Ed25519 key for signatures".to_owned());
        }
        Ok(Self { keys })
    }

    /// The claims of a token that one of the keys has signed.
    pub(super) fn claims(&self, token: &str) -> Result<Map<String, Value>, TokenFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Form)?;
        let (header, claims) = (object(header)?, object(claims)?);
        let signature = decoded(signature).ok_or(TokenFault::Form)?;
        // RFC 7515 section 4.1.11: what must be understood is not.
        if header.contains_key("crit") {
            return Err(TokenFault::Form);
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let (algorithm, id) = (text("alg").ok_or(TokenFault::Form)?, text("kid"));
        let fits = |key: &&Key| {
            let named = id.is_none() || key.id.is_none() || key.id.as_deref() == id;
            key.public.algorithm() == algorithm && named
        };
        let mut fitting = self.keys.iter().filter(fits).peekable();
        if id.is_some() && fitting.peek().is_none() {
            return Err(TokenFault::Key);
        }
        if fitting.any(|key| key.public.has_signed(signed.as_bytes(), &signature)) {
            Ok(claims)
        } else {
            Err(TokenFault::Signature)
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
