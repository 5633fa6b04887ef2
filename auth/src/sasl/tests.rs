use super::*;
use crate::token::TokenFault;

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
    let bound = Channel { exporter: Some([7; 32]), ..Channel::default() };
    let offer = |scram, channel: &Channel| Offer { scram, channel: channel.clone(), tokens: Tokens::Absent };
    for (offer, names) in [
        (Offer::default(), "PLAIN LOGIN"),
        (offer(Scram::Absent, &bound), "PLAIN LOGIN"),
        (offer(Scram::Offered, &bound), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"),
        (offer(Scram::Bound, &Channel::default()), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"),
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
    let offer = Offer { tokens: Tokens::Offered, ..Offer::default() };
    assert_eq!(offer.names(), "PLAIN LOGIN OAUTHBEARER XOAUTH2");
    assert!(Offer::default().begin("OAUTHBEARER", None).is_none());
    let done = |authorization: &str, login: &str, verdict| {
        let (authorization, login) = (authorization.to_owned(), login.to_owned());
        Progress::Done(Claim::Token(Bearer { authorization, login, verdict }))
    };
    let asked = Progress::Needs(Lookup::Token { authorization: "bob".into(), token: "t0k.en".into() });
    assert!(!format!("{asked:?}").contains("t0k"), "a token is a secret");
    let valid = Found::Token(Ok("alice@a.test".to_owned()));
    let old = Found::Token(Err(TokenFault::Time));
    for (mechanism, message, error) in [
        (
            "OAUTHBEARER",
            "n,a=bob,\u{1}host=mx.a.test\u{1}auth=Bearer t0k.en\u{1}\u{1}",
            r#"{"status":"invalid_token"}"#,
        ),
        ("XOAUTH2", "user=bob\u{1}auth=Bearer t0k.en\u{1}\u{1}", r#"{"status":"401","schemes":"Bearer"}"#),
    ] {
        let message = encoded(message);
        let begin = || offer.begin(mechanism, Some(&message)).unwrap();
        let (mut exchange, progress) = begin();
        assert_eq!(progress, asked, "{mechanism}");
        assert_eq!(exchange.found(&valid), done("bob", "alice@a.test", Ok(())), "{mechanism}");
        assert_eq!(exchange.found(&valid), Progress::Malformed, "an exchange ends once");
        let (mut exchange, challenge) = offer.begin(mechanism, None).unwrap();
        assert_eq!(challenge, Progress::Challenge(String::new()));
        assert_eq!(exchange.found(&valid), Progress::Malformed, "a verdict before it is asked for");
        let (mut exchange, _) = offer.begin(mechanism, None).unwrap();
        assert_eq!(exchange.respond(&message), asked);
        assert_eq!(exchange.respond(&message), Progress::Malformed, "a response where none is asked for");
        for response in ["AQ==", "", &message] {
            let (mut exchange, _) = begin();
            assert_eq!(exchange.found(&old), Progress::Challenge(encoded(error)));
            assert_eq!(exchange.respond(response), done("bob", "bob", Err(TokenFault::Time)), "{mechanism}");
        }
        let (mut exchange, _) = begin();
        exchange.found(&old);
        assert_eq!(exchange.respond("*"), Progress::Cancelled);
        assert_eq!(offer.begin(mechanism, Some("AQ==")).unwrap().1, Progress::Malformed);
        assert_eq!(offer.begin(mechanism, Some("=")).unwrap().1, Progress::Malformed);
    }
}

#[test]
fn a_certificate_that_was_shown() {
    let certificate = Certificate { emails: vec!["tim@a.test".into()], sha256: [7; 32] };
    let channel = Channel { certificate: Some(certificate.clone()), ..Channel::default() };
    let offer = Offer { channel, ..Offer::default() };
    assert_eq!(offer.names(), "EXTERNAL PLAIN LOGIN");
    assert!(Offer::default().begin("EXTERNAL", Some("=")).is_none(), "none was shown");
    let done = |authorization: &str| {
        let (authorization, certificate) = (authorization.to_owned(), certificate.clone());
        Progress::Done(Claim::Certificate(Shown { authorization, certificate }))
    };
    for (response, expected) in [
        ("", done("")),
        ("dGltQGEudGVzdA==", done("tim@a.test")),
        ("w7w=", done("ü")),
        // "a", NUL, "b"; an octet that is no UTF-8; no base 64
        ("YQBi", Progress::Malformed),
        ("/w==", Progress::Malformed),
        ("!", Progress::Malformed),
        ("*", Progress::Cancelled),
        (&"A".repeat(RESPONSE_BYTES_MAX + 4), Progress::Malformed),
    ] {
        let (mut exchange, challenge) = offer.begin("external", None).unwrap();
        assert_eq!(challenge, Progress::Challenge(String::new()));
        assert_eq!(exchange.respond(response), expected, "{response}");
        assert_eq!(exchange.respond(""), Progress::Malformed, "an exchange ends once");
        let initial = if response.is_empty() { "=" } else { response };
        assert_eq!(offer.begin("EXTERNAL", Some(initial)).unwrap().1, expected, "{response}");
    }
}
