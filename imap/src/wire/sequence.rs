//! Sequence sets.

use nom::{
    Parser,
    bytes::complete::tag,
    combinator::{map, opt},
    sequence::preceded,
};

use super::{
    SequenceNumber, SequenceSet,
    token::{Parsed, beyond, nz_number, refuse},
};

/// Most ranges in one sequence set.
pub const SEQUENCE_RANGES_MAX: usize = 10_000;

/// `sequence-set = (seq-number / seq-range) *("," sequence-set) / seq-last-command`, `seq-last-command = "$"` (RFC 5182 section 3)
pub(crate) fn sequence_set(input: &[u8]) -> Parsed<'_, SequenceSet> {
    if let Some(rest) = input.strip_prefix(b"$") {
        return Ok((rest, SequenceSet::Saved));
    }
    let (mut rest, first) = seq_range(input)?;
    let mut ranges = vec![first];
    while let Some(after) = rest.strip_prefix(b",") {
        if ranges.len() == SEQUENCE_RANGES_MAX {
            return beyond(rest, "too many ranges");
        }
        let (after, range) = seq_range(after)?;
        ranges.push(range);
        rest = after;
    }
    Ok((rest, SequenceSet::Ranges(ranges)))
}

/// `seq-range = seq-number ":" seq-number`, or one number, which is both ends.
fn seq_range(input: &[u8]) -> Parsed<'_, (SequenceNumber, SequenceNumber)> {
    map((seq_number, opt(preceded(tag(":"), seq_number))), |(start, end)| (start, end.unwrap_or(start)))
        .parse(input)
}

/// `seq-number = nz-number / "*"`
pub(crate) fn seq_number(input: &[u8]) -> Parsed<'_, SequenceNumber> {
    match input.first() {
        Some(b'*') => Ok((&input[1..], SequenceNumber::Largest)),
        Some(b'0'..=b'9') => map(nz_number, SequenceNumber::Number).parse(input),
        _ => refuse(input, "expected a sequence number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_parse_and_resolve() {
        for (input, largest, expected) in [
            ("1", 9, vec![1..=1]),
            ("*", 9, vec![9..=9]),
            ("2,4:7,9,12:*", 15, vec![2..=2, 4..=7, 9..=9, 12..=15]),
            ("*:4,5:7", 10, vec![4..=10]),
            ("7:5,6:8,1,2", 10, vec![1..=2, 5..=8]),
            ("3291:*", 12, vec![12..=3291]),
            ("*", 0, vec![]),
            ("4294967295", 1, vec![u32::MAX..=u32::MAX]),
            ("$", 9, vec![]),
        ] {
            let (rest, set) = sequence_set(input.as_bytes()).unwrap();
            assert_eq!((rest, set.resolve(largest)), (&b""[..], expected), "{input}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for input in [
            "",
            "0",
            "0:1",
            "1:0",
            "1,",
            "1:",
            ":1",
            ",1",
            "a",
            "4294967296",
            "-1",
            "**",
            "$,1",
            "1,$",
            "$:2",
        ] {
            assert!(!matches!(sequence_set(input.as_bytes()), Ok((b"", _))), "{input}");
        }
    }

    #[test]
    fn ranges_are_bounded() {
        let set = |ranges: usize| vec!["1"; ranges].join(",");
        assert!(sequence_set(set(SEQUENCE_RANGES_MAX).as_bytes()).is_ok());
        assert!(sequence_set(set(SEQUENCE_RANGES_MAX + 1).as_bytes()).is_err());
    }
}
