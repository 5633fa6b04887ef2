//! Characters and the smallest tokens (RFC 3501 section 9), and how a parser says what is wrong.
//!
//! A parser gets the whole command with its literals, without the last CRLF: nothing is ever incomplete.

use std::{borrow::Cow, collections::HashSet, hash::Hash};

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take, take_while1},
    combinator::{map, opt, value},
    error::{ErrorKind, ParseError},
    sequence::{delimited, preceded, terminated},
};

/// Most items in a parenthesized list of a command.
pub const LIST_ITEMS_MAX: usize = 1000;
/// Longest tag in octets.
pub const TAG_BYTES_MAX: usize = 128;

const SYNTAX_ERROR: &str = "syntax error";

/// What a parser gives: the octets after it and a value.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Problem>;

/// Why a parser gave nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// Octets from the wrong one to the end of the command.
    pub(crate) left: usize,
    /// What is wrong.
    pub(crate) reason: &'static str,
    /// What kind of wrong.
    pub(crate) wrong: Wrong,
}

/// In which way a command is wrong: what is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wrong {
    /// It is not in the grammar: BAD.
    Grammar,
    /// It may be in the grammar, and is beyond a bound of ours: `NO [LIMIT]` (RFC 5530).
    Limit,
    /// It names a mailbox that cannot be: `NO [CANNOT]` (RFC 5530).
    Name,
}

impl ParseError<&[u8]> for Problem {
    fn from_error_kind(input: &[u8], _kind: ErrorKind) -> Self {
        Self { left: input.len(), reason: SYNTAX_ERROR, wrong: Wrong::Grammar }
    }

    fn append(_input: &[u8], _kind: ErrorKind, other: Self) -> Self {
        other
    }

    /// Of two alternatives the one that came farther tells more.
    fn or(self, other: Self) -> Self {
        let more = other.left < self.left || other.left == self.left && self.reason == SYNTAX_ERROR;
        if more { other } else { self }
    }
}

/// Gives up at some octet.
pub(crate) fn refuse<'a, T>(at: &'a [u8], reason: &'static str) -> Parsed<'a, T> {
    Err(nom::Err::Error(Problem { left: at.len(), reason, wrong: Wrong::Grammar }))
}

/// Gives up where a bound of ours ends; no alternative is tried.
pub(crate) fn beyond<'a, T>(at: &'a [u8], reason: &'static str) -> Parsed<'a, T> {
    Err(nom::Err::Failure(Problem { left: at.len(), reason, wrong: Wrong::Limit }))
}

/// The parser, its failure at its first octet told as `reason`.
pub(crate) fn or_refuse<'a, T>(
    mut parser: impl Parser<&'a [u8], Output = T, Error = Problem>,
    reason: &'static str,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| {
            error.map(|problem| match problem.wrong {
                Wrong::Grammar if problem.left == input.len() => Problem { reason, ..problem },
                _ => problem,
            })
        })
    }
}

/// `item *(SP item)`, at most [`LIST_ITEMS_MAX`].
pub(crate) fn spaced<'a, T>(
    mut item: impl Parser<&'a [u8], Output = T, Error = Problem>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, Vec<T>> {
    move |input| {
        let (mut rest, first) = item.parse(input)?;
        let mut items = vec![first];
        while let Some(after) = rest.strip_prefix(b" ") {
            if items.len() == LIST_ITEMS_MAX {
                return beyond(rest, "too many items");
            }
            let (after, next) = item.parse(after)?;
            items.push(next);
            rest = after;
        }
        Ok((rest, items))
    }
}

/// `"(" item *(SP item) ")"`
pub(crate) fn list1<'a, T>(
    item: impl Parser<&'a [u8], Output = T, Error = Problem>,
) -> impl Parser<&'a [u8], Output = Vec<T>, Error = Problem> {
    delimited(tag("("), spaced(item), or_refuse(tag(")"), "expected a space or a closing parenthesis"))
}

/// `"(" [item *(SP item)] ")"`
pub(crate) fn list0<'a, T: Clone>(
    item: impl Parser<&'a [u8], Output = T, Error = Problem>,
) -> impl Parser<&'a [u8], Output = Vec<T>, Error = Problem> {
    alt((value(Vec::new(), tag("()")), list1(item)))
}

/// Each item once, where it stands first.
pub(crate) fn once<T: Clone + Eq + Hash>(mut items: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
    items
}

/// `ATOM-CHAR = <any CHAR except atom-specials>`
pub(crate) fn is_atom_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet)
}

/// `ASTRING-CHAR = ATOM-CHAR / resp-specials`
pub(crate) fn is_astring_char(octet: u8) -> bool {
    is_atom_char(octet) || octet == b']'
}

/// `SP`
pub(crate) fn sp(input: &[u8]) -> Parsed<'_, ()> {
    or_refuse(value((), tag(" ")), "expected a space")(input)
}

/// `tag = 1*<any ASTRING-CHAR except "+">`
pub(crate) fn command_tag(input: &[u8]) -> Parsed<'_, String> {
    let (rest, octets) =
        or_refuse(take_while1(|octet| is_astring_char(octet) && octet != b'+'), "expected a tag")(input)?;
    if octets.len() > TAG_BYTES_MAX {
        return refuse(input, "the tag is too long");
    }
    Ok((rest, ascii(octets)))
}

/// `atom = 1*ATOM-CHAR`
pub(crate) fn atom(input: &[u8]) -> Parsed<'_, &[u8]> {
    or_refuse(take_while1(is_atom_char), "expected an atom")(input)
}

/// An atom, in capitals.
pub(crate) fn word(input: &[u8]) -> Parsed<'_, String> {
    map(atom, |octets| ascii(octets).to_ascii_uppercase()).parse(input)
}

/// Octets that a parser has found to be US-ASCII, as text.
pub(crate) fn ascii(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

/// `astring = 1*ASTRING-CHAR / string`
pub(crate) fn astring(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    alt((map(take_while1(is_astring_char), Cow::Borrowed), string)).parse(input)
}

/// `astring` that is text in UTF-8.
pub(crate) fn astring_text(input: &[u8]) -> Parsed<'_, String> {
    text_of(astring, input)
}

/// `string` that is text in UTF-8.
pub(crate) fn string_text(input: &[u8]) -> Parsed<'_, String> {
    text_of(string, input)
}

fn text_of<'a>(
    parser: impl Fn(&'a [u8]) -> Parsed<'a, Cow<'a, [u8]>>,
    input: &'a [u8],
) -> Parsed<'a, String> {
    let (rest, octets) = parser(input)?;
    match String::from_utf8(octets.into_owned()) {
        Ok(text) => Ok((rest, text)),
        Err(_) => refuse(input, "not UTF-8"),
    }
}

/// `string = quoted / literal`
pub(crate) fn string(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    or_refuse(alt((quoted, map(literal, Cow::Borrowed))), "expected a string")(input)
}

/// `nstring = string / nil`, as text
pub(crate) fn nstring_text(input: &[u8]) -> Parsed<'_, Option<String>> {
    alt((value(None, tag_no_case("NIL")), map(string_text, Some))).parse(input)
}

/// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`; UTF-8 is allowed as in RFC 9051 section 9.
pub(crate) fn quoted(input: &[u8]) -> Parsed<'_, Cow<'_, [u8]>> {
    let (start, _) = tag("\"").parse(input)?;
    let mut unquoted: Option<Vec<u8>> = None;
    let mut at = 0;
    loop {
        let octet = match start.get(at..) {
            Some([b'"', ..]) => break,
            Some([b'\\', escaped @ (b'"' | b'\\'), ..]) => {
                unquoted.get_or_insert_with(|| start[..at].to_vec());
                at += 1;
                *escaped
            }
            Some([octet, ..]) if !matches!(octet, 0 | b'\r' | b'\n' | b'\\') => *octet,
            wrong => {
                return refuse(
                    wrong.unwrap_or_default(),
                    "a quoted string does not end or holds what it may not",
                );
            }
        };
        at += 1;
        if let Some(unquoted) = &mut unquoted {
            unquoted.push(octet);
        }
    }
    let rest = &start[at + 1..];
    if str::from_utf8(&start[..at]).is_err() {
        return refuse(input, "a quoted string is not UTF-8");
    }
    Ok((rest, unquoted.map_or(Cow::Borrowed(&start[..at]), Cow::Owned)))
}

/// `literal = "{" number ["+"] "}" CRLF *CHAR8` (RFC 7888 section 8)
pub(crate) fn literal(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, bytes) = terminated(literal_head, tag("\r\n")).parse(input)?;
    let (rest, octets) = or_refuse(take(bytes), "the literal is not there")(rest)?;
    if octets.contains(&0) {
        return refuse(input, "a literal holds NUL");
    }
    Ok((rest, octets))
}

/// `"{" number64 ["+"] "}"`
pub(crate) fn literal_head(input: &[u8]) -> Parsed<'_, u64> {
    delimited(tag("{"), number64, (opt(tag("+")), tag("}"))).parse(input)
}

/// `number64 = 1*DIGIT`, below 2^63 (RFC 9051 section 9)
pub(crate) fn number64(input: &[u8]) -> Parsed<'_, u64> {
    let (rest, octets) =
        or_refuse(take_while1(|octet: u8| octet.is_ascii_digit()), "expected a number")(input)?;
    match ascii(octets).parse::<i64>() {
        Ok(number) => Ok((rest, number.unsigned_abs())),
        Err(_) => refuse(input, "the number is too large"),
    }
}

/// `number = 1*DIGIT`, below 2^32
fn number(input: &[u8]) -> Parsed<'_, u32> {
    let (rest, number) = number64(input)?;
    match u32::try_from(number) {
        Ok(number) => Ok((rest, number)),
        Err(_) => refuse(input, "the number is too large"),
    }
}

/// `nz-number64 = digit-nz *DIGIT`, below 2^63 (RFC 9051 section 9); also `mod-sequence-value` (RFC 7162 section 7)
pub(crate) fn nz_number64(input: &[u8]) -> Parsed<'_, u64> {
    if input.first() == Some(&b'0') {
        return refuse(input, "the number begins with zero");
    }
    number64(input)
}

/// `nz-number = digit-nz *DIGIT`
pub(crate) fn nz_number(input: &[u8]) -> Parsed<'_, u32> {
    if input.first() == Some(&b'0') {
        return refuse(input, "the number begins with zero");
    }
    number(input)
}

/// Something optional that is known by how it begins, so that its own complaint is heard.
pub(crate) fn opt_if<'a, T>(
    input: &'a [u8],
    begin: &[u8],
    parser: impl Parser<&'a [u8], Output = T, Error = Problem>,
) -> Parsed<'a, Option<T>> {
    if input.starts_with(begin) { map(parser, Some).parse(input) } else { Ok((input, None)) }
}

/// `SP` and what follows it.
pub(crate) fn then<'a, T>(
    parser: impl Parser<&'a [u8], Output = T, Error = Problem>,
) -> impl Parser<&'a [u8], Output = T, Error = Problem> {
    preceded(sp, parser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_in_all_forms() {
        for (input, rest, octets) in [
            (&b"abc] d"[..], &b" d"[..], &b"abc]"[..]),
            (b"\"\" x", b" x", b""),
            (b"\"a \\\"b\\\\\" x", b" x", b"a \"b\\"),
            ("\"ü\"".as_bytes(), b"", "ü".as_bytes()),
            (b"{3}\r\na\r\nb", b"b", b"a\r\n"),
            (b"{3+}\r\n\xff\"a", b"", b"\xff\"a"),
            (b"{0}\r\n)", b")", b""),
        ] {
            assert_eq!(astring(input), Ok((rest, Cow::Borrowed(octets))), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for input in [
            &b""[..],
            b" ",
            b"(",
            b"\"",
            b"\"a",
            b"\"a\rb\"",
            b"\"a\nb\"",
            b"\"\\a\"",
            b"\"\\",
            b"\"\xff\"",
            b"\"a\0\"",
            b"{",
            b"{}\r\n",
            b"{4}\r\nabc",
            b"{1}a",
            b"{1+ }\r\na",
            b"{-1}\r\n",
            b"{1}\r\n\0",
            b"{99999999999999999999}\r\na",
            b"*",
            b"%",
            b"\\",
        ] {
            assert!(astring(input).is_err(), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn numbers_have_both_bounds() {
        assert_eq!(number(b"4294967295 "), Ok((&b" "[..], u32::MAX)));
        assert!(number(b"4294967296").is_err());
        assert_eq!(number(b"007"), Ok((&b""[..], 7)));
        assert_eq!(number64(b"9223372036854775807"), Ok((&b""[..], i64::MAX as u64)));
        assert!(number64(b"9223372036854775808").is_err());
        assert_eq!(nz_number(b"1"), Ok((&b""[..], 1)));
        for input in [&b"0"[..], b"01", b"", b"-1", b"+1", b"a"] {
            assert!(nz_number(input).is_err(), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn lists_are_bounded() {
        let list = |items: usize| format!("({})", vec!["a"; items].join(" "));
        let (fits, long) = (list(LIST_ITEMS_MAX), list(LIST_ITEMS_MAX + 1));
        assert_eq!(list1(atom).parse(fits.as_bytes()).map(|(_, items)| items.len()), Ok(LIST_ITEMS_MAX));
        let Err(nom::Err::Failure(problem)) = list1(atom).parse(long.as_bytes()) else { panic!("{long}") };
        assert_eq!(problem.wrong, Wrong::Limit);
        assert!(list1(atom).parse(&b"()"[..]).is_err());
        assert!(list0(atom).parse(&b"()"[..]).is_ok());
        for input in [&b"(a"[..], b"(a )", b"( a)", b"(a  b)", b"a"] {
            assert!(list0(atom).parse(input).is_err(), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn tags_are_bounded() {
        assert!(command_tag("a".repeat(TAG_BYTES_MAX).as_bytes()).is_ok());
        assert!(command_tag("a".repeat(TAG_BYTES_MAX + 1).as_bytes()).is_err());
        assert!(command_tag(b"+").is_err());
    }
}
