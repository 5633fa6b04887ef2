//! ACL (RFC 4314 section 7).

use nom::{Parser, combinator::map};

use super::{
    CommandBody, Spelling, encode,
    mailbox::mailbox,
    token::{Parsed, astring_text, then},
};

/// What is done with access control lists, each of a mailbox. Whether identifiers and rights exist is not asked here.
#[derive(Clone, Debug, PartialEq)]
pub enum AclCommand {
    /// SETACL: mailbox, identifier, `mod-rights`
    Set(String, String, String),
    /// DELETEACL: mailbox, identifier
    Delete(String, String),
    /// GETACL
    Get(String),
    /// LISTRIGHTS: mailbox, identifier
    List(String, String),
    /// MYRIGHTS
    Mine(String),
}

/// `setacl = "SETACL" SP mailbox SP identifier SP mod-rights`
pub(crate) fn setacl(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let arguments = (then(mailbox(spelling)), then(astring_text), then(astring_text));
    map(arguments, |(name, identifier, rights)| CommandBody::Acl(AclCommand::Set(name, identifier, rights)))
        .parse(input)
}

/// `deleteacl = "DELETEACL" SP mailbox SP identifier`
pub(crate) fn deleteacl(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    identified(input, spelling, AclCommand::Delete)
}

/// `getacl = "GETACL" SP mailbox`
pub(crate) fn getacl(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    map(then(mailbox(spelling)), |name| CommandBody::Acl(AclCommand::Get(name))).parse(input)
}

/// `listrights = "LISTRIGHTS" SP mailbox SP identifier`
pub(crate) fn listrights(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    identified(input, spelling, AclCommand::List)
}

/// `myrights = "MYRIGHTS" SP mailbox`
pub(crate) fn myrights(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    map(then(mailbox(spelling)), |name| CommandBody::Acl(AclCommand::Mine(name))).parse(input)
}

fn identified(
    input: &[u8],
    spelling: Spelling,
    command: fn(String, String) -> AclCommand,
) -> Parsed<'_, CommandBody> {
    let arguments = (then(mailbox(spelling)), then(astring_text));
    map(arguments, |(name, identifier)| CommandBody::Acl(command(name, identifier))).parse(input)
}

/// `acl-data`, `listrights-data`, `myrights-data`: a mailbox and what follows it, each an astring.
pub fn rights_data(out: &mut Vec<u8>, response: &str, name: &str, spelling: Spelling, words: &[String]) {
    out.extend(format!("* {response} ").as_bytes());
    encode::mailbox(out, name, spelling);
    for word in words {
        out.push(b' ');
        encode::astring(out, word.as_bytes());
    }
    out.extend(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse;

    #[test]
    fn commands() {
        let s = |text: &str| text.to_owned();
        for (text, expected) in [
            ("SETACL inbox fred +lr", Some(AclCommand::Set(s("INBOX"), s("fred"), s("+lr")))),
            ("setacl \"a b\" -fred \"\"", Some(AclCommand::Set(s("a b"), s("-fred"), s("")))),
            ("SETACL a {4}\r\nfred lrs", Some(AclCommand::Set(s("a"), s("fred"), s("lrs")))),
            ("DELETEACL a anyone", Some(AclCommand::Delete(s("a"), s("anyone")))),
            ("GETACL &APw-", Some(AclCommand::Get(s("ü")))),
            ("LISTRIGHTS a fred", Some(AclCommand::List(s("a"), s("fred")))),
            ("MYRIGHTS a", Some(AclCommand::Mine(s("a")))),
            ("SETACL a fred", None),
            ("SETACL a fred lr x", None),
            ("DELETEACL a", None),
            ("GETACL", None),
            ("GETACL a b", None),
            ("LISTRIGHTS a", None),
            ("MYRIGHTS a b", None),
        ] {
            let parsed = parse::command(format!("a {text}").as_bytes(), Spelling::Utf7).ok();
            assert_eq!(parsed.map(|command| command.body), expected.map(CommandBody::Acl), "{text}");
        }
    }

    #[test]
    fn responses() {
        let mut out = Vec::new();
        let words = ["fred", "lr", "", "NIL"].map(str::to_owned);
        rights_data(&mut out, "ACL", "ü", Spelling::Utf8, &words);
        assert_eq!(String::from_utf8(out).unwrap(), "* ACL \"ü\" fred lr \"\" \"NIL\"\r\n");
    }
}
