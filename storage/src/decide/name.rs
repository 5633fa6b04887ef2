//! Names of mailboxes: UTF-8, `/` between the levels, `INBOX` in any case for the first level.

use std::borrow::Cow;

use crate::error::StoreError;

/// Most octets in one level of a name.
pub(crate) const LEVEL_BYTES_MAX: usize = 255;
/// Most octets in a name.
pub(crate) const NAME_BYTES_MAX: usize = 1000;
/// The one name that is not case-sensitive (RFC 9051 section 5.1).
pub(crate) const INBOX: &str = "INBOX";

/// The name as it is kept. Errors: `MailboxName`.
pub(crate) fn canonical(name: &str) -> Result<String, StoreError> {
    if name.is_empty() {
        return Err(StoreError::MailboxName("a mailbox name cannot be empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(StoreError::MailboxName("a mailbox name has at most 1000 octets"));
    }
    if name.chars().any(char::is_control) {
        return Err(StoreError::MailboxName("a mailbox name holds no control characters"));
    }
    for level in name.split('/') {
        if level.is_empty() {
            return Err(StoreError::MailboxName("no level of a mailbox name can be empty"));
        }
        if level.len() > LEVEL_BYTES_MAX {
            return Err(StoreError::MailboxName("a level of a mailbox name has at most 255 octets"));
        }
    }
    Ok(inbox_in_capitals(name).into_owned())
}

/// The name with `INBOX` in capitals where it is its first level.
pub(crate) fn inbox_in_capitals(name: &str) -> Cow<'_, str> {
    let first = name.split('/').next().unwrap_or_default();
    if first != INBOX && first.eq_ignore_ascii_case(INBOX) {
        Cow::Owned(format!("{INBOX}{}", &name[first.len()..]))
    } else {
        Cow::Borrowed(name)
    }
}

/// The names above a name, from the first level on.
pub(crate) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

/// What follows `above/` in a name that lies below it.
pub(crate) fn below<'a>(name: &'a str, above: &str) -> Option<&'a str> {
    name.strip_prefix(above)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_bounds_and_one_form() {
        let level = "x".repeat(LEVEL_BYTES_MAX);
        let long = [level.as_str(); 4].join("/");
        for (name, kept) in [
            ("inbox", "INBOX"),
            ("Inbox/a", "INBOX/a"),
            ("inboxes", "inboxes"),
            ("a/inbox", "a/inbox"),
            ("Entwürfe/日本", "Entwürfe/日本"),
            (level.as_str(), level.as_str()),
            (&long[..NAME_BYTES_MAX], &long[..NAME_BYTES_MAX]),
        ] {
            assert_eq!(canonical(name).as_deref(), Ok(kept));
        }
        for name in
            ["", "/", "/a", "a/", "a//b", "a\nb", "a\u{7f}", &format!("{level}x"), &long[..=NAME_BYTES_MAX]]
        {
            assert!(matches!(canonical(name), Err(StoreError::MailboxName(_))), "{name}");
        }
    }

    #[test]
    fn parents_and_children() {
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(parents("a").count(), 0);
        assert_eq!(below("a/b/c", "a"), Some("b/c"));
        assert_eq!(below("ab/c", "a"), None);
        assert_eq!(below("a", "a"), None);
    }
}
