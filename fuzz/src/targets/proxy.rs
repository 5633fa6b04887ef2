//! Headers of the PROXY protocol.

use waypost_net::proxy::{Progress, V2_BYTES_MAX, progress};

/// A header is the same however it is cut, no octet behind it is asked for, and its length is bounded.
pub(crate) fn header(octets: &[u8]) {
    let in_one_piece = read(octets, usize::MAX);
    assert_eq!(in_one_piece, read(octets, 1), "{}", octets.escape_ascii());
    if let Some((used, _)) = in_one_piece {
        assert!(used <= V2_BYTES_MAX);
        for end in 0..used {
            let before = progress(&octets[..end]);
            assert!(
                matches!(before, Ok(Progress::Missing(missing)) if missing > 0 && missing <= used - end),
                "{end} of {used}: {before:?}"
            );
        }
    }
}

/// Reads as much at a time as is missing, and no more than `piece`: what was used, and the client.
fn read(octets: &[u8], piece: usize) -> Option<(usize, Option<std::net::SocketAddr>)> {
    let mut used = 0;
    loop {
        match progress(&octets[..used]).ok()? {
            Progress::Client(client) => return Some((used, client)),
            Progress::Missing(missing) => {
                used += missing.min(piece);
                if used > octets.len() {
                    return None;
                }
            }
        }
    }
}
