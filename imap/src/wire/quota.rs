//! QUOTA (RFC 9208).

use nom::{Parser, combinator::map};

use super::{
    CommandBody, Spelling, encode,
    mailbox::mailbox,
    token::{Parsed, astring_text, list0, number64, then, word},
};

/// What is asked about quotas.
#[derive(Clone, Debug, PartialEq)]
pub enum QuotaCommand {
    /// GETQUOTA: a quota root
    Get(String),
    /// GETQUOTAROOT: a mailbox
    Root(String),
    /// SETQUOTA: a quota root, its limits by the names of resources, in capitals
    Set(String, Vec<(String, u64)>),
}

/// `getquota = "GETQUOTA" SP quota-root-name`
pub(crate) fn getquota(input: &[u8]) -> Parsed<'_, CommandBody> {
    map(then(astring_text), |root| CommandBody::Quota(QuotaCommand::Get(root))).parse(input)
}

/// `getquotaroot = "GETQUOTAROOT" SP mailbox`
pub(crate) fn getquotaroot(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    map(then(mailbox(spelling)), |name| CommandBody::Quota(QuotaCommand::Root(name))).parse(input)
}

/// `setquota = "SETQUOTA" SP quota-root-name SP setquota-list`, `setquota-list = "(" [setquota-resource *(SP setquota-resource)] ")"`,
/// `setquota-resource = resource-name SP resource-limit`
pub(crate) fn setquota(input: &[u8]) -> Parsed<'_, CommandBody> {
    let limits = list0((word, then(number64)));
    map((then(astring_text), then(limits)), |(root, limits)| {
        CommandBody::Quota(QuotaCommand::Set(root, limits))
    })
    .parse(input)
}

/// `quota-response = "QUOTA" SP quota-root-name SP quota-list`: resources with usage and limit.
pub fn quota(out: &mut Vec<u8>, root: &str, resources: &[(&str, u64, u64)]) {
    out.extend(b"* QUOTA ");
    encode::astring(out, root.as_bytes());
    let resources: Vec<String> =
        resources.iter().map(|(name, usage, limit)| format!("{name} {usage} {limit}")).collect();
    out.extend(format!(" ({})\r\n", resources.join(" ")).as_bytes());
}

/// `quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name)`
pub fn quotaroot(out: &mut Vec<u8>, name: &str, spelling: Spelling, root: &str) {
    out.extend(b"* QUOTAROOT ");
    encode::mailbox(out, name, spelling);
    out.push(b' ');
    encode::astring(out, root.as_bytes());
    out.extend(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse;

    fn body(text: &str) -> Option<CommandBody> {
        parse::command(format!("a {text}").as_bytes(), Spelling::Utf7).ok().map(|command| command.body)
    }

    #[test]
    fn commands() {
        let set = |limits: &[(&str, u64)]| {
            let limits = limits.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect();
            Some(CommandBody::Quota(QuotaCommand::Set("r".to_owned(), limits)))
        };
        for (text, expected) in [
            ("GETQUOTA \"\"", Some(CommandBody::Quota(QuotaCommand::Get(String::new())))),
            ("getquota a@b", Some(CommandBody::Quota(QuotaCommand::Get("a@b".to_owned())))),
            ("GETQUOTAROOT inbox", Some(CommandBody::Quota(QuotaCommand::Root("INBOX".to_owned())))),
            ("GETQUOTAROOT &APw-", Some(CommandBody::Quota(QuotaCommand::Root("ü".to_owned())))),
            ("SETQUOTA r ()", set(&[])),
            (
                "SETQUOTA r (storage 9223372036854775807 MESSAGE 0)",
                set(&[("STORAGE", i64::MAX as u64), ("MESSAGE", 0)]),
            ),
            ("GETQUOTA", None),
            ("GETQUOTA a b", None),
            ("GETQUOTAROOT", None),
            ("SETQUOTA r", None),
            ("SETQUOTA r STORAGE 1", None),
            ("SETQUOTA r (STORAGE)", None),
            ("SETQUOTA r (STORAGE -1)", None),
            ("SETQUOTA r (STORAGE 9223372036854775808)", None),
        ] {
            assert_eq!(body(text), expected, "{text}");
        }
    }

    #[test]
    fn responses() {
        let mut out = Vec::new();
        quota(&mut out, "user@a.test", &[("STORAGE", 1, 2)]);
        quota(&mut out, "", &[]);
        quotaroot(&mut out, "ü", Spelling::Utf7, "user@a.test");
        let text =
            "* QUOTA user@a.test (STORAGE 1 2)\r\n* QUOTA \"\" ()\r\n* QUOTAROOT &APw- user@a.test\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
