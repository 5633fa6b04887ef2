//! Octets of a message that go on as they are: whole lines are found, and copied, together.

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
    /// An octet anywhere.
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
    let up_to =
        |at: usize, run: Run| if at > run.octets { Run { octets: at, ends_line: false } } else { run };
    let mut marks = memchr3_iter(b'\r', b'\n', stops.octet, octets);
    while let Some(at) = marks.next() {
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

#[cfg(test)]
mod tests {
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
}
