use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::token::{
    TokenFault,
    tests::{Keys, NOW, claims},
};

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn begin(mechanism: &str, initial: Option<&str>) -> (Exchange, Progress) {
    Offer::default().begin(mechanism, initial).unwrap()
}

fn credentials(authorization: &str, login: &str, password: &str) -> Progress {
    let own = |text: &str| text.to_owned();
    let (authorization, login, password) = (own(authorization), own(login), own(password));
    Progress::Done(Claim::Password(Credentials { authorization, login, password }))
}

#[test]
fn plain() {
    for (message, expected) in [
        ("\0tim\0tanstaaftanstaaf", credentials("", "tim", "tanstaaftanstaaf")),
        ("Ursel\0Kurt\0xipj3plmq", credentials("Ursel", "Kurt", "xipj3plmq")),
        ("\0tim\0pässword", credentials("", "tim", "pässword")),
        ("\0tim\0", Progress::Malformed),
        ("\0\0x", Progress::Malformed),
        ("tim", Progress::Malformed),
        ("\0tim\0x\0y", Progress::Malformed),
        ("", Progress::Malformed),
    ] {
        assert_eq!(begin("PLAIN", Some(&encoded(message))).1, expected, "{message:?}");
        let (mut exchange, challenge) = begin("PLAIN", None);
        assert_eq!(challenge, Progress::Challenge(String::new()));
        assert_eq!(exchange.respond(&encoded(message)), expected, "{message:?}");
        assert_eq!(exchange.respond(&encoded(message)), Progress::Malformed, "an exchange ends once");
    }
    assert_eq!(begin("PLAIN", Some("=")).1, Progress::Malformed);
    assert_eq!(begin("PLAIN", Some("*")).1, Progress::Cancelled);
    for line in ["!", "AGE", "/w==", &"A".repeat(RESPONSE_BYTES_MAX + 4)] {
        assert_eq!(begin("PLAIN", Some(line)).1, Progress::Malformed);
    }
}

#[test]
fn login() {
    let user = |progress: &Progress| *progress == Progress::Challenge(encoded("Username:"));
    let (mut exchange, challenge) = begin("LOGIN", None);
    assert!(user(&challenge));
    assert_eq!(exchange.respond(&encoded("tim")), Progress::Challenge("UGFzc3dvcmQ6".to_owned()));
    assert_eq!(exchange.respond(&encoded("secret")), credentials("", "tim", "secret"));
    let (mut exchange, challenge) = begin("LOGIN", Some(&encoded("tim")));
    assert_eq!(challenge, Progress::Challenge(encoded("Password:")));
    assert_eq!(exchange.respond("*"), Progress::Cancelled);
    assert_eq!(exchange.respond(&encoded("x")), Progress::Malformed);
    assert_eq!(Mechanism::by_name("login"), Some(Mechanism::Login));
    assert_eq!(Mechanism::by_name("CRAM-MD5"), None);
}

#[test]
fn what_is_offered() {
    let bound = Bindings { exporter: Some([7; 32]), end_point: None };
    let offer = |scram, bindings: &Bindings| Offer { scram, bindings: bindings.clone(), tokens: None };
    for (offer, names) in [
        (Offer::default(), "PLAIN LOGIN"),
        (offer(Scram::Absent, &bound), "PLAIN LOGIN"),
        (offer(Scram::Offered, &bound), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"),
        (offer(Scram::Bound, &Bindings::default()), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"),
        (
            offer(Scram::Bound, &bound),
            "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN",
        ),
    ] {
        assert_eq!(offer.names(), names);
        for mechanism in Mechanism::ALL {
            let announced = names.split(' ').any(|name| name == mechanism.name());
            assert_eq!(offer.begin(mechanism.name(), None).is_some(), announced, "{mechanism:?} of {names}");
        }
        assert!(offer.begin("CRAM-MD5", None).is_none());
    }
}

#[test]
fn bearer_tokens() {
    let keys = Keys::new();
    let tokens = Tokens { issuer: Arc::new(keys.issuer()), now: NOW };
    let offer = Offer { tokens: Some(tokens), ..Offer::default() };
    assert_eq!(offer.names(), "PLAIN LOGIN OAUTHBEARER XOAUTH2");
    assert!(Offer::default().begin("OAUTHBEARER", None).is_none());
    let token = |claims: &serde_json::Value| keys.sign(&json!({"alg": "ES256"}), claims);
    let (valid, mut old) = (token(&claims("alice@a.test")), claims("alice@a.test"));
    old["exp"] = json!(NOW - 1000);
    let old = token(&old);
    let done = |authorization: &str, login: &str, verdict| {
        let (authorization, login) = (authorization.to_owned(), login.to_owned());
        Progress::Done(Claim::Token(Bearer { authorization, login, verdict }))
    };
    let message =
        |token: &str| encoded(&format!("n,a=bob,\u{1}host=mx.a.test\u{1}auth=Bearer {token}\u{1}\u{1}"));
    let of_xoauth2 = |token: &str| encoded(&format!("user=bob\u{1}auth=Bearer {token}\u{1}\u{1}"));
    for (mechanism, valid, old, error) in [
        ("OAUTHBEARER", message(&valid), message(&old), r#"{"status":"invalid_token"}"#),
        ("XOAUTH2", of_xoauth2(&valid), of_xoauth2(&old), r#"{"status":"401","schemes":"Bearer"}"#),
    ] {
        let begin = |initial: &str| offer.begin(mechanism, Some(initial)).unwrap();
        assert_eq!(begin(&valid).1, done("bob", "alice@a.test", Ok(())), "{mechanism}");
        let (mut exchange, challenge) = offer.begin(mechanism, None).unwrap();
        assert_eq!(challenge, Progress::Challenge(String::new()));
        assert_eq!(exchange.respond(&valid), done("bob", "alice@a.test", Ok(())));
        assert_eq!(exchange.respond(&valid), Progress::Malformed, "an exchange ends once");
        for response in ["AQ==", "", &valid] {
            let (mut exchange, challenge) = begin(&old);
            assert_eq!(challenge, Progress::Challenge(encoded(error)));
            assert_eq!(exchange.respond(response), done("bob", "bob", Err(TokenFault::Time)), "{mechanism}");
        }
        assert_eq!(begin(&old).0.respond("*"), Progress::Cancelled);
        assert_eq!(begin("AQ==").1, Progress::Malformed);
        assert_eq!(begin("=").1, Progress::Malformed);
    }
}
