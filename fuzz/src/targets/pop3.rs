//! POP3: commands and the session.

use waypost_mail::Domain;
use waypost_pop3::fuzzing::{Command, Session};

use super::{
    play::{PIECES, assert_lines, play},
    settings,
};

/// The case of the keyword does not matter; what is understood holds no controls.
pub(crate) fn command(line: &[u8]) {
    let keyword = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
    let mut upper = line.to_vec();
    upper[..keyword].make_ascii_uppercase();
    let command = Command::parse(line);
    assert_eq!(command, Command::parse(&upper));
    if matches!(command, Command::Understood(_)) {
        assert!(!line.iter().any(u8::is_ascii_control), "{}", line.escape_ascii());
    }
}

/// A session says the same wherever its input is cut; its output is lines, and not much more than the input asks for.
pub(crate) fn machine(octets: &[u8]) {
    let Some((settings, octets)) = settings(octets) else { return };
    let [first, other, whole] = PIECES.map(|piece| {
        let mut session = Session::new(&Domain::new("mx.test").expect("a domain"), settings);
        play(&mut session, octets, piece, |question| question.answer(settings))
    });
    assert!(first == whole && other == whole, "cut elsewhere: {first:?} {other:?} {whole:?}");
    let output = whole.output;
    assert_lines(&output);
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        // RFC 2449 section 4
        assert!(line.len() <= 512, "{}", line.escape_ascii());
    }
    assert!(output.len() <= 4096 + 64 * octets.len(), "{} octets for {}", output.len(), octets.len());
}
