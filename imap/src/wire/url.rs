//! IMAP URLs that name a message or a part of one (RFC 5092 section 11): relative ones, which CATENATE takes (RFC 4469 section 3).

use super::{SectionText, fetch::section_of};

/// A message or a part of one, as a URL names it.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageUrl {
    /// The mailbox, in UTF-8; `INBOX` in capitals.
    pub mailbox: String,
    /// Its UIDVALIDITY, where the URL names it; not zero.
    pub uid_validity: Option<u32>,
    /// The message; not zero.
    pub uid: u32,
    /// Part numbers, and what of the part; none and all: the message.
    pub section: (Vec<u32>, SectionText),
    /// The first octet, and how many; without a number, which is not zero, all that follow.
    pub partial: Option<(u64, Option<u64>)>,
}

impl MessageUrl {
    /// What a URL names that is relative to `imap://user@server/`, or to that of the selected mailbox. `None`: it is no message, or
    /// the URL is not relative.
    pub fn parse(text: &str, selected: Option<&str>) -> Option<Self> {
        let (path, above) = match text.strip_prefix('/') {
            Some(path) => (path, ""),
            None => (text, selected.map_or("", above)),
        };
        let is_here = path.len() == text.len() && path.starts_with(';');
        let mut segments = if is_here { path[1..].split("/;") } else { path.split("/;") };
        let (mailbox, uid_validity) = match selected {
            Some(selected) if is_here => (selected.to_owned(), None),
            _ => {
                let (name, uid_validity) = imailbox_ref(segments.next()?)?;
                (format!("{above}{name}"), uid_validity)
            }
        };
        let uid = nz_number(value_of(segments.next()?, "UID=")?)?;
        let mut next = segments.next();
        let section = match next.and_then(|segment| value_of(segment, "SECTION=")) {
            None => (Vec::new(), SectionText::All),
            Some(section) => {
                next = segments.next();
                section_of(decoded(section)?.as_bytes())?
            }
        };
        let partial = match next {
            None => None,
            Some(segment) => Some(partial_range(value_of(segment, "PARTIAL=")?)?),
        };
        segments.next().is_none().then_some(Self { mailbox, uid_validity, uid, section, partial })
    }
}

/// What a relative path is put behind: all of the mailbox's name but its last level (RFC 3986 section 5.2.3).
fn above(mailbox: &str) -> &str {
    mailbox.rfind('/').map_or("", |slash| &mailbox[..=slash])
}

/// `imailbox-ref = enc-mailbox [";UIDVALIDITY=" nz-number]`. A name with dots for a level would be another one in a path
/// (RFC 3986 section 5.2.4), one with a colon in its first level would be a scheme; both are refused, as is an empty level.
fn imailbox_ref(text: &str) -> Option<(String, Option<u32>)> {
    let (name, uid_validity) = match text.split_once(';') {
        Some((name, parameter)) => (name, Some(nz_number(value_of(parameter, "UIDVALIDITY=")?)?)),
        None => (text, None),
    };
    let is_level = |level: &str| !matches!(level, "" | "." | "..");
    let is_scheme = name.split('/').next().is_some_and(|level| level.contains(':'));
    if is_scheme || !name.split('/').all(is_level) {
        return None;
    }
    let name = decoded(name)?;
    Some(if name.eq_ignore_ascii_case("INBOX") {
        ("INBOX".to_owned(), uid_validity)
    } else {
        (name, uid_validity)
    })
}

/// `partial-range = number ["." nz-number]`
fn partial_range(text: &str) -> Option<(u64, Option<u64>)> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    match text.split_once('.') {
        None => Some((number(text)?, None)),
        Some((start, length)) => Some((number(start)?, Some(number(length).filter(|length| *length > 0)?))),
    }
}

/// `nz-number = digit-nz *DIGIT`
fn nz_number(text: &str) -> Option<u32> {
    let begins = matches!(text.bytes().next(), Some(b'1'..=b'9'));
    begins.then(|| text.parse().ok()).flatten()
}

/// What stands behind a name, which has any case.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (head, value) = text.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then_some(value)
}

/// `1*bchar`, decoded: UTF-8 in percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        octets.push(match octet {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |octet: u8| char::from(octet).to_digit(16);
                u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?
            }
            octet if is_bchar(*octet) => *octet,
            _ => return None,
        });
    }
    String::from_utf8(octets).ok().filter(|text| !text.is_empty())
}

/// `bchar = achar / ":" / "@" / "/"`, but for percent-encoding.
fn is_bchar(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$'()*+,&=:@/".contains(&octet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(mailbox: &str, uid: u32) -> MessageUrl {
        let section = (Vec::new(), SectionText::All);
        MessageUrl { mailbox: mailbox.to_owned(), uid_validity: None, uid, section, partial: None }
    }

    #[test]
    fn urls_of_messages() {
        let part = |url: MessageUrl, part: &[u32], text| MessageUrl { section: (part.to_vec(), text), ..url };
        let drafts = MessageUrl { uid_validity: Some(385_759_045), ..message("Drafts", 20) };
        let fields = SectionText::HeaderFields(vec!["To".to_owned(), "From".to_owned()]);
        for (text, selected, expected) in [
            ("/Drafts/;UID=3002", None, message("Drafts", 3002)),
            ("/Drafts;UIDVALIDITY=385759045/;UID=20", Some("x"), drafts.clone()),
            ("/Drafts;uidvalidity=385759045/;uid=20", None, drafts.clone()),
            (
                "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
                None,
                part(drafts.clone(), &[], SectionText::Header),
            ),
            (
                "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME",
                None,
                part(drafts.clone(), &[1], SectionText::Mime),
            ),
            (
                "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.5.9",
                None,
                part(drafts, &[1, 5, 9], SectionText::All),
            ),
            ("/inbox/;UID=1", None, message("INBOX", 1)),
            ("/a/b%20c/Entw%C3%BCrfe/;UID=7", None, message("a/b c/Entwürfe", 7)),
            ("/a/;UID=7/;SECTION=HEADER.FIELDS%20(To%20From)", None, part(message("a", 7), &[], fields)),
            ("/a/;UID=7/;PARTIAL=10", None, MessageUrl { partial: Some((10, None)), ..message("a", 7) }),
            (
                "/a/;UID=7/;SECTION=TEXT/;PARTIAL=0.5",
                None,
                MessageUrl { partial: Some((0, Some(5))), ..part(message("a", 7), &[], SectionText::Text) },
            ),
            // Relative to the selected mailbox, and to what is above it.
            (";UID=7", Some("a/b"), message("a/b", 7)),
            ("c/;UID=7", Some("a/b"), message("a/c", 7)),
            ("c/d/;UID=7", Some("a"), message("c/d", 7)),
            ("c/;UID=7", None, message("c", 7)),
            ("/a/b:c/;UID=7", None, message("a/b:c", 7)),
            ("/a%3Bb/;UID=7", None, message("a;b", 7)),
        ] {
            assert_eq!(MessageUrl::parse(text, selected), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_names_no_message_is_no_url() {
        for text in [
            "",
            "/",
            "/a",
            "/a/",
            "/a/;UID=",
            "/a/;UID=0",
            "/a/;UID=01",
            "/a/;UID=+1",
            "/a/;UID=4294967296",
            "/a/;UID=1/",
            "/a/;UID=1;x",
            "/a;UID=1",
            "/;UID=1",
            "/a/;UIDVALIDITY=1/;UID=1",
            "/a;UIDVALIDITY=0/;UID=1",
            "/a;UIDVALIDITY=1;UID=1",
            "/a/;UID=1/;SECTION=",
            "/a/;UID=1/;SECTION=0",
            "/a/;UID=1/;SECTION=FOO",
            "/a/;UID=1/;SECTION=1]",
            "/a/;UID=1/;SECTION=HEADER%0D%0A",
            "/a/;UID=1/;PARTIAL=",
            "/a/;UID=1/;PARTIAL=1.0",
            "/a/;UID=1/;PARTIAL=-1",
            "/a/;UID=1/;PARTIAL=1.2.3",
            "/a/;UID=1/;PARTIAL=1.2/;SECTION=1",
            "/a/;UID=1/;SECTION=1/;PARTIAL=1.2/;X=1",
            "/a/;UID=1/;SECTION=1/;SECTION=1",
            "/a/;UID=1;URLAUTH=anonymous",
            "//server/a/;UID=1",
            "imap://user@server/a/;UID=1",
            "imap:/a/;UID=1",
            "http://server/",
            "/a b/;UID=1",
            "/ü/;UID=1",
            "/%/;UID=1",
            "/%4/;UID=1",
            "/%GG/;UID=1",
            "/%FF/;UID=1",
            "/a//b/;UID=1",
            "/../a/;UID=1",
            "./;UID=1",
            "/a?SUBJECT%20x",
            ";UID=1",
        ] {
            assert_eq!(MessageUrl::parse(text, None), None, "{text}");
        }
    }

    /// As a client writes it.
    fn printed(url: &MessageUrl) -> String {
        let encoded: String = url.mailbox.bytes().map(|octet| format!("%{octet:02X}")).collect();
        let validity = url.uid_validity.map(|number| format!(";UIDVALIDITY={number}")).unwrap_or_default();
        let part = url.section.0.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let section = if part.is_empty() { part } else { format!("/;SECTION={part}") };
        let partial = match url.partial {
            None => String::new(),
            Some((start, None)) => format!("/;PARTIAL={start}"),
            Some((start, Some(length))) => format!("/;PARTIAL={start}.{length}"),
        };
        format!("/{encoded}{validity}/;UID={}{section}{partial}", url.uid)
    }

    proptest! {
        #[test]
        fn urls_come_back(
            name in "[^/.]{1,20}", validity: Option<u32>, uid in 1..=u32::MAX,
            part in proptest::collection::vec(1..=u32::MAX, 0..4), start: u64, length: Option<u64>, cut: bool,
        ) {
            let mailbox = if name.eq_ignore_ascii_case("inbox") { "INBOX".to_owned() } else { name };
            let url = MessageUrl {
                mailbox,
                uid_validity: validity.filter(|number| *number > 0),
                uid,
                section: (part, SectionText::All),
                partial: cut.then_some((start, length.filter(|length| *length > 0))),
            };
            prop_assert_eq!(MessageUrl::parse(&printed(&url), Some("x")), Some(url));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[/;%=.A-Fa-f0-9:üUIDSECTION]{0,40}", selected: Option<String>) {
            let _ = MessageUrl::parse(&text, selected.as_deref());
        }
    }
}
