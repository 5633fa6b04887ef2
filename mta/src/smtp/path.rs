//! Paths as they stand in MAIL and RCPT (RFC 5321 section 4.1.2), with UTF-8 as RFC 6531 section 3.3 adds it.
//!
//! Source routes are accepted and dropped (RFC 5321 appendix C). Whether UTF-8 may stand in a path is for the caller to
//! say: it depends on SMTPUTF8.

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take_till, take_while_m_n, take_while1},
    character::complete::char,
    combinator::{map, map_res, opt, recognize, value},
    multi::{many0_count, separated_list1},
    sequence::{delimited, preceded, terminated},
};
use waypost_mail::{Address, AddressRef, DomainRef, LocalPartRef, ReversePath};

/// Whom RCPT names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ForwardPath<A = Address> {
    /// `<postmaster>`: the postmaster of this server (RFC 5321 section 4.5.1).
    Postmaster,
    /// An address.
    Address(A),
}

impl ForwardPath<AddressRef<'_>> {
    /// To be kept.
    pub fn into_owned(self) -> ForwardPath {
        match self {
            Self::Postmaster => ForwardPath::Postmaster,
            Self::Address(address) => ForwardPath::Address(address.into_owned()),
        }
    }
}

impl<A: std::fmt::Display> std::fmt::Display for ForwardPath<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postmaster => f.write_str("postmaster"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// `Reverse-path = Path / "<>"`
pub(crate) fn reverse_path(input: &str) -> IResult<&str, ReversePath<AddressRef<'_>>> {
    alt((value(ReversePath::Null, tag("<>")), map(path, ReversePath::Address))).parse(input)
}

/// `"<Postmaster>" / Forward-path`, the latter being `Path`
pub(crate) fn forward_path(input: &str) -> IResult<&str, ForwardPath<AddressRef<'_>>> {
    alt((value(ForwardPath::Postmaster, tag_no_case("<postmaster>")), map(path, ForwardPath::Address)))
        .parse(input)
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`
fn path(input: &str) -> IResult<&str, AddressRef<'_>> {
    let route = opt(terminated(a_d_l, char(':')));
    delimited(char('<'), preceded(route, mailbox), char('>')).parse(input)
}

/// `A-d-l = At-domain *( "," At-domain )`
fn a_d_l(input: &str) -> IResult<&str, ()> {
    value((), separated_list1(char(','), at_domain)).parse(input)
}

/// `At-domain = "@" Domain`
fn at_domain(input: &str) -> IResult<&str, DomainRef<'_>> {
    preceded(char('@'), domain).parse(input)
}

/// `Mailbox = Local-part "@" ( Domain / address-literal )`
fn mailbox(input: &str) -> IResult<&str, AddressRef<'_>> {
    let parts = (terminated(local_part, char('@')), alt((address_literal, domain)));
    map(parts, |(local, domain)| AddressRef { local, domain }).parse(input)
}

/// `Local-part = Dot-string / Quoted-string`
fn local_part(input: &str) -> IResult<&str, LocalPartRef<'_>> {
    let quoted = map_res(quoted_string, LocalPartRef::quoted);
    alt((map_res(dot_string, LocalPartRef::new), quoted)).parse(input)
}

/// `Dot-string = Atom *("." Atom)`
fn dot_string(input: &str) -> IResult<&str, &str> {
    recognize(separated_list1(char('.'), atom)).parse(input)
}

/// `Atom = 1*atext`, `atext =/ UTF8-non-ascii`
fn atom(input: &str) -> IResult<&str, &str> {
    let atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    take_while1(atext).parse(input)
}

/// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`; gives its content with its backslashes
fn quoted_string(input: &str) -> IResult<&str, &str> {
    delimited(char('"'), recognize(many0_count(qcontent_smtp)), char('"')).parse(input)
}

/// `QcontentSMTP = qtextSMTP / quoted-pairSMTP`
fn qcontent_smtp(input: &str) -> IResult<&str, &str> {
    alt((qtext_smtp, quoted_pair_smtp)).parse(input)
}

/// `qtextSMTP = %d32-33 / %d35-91 / %d93-126`, `qtextSMTP =/ UTF8-non-ascii`
fn qtext_smtp(input: &str) -> IResult<&str, &str> {
    take_while1(|c| matches!(c, ' '..='!' | '#'..='[' | ']'..='~') || !c.is_ascii()).parse(input)
}

/// `quoted-pairSMTP = %d92 %d32-126`
fn quoted_pair_smtp(input: &str) -> IResult<&str, &str> {
    preceded(char('\\'), take_while_m_n(1, 1, |c| matches!(c, ' '..='~'))).parse(input)
}

/// `Domain = sub-domain *("." sub-domain)`
fn domain(input: &str) -> IResult<&str, DomainRef<'_>> {
    map_res(recognize(separated_list1(char('.'), sub_domain)), DomainRef::new).parse(input)
}

/// `sub-domain = Let-dig [Ldh-str]`, `sub-domain =/ U-label`; hyphens at the wrong place are found by [`DomainRef::new`]
fn sub_domain(input: &str) -> IResult<&str, &str> {
    take_while1(|c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '-' || c == '_').parse(input)
}

/// `address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"`; no general ones
/// are registered, so they are refused
fn address_literal(input: &str) -> IResult<&str, DomainRef<'_>> {
    map_res(recognize(delimited(char('['), take_till(|c| c == ']'), char(']'))), DomainRef::new).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ForwardPath<AddressRef<'_>> {
        ForwardPath::Address(AddressRef::parse(text).unwrap())
    }

    #[test]
    fn forward_paths() {
        for (input, rest, value) in [
            ("<a@b.test>", "", address("a@b.test")),
            ("<a@b.test> X=1", " X=1", address("a@b.test")),
            ("<a.b+c@B.TEST>", "", address("a.b+c@b.test")),
            ("<\"a b\"@b.test>", "", address("\"a b\"@b.test")),
            ("<\"a\\\"\\\\\\@b\"@b.test>", "", address("\"a\\\"\\\\@b\"@b.test")),
            ("<\"a>b\"@b.test>", "", address("\"a>b\"@b.test")),
            ("<\"plain\"@b.test>", "", address("plain@b.test")),
            ("<a@[192.0.2.1]>", "", address("a@[192.0.2.1]")),
            ("<a@[IPv6:2001:db8::1]>", "", address("a@[IPv6:2001:db8::1]")),
            ("<@one.test,@two.test:a@b.test>", "", address("a@b.test")),
            ("<jörg@bücher.example>", "", address("jörg@bücher.example")),
            ("<PostMaster>", "", ForwardPath::Postmaster),
            ("<postmaster@b.test>", "", address("postmaster@b.test")),
        ] {
            assert_eq!(forward_path(input), Ok((rest, value)), "{input}");
        }
    }

    #[test]
    fn reverse_paths() {
        assert_eq!(reverse_path("<> SIZE=1"), Ok((" SIZE=1", ReversePath::Null)));
        let path = ReversePath::Address(AddressRef::parse("a@b.test").unwrap());
        assert_eq!(reverse_path("<@r.test:a@b.test>"), Ok(("", path)));
        assert!(reverse_path("<postmaster>").is_err());
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for input in [
            "",
            "<",
            "a@b.test",
            "<a@b.test",
            "<a>",
            "<@b.test>",
            "<a@>",
            "<a b@c.test>",
            "<a..b@c.test>",
            "<.a@c.test>",
            "<a.@c.test>",
            "<a@b..test>",
            "<a@-b.test>",
            "<a@b.test.>",
            "<\"a@b.test>",
            "<\"\"@b.test>",
            "<a@[b.test]>",
            "<a@[192.0.2.256]>",
            "<a@[tag:x]>",
            "<@r.test,a@b.test>",
            "<@r.test:>",
            "< a@b.test>",
            "<a@b.test >",
            "<<a@b.test>>",
            "<a@b@c.test>",
            "<\"a\rb\"@c.test>",
            "<a\\b@c.test>",
            "<>",
        ] {
            assert!(forward_path(input).is_err(), "{input}");
        }
    }

    #[test]
    fn local_parts_are_bounded() {
        let local = "x".repeat(waypost_mail::address::LOCAL_PART_BYTES_MAX);
        assert!(forward_path(&format!("<{local}@b.test>")).is_ok());
        assert!(forward_path(&format!("<{local}x@b.test>")).is_err());
    }
}
