//! SELECT and EXAMINE.

use std::ops::RangeInclusive;

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case},
    combinator::{map, value},
    sequence::{delimited, preceded},
};

use super::{
    Access, CommandBody, ModSeqs, Resync, SelectParameters, SequenceMatch, SequenceNumber, SequenceSet,
    Spelling,
    mailbox::mailbox,
    sequence::sequence_set,
    token::{Parsed, list1, nz_number, nz_number64, opt_if, or_refuse, refuse, then},
};

/// A parameter of SELECT.
#[derive(Clone)]
enum Parameter {
    CondStore,
    QResync(Resync),
}

/// `select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]` (RFC 4466 section 2.1); EXAMINE likewise
pub(crate) fn select(input: &[u8], access: Access, spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, name) = then(mailbox(spelling)).parse(input)?;
    let (after, given) = opt_if(rest, b" (", then(list1(select_param)))?;
    let mut parameters = SelectParameters { modseqs: ModSeqs::AsBefore, resync: None };
    for parameter in given.unwrap_or_default() {
        match parameter {
            Parameter::CondStore => parameters.modseqs = ModSeqs::Tell,
            Parameter::QResync(resync) if parameters.resync.is_none() => {
                parameters.resync = Some(Box::new(resync));
            }
            Parameter::QResync(_) => return refuse(rest, "QRESYNC stands there twice"),
        }
    }
    Ok((after, CommandBody::Select(name, access, parameters)))
}

/// `select-param =/ "CONDSTORE" / "QRESYNC" SP "(" … ")"` (RFC 7162 section 7)
fn select_param(input: &[u8]) -> Parsed<'_, Parameter> {
    let condstore = value(Parameter::CondStore, tag_no_case("CONDSTORE"));
    let (rest, parameter) = or_refuse(
        alt((map(condstore, Some), value(None, tag_no_case("QRESYNC")))),
        "unknown parameter",
    )(input)?;
    match parameter {
        Some(parameter) => Ok((rest, parameter)),
        None => map(then(resync), Parameter::QResync).parse(rest),
    }
}

/// `"(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"` (RFC 7162 section 7)
fn resync(input: &[u8]) -> Parsed<'_, Resync> {
    let begin = preceded(or_refuse(tag("("), "expected an opening parenthesis"), nz_number);
    let (rest, (uid_validity, modseq)) = (begin, then(nz_number64)).parse(input)?;
    let (rest, known_uids) = match rest.starts_with(b" ") && !rest.starts_with(b" (") {
        true => map(then(known_set), Some).parse(rest)?,
        false => (rest, None),
    };
    let (rest, matched) = opt_if(rest, b" (", then(seq_match_data))?;
    let (rest, _) = or_refuse(tag(")"), "expected a closing parenthesis")(rest)?;
    let known_uids = known_uids.map(|set| set.resolve(0));
    Ok((rest, Resync { uid_validity, modseq, known_uids, matched: matched.unwrap_or_default() }))
}

/// `seq-match-data = "(" known-sequence-set SP known-uid-set ")"`
fn seq_match_data(input: &[u8]) -> Parsed<'_, SequenceMatch> {
    let end = or_refuse(tag(")"), "expected a closing parenthesis");
    let (rest, (numbers, uids)) = delimited(tag("("), (known_set, then(known_set)), end).parse(input)?;
    match SequenceMatch::new(as_written(&numbers), as_written(&uids)) {
        Some(matched) => Ok((rest, matched)),
        None => refuse(input, "expected as many UIDs as sequence numbers, both ascending"),
    }
}

/// `known-uids = sequence-set`, without `*`
fn known_set(input: &[u8]) -> Parsed<'_, SequenceSet> {
    let (rest, set) = sequence_set(input)?;
    let is_known = |number: SequenceNumber| number != SequenceNumber::Largest;
    match &set {
        SequenceSet::Ranges(ranges) if ranges.iter().all(|(a, b)| is_known(*a) && is_known(*b)) => {
            Ok((rest, set))
        }
        _ => refuse(input, "expected a set of numbers"),
    }
}

/// The ranges of a set without `*` in the order in which they stand there.
fn as_written(set: &SequenceSet) -> Vec<RangeInclusive<u32>> {
    let SequenceSet::Ranges(ranges) = set else { return Vec::new() };
    let number = |number: SequenceNumber| match number {
        SequenceNumber::Number(number) => number,
        SequenceNumber::Largest => 0,
    };
    ranges.iter().map(|(a, b)| (number(*a), number(*b))).map(|(a, b)| a.min(b)..=a.max(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<SelectParameters> {
        match select(text.as_bytes(), Access::ReadWrite, Spelling::Utf7) {
            Ok((b"", CommandBody::Select(_, _, parameters))) => Some(parameters),
            _ => None,
        }
    }

    #[test]
    fn what_a_client_knows_of_a_mailbox() {
        let resync = |known_uids, pairs: &[(u32, u32)]| {
            let (numbers, uids) = pairs.iter().map(|(number, uid)| (*number..=*number, *uid..=*uid)).unzip();
            let matched = SequenceMatch::new(numbers, uids).unwrap();
            Resync { uid_validity: 7, modseq: 90_060_115_194_045_000, known_uids, matched }
        };
        for (text, known_uids, pairs) in [
            ("", None, vec![]),
            (" 41:211,214:541", Some(vec![41..=211, 214..=541]), vec![]),
            (" 5,4,3,1", Some(vec![1..=1, 3..=5]), vec![]),
            (" (4 8)", None, vec![(4, 8)]),
            (" 1:9 (1:2,5 3,7:8)", Some(vec![1..=9]), vec![(1, 3), (2, 7), (5, 8)]),
        ] {
            let found = parsed(&format!(" a (qresync (7 90060115194045000{text}))"));
            let found = found.unwrap_or_else(|| panic!("{text}")).resync.unwrap();
            let expected = resync(known_uids, &pairs);
            assert_eq!(found.matched.pairs().collect::<Vec<_>>(), pairs, "{text}");
            assert_eq!((found.uid_validity, found.modseq), (expected.uid_validity, expected.modseq));
            assert_eq!(found.known_uids, expected.known_uids, "{text}");
        }
    }

    #[test]
    fn both_parameters_stand_in_any_order() {
        for text in [" a (CONDSTORE QRESYNC (1 1))", " a (QRESYNC (1 1) CONDSTORE)"] {
            let found = parsed(text).unwrap();
            assert!(found.modseqs == ModSeqs::Tell && found.resync.is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        for text in [
            "QRESYNC",
            "QRESYNC ()",
            "QRESYNC (1)",
            "QRESYNC 1 1",
            "QRESYNC (0 1)",
            "QRESYNC (1 0)",
            "QRESYNC (4294967296 1)",
            "QRESYNC (1 9223372036854775808)",
            "QRESYNC (1 1 *)",
            "QRESYNC (1 1 1:*)",
            "QRESYNC (1 1 $)",
            "QRESYNC (1 1 0)",
            "QRESYNC (1 1 (1 1) 1)",
            "QRESYNC (1 1 1 ())",
            "QRESYNC (1 1 1 (1))",
            "QRESYNC (1 1 1 (1:2 1))",
            "QRESYNC (1 1 1 (1:4294967295 1:4294967294))",
            "QRESYNC (1 1 1 (2,1 1,2))",
            "QRESYNC (1 1 1 (1,2 2,1))",
            "QRESYNC (1 1 1 (1,1 1,2))",
            "QRESYNC (1 1 1 (1 *))",
            "QRESYNC (1 1 1 (1 1) (1 1))",
            "QRESYNC (1 1) QRESYNC (1 1)",
            "QRESYNC (1 1",
        ] {
            assert_eq!(parsed(&format!(" a ({text})")), None, "{text}");
        }
        assert!(
            parsed(" a (QRESYNC (4294967295 9223372036854775807 1 (1:4294967295 1:4294967295)))").is_some()
        );
    }
}
