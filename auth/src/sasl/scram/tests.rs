use std::num::NonZeroU32;

use super::*;
use crate::sasl::{Exchange, Found, Offer, RESPONSE_BYTES_MAX, Scram, Tokens};

/// The exchange of an RFC.
struct Example {
    mechanism: &'static str,
    hash: ScramHash,
    client_first: &'static str,
    client_nonce: &'static str,
    server_nonce: &'static str,
    salt: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// RFC 5802 section 5.
const SHA_1: Example = Example {
    mechanism: "SCRAM-SHA-1",
    hash: ScramHash::Sha1,
    client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    client_nonce: "fyko+d2lbbFgONRv9qkxdawL",
    server_nonce: "3rfcNHYJY1ZVvWVs7j",
    salt: "QSXCR+Q6sek8bf92",
    client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
};
/// RFC 7677 section 3.
const SHA_256: Example = Example {
    mechanism: "SCRAM-SHA-256",
    hash: ScramHash::Sha256,
    client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    client_nonce: "rOprNGfwEbeRWgbNEkqO",
    server_nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
    client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};
const EXAMPLES: [Example; 2] = [SHA_1, SHA_256];

impl Example {
    fn verifier(&self) -> Verifier {
        let salt = BASE64_STANDARD.decode(self.salt).unwrap();
        Verifier::derive(self.hash, "pencil", salt, NonZeroU32::new(4096).unwrap()).unwrap()
    }

    fn server_first(&self) -> ServerFirst {
        server_first(self.server_nonce, &self.verifier())
    }

    /// An exchange up to the client-final-message.
    fn begun(&self) -> Exchange {
        let (mut exchange, progress) =
            offer().begin(self.mechanism, Some(&encoded(self.client_first))).unwrap();
        assert_eq!(progress, Progress::Needs(Lookup::ServerFirst { login: "user".into(), hash: self.hash }));
        let Example { client_nonce, server_nonce, salt, .. } = self;
        let server_first = format!("r={client_nonce}{server_nonce},s={salt},i=4096");
        let first = Found::ServerFirst(self.server_first());
        assert_eq!(exchange.found(&first), Progress::Challenge(encoded(&server_first)));
        exchange
    }

    /// What comes of a client-final-message, with the verifier if it is asked for.
    fn end(&self, exchange: &mut Exchange, message: &str) -> Progress {
        match exchange.respond(&encoded(message)) {
            Progress::Needs(lookup) => {
                assert_eq!(lookup, Lookup::Verifier { login: "user".into(), hash: self.hash });
                exchange.found(&Found::Verifier(self.verifier()))
            }
            progress => progress,
        }
    }
}

fn server_first(nonce: &str, verifier: &Verifier) -> ServerFirst {
    ServerFirst { nonce: nonce.into(), salt: verifier.salt.clone(), iterations: verifier.iterations }
}

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn channel() -> Channel {
    Channel { exporter: Some([7; 32]), end_point: Some(vec![9; 48]), certificate: None }
}

fn offer() -> Offer {
    Offer { scram: Scram::Offered, ..Offer::default() }
}

fn done(authorization: &str, verdict: Result<(), Fault>) -> Progress {
    let (authorization, login) = (authorization.to_owned(), "user".to_owned());
    Progress::Done(Claim::Scram(Proof { authorization, login, verdict }))
}

/// A client that knows the password: its client-final-message.
fn client_final(
    hash: ScramHash,
    first: &str,
    header: &str,
    data: &[u8],
    server: &ServerFirst,
    password: &str,
) -> String {
    let bare = first.strip_prefix(header).unwrap();
    let nonce = format!("{}{}", bare.split_once(",r=").unwrap().1, server.nonce);
    let binding = BASE64_STANDARD.encode([header.as_bytes(), data].concat());
    let without_proof = format!("c={binding},r={nonce}");
    let (salt, iterations) = (&server.salt, server.iterations);
    let server_first = format!("r={nonce},s={},i={iterations}", BASE64_STANDARD.encode(salt));
    let auth_message = format!("{bare},{server_first},{without_proof}");
    let proof = Verifier::proof(hash, password, salt, iterations, &auth_message);
    format!("{without_proof},p={}", BASE64_STANDARD.encode(proof))
}

#[test]
fn the_examples_of_the_rfcs() {
    for example in EXAMPLES {
        let mut exchange = example.begun();
        let progress = example.end(&mut exchange, example.client_final);
        assert_eq!(progress, Progress::Challenge(encoded(example.server_final)), "{}", example.mechanism);
        assert_eq!(exchange.respond(""), done("", Ok(())));
        assert_eq!(exchange.respond(""), Progress::Malformed, "an exchange ends once");
        // Without an initial response the first challenge is empty.
        let (mut exchange, progress) = offer().begin(example.mechanism, None).unwrap();
        assert_eq!(progress, Progress::Challenge(String::new()));
        assert!(matches!(exchange.respond(&encoded(example.client_first)), Progress::Needs(_)));
    }
}

#[test]
fn what_is_wrong_does_not_pass() {
    for example in EXAMPLES {
        let right = example.client_final;
        let other_proof = |password| {
            let server = example.server_first();
            client_final(example.hash, example.client_first, "n,,", b"", &server, password)
        };
        assert_eq!(other_proof("pencil"), right);
        for (message, verdict) in [
            (other_proof("Pencil"), Fault::Proof),
            (right.replace(",p=", ",p=AAAA"), Fault::Proof),
            (format!("{},p=", right.split_once(",p=").unwrap().0), Fault::Proof),
            (right.replace(",p=", ",x=y,p="), Fault::Proof),
            (right.replace(example.server_nonce, "other"), Fault::Proof),
            (right.replace("c=biws", "c=eSws"), Fault::Binding),
            (right.replace("c=biws", "c=biwsAAAA"), Fault::Binding),
            (right.replace("c=biws", "c="), Fault::Binding),
        ] {
            let mut exchange = example.begun();
            assert_eq!(example.end(&mut exchange, &message), done("", Err(verdict)), "{message}");
            assert_eq!(exchange.respond(&encoded(right)), Progress::Malformed, "no second try");
        }
        for message in [&right[..20], "", &right.replace(",p=", ",m=x,p="), &right.replace("c=", "d=")] {
            assert_eq!(example.begun().respond(&encoded(message)), Progress::Malformed, "{message}");
        }
        assert_eq!(example.begun().respond("*"), Progress::Cancelled);
        assert_eq!(example.begun().respond(&"A".repeat(RESPONSE_BYTES_MAX + 4)), Progress::Malformed);
        // Another account's verifier.
        let others = Verifier::derive(example.hash, "x", vec![1], ITERATIONS).unwrap();
        let server = server_first(example.server_nonce, &others);
        let first = encoded(example.client_first);
        let (mut exchange, _) = offer().begin(example.mechanism, Some(&first)).unwrap();
        exchange.found(&Found::ServerFirst(server.clone()));
        let message = client_final(example.hash, example.client_first, "n,,", b"", &server, "pencil");
        assert!(matches!(exchange.respond(&encoded(&message)), Progress::Needs(Lookup::Verifier { .. })));
        assert_eq!(exchange.found(&Found::Verifier(others)), done("", Err(Fault::Proof)));
    }
}

#[test]
fn each_message_has_its_place() {
    let first = encoded(SHA_256.client_first);
    let (mut exchange, _) = offer().begin("SCRAM-SHA-256", None).unwrap();
    let (salt, verifier) = (Found::ServerFirst(SHA_256.server_first()), Found::Verifier(SHA_256.verifier()));
    assert_eq!(exchange.found(&salt), Progress::Malformed, "a salt before it is asked for");
    let (mut exchange, _) = offer().begin("SCRAM-SHA-256", Some(&first)).unwrap();
    assert_eq!(exchange.found(&verifier), Progress::Malformed, "a verifier before there is a proof");
    let (mut exchange, _) = offer().begin("SCRAM-SHA-256", Some(&first)).unwrap();
    assert_eq!(exchange.respond(&encoded(SHA_256.client_final)), Progress::Malformed);
    let mut exchange = SHA_256.begun();
    assert_eq!(exchange.found(&salt), Progress::Malformed, "a salt twice");
    assert_eq!(SHA_256.begun().respond(&first), Progress::Malformed);
    let mut exchange = SHA_256.begun();
    exchange.respond(&encoded(SHA_256.client_final));
    assert_eq!(exchange.respond(""), Progress::Malformed, "something before the proof is verified");
    let mut exchange = SHA_256.begun();
    SHA_256.end(&mut exchange, SHA_256.client_final);
    assert_eq!(exchange.respond(&first), Progress::Malformed, "something after our signature");
    let (mut exchange, _) = offer().begin("PLAIN", None).unwrap();
    assert_eq!(exchange.found(&verifier), Progress::Malformed);
}

#[test]
fn exchanges_are_bound_to_their_connection() {
    let (exporter, end_point) = ([7; 32], vec![9; 48]);
    for example in EXAMPLES {
        let offer = Offer { scram: Scram::Bound, channel: channel(), tokens: Tokens::Absent };
        let mechanism = format!("{}-PLUS", example.mechanism);
        let run = |header: &str, data: &[u8]| {
            let first = format!("{header}n=user,r=abc");
            let (mut exchange, progress) = offer.begin(&mechanism, Some(&encoded(&first))).unwrap();
            let Progress::Needs(_) = progress else { return progress };
            let server = example.server_first();
            exchange.found(&Found::ServerFirst(server.clone()));
            let message = client_final(example.hash, &first, header, data, &server, "pencil");
            match example.end(&mut exchange, &message) {
                Progress::Challenge(_) => exchange.respond(""),
                progress => progress,
            }
        };
        assert_eq!(run("p=tls-exporter,,", &exporter), done("", Ok(())));
        assert_eq!(run("p=tls-server-end-point,a=user2,", &end_point), done("user2", Ok(())));
        for (header, data, verdict) in [
            ("p=tls-exporter,,", &[8; 32][..], Fault::Binding),
            ("p=tls-exporter,,", &end_point, Fault::Binding),
            ("p=tls-exporter,,", b"", Fault::Binding),
            ("p=tls-unique,,", &exporter, Fault::Binding),
        ] {
            assert_eq!(run(header, data), done("", Err(verdict)), "{header}");
        }
        // Without a binding it is another mechanism.
        assert_eq!(run("n,,", b""), Progress::Malformed);
        assert_eq!(run("y,,", b""), Progress::Malformed);
    }
}

#[test]
fn an_announcement_that_was_changed_is_noticed() {
    let first = |flag: &str| encoded(&format!("{flag},,n=user,r=abc"));
    let bound = Offer { scram: Scram::Bound, channel: channel(), tokens: Tokens::Absent };
    let begin = |offer: &Offer, flag| offer.begin("SCRAM-SHA-256", Some(&first(flag))).unwrap().1;
    assert_eq!(begin(&bound, "y"), done("", Err(Fault::Downgrade)));
    assert!(matches!(begin(&bound, "n"), Progress::Needs(_)));
    assert!(matches!(begin(&offer(), "y"), Progress::Needs(_)));
    assert_eq!(begin(&bound, "p=tls-exporter"), Progress::Malformed);
    let not_offered = Offer { channel: channel(), ..offer() };
    assert!(matches!(begin(&not_offered, "y"), Progress::Needs(_)));
}
