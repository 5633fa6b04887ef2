use super::*;

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
    let offer = |scram, bindings: &Bindings| Offer { scram, bindings: bindings.clone() };
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
