//! Octets of a message that go on as they are: whole lines are found, and copied, together.

use std::iter::zip;

use memchr::memchr3_iter;

/// Octets from the start or the middle of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Run {
    /// How many.
    pub(super) octets: usize,
    /// Whether the next one begins a line.
    pub(super) ends_line: bool,
}

/// What needs to be looked at, CR and LF outside of CRLF apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stops {
    /// An octet anywhere; LF: none.
    pub(super) octet: u8,
    /// A dot that begins a line.
    pub(super) dot: bool,
    /// The end of each line, too.
    pub(super) line_end: bool,
}

/// The longest run that needs no look; `at_line_start`: where the first octet stands.
pub(super) fn plain(octets: &[u8], at_line_start: bool, stops: Stops) -> Run {
    let stops_at = |at: usize| stops.dot && octets.get(at) == Some(&b'.');
    let mut run = Run { octets: 0, ends_line: at_line_start };
    if at_line_start && stops_at(0) {
        return run;
    }
    let begun = if stops.line_end { 0 } else { unremarkable(octets, stops) };
    if begun > 0 {
        run = Run { octets: begun, ends_line: octets[begun - 1] == b'\n' };
        if run.ends_line && stops_at(begun) {
            return run;
        }
    }
    let up_to =
        |at: usize, run: Run| if at > run.octets { Run { octets: at, ends_line: false } } else { run };
    let mut marks = memchr3_iter(b'\r', b'\n', stops.octet, &octets[begun..]);
    while let Some(at) = marks.next() {
        let at = begun + at;
        if stops.line_end || !octets[at..].starts_with(b"\r\n") {
            return up_to(at, run);
        }
        marks.next();
        run = Run { octets: at + 2, ends_line: true };
        if stops_at(run.octets) {
            return run;
        }
    }
    up_to(octets.len(), run)
}

/// Octets that are looked at together.
const BLOCK_BYTES: usize = if cfg!(test) { 8 } else { 512 };

/// How many octets from the first on hold CR and LF only as CRLF, and no octet to stop at: as many as can be told by blocks, which is much
/// faster than to go from one line end to the next.
fn unremarkable(octets: &[u8], stops: Stops) -> usize {
    if octets.first().is_none_or(|first| *first == b'\n' || *first == stops.octet) {
        return 0;
    }
    let (stops_at_octet, mut end) = (stops.octet != b'\n', 1);
    while end < octets.len() {
        let block = &octets[end - 1..octets.len().min(end - 1 + BLOCK_BYTES)];
        // without branches, so that many octets are compared at once
        let remarkable = zip(block, &block[1..]).fold(false, |remarkable, (before, octet)| {
            remarkable
                | ((*before == b'\r') != (*octet == b'\n'))
                | (stops_at_octet & (*octet == stops.octet))
                | (stops.dot & (*before == b'\n') & (*octet == b'.'))
        });
        if remarkable {
            break;
        }
        end += block.len() - 1;
    }
    // what follows a CR is not known
    end - usize::from(octets[end - 1] == b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_ends_before_what_needs_a_look() {
        let all = Stops { octet: 0, dot: true, line_end: false };
        for (octets, at_line_start, stops, expected) in [
            ("", true, all, (0, true)),
            ("", false, all, (0, false)),
            ("a", true, all, (1, false)),
            ("a\r\nb\r\n", true, all, (6, true)),
            ("a\r\nb", true, all, (4, false)),
            ("a\r\n.b\r\n", true, all, (3, true)),
            (".a", true, all, (0, true)),
            (".a", false, all, (2, false)),
            (".a\r\n.b", true, Stops { dot: false, ..all }, (6, false)),
            ("a\r\nb\nc", true, all, (4, false)),
            ("a\r\n\nc", true, all, (3, true)),
            ("a\r\n\r\n\r", true, all, (5, true)),
            ("a\rb", true, all, (1, false)),
            ("\ra", false, all, (0, false)),
            ("a\0b", true, all, (1, false)),
            ("a\0b", true, Stops { octet: b'\n', ..all }, (3, false)),
            ("a\r\nb", true, Stops { line_end: true, ..all }, (1, false)),
        ] {
            let Run { octets: found, ends_line } = plain(octets.as_bytes(), at_line_start, stops);
            assert_eq!((found, ends_line), expected, "{octets:?} {at_line_start} {stops:?}");
        }
    }

    /// The same, octet by octet.
    fn plain_by_octet(octets: &[u8], at_line_start: bool, stops: Stops) -> Run {
        let mut run = Run { octets: 0, ends_line: at_line_start };
        while let Some(octet) = octets.get(run.octets) {
            let pair = octets[run.octets..].starts_with(b"\r\n");
            let remarkable = match octet {
                b'\r' => stops.line_end || !pair,
                b'\n' => true,
                b'.' => stops.dot && run.ends_line,
                octet => *octet == stops.octet,
            };
            if remarkable {
                break;
            }
            run = Run { octets: run.octets + if pair { 2 } else { 1 }, ends_line: pair };
        }
        run
    }

    proptest! {
        #[test]
        fn blocks_make_no_difference(
            marks in prop::collection::vec((0usize..1200, prop::sample::select(vec!["\r\n", "\r\n.", "\r", "\n", "\0", "."])), 0..6),
            length in 0usize..1200,
            at_line_start: bool,
            (dot, line_end, nul) in any::<(bool, bool, bool)>(),
        ) {
            let mut octets = vec![b'x'; length];
            for (at, mark) in marks {
                octets.splice(at.min(octets.len())..at.min(octets.len()), mark.bytes());
            }
            let stops = Stops { octet: if nul { 0 } else { b'\n' }, dot, line_end };
            prop_assert_eq!(plain(&octets, at_line_start, stops), plain_by_octet(&octets, at_line_start, stops));
        }
    }
}
