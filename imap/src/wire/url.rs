//! IMAP URLs that name a message or a part of one (RFC 5092 section 11): relative ones, which CATENATE takes (RFC 4469 section 3), and
//! those that carry authorization (RFC 4467 section 3).

use waypost_mail::{Timestamp, UidValidity};

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
    /// Whether a mailbox of that UIDVALIDITY is the one that the URL means, if it has the name (`uidvalidity`, RFC 5092 section 11).
    pub fn is_of(&self, uid_validity: UidValidity) -> bool {
        self.uid_validity.is_none_or(|validity| validity == uid_validity.value())
    }

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

/// A URL that carries authorization, or is to be given some (RFC 4467 section 9).
#[derive(Clone, Debug, PartialEq)]
pub struct UrlAuth<'a> {
    /// `authimapurlrump`: the URL up to its access identifier, as it is written.
    pub rump: &'a str,
    /// Whose mailboxes it names.
    pub owner: String,
    /// The message or the part.
    pub message: MessageUrl,
    /// Until when it is good; `None`: until its key is replaced.
    pub expires: Option<Timestamp>,
    /// Who may use it.
    pub access: UrlAccess,
    /// Mechanism and token; `None`: the URL is a rump.
    pub token: Option<(&'a str, &'a str)>,
}

/// `access = ("submit+" enc-user) / ("user+" enc-user) / "authuser" / "anonymous"`
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UrlAccess {
    /// Message submission servers, for this user.
    Submit(String),
    /// This user.
    User(String),
    /// All users.
    AuthUser,
    /// Everybody.
    Anonymous,
}

impl<'a> UrlAuth<'a> {
    /// `authimapurlfull` or `authimapurlrump`; `None`: the URL is neither.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (authority, _) = value_of(text, "imap://")?.split_once('/')?;
        let (userinfo, host) = authority.split_once('@')?;
        let user = userinfo.split_once(';').map_or(Some(userinfo), |(user, iauth)| {
            value_of(iauth, "AUTH=").filter(|method| decoded_user(method).is_some()).map(|_| user)
        })?;
        let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b"-.:[]".contains(&octet);
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        let path_at = "imap://".len() + authority.len();
        let auth_at = text.to_ascii_lowercase().rfind(URLAUTH)?;
        let access_at = auth_at + URLAUTH.len();
        let (access, token) = match text[access_at..].split_once(':') {
            Some((access, token)) => (access, Some(iua_verifier(token)?)),
            None => (&text[access_at..], None),
        };
        let (path, expires) = expire(text.get(path_at..auth_at)?)?;
        Some(Self {
            rump: &text[..access_at + access.len()],
            owner: decoded_user(user)?,
            message: MessageUrl::parse(path, None)?,
            expires,
            access: self::access(access)?,
            token,
        })
    }
}

const URLAUTH: &str = ";urlauth=";
const EXPIRE: &str = ";expire=";

/// `[expire]` at the end of a path, `expire = ";EXPIRE=" date-time` (RFC 3339): what is before it, and when.
fn expire(path: &str) -> Option<(&str, Option<Timestamp>)> {
    match path.to_ascii_lowercase().rfind(EXPIRE) {
        None => Some((path, None)),
        Some(at) => Some((&path[..at], Some(Timestamp::parse(&path[at + EXPIRE.len()..])?))),
    }
}

fn access(text: &str) -> Option<UrlAccess> {
    if let Some(user) = value_of(text, "submit+") {
        return decoded_user(user).map(UrlAccess::Submit);
    }
    if let Some(user) = value_of(text, "user+") {
        return decoded_user(user).map(UrlAccess::User);
    }
    let words = [("authuser", UrlAccess::AuthUser), ("anonymous", UrlAccess::Anonymous)];
    words.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, access)| access)
}

/// `mechanism ":" enc-urlauth`, `enc-urlauth = 32*HEXDIG`
fn iua_verifier(text: &str) -> Option<(&str, &str)> {
    let (mechanism, token) = text.split_once(':')?;
    let is_token = token.len() >= 32 && token.bytes().all(|octet| octet.is_ascii_hexdigit());
    (!mechanism.is_empty() && is_token).then_some((mechanism, token))
}

/// `enc-user = 1*achar`, decoded.
fn decoded_user(text: &str) -> Option<String> {
    decoded(text).filter(|_| !text.contains([':', '@', '/']))
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

    #[test]
    fn urls_with_authorization() {
        let token = "91354a473744909de610943775f92038";
        let rump = "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred";
        let message = MessageUrl { section: (vec![1, 2], SectionText::All), ..message("INBOX", 20) };
        let expected = UrlAuth {
            rump,
            owner: "joe".to_owned(),
            message: message.clone(),
            expires: None,
            access: UrlAccess::Submit("fred".to_owned()),
            token: None,
        };
        assert_eq!(UrlAuth::parse(rump), Some(expected.clone()));
        let full = format!("{rump}:internal:{token}");
        assert_eq!(
            UrlAuth::parse(&full),
            Some(UrlAuth { token: Some(("internal", token)), ..expected.clone() })
        );
        for (access, parsed) in [
            ("user+joe%40a.test", UrlAccess::User("joe@a.test".to_owned())),
            ("AuthUser", UrlAccess::AuthUser),
            ("anonymous", UrlAccess::Anonymous),
        ] {
            let rump = format!(
                "IMAP://joe%40a.test;AUTH=*@[::1]:143/INBOX/;uid=20/;section=1.2;Expire=2026-11-25T14:00:00Z;URLAUTH={access}"
            );
            let expected = UrlAuth {
                rump: &rump,
                owner: "joe@a.test".to_owned(),
                expires: Timestamp::parse("2026-11-25T14:00:00Z"),
                access: parsed,
                ..expected.clone()
            };
            assert!(expected.expires.is_some());
            assert_eq!(UrlAuth::parse(&rump), Some(expected), "{rump}");
        }
        for text in [
            "",
            "imap://joe@example.com/INBOX/;uid=20/;section=1.2",
            "imap://example.com/INBOX/;uid=20;urlauth=anonymous",
            "imap://@example.com/INBOX/;uid=20;urlauth=anonymous",
            "imap://a:b@example.com/INBOX/;uid=20;urlauth=anonymous",
            "imap://joe;x@example.com/INBOX/;uid=20;urlauth=anonymous",
            "imap://joe@/INBOX/;uid=20;urlauth=anonymous",
            "imap://joe@exa mple/INBOX/;uid=20;urlauth=anonymous",
            "imap://joe@example.com/INBOX;urlauth=anonymous",
            "imap://joe@example.com/;urlauth=anonymous",
            "imap://joe@example.com;urlauth=anonymous",
            "imap://joe@example.com/INBOX?SEEN;urlauth=anonymous",
            "imap://joe@example.com/;uid=20;urlauth=anonymous",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=user+",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=nobody",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous;expire=2026-11-25T14:00:00Z",
            "imap://joe@example.com/INBOX/;uid=20;expire=tomorrow;urlauth=anonymous",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous:internal",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous::91354a473744909de610943775f92038",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous:internal:91354a473744909de610943775f9203",
            "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous:internal:91354a473744909de610943775f9203x",
            "/INBOX/;uid=20;urlauth=anonymous",
            "http://joe@example.com/INBOX/;uid=20;urlauth=anonymous",
        ] {
            assert_eq!(UrlAuth::parse(text), None, "{text}");
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
            let _ = UrlAuth::parse(&format!("imap://a@b/{text}"));
            let _ = UrlAuth::parse(&format!("imap://{text};URLAUTH=anonymous"));
        }
    }
}
