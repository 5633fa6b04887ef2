use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::json;
use tokio::time::{advance, sleep};
use waypost_config::Introspection;

use super::{
    checker::{ANSWER_TIME, FETCH_INTERVAL},
    *,
};
use crate::LoginError;

const NOW: i64 = 1_800_000_000;

/// One key of each kind, and the set with their public halves.
struct Keys {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

fn encoded(octets: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

impl Keys {
    fn new() -> Self {
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

    fn issuer(&self) -> Issuer {
        Issuer::new(config(TokenSource::Keys(self.set().to_string()))).unwrap()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
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

impl Issuer {
    fn check(&self, token: &str) -> Result<String, TokenFault> {
        self.verify(self.keys.as_ref().unwrap(), token, NOW)
    }
}

fn config(source: TokenSource) -> OauthConfig {
    let (issuer, audience) = ("https://id.a.test".to_owned(), "mail".to_owned());
    OauthConfig { issuer, audience, claim: "email".into(), source, roots: Vec::new() }
}

fn claims(login: &str) -> Value {
    json!({"iss": "https://id.a.test", "aud": "mail", "exp": NOW + 300, "email": login})
}

#[test]
fn tokens_of_all_algorithms_are_verified() {
    let (keys, others) = (Keys::new(), Keys::new());
    let issuer = keys.issuer();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = keys.sign(&json!({"alg": algorithm}), &claims("alice@a.test"));
        assert_eq!(issuer.check(&token), Ok("alice@a.test".to_owned()), "{algorithm}");
        let forged = others.sign(&json!({"alg": algorithm}), &claims("alice@a.test"));
        assert_eq!(issuer.check(&forged), Err(TokenFault::Signature), "{algorithm}");
        // Another payload under the same signature.
        let parts: Vec<_> = token.split('.').collect();
        let bob = encoded(claims("bob@a.test").to_string().as_bytes());
        let altered = format!("{}.{bob}.{}", parts[0], parts[2]);
        assert_eq!(issuer.check(&altered), Err(TokenFault::Signature), "{algorithm}");
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        assert_eq!(issuer.check(&unsigned), Err(TokenFault::Signature), "{algorithm}");
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
        (json!({"alg": "RS256", "kid": "other"}), Err(TokenFault::Key)),
        (json!({"alg": "RS256", "kid": "d"}), Err(TokenFault::Key)),
        (json!({"alg": "RS256", "crit": ["x"]}), Err(TokenFault::Form)),
        (json!({"kid": "r"}), Err(TokenFault::Form)),
    ] {
        assert_eq!(issuer.check(&keys.sign(&header, &claims("alice@a.test"))), expected, "{header}");
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
        let verdict = issuer.check(&keys.sign(&json!({"alg": "ES256"}), &claims)).map(|_| ());
        assert_eq!(verdict, expected, "{name} {value}");
    }
    for token in ["", ".", "..", "a.b.c", "e30.e30", "e30.e30.e30", "bnVsbA.bnVsbA.AA"] {
        assert_eq!(issuer.check(token), Err(TokenFault::Form), "{token}");
    }
}

#[test]
fn a_key_set_needs_a_key() {
    let issuer = |keys: &str| Issuer::new(config(TokenSource::Keys(keys.to_owned())));
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

/// An issuer whose answers are set from outside, and what it was asked.
#[derive(Default)]
struct World {
    answer: std::sync::Mutex<Option<String>>,
    asked: std::sync::Mutex<Vec<Errand>>,
}

impl World {
    fn checker() -> (Arc<Self>, Checker) {
        let world = Arc::new(Self::default());
        let answering = Arc::clone(&world);
        let ask: Ask = Arc::new(move |_, errand| {
            answering.asked.lock().unwrap().push(errand);
            let answer = answering.answer.lock().unwrap().clone().ok_or_else(|| "it is down".to_owned());
            Box::pin(async move {
                sleep(std::time::Duration::from_millis(10)).await;
                answer.map(String::into_bytes)
            })
        });
        (world, Checker::new(Some(ask)))
    }

    fn answers(&self, answer: Option<&str>) {
        *self.answer.lock().unwrap() = answer.map(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn of_url(url: &str) -> Arc<Issuer> {
    Arc::new(Issuer::new(config(TokenSource::KeysUrl(url.to_owned()))).unwrap())
}

fn alice() -> Result<Result<String, TokenFault>, LoginError> {
    Ok(Ok("alice@a.test".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_and_the_last_good_ones_serve_on() {
    let (keys, others) = (Keys::new(), Keys::new());
    let (world, checker) = World::checker();
    let issuer = of_url("https://id.a.test/keys");
    let token =
        |keys: &Keys, id: &str| keys.sign(&json!({"alg": "RS256", "kid": id}), &claims("alice@a.test"));
    let judge = async |token: &str| checker.judge_at(&issuer, token, NOW).await;
    let (known, unknown) = (token(&keys, "r"), token(&keys, "s"));
    // It is down: the login cannot be judged, and it is not asked at every try.
    for _ in 0..3 {
        assert_eq!(judge(&known).await, Err(LoginError::Busy));
    }
    assert_eq!(world.asked(), 1);
    // What is no key set is none.
    for no_set in ["<html>", "{}", "{\"keys\":[]}", ""] {
        world.answers(Some(no_set));
        assert!(checker.refresh(&issuer).await.is_err());
        assert_eq!(judge(&known).await, Err(LoginError::Busy));
    }
    let mut only_r = keys.set();
    only_r["keys"].as_array_mut().unwrap().truncate(2);
    world.answers(Some(&only_r.to_string()));
    advance(FETCH_INTERVAL).await;
    assert_eq!(judge(&known).await, alice());
    let asked = world.asked();
    assert_eq!(judge(&known).await, alice());
    // A wrong signature by a known key is no reason to fetch, an unknown key is one, but once a minute.
    assert_eq!(judge(&token(&others, "r")).await, Ok(Err(TokenFault::Signature)));
    assert_eq!(judge(&unknown).await, Ok(Err(TokenFault::Key)));
    assert_eq!(world.asked(), asked);
    advance(FETCH_INTERVAL).await;
    let (one, two) = tokio::join!(judge(&unknown), judge(&unknown));
    assert_eq!((one, two), (Ok(Err(TokenFault::Key)), Ok(Err(TokenFault::Key))));
    assert_eq!(world.asked(), asked + 1);
    // The issuer has a new key.
    only_r["keys"][1]["kid"] = json!("s");
    world.answers(Some(&only_r.to_string()));
    advance(FETCH_INTERVAL).await;
    let (one, two) = tokio::join!(judge(&unknown), judge(&unknown));
    assert_eq!((one, two), (alice(), alice()), "who waited takes what the other fetched");
    assert_eq!(world.asked(), asked + 2);
    // It goes down: the last keys serve on.
    world.answers(None);
    assert_eq!(checker.refresh(&issuer).await, Err("it is down".to_owned()));
    assert_eq!(judge(&unknown).await, alice());
    // Keys of one URL are not those of another.
    let elsewhere = of_url("https://id.b.test/keys");
    assert_eq!(checker.judge_at(&elsewhere, &unknown, NOW).await, Err(LoginError::Busy));
    assert_eq!(Checker::new(None).judge_at(&issuer, &unknown, NOW).await, Err(LoginError::Busy));
}

fn asking() -> Arc<Issuer> {
    let (url, client_id, client_secret) = ("https://id.a.test/ask".into(), "waypost".into(), "s".into());
    let source = TokenSource::Introspection(Introspection { url, client_id, client_secret });
    Arc::new(Issuer::new(config(source)).unwrap())
}

#[test]
fn what_the_issuer_says_of_a_token() {
    let issuer = asking();
    let said = |answer: &str| issuer.introspected(answer.as_bytes(), NOW);
    let good = json!({"active": true, "email": "alice@a.test", "aud": "mail", "exp": NOW + 300});
    let with = |name: &str, value: Value| {
        let mut answer = good.clone();
        answer[name] = value;
        answer.to_string()
    };
    let alice = |expires| Ok(Ok(Active { login: "alice@a.test".into(), expires }));
    let times = (NOW as f64 + 300.0, NOW as f64 - 59.0);
    for (answer, expected) in [
        (good.to_string(), alice(Some(times.0))),
        (with("exp", Value::Null), alice(None)),
        (with("exp", json!(NOW - 59)), alice(Some(times.1))),
        (with("exp", json!(NOW - 60)), Ok(Err(TokenFault::Time))),
        (with("nbf", json!(NOW + 61)), Ok(Err(TokenFault::Time))),
        (with("iss", json!("https://id.a.test")), alice(Some(times.0))),
        (with("iss", json!("https://id.b.test")), Ok(Err(TokenFault::Audience))),
        (with("aud", json!(["x", "mail"])), alice(Some(times.0))),
        (with("aud", json!("game")), Ok(Err(TokenFault::Audience))),
        (with("email", json!("")), Ok(Err(TokenFault::Form))),
        (with("email", json!(7)), Ok(Err(TokenFault::Form))),
        (with("active", json!(false)), Ok(Err(TokenFault::Inactive))),
        (r#"{"active":false}"#.to_owned(), Ok(Err(TokenFault::Inactive))),
        // Nobody says whom it is for.
        (r#"{"active":true,"email":"alice@a.test"}"#.to_owned(), Ok(Err(TokenFault::Audience))),
        (
            r#"{"active":true,"email":"alice@a.test","client_id":"game"}"#.to_owned(),
            Ok(Err(TokenFault::Audience)),
        ),
        (r#"{"active":true,"email":"alice@a.test","client_id":"mail"}"#.to_owned(), alice(None)),
        // A client of ours is not asked where the audience is another one.
        (
            r#"{"active":true,"email":"alice@a.test","client_id":"mail","aud":"game"}"#.to_owned(),
            Ok(Err(TokenFault::Audience)),
        ),
    ] {
        assert_eq!(said(&answer), expected, "{answer}");
    }
    for answer in ["", "true", "[]", "<html>", "{}", r#"{"active":"true"}"#, r#"{"active":1}"#] {
        assert!(said(answer).is_err(), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_issuer_said_is_believed_for_a_while() {
    let (world, checker) = World::checker();
    let issuer = asking();
    let judge = async |token: &str, now| checker.judge_at(&issuer, token, now).await;
    assert_eq!(judge("x", NOW).await, Err(LoginError::Busy), "it is down");
    world.answers(Some("<html>"));
    assert_eq!(judge("x", NOW).await, Err(LoginError::Busy), "it answers something else");
    world.answers(Some(r#"{"active":false}"#));
    assert_eq!(judge("x", NOW).await, Ok(Err(TokenFault::Inactive)));
    let good = json!({"active": true, "email": "alice@a.test", "aud": "mail", "exp": NOW + 30}).to_string();
    world.answers(Some(&good));
    assert_eq!(judge("x", NOW).await, alice(), "what is not active is not remembered");
    let asked = world.asked();
    world.answers(Some(r#"{"active":false}"#));
    assert_eq!(judge("x", NOW + 29).await, alice());
    assert_eq!(world.asked(), asked);
    assert_eq!(judge("y", NOW).await, Ok(Err(TokenFault::Inactive)), "another token");
    // Its own time is over before ours is.
    assert_eq!(judge("x", NOW + 30).await, Ok(Err(TokenFault::Inactive)));
    world.answers(Some(&good));
    assert_eq!(judge("x", NOW).await, alice());
    advance(ANSWER_TIME).await;
    let asked = world.asked();
    assert_eq!(judge("x", NOW).await, alice());
    assert_eq!(world.asked(), asked + 1);
    assert!(world.asked.lock().unwrap().contains(&Errand::Introspect("x".to_owned())));
}
