//! DEFLATE as a layer of a stream.

use waypost_net::deflate::{Deflater, INFLATED_BYTES_MAX, Inflated, Inflater};

use super::settings;

/// Most octets that are inflated of one input: some would become thousands of times as many.
const OCTETS_MAX: usize = 4 * 1024 * 1024;

/// Any octets are inflated in the same way however they are cut, in bounded pieces, and give the same after a rest; what was
/// compressed comes back.
pub(crate) fn streams(octets: &[u8]) {
    let Some((bits, octets)) = settings(octets) else { return };
    let ends = bits & 1 != 0;
    let whole = inflated(octets, usize::MAX, ends, false);
    assert_eq!(whole, inflated(octets, 1, ends, true), "{}", octets.escape_ascii());
    assert_eq!(whole, inflated(octets, 7, ends, false), "{}", octets.escape_ascii());
    let mut deflater = Deflater::default();
    let mut compressed = Vec::new();
    for piece in octets.chunks(1 + usize::from(bits >> 1)) {
        deflater.write(piece, &mut compressed).unwrap();
        deflater.flush(&mut compressed).unwrap();
        if bits & 128 != 0 {
            deflater.rest();
        }
    }
    assert_eq!(inflated(&compressed, 5, false, true).said, octets);
}

/// What a peer said.
#[derive(Debug, Default, Eq, PartialEq)]
struct Said {
    said: Vec<u8>,
    /// What followed its stream.
    plain: Vec<u8>,
    is_deflate: bool,
}

/// Inflates octets that come in pieces; with `ends` only up to its first line.
fn inflated(octets: &[u8], piece: usize, ends: bool, rests: bool) -> Said {
    let (mut inflater, mut said) = (Inflater::default(), Said { is_deflate: true, ..Said::default() });
    let mut over = false;
    for piece in octets.chunks(piece.min(octets.len().max(1))) {
        if over {
            said.plain.extend_from_slice(piece);
            continue;
        }
        inflater.feed(piece);
        while said.said.len() <= OCTETS_MAX {
            let before = said.said.len();
            let next = inflater.next(|octets| said.said.extend_from_slice(octets));
            match next {
                Err(_) => return no_deflate(said),
                Ok(Inflated::Octets(bytes)) => {
                    assert!(bytes <= INFLATED_BYTES_MAX);
                    let piece = &said.said[before..];
                    match piece.iter().position(|octet| *octet == b'\n').filter(|_| ends) {
                        Some(end) if end + 1 == piece.len() => inflater.end(),
                        // What follows its first line in the same piece would not be inflated in another.
                        Some(_) => return no_deflate(said),
                        None => {}
                    }
                }
                Ok(Inflated::NeedsInput) => break,
                Ok(Inflated::Over) => {
                    said.plain.extend_from_slice(&inflater.take_rest());
                    over = true;
                    break;
                }
            }
        }
        if rests {
            inflater.rest();
        }
    }
    said
}

/// What was said before the wrong octets depends on how they were cut.
fn no_deflate(said: Said) -> Said {
    Said { said: Vec::new(), is_deflate: false, ..said }
}
