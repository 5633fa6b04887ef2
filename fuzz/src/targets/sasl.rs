//! The server's side of SASL.

use waypost_auth::sasl::{Exchange, Mechanism, Progress};

use super::settings;

/// Lines of a client: the first is the initial response if the settings say so. An exchange that is over stays over.
pub(crate) fn exchange(octets: &[u8]) {
    let Some((settings, rest)) = settings(octets) else { return };
    let Ok(text) = str::from_utf8(rest) else { return };
    let mechanism = Mechanism::ALL[usize::from(settings) % Mechanism::ALL.len()];
    assert_eq!(Mechanism::by_name(mechanism.name()), Some(mechanism));
    let mut lines = text.split('\n');
    let initial = if settings & 0x80 == 0 { None } else { lines.next() };
    let (mut exchange, mut progress) = Exchange::begin(mechanism, initial);
    for line in lines {
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
        Progress::Challenge(challenge) => assert!(challenge.is_ascii() && challenge.len() <= 64),
        Progress::Done(credentials) => {
            let all = [&credentials.authorization, &credentials.login, &credentials.password];
            assert!(all.iter().map(|part| part.len()).sum::<usize>() <= text.len());
            assert!(!credentials.login.is_empty());
        }
        Progress::Cancelled | Progress::Malformed => {}
    }
    matches!(progress, Progress::Challenge(_))
}
