//! METADATA (RFC 5464 section 5).

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take},
    combinator::{map, value},
    sequence::preceded,
};

use super::{
    CommandBody, Spelling, encode,
    mailbox::mailbox,
    token::{
        Parsed, astring_text, list1, literal_head, number64, opt_if, or_refuse, refuse, string, then, word,
    },
};

/// What is done with annotations. An empty mailbox name stands for the server.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataCommand {
    /// GETMETADATA
    Get(GetMetadata),
    /// SETMETADATA: mailbox, entries with their values; `None`: the entry goes
    Set(String, Vec<(Entry, Option<Vec<u8>>)>),
}

/// GETMETADATA with its options.
#[derive(Clone, Debug, PartialEq)]
pub struct GetMetadata {
    /// The mailbox.
    pub mailbox: String,
    /// The entries.
    pub entries: Vec<Entry>,
    /// MAXSIZE: larger values are left out; octets.
    pub size_max: Option<u64>,
    /// DEPTH
    pub depth: Depth,
}

/// How far below an entry others are named by it (RFC 5464 section 4.2.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Depth {
    /// `0`: the entry alone.
    #[default]
    Zero,
    /// `1`: those immediately below it, too.
    One,
    /// `infinity`: all below it, too.
    Infinity,
}

/// Who sees an entry.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// `/private`
    Private,
    /// `/shared`
    Shared,
}

impl Scope {
    /// What entries begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Private => "/private",
            Self::Shared => "/shared",
        }
    }
}

/// The name of an entry (RFC 5464 section 3.2).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Entry {
    /// Who sees it.
    pub scope: Scope,
    /// What follows `/private` or `/shared`, in small letters; empty or begins with a slash.
    pub name: String,
}

impl Entry {
    /// `None`: no name of an entry. Names are US-ASCII without control characters, `*` and `%`, without empty components,
    /// and compared without regard to case.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let is_entry_char = |octet: u8| (0x20..0x7f).contains(&octet) && !b"*%".contains(&octet);
        let scope = [Scope::Private, Scope::Shared].into_iter().find_map(|scope| {
            let name = text.strip_prefix(scope.prefix())?;
            (name.is_empty() || name.starts_with('/')).then_some((scope, name))
        });
        let (scope, name) = scope?;
        let valid = text.bytes().all(is_entry_char) && !text.contains("//") && !text.ends_with('/');
        (valid && name.len() <= ENTRY_BYTES_MAX).then(|| Self { scope, name: name.to_owned() })
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.scope.prefix(), self.name)
    }
}

/// Longest name of an entry in octets, without `/private` or `/shared`.
pub const ENTRY_BYTES_MAX: usize = 1000;

/// One option of GETMETADATA.
#[derive(Clone, Copy)]
enum GetOption {
    MaxSize(u64),
    Depth(Depth),
}

/// `getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`; the options also behind the mailbox, where the
/// examples of RFC 5464 section 4.2.1 have them.
pub(crate) fn getmetadata(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, before) = opt_if(input, b" (", then(list1(get_option)))?;
    let (rest, mailbox) = then(mailbox(spelling)).parse(rest)?;
    let behind = before.is_none() && rest.starts_with(b" (") && !begins_entry(&rest[2..]);
    let (rest, behind) = if behind { then(list1(get_option)).map(Some).parse(rest)? } else { (rest, None) };
    let (rest, entries) = then(entries).parse(rest)?;
    let (mut size_max, mut depth) = (None, Depth::Zero);
    for option in before.or(behind).unwrap_or_default() {
        match option {
            GetOption::MaxSize(bytes) => size_max = Some(bytes),
            GetOption::Depth(given) => depth = given,
        }
    }
    let get = GetMetadata { mailbox, entries, size_max, depth };
    Ok((rest, CommandBody::Metadata(MetadataCommand::Get(get))))
}

fn begins_entry(input: &[u8]) -> bool {
    matches!(input.first(), Some(b'/' | b'"' | b'{'))
}

/// `maxsize-opt = "MAXSIZE" SP number`, `scope-opt = "DEPTH" SP ("0" / "1" / "infinity")`
fn get_option(input: &[u8]) -> Parsed<'_, GetOption> {
    let (rest, name) = word(input)?;
    match name.as_str() {
        "MAXSIZE" => map(then(number64), GetOption::MaxSize).parse(rest),
        "DEPTH" => {
            let depth = alt((
                value(Depth::Zero, tag("0")),
                value(Depth::One, tag("1")),
                value(Depth::Infinity, tag_no_case("infinity")),
            ));
            map(then(or_refuse(depth, "expected 0, 1 or infinity")), GetOption::Depth).parse(rest)
        }
        _ => refuse(input, "unknown option"),
    }
}

/// `entries = entry / "(" entry *(SP entry) ")"`
fn entries(input: &[u8]) -> Parsed<'_, Vec<Entry>> {
    alt((list1(entry), map(entry, |entry| vec![entry]))).parse(input)
}

/// `entry = astring`
pub(crate) fn entry(input: &[u8]) -> Parsed<'_, Entry> {
    let (rest, text) = astring_text(input)?;
    match Entry::new(&text) {
        Some(entry) => Ok((rest, entry)),
        None => refuse(input, "no name of an entry"),
    }
}

/// `setmetadata = "SETMETADATA" SP mailbox SP entry-values`, `entry-values = "(" entry-value *(SP entry-value) ")"`,
/// `entry-value = entry SP value`
pub(crate) fn setmetadata(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let values = list1((entry, then(entry_content)));
    map((then(mailbox(spelling)), then(values)), |(mailbox, values)| {
        CommandBody::Metadata(MetadataCommand::Set(mailbox, values))
    })
    .parse(input)
}

/// `value = nstring / literal8`
fn entry_content(input: &[u8]) -> Parsed<'_, Option<Vec<u8>>> {
    alt((
        value(None, tag_no_case("NIL")),
        map(literal8, |octets| Some(octets.to_vec())),
        map(string, |octets| Some(octets.into_owned())),
    ))
    .parse(input)
}

/// `literal8 = "~{" number64 ["+"] "}" CRLF *OCTET` (RFC 3516 section 7, RFC 7888 section 8)
fn literal8(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, bytes) = preceded(tag("~"), literal_head).parse(input)?;
    preceded(tag("\r\n"), or_refuse(take(bytes), "the literal is not there")).parse(rest)
}

/// `metadata-resp = "METADATA" SP mailbox SP entry-values`
pub fn metadata(out: &mut Vec<u8>, name: &str, spelling: Spelling, values: &[(Entry, Option<&[u8]>)]) {
    out.extend(b"* METADATA ");
    mailbox_or_server(out, name, spelling);
    for (index, (entry, value)) in values.iter().enumerate() {
        out.extend(if index == 0 { b" (" } else { b" " as &[u8] });
        encode::astring(out, entry.to_string().as_bytes());
        out.push(b' ');
        match value {
            Some(octets) if octets.contains(&0) => {
                encode::literal8_head(out, octets.len() as u64);
                out.extend(*octets);
            }
            value => encode::nstring(out, *value),
        }
    }
    out.extend(b")\r\n");
}

/// `metadata-resp = "METADATA" SP mailbox SP entry-list`: what others changed.
pub fn metadata_changed(out: &mut Vec<u8>, name: &str, spelling: Spelling, entries: &[Entry]) {
    out.extend(b"* METADATA ");
    mailbox_or_server(out, name, spelling);
    for entry in entries {
        out.push(b' ');
        encode::astring(out, entry.to_string().as_bytes());
    }
    out.extend(b"\r\n");
}

fn mailbox_or_server(out: &mut Vec<u8>, name: &str, spelling: Spelling) {
    match name {
        "" => out.extend(b"\"\""),
        name => encode::mailbox(out, name, spelling),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::parse;

    fn body(text: &[u8]) -> Option<MetadataCommand> {
        let text = [b"a ", text].concat();
        match parse::command(&text, Spelling::Utf7).ok()?.body {
            CommandBody::Metadata(command) => Some(command),
            other => panic!("{other:?}"),
        }
    }

    fn entry(text: &str) -> Entry {
        Entry::new(text).unwrap()
    }

    #[test]
    fn getting() {
        let get = |mailbox: &str, entries: &[&str], size_max, depth| {
            let entries = entries.iter().map(|text| entry(text)).collect();
            Some(MetadataCommand::Get(GetMetadata { mailbox: mailbox.to_owned(), entries, size_max, depth }))
        };
        for (text, expected) in [
            ("GETMETADATA \"\" /shared/comment", get("", &["/shared/comment"], None, Depth::Zero)),
            (
                "GETMETADATA inbox (/shared/Comment /PRIVATE/comment)",
                get("INBOX", &["/shared/comment", "/private/comment"], None, Depth::Zero),
            ),
            ("GETMETADATA (MAXSIZE 9 DEPTH 1) a /shared", get("a", &["/shared"], Some(9), Depth::One)),
            ("GETMETADATA a (DEPTH infinity) (/private)", get("a", &["/private"], None, Depth::Infinity)),
            (
                "GETMETADATA a (depth 0 maxsize 0) \"/shared/a b\"",
                get("a", &["/shared/a b"], Some(0), Depth::Zero),
            ),
            ("GETMETADATA a (\"/shared/x\")", get("a", &["/shared/x"], None, Depth::Zero)),
            ("GETMETADATA a", None),
            ("GETMETADATA a ()", None),
            ("GETMETADATA a (DEPTH 2) /shared", None),
            ("GETMETADATA (MAXSIZE 1) a (DEPTH 1) /shared", None),
            ("GETMETADATA (SIZE 1) a /shared", None),
            ("GETMETADATA a /other/comment", None),
            ("GETMETADATA a /sharedcomment", None),
            ("GETMETADATA a /shared//x", None),
            ("GETMETADATA a /shared/x/", None),
            ("GETMETADATA a \"/shared/x*\"", None),
            ("GETMETADATA a \"/shared/%\"", None),
            ("GETMETADATA a \"/shared/ü\"", None),
        ] {
            assert_eq!(body(text.as_bytes()), expected, "{text}");
        }
        assert!(Entry::new(&format!("/shared/{}", "x".repeat(ENTRY_BYTES_MAX - 1))).is_some());
        assert!(Entry::new(&format!("/shared/{}", "x".repeat(ENTRY_BYTES_MAX))).is_none());
    }

    #[test]
    fn setting() {
        let set = |values: &[(&str, Option<&[u8]>)]| {
            let values =
                values.iter().map(|(name, value)| (entry(name), value.map(<[u8]>::to_vec))).collect();
            Some(MetadataCommand::Set("INBOX".to_owned(), values))
        };
        for (text, expected) in [
            (&b"SETMETADATA inbox (/shared/a \"x\")"[..], set(&[("/shared/a", Some(b"x"))])),
            (
                b"SETMETADATA inbox (/shared/a nil /private/b {2}\r\n\r\n)",
                set(&[("/shared/a", None), ("/private/b", Some(b"\r\n"))]),
            ),
            (b"SETMETADATA inbox (/shared/a ~{3+}\r\n\0\xff))", set(&[("/shared/a", Some(b"\0\xff)"))])),
            (b"SETMETADATA inbox (/shared/a \"\")", set(&[("/shared/a", Some(b""))])),
            (b"SETMETADATA inbox (/shared/a {1}\r\n\0)", None),
            (b"SETMETADATA inbox (/shared/a ~{4}\r\nabc", None),
            (b"SETMETADATA inbox (/shared/a)", None),
            (b"SETMETADATA inbox (/shared/a x)", None),
            (b"SETMETADATA inbox ()", None),
            (b"SETMETADATA inbox /shared/a \"x\"", None),
        ] {
            assert_eq!(body(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn responses() {
        let mut out = Vec::new();
        let values: [(Entry, Option<&[u8]>); 3] = [
            (entry("/shared/a"), Some(b"x\"")),
            (entry("/private/b c"), None),
            (entry("/shared/n"), Some(b"\0")),
        ];
        metadata(&mut out, "", Spelling::Utf7, &values);
        metadata_changed(&mut out, "ü", Spelling::Utf7, &[entry("/shared/a"), entry("/private")]);
        let text = "* METADATA \"\" (/shared/a \"x\\\"\" \"/private/b c\" NIL /shared/n ~{1}\r\n\0)\r\n\
             * METADATA &APw- /shared/a /private\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    proptest! {
        #[test]
        fn values_come_back(values in proptest::collection::vec(("/(shared|private)(/[a-z \"(]{1,5}){0,3}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))), 1..4)) {
            let values: Vec<(Entry, Option<Vec<u8>>)> =
                values.into_iter().map(|(name, value)| (entry(&name), value)).collect();
            let given: Vec<_> = values.iter().map(|(entry, value)| (entry.clone(), value.as_deref())).collect();
            let mut out = Vec::new();
            metadata(&mut out, "a", Spelling::Utf7, &given);
            let printed = out.strip_prefix(b"* METADATA a ").unwrap().strip_suffix(b"\r\n").unwrap();
            let text = [b"SETMETADATA a ", printed].concat();
            prop_assert_eq!(body(&text), Some(MetadataCommand::Set("a".to_owned(), values)));
        }
    }
}
