use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::json;

use super::*;

pub(crate) const NOW: i64 = 1_800_000_000;

/// One key of each kind, and the set with their public halves.
pub(crate) struct Keys {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

fn encoded(octets: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn set(&self) -> Value {
        let point = self.p256.public_key().as_ref();
        // RSAPublicKey ::= SEQUENCE { INTEGER n of 2,048 bits, INTEGER 65537 }
        let rsa = self.rsa.public_key().as_ref();
        let (n, e) = (&rsa[9..265], &rsa[rsa.len() - 3..]);
        json!({"keys": [
            {"kty": "oct", "k": "AAAA"},
            {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": encoded(n),
             "e": encoded(e)},
            {"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "d", "x": encoded(self.ed25519.public_key().as_ref())},
        ]})
    }

    pub(crate) fn issuer(&self) -> Issuer {
        let keys = self.set().to_string();
        let (issuer, audience) = ("https://id.a.test".to_owned(), "mail".to_owned());
        Issuer::new(OauthConfig { issuer, audience, claim: "email".into(), keys }).unwrap()
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed =
            format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
        let (random, text) = (SystemRandom::new(), signed.as_bytes());
        let signature = match header["alg"].as_str() {
            Some("RS256") => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
                signature
            }
            Some("ES256") => self.p256.sign(&random, text).unwrap().as_ref().to_vec(),
            _ => self.ed25519.sign(text).as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(&signature))
    }
}

pub(crate) fn claims(login: &str) -> Value {
    json!({"iss": "https://id.a.test", "aud": "mail", "exp": NOW + 300, "email": login})
}

#[test]
fn tokens_of_all_algorithms_are_verified() {
    let (keys, others) = (Keys::new(), Keys::new());
    let issuer = keys.issuer();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = keys.sign(&json!({"alg": algorithm}), &claims("alice@a.test"));
        assert_eq!(issuer.verify(&token, NOW), Ok("alice@a.test".to_owned()), "{algorithm}");
        let forged = others.sign(&json!({"alg": algorithm}), &claims("alice@a.test"));
        assert_eq!(issuer.verify(&forged, NOW), Err(TokenFault::Signature), "{algorithm}");
        // Another payload under the same signature.
        let parts: Vec<_> = token.split('.').collect();
        let bob = encoded(claims("bob@a.test").to_string().as_bytes());
        let altered = format!("{}.{bob}.{}", parts[0], parts[2]);
        assert_eq!(issuer.verify(&altered, NOW), Err(TokenFault::Signature), "{algorithm}");
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        assert_eq!(issuer.verify(&unsigned, NOW), Err(TokenFault::Signature), "{algorithm}");
    }
}

#[test]
fn the_key_says_which_algorithm_it_is_for() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    for (header, expected) in [
        (json!({"alg": "none"}), Err(TokenFault::Signature)),
        (json!({"alg": "HS256"}), Err(TokenFault::Signature)),
        (json!({"alg": "RS256", "kid": "r"}), Ok("alice@a.test".to_owned())),
        (json!({"alg": "RS256", "kid": "other"}), Err(TokenFault::Signature)),
        (json!({"alg": "RS256", "kid": "d"}), Err(TokenFault::Signature)),
        (json!({"alg": "RS256", "crit": ["x"]}), Err(TokenFault::Form)),
        (json!({"kid": "r"}), Err(TokenFault::Form)),
    ] {
        assert_eq!(issuer.verify(&keys.sign(&header, &claims("alice@a.test")), NOW), expected, "{header}");
    }
}

#[test]
fn claims_are_checked() {
    let keys = Keys::new();
    let issuer = keys.issuer();
    for (name, value, expected) in [
        ("aud", json!(["other", "mail"]), Ok(())),
        ("aud", json!("other"), Err(TokenFault::Audience)),
        ("aud", json!(["other"]), Err(TokenFault::Audience)),
        ("aud", Value::Null, Err(TokenFault::Audience)),
        ("iss", json!("https://id.b.test"), Err(TokenFault::Audience)),
        ("iss", Value::Null, Err(TokenFault::Audience)),
        ("exp", json!(NOW - LEEWAY_SECONDS + 1), Ok(())),
        ("exp", json!(NOW - LEEWAY_SECONDS), Err(TokenFault::Time)),
        ("exp", Value::Null, Err(TokenFault::Form)),
        ("exp", json!("never"), Err(TokenFault::Form)),
        ("nbf", json!(NOW + LEEWAY_SECONDS), Ok(())),
        ("nbf", json!(NOW + LEEWAY_SECONDS + 1), Err(TokenFault::Time)),
        ("email", json!(""), Err(TokenFault::Form)),
        ("email", Value::Null, Err(TokenFault::Form)),
        ("email", json!(["alice@a.test"]), Err(TokenFault::Form)),
    ] {
        let mut claims = claims("alice@a.test");
        claims[name] = value.clone();
        let verdict = issuer.verify(&keys.sign(&json!({"alg": "ES256"}), &claims), NOW).map(|_| ());
        assert_eq!(verdict, expected, "{name} {value}");
    }
    for token in ["", ".", "..", "a.b.c", "e30.e30", "e30.e30.e30", "bnVsbA.bnVsbA.AA"] {
        assert_eq!(issuer.verify(token, NOW), Err(TokenFault::Form), "{token}");
    }
}

#[test]
fn a_key_set_needs_a_key() {
    let issuer = |keys: &str| {
        let (issuer, audience, claim) = (String::new(), String::new(), String::new());
        Issuer::new(OauthConfig { issuer, audience, claim, keys: keys.to_owned() })
    };
    for (keys, problem) in [
        ("x", "expected value"),
        ("{}", "no \"keys\""),
        (r#"{"keys":[]}"#, "no RSA"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "no RSA"),
        (r#"{"keys":[{"kty":"RSA","use":"enc","n":"AAAA","e":"AQAB"}]}"#, "no RSA"),
        (r#"{"keys":[{"kty":"RSA","alg":"HS256","n":"AAAA","e":"AQAB"}]}"#, "no RSA"),
    ] {
        let error = issuer(keys).unwrap_err();
        assert!(error.contains(problem), "{keys}: {error}");
    }
}
