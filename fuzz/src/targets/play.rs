//! Plays a session with a machine that has no network.

use std::time::Instant;

use waypost_net::{Machine, Step, TlsInfo};

/// Ends a burst of octets: after TLS began, what the peer still sent before it is dropped up to here.
pub(crate) const BURST_END: &[u8] = b"\xff\xff";
/// Pieces in which octets are fed: the smallest, one that falls anywhere, all at once.
pub(crate) const PIECES: [usize; 3] = [1, 7, usize::MAX];
/// Steps without input after which a machine is taken to spin.
const STEPS_MAX: usize = 100_000;

/// What a peer saw.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Played {
    /// All that was sent.
    pub(crate) output: Vec<u8>,
    /// How often TLS was asked for.
    pub(crate) handshakes: usize,
}

/// Feeds octets in pieces, answers what is asked, and hangs up at the end.
pub(crate) fn play<M: Machine>(
    machine: &mut M,
    octets: &[u8],
    piece: usize,
    mut answer: impl FnMut(M::Question) -> M::Answer,
) -> Played {
    let mut played = Played::default();
    let now = Instant::now();
    let mut open = run(machine, now, &mut played, &mut answer);
    for burst in bursts(octets) {
        let handshakes = played.handshakes;
        for piece in burst.chunks(piece.min(burst.len().max(1))) {
            if open && handshakes == played.handshakes {
                machine.receive(piece);
                open = run(machine, now, &mut played, &mut answer);
            }
        }
    }
    if open {
        machine.end_of_input();
        let open = run(machine, now, &mut played, &mut answer);
        assert!(!open, "the machine goes on after the end of input");
    }
    played
}

fn bursts(octets: &[u8]) -> Vec<&[u8]> {
    let mut bursts = Vec::new();
    let mut rest = octets;
    while let Some(end) = rest.windows(BURST_END.len()).position(|window| window == BURST_END) {
        bursts.push(&rest[..end]);
        rest = &rest[end + BURST_END.len()..];
    }
    bursts.push(rest);
    bursts
}

/// Goes on until the machine waits for octets; whether it is still open.
fn run<M: Machine>(
    machine: &mut M,
    now: Instant,
    played: &mut Played,
    answer: &mut impl FnMut(M::Question) -> M::Answer,
) -> bool {
    for _ in 0..STEPS_MAX {
        let step = machine.step(now);
        played.output.extend_from_slice(&machine.output().split());
        match step {
            Step::Read { deadline } | Step::Watch { deadline } => {
                assert!(deadline > now, "a deadline that has passed");
                return true;
            }
            Step::Ask(question) => machine.answer(answer(question)),
            Step::StartTls => {
                played.handshakes += 1;
                machine.tls_started(&tls());
            }
            Step::StartCompression | Step::StopCompression => {}
            Step::Close => return false,
        }
    }
    panic!("the machine spins");
}

/// TLS as a machine is told of it.
pub(crate) fn tls() -> TlsInfo {
    TlsInfo {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        verified: true,
        ..TlsInfo::default()
    }
}

/// Checks that octets are lines that end with CRLF, with no other CR, LF or NUL.
pub(crate) fn assert_lines(output: &[u8]) {
    assert!(output.is_empty() || output.ends_with(b"\r\n"), "the last line has no end");
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("a line feed without carriage return");
        assert!(!line.iter().any(|octet| matches!(octet, b'\r' | 0)), "a control in a line");
    }
}
