//! The server's side of SASL.

use std::num::NonZeroU32;

use waypost_auth::{
    sasl::{
        Certificate, Channel, Claim, Found, Lookup, Mechanism, Offer, Progress, Scram, ScramHash,
        ServerFirst, Tokens, Verifier,
    },
    token::TokenFault,
};

use super::settings;

/// Lines of a client: the first is the initial response if the settings say so. An exchange that is over stays over.
pub(crate) fn exchange(octets: &[u8]) {
    let Some((settings, rest)) = settings(octets) else { return };
    let Ok(text) = str::from_utf8(rest) else { return };
    // The corpus numbers EXTERNAL, which came later, last.
    let mechanism = Mechanism::ALL[(usize::from(settings & 0x7f) + 1) % Mechanism::ALL.len()];
    assert_eq!(Mechanism::by_name(mechanism.name()), Some(mechanism));
    let mut lines = text.split('\n');
    let initial = if settings & 0x80 == 0 { None } else { lines.next() };
    let certificate = Certificate { emails: vec!["user@a.test".into()], sha256: [5; 32] };
    let channel =
        Channel { exporter: Some([7; 32]), end_point: Some(vec![9; 32]), certificate: Some(certificate) };
    let offer = Offer { scram: Scram::Bound, channel, tokens: Tokens::Offered };
    let Some((mut exchange, mut progress)) = offer.begin(mechanism.name(), initial) else { return };
    for line in lines {
        if let Progress::Needs(lookup) = &progress {
            progress = exchange.found(&found(lookup));
        }
        let is_open = check(&progress, text);
        progress = exchange.respond(line);
        assert!(
            is_open || matches!(progress, Progress::Malformed | Progress::Cancelled),
            "over, and goes on"
        );
    }
    check(&progress, text);
}

/// Whether the exchange goes on.
fn check(progress: &Progress, text: &str) -> bool {
    match progress {
        Progress::Challenge(challenge) => assert!(challenge.is_ascii() && challenge.len() <= 1024),
        Progress::Done(Claim::Scram(proof)) => assert!(!proof.login.is_empty()),
        Progress::Done(Claim::Token(bearer)) => assert!(bearer.authorization.len() <= text.len()),
        Progress::Done(Claim::Certificate(shown)) => assert!(!shown.authorization.contains('\0')),
        Progress::Done(Claim::Apop(_)) => panic!("APOP is no mechanism"),
        Progress::Done(Claim::Password(credentials)) => {
            let all = [&credentials.authorization, &credentials.login, &credentials.password];
            assert!(all.iter().map(|part| part.len()).sum::<usize>() <= text.len());
            assert!(!credentials.login.is_empty());
        }
        Progress::Needs(_) | Progress::Cancelled | Progress::Malformed => {}
    }
    matches!(progress, Progress::Challenge(_))
}

fn found(lookup: &Lookup) -> Found {
    match lookup {
        Lookup::Verifier { login, hash } => {
            assert!(!login.is_empty());
            Found::Verifier(verifier(*hash))
        }
        Lookup::ServerFirst { login, hash } => {
            assert!(!login.is_empty());
            let Verifier { salt, iterations, .. } = verifier(*hash);
            Found::ServerFirst(ServerFirst { nonce: "xyz".into(), salt, iterations })
        }
        Lookup::Token { token, .. } if token.starts_with('x') => Found::Token(Err(TokenFault::Time)),
        Lookup::Token { .. } => Found::Token(Ok("user".into())),
    }
}

/// Of the password "pencil".
fn verifier(hash: ScramHash) -> Verifier {
    let verifier = Verifier::derive(hash, "pencil", vec![1], NonZeroU32::MIN);
    let Some(verifier) = verifier else { panic!("a password") };
    verifier
}
