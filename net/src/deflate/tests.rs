use proptest::prelude::*;

use super::*;

/// All that an inflater gives of octets that are fed in pieces, and what it leaves.
fn inflated(
    inflater: &mut Inflater,
    compressed: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, Inflated), NotDeflate> {
    let mut out = Vec::new();
    let mut last = Inflated::NeedsInput;
    for piece in compressed.chunks(piece) {
        inflater.feed(piece);
        loop {
            let before = out.len();
            last = inflater.next(|octets| out.extend_from_slice(octets))?;
            match last {
                Inflated::Octets(bytes) => {
                    assert_eq!(out.len() - before, bytes);
                    assert!(bytes <= INFLATED_BYTES_MAX);
                }
                Inflated::NeedsInput | Inflated::Over => break,
            }
        }
    }
    Ok((out, last))
}

fn deflated(deflater: &mut Deflater, octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    deflater.write(octets, &mut out).unwrap();
    deflater.flush(&mut out).unwrap();
    out
}

#[test]
fn what_was_flushed_can_be_inflated() {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
    let mut sizes = Vec::new();
    for (index, said) in ["* 1 EXISTS\r\n", "* 1 EXISTS\r\n", "", "a OK\r\n", "a OK\r\n"].iter().enumerate() {
        let compressed = deflated(&mut deflater, said.as_bytes());
        assert_eq!(compressed.is_empty(), said.is_empty());
        assert!(compressed.is_empty() || compressed.ends_with(&[0, 0, 0xff, 0xff]), "{compressed:?}");
        sizes.push(compressed.len());
        let (out, _) = inflated(&mut inflater, &compressed, 1 + index).unwrap();
        assert_eq!(out, said.as_bytes());
    }
    assert!(sizes[1] < sizes[0], "the second time it refers to the first: {sizes:?}");
}

#[test]
fn a_deflater_that_rested_goes_on() {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
    for round in 0..5 {
        let said = format!("* {round} FETCH (UID {round})\r\n").repeat(50);
        let (out, _) = inflated(&mut inflater, &deflated(&mut deflater, said.as_bytes()), 64).unwrap();
        assert_eq!(out, said.as_bytes());
        deflater.write(b"more", &mut Vec::new()).unwrap();
        deflater.rest();
        assert!(deflater.is_at_work(), "what was not flushed is not forgotten");
        let (out, _) = inflated(&mut inflater, &deflated(&mut deflater, b""), 64).unwrap();
        assert_eq!(out, b"more");
        deflater.rest();
        assert!(!deflater.is_at_work());
        inflater.rest();
        assert!(!inflater.holds_room());
    }
}

#[test]
fn little_never_becomes_much_at_once() {
    let mut deflater = Deflater::default();
    let compressed = deflated(&mut deflater, &vec![b'x'; 8 * 1024 * 1024]);
    assert!(compressed.len() < 64 * 1024, "{}", compressed.len());
    let mut inflater = Inflater::default();
    inflater.feed(&compressed);
    let mut all = 0;
    while let Inflated::Octets(bytes) =
        inflater.next(|octets| assert!(octets.len() <= INFLATED_BYTES_MAX)).unwrap()
    {
        all += bytes;
        assert!(inflater.window.len() <= WINDOW_BYTES_MAX);
        assert!(inflater.window.capacity() <= 2 * (WINDOW_BYTES_MAX + INFLATED_BYTES_MAX));
    }
    assert_eq!(all, 8 * 1024 * 1024);
    inflater.rest();
    assert!(inflater.window.capacity() <= WINDOW_BYTES_MAX);
}

#[test]
fn what_is_not_deflate_is_refused() {
    for octets in [&b"a NOOP\r\n"[..], &[0b111, 0], &[0, 1, 0, 0, 0], &[0xff; 40], b"a1 LOGOUT\r\n"] {
        let mut inflater = Inflater::default();
        assert_eq!(inflated(&mut inflater, octets, 99).err(), Some(NotDeflate), "{octets:?}");
    }
    // A reference to before the beginning.
    let mut referring = Deflater::default();
    deflated(&mut referring, b"abcdefghijklmnop");
    let reference = deflated(&mut referring, b"abcdefghijklmnop");
    assert_eq!(inflated(&mut Inflater::default(), &reference, 99).err(), Some(NotDeflate));
}

#[test]
fn the_peer_may_end_its_stream() {
    let last = miniz_oxide::deflate::compress_to_vec(b"a LOGOUT\r\n", 6);
    let (out, last) = inflated(&mut Inflater::default(), &last, 99).unwrap();
    assert_eq!((out.as_slice(), last), (&b"a LOGOUT\r\n"[..], Inflated::Over));
}

/// UNAUTHENTICATE: what follows the flush is not compressed.
#[test]
fn compression_ends_where_it_was_said_to() {
    for said in [
        "a UNAUTHENTICATE\r\n",
        "abcd UNAUTHENTICATE\r\n",
        "x1 unauthenticate\r\n",
        "tag.7 UnauthenticatE\r\n",
    ] {
        let flushed = deflated(&mut Deflater::default(), said.as_bytes());
        let finished = miniz_oxide::deflate::compress_to_vec(said.as_bytes(), 6);
        for compressed in [flushed, finished] {
            for piece in [1, 3, 99] {
                let octets = [&compressed[..], b"b LOGIN u p\r\n"].concat();
                let (mut inflater, mut out, mut plain) = (Inflater::default(), Vec::new(), Vec::new());
                let mut over = false;
                for piece in octets.chunks(piece) {
                    if over {
                        plain.extend_from_slice(piece);
                        continue;
                    }
                    inflater.feed(piece);
                    loop {
                        match inflater.next(|octets| out.extend_from_slice(octets)).unwrap() {
                            Inflated::Octets(_) if out == said.as_bytes() => inflater.end(),
                            Inflated::Octets(_) => {}
                            Inflated::NeedsInput => break,
                            Inflated::Over => {
                                plain.extend_from_slice(&inflater.take_rest());
                                over = true;
                                break;
                            }
                        }
                    }
                }
                assert_eq!(
                    (out.as_slice(), plain.as_slice()),
                    (said.as_bytes(), &b"b LOGIN u p\r\n"[..]),
                    "{piece}"
                );
            }
        }
    }
    let mut inflater = Inflater::default();
    inflater.end();
    let stored = [0, 3, 0, 0xfc, 0xff, b'a', b'b', b'c'];
    assert_eq!(inflated(&mut Inflater::default(), &stored, 99).unwrap().0, b"abc");
    assert_eq!(inflated(&mut inflater, &stored, 99).err(), Some(NotDeflate), "it said that it had ended");
}

proptest! {
    #[test]
    fn all_comes_back(
        said in prop::collection::vec((prop::collection::vec(0u8..4, 0..400), 1usize..200, any::<bool>()), 0..12),
        piece in 1usize..5000,
    ) {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for (octets, times, rests) in said {
            let octets = octets.repeat(times);
            let (out, _) = inflated(&mut inflater, &deflated(&mut deflater, &octets), piece).unwrap();
            prop_assert_eq!(out, octets);
            if rests {
                deflater.rest();
                inflater.rest();
            }
        }
    }
}
