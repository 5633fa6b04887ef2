use mail_parser::{MessageParser, PartType};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

/// The structure, which must not depend on where the message is cut.
fn split(message: &[u8]) -> Structure {
    let whole = Splitter::split(message);
    for size in [1, 3, 4096] {
        let mut splitter = Splitter::new();
        message.chunks(size).for_each(|piece| splitter.feed(piece));
        assert_eq!(splitter.finish(), whole, "in pieces of {size}");
    }
    whole
}

fn lossy(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// One line per part: number, type, header and body as text, lines.
fn shown(message: &str) -> Vec<String> {
    fn show(message: &[u8], number: &str, part: &Part, shown: &mut Vec<String>) {
        let text = |span: Span| &message[span.start as usize..span.end as usize];
        let kind = lossy(&[&part.content_type.kind, b"/".as_slice(), &part.content_type.subtype].concat());
        let (header, body) = (lossy(text(part.header)), lossy(text(part.body)));
        shown.push(format!("{number} {kind} {header:?} {body:?} {}", part.lines));
        for (index, child) in part.children.iter().enumerate() {
            show(message, &format!("{number}.{}", index + 1), child, shown);
        }
        if let Some(inner) = &part.message {
            show(message, &format!("{number}m"), &inner.root, shown);
        }
    }
    let mut lines = Vec::new();
    show(message.as_bytes(), "0", &split(message.as_bytes()).root, &mut lines);
    lines
}

const MULTI: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";

/// Shows a multipart with that body, without its own line.
fn shown_in_multipart(body: &str) -> Vec<String> {
    shown(&[MULTI, body].concat()).split_off(1)
}

#[test]
fn messages_without_parts() {
    for (message, expected) in [
        ("", r#"0 text/plain "" "" 0"#),
        ("\r\n", r#"0 text/plain "\r\n" "" 0"#),
        ("\r\nbody", r#"0 text/plain "\r\n" "body" 1"#),
        ("A: b", r#"0 text/plain "A: b" "" 0"#),
        ("A: b\r\n", r#"0 text/plain "A: b\r\n" "" 0"#),
        ("A: b\r\n\r\n", r#"0 text/plain "A: b\r\n\r\n" "" 0"#),
        ("A: b\r\n\r\n\r\n", r#"0 text/plain "A: b\r\n\r\n" "\r\n" 1"#),
        ("A: b\r\n\r\nc\r\nd\r\n", r#"0 text/plain "A: b\r\n\r\n" "c\r\nd\r\n" 2"#),
        ("A: b\n\nc\nd", r#"0 text/plain "A: b\n\n" "c\nd" 2"#),
        ("A: b\r\n\r\n--b\r\n\r\n--b--", r#"0 text/plain "A: b\r\n\r\n" "--b\r\n\r\n--b--" 3"#),
        ("Content-Type: a/b\r\n\r\nc\rd", r#"0 a/b "Content-Type: a/b\r\n\r\n" "c\rd" 1"#),
    ] {
        assert_eq!(shown(message), [expected], "{message:?}");
    }
}

#[test]
fn boundary_lines_end_parts() {
    let cases: &[(&str, &[&str])] = &[
        ("--b\r\n\r\nx\r\n--b--\r\n", &[r#"0.1 text/plain "\r\n" "x" 1"#]),
        ("--b\n\nx\n--b--\n", &[r#"0.1 text/plain "\n" "x" 1"#]),
        ("--b\r\n\r\nx\r\n\r\n--b--", &[r#"0.1 text/plain "\r\n" "x\r\n" 1"#]),
        ("--b\r\n\r\nx\n\r\n--b--", &[r#"0.1 text/plain "\r\n" "x\n" 1"#]),
        ("preamble\r\n--b\r\n\r\nx\r\n--b--\r\nepilogue\r\n--b\r\n\r\n", &[r#"0.1 text/plain "\r\n" "x" 1"#]),
        ("--b \t\r\n\r\nx\r\n--b-- \r\n", &[r#"0.1 text/plain "\r\n" "x" 1"#]),
        ("--b\r\n\r\nx", &[r#"0.1 text/plain "\r\n" "x" 1"#]),
        ("--b\r\n\r\nx\r\n", &[r#"0.1 text/plain "\r\n" "x\r\n" 1"#]),
        ("--b\r\nA: c", &[r#"0.1 text/plain "A: c" "" 0"#]),
        ("--b\r\nA: c\r\n--b--", &[r#"0.1 text/plain "A: c\r\n" "" 0"#]),
        ("--b\r\nA: c\r\n\r\n--b--", &[r#"0.1 text/plain "A: c\r\n\r\n" "" 0"#]),
        (
            "--b\r\n--b\r\n\r\n\r\n--b",
            &[r#"0.1 text/plain "" "" 0"#, r#"0.2 text/plain "\r\n" "" 0"#, r#"0.3 text/plain "" "" 0"#],
        ),
        ("--b--", &[r#"0.1 text/plain "" "" 0"#]),
        (
            "--B\r\n\r\nx --b\r\n--bc\r\n --b\r\n-b\r\n--b-\r\n--b---\r\n--b -\r\n",
            &[r#"0.1 text/plain "" "" 0"#],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(shown_in_multipart(body), *expected, "{body:?}");
    }
}

#[test]
fn an_outer_boundary_ends_inner_parts() {
    let inner = "Content-Type: multipart/x; boundary=\"in ner\"\r\n\r\n";
    let body = ["--b\r\n", inner, "--in ner\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n"].concat();
    assert_eq!(
        shown_in_multipart(&body)[1..],
        [r#"0.1.1 text/plain "\r\n" "x" 1"#, r#"0.2 text/plain "\r\n" "y" 1"#,]
    );
    let body = ["--b\r\n", inner, "--in ner\r\n--b--\r\n"].concat();
    let header = r#""Content-Type: multipart/x; boundary=\"in ner\"\r\n\r\n""#;
    assert_eq!(
        shown_in_multipart(&body),
        [format!(r#"0.1 multipart/x {header} "--in ner\r\n" 1"#), r#"0.1.1 text/plain "" "" 0"#.into(),]
    );
}

#[test]
fn the_inner_one_of_two_equal_boundaries_is_meant() {
    let body = ["--b\r\n", MULTI, "--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n--b--"].concat();
    assert_eq!(
        shown_in_multipart(&body)[1..],
        [r#"0.1.1 text/plain "\r\n" "x" 1"#, r#"0.2 text/plain "\r\n" "y" 1"#,]
    );
}

#[test]
fn a_multipart_without_parts_has_an_empty_one() {
    for header in ["multipart/mixed", "multipart/mixed; boundary=\"\"", "multipart/mixed; boundary=other"] {
        let message = format!("Content-Type: {header}\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n");
        assert_eq!(shown(&message)[1..], [r#"0.1 text/plain "" "" 0"#], "{header}");
        assert_eq!(split(message.as_bytes()).root.children[0].body.end, message.len() as u64);
    }
}

#[test]
fn messages_inside_are_opened() {
    let rfc822 = "Content-Type: message/rfc822\r\n\r\n";
    assert_eq!(
        shown(&[rfc822, "Subject: s\r\n\r\nx\r\n"].concat())[1..],
        [r#"0m text/plain "Subject: s\r\n\r\n" "x\r\n" 1"#,]
    );
    let structure = split([rfc822, "Subject: s\r\nReferences: <a@b>\r\n\r\nx\r\n"].concat().as_bytes());
    let inner = structure.root.message.unwrap();
    assert_eq!(inner.envelope.subject, Some(b"s".to_vec()));
    assert_eq!(inner.references_root, None);
    assert_eq!(shown(rfc822)[1..], [r#"0m text/plain "" "" 0"#]);
    for header in ["MESSAGE/Global", "message/rfc822\r\nContent-Transfer-Encoding: 8bit"] {
        assert_eq!(shown(&format!("Content-Type: {header}\r\n\r\n\r\nx")).len(), 2, "{header}");
    }
    for encoding in ["base64", "Quoted-Printable"] {
        let header =
            format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n\r\nx");
        assert_eq!(shown(&header).len(), 1, "{encoding}");
    }
}

#[test]
fn a_message_may_hold_only_a_message() {
    let rfc822 = "Content-Type: message/rfc822\r\n\r\n";
    let body = ["--b\r\n", rfc822, rfc822, "\r\nx\r\n--b\r\n\r\ny\r\n--b--"].concat();
    assert_eq!(
        shown_in_multipart(&body)[2..],
        [r#"0.1mm text/plain "\r\n" "x" 1"#, r#"0.2 text/plain "\r\n" "y" 1"#]
    );
}

#[test]
fn parts_of_a_digest_are_messages() {
    let message = "Content-Type: multipart/Digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: s\r\n\r\nx\r\n--b\r\n\
        Content-Type: text/html\r\n\r\ny\r\n--b\r\nContent-Type: garbled\r\n\r\nz\r\n--b--\r\n";
    assert_eq!(
        shown(message)[1..],
        [
            r#"0.1 message/rfc822 "\r\n" "Subject: s\r\n\r\nx" 3"#,
            r#"0.1m text/plain "Subject: s\r\n\r\n" "x" 1"#,
            r#"0.2 text/html "Content-Type: text/html\r\n\r\n" "y" 1"#,
            r#"0.3 text/plain "Content-Type: garbled\r\n\r\n" "z" 1"#,
        ]
    );
}

#[test]
fn the_default_type_has_its_charset() {
    let parameters = |header: &str| split(header.as_bytes()).root.content_type.parameters;
    let default = vec![(b"charset".to_vec(), b"us-ascii".to_vec())];
    assert_eq!(parameters("\r\n"), default);
    assert_eq!(parameters("Content-Type: junk\r\n\r\n"), default);
    assert_eq!(parameters("Content-Type: text/plain\r\n\r\n"), []);
}

#[test]
fn the_outermost_message_has_its_conversation() {
    assert_eq!(split(b"References: <a@b> <c@d>\r\n\r\n").references_root, Some(b"a@b".to_vec()));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize, header: &dyn Fn(usize) -> String| (0..depth).map(header).collect::<String>();
    let depth = |message: &str| {
        let structure = Splitter::split(message.as_bytes());
        assert_eq!(Structure::decode(&structure.encode()), Ok(structure.clone()));
        let (mut part, mut depth) = (&structure.root, 0);
        while let Some(inner) = part.children.first().or(part.message.as_ref().map(|message| &message.root)) {
            (part, depth) = (inner, depth + 1);
        }
        depth
    };
    let message = |_| "Content-Type: message/rfc822\r\n\r\n".to_owned();
    assert_eq!(depth(&nested(NESTING_MAX, &message)), NESTING_MAX);
    assert_eq!(depth(&nested(NESTING_MAX + 1, &message)), NESTING_MAX);
    let multi = |level| format!("Content-Type: multipart/x; boundary=b{level}\r\n\r\n--b{level}\r\n");
    assert_eq!(depth(&nested(NESTING_MAX, &multi)), NESTING_MAX);
    // The last one is not opened, and so has the empty part.
    assert_eq!(depth(&nested(NESTING_MAX + 9, &multi)), NESTING_MAX + 1);
}

#[test]
fn the_number_of_parts_is_bounded() {
    let children = |count: usize| {
        let message = [MULTI, &"--b\r\n\r\nx\r\n".repeat(count), "--b--\r\n"].concat();
        Splitter::split(message.as_bytes()).root.children
    };
    assert_eq!(children(PARTS_MAX - 1).len(), PARTS_MAX - 1);
    assert_eq!(children(PARTS_MAX - 1)[PARTS_MAX - 2].lines, 1);
    assert_eq!(children(PARTS_MAX).len(), PARTS_MAX - 1);
    assert_eq!(children(PARTS_MAX)[PARTS_MAX - 2].lines, 4);
}

#[test]
fn boundaries_and_their_lines_are_bounded() {
    let parts = |boundary: usize, white_space: usize| {
        let boundary = "x".repeat(boundary);
        let padding = " ".repeat(white_space);
        let body = format!("--{boundary}{padding}\r\n\r\ny\r\n--{boundary}\r\n\r\nz");
        let header = format!("Content-Type: multipart/x; boundary={boundary}\r\n\r\n");
        split([header, body].concat().as_bytes()).root.children.len()
    };
    assert_eq!(parts(BOUNDARY_BYTES_MAX, 0), 2);
    assert_eq!(parts(BOUNDARY_BYTES_MAX + 1, 0), 1);
    assert_eq!(parts(6, BOUNDARY_LINE_BYTES_MAX - 10), 2);
    assert_eq!(parts(6, BOUNDARY_LINE_BYTES_MAX - 9), 1);
}

#[test]
fn a_header_is_read_up_to_its_bound() {
    let message =
        ["Subject: s\r\nX: ", &"x".repeat(HEADER_BYTES_MAX), "\r\nContent-Type: a/b\r\n\r\nbody"].concat();
    let structure = split(message.as_bytes());
    assert_eq!(structure.envelope.subject, Some(b"s".to_vec()));
    assert_eq!(structure.root.content_type, ContentType::default());
    assert_eq!(structure.root.body, Span { start: message.len() as u64 - 4, end: message.len() as u64 });
}

#[test]
fn a_usual_message_is_kept_in_few_octets() {
    let message = "Date: Sat, 21 Nov 2026 04:05:06 +0000\r\nFrom: \"Anna Example\" <anna@example.org>\r\n\
        To: Bert Example <bert@example.net>, carla@example.net\r\nSubject: Re: the minutes of the last meeting\r\n\
        Message-ID: <20261121040506.1234.abcdef@mail.example.org>\r\nIn-Reply-To: <987654321.fedcba@mail.example.net>\r\n\
        References: <987654321.fedcba@mail.example.net>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/alternative; boundary=\"----=_Part_1_2.3\"\r\n\r\n------=_Part_1_2.3\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n\
        ------=_Part_1_2.3\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>x</p>\r\n------=_Part_1_2.3--\r\n";
    let octets = split(message.as_bytes()).encode();
    assert!(octets.len() <= 500, "{}", octets.len());
}

/// A message as the generator makes it.
#[derive(Clone, Debug)]
enum Node {
    Leaf { header: &'static str, body: String },
    Multi { subtype: &'static str, preamble: &'static str, epilogue: &'static str, children: Vec<Node> },
    Message(Box<Node>),
}

const BOUNDARIES: [&str; 5] = ["simple", "=_odd?=", "with space x", "'()+_,-./:=?", "--dashes--x"];

impl Node {
    /// Header and body; `level` keeps boundaries apart. `default`: what stands before the body of a part without header.
    fn write(&self, level: usize, default: &str, out: &mut String) {
        match self {
            Self::Leaf { header: "", body } => *out += &format!("\r\n{default}{body}"),
            Self::Leaf { header, body } => *out += &format!("{header}\r\n{body}"),
            Self::Multi { subtype, preamble, epilogue, children } => {
                let boundary = format!("{}{level}", BOUNDARIES[level % BOUNDARIES.len()]);
                *out +=
                    &format!("Content-Type: multipart/{subtype}; boundary=\"{boundary}\"\r\n\r\n{preamble}");
                let default = if *subtype == "digest" { "Subject: in a digest\r\n\r\n" } else { "" };
                for child in children {
                    *out += &format!("\r\n--{boundary}\r\n");
                    child.write(level + 1, default, out);
                }
                *out += &format!("\r\n--{boundary}--{epilogue}");
            }
            Self::Message(inner) => {
                *out += "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n";
                inner.write(level + 1, "", out);
            }
        }
    }
}

fn node() -> impl Strategy<Value = Node> {
    let header =
        select(vec!["", "Content-Type: text/html\r\n", "Content-Type: a/b; name=x\r\nContent-ID: <i@j>\r\n"]);
    let line = select(vec!["", "text", "--", "-- ", "- --x", "Content-Type: text/plain", ".", "a--b"]);
    let body = vec(line, 1..4).prop_map(|lines| format!("x{}", lines.join("\r\n")));
    let leaf = (header, body).prop_map(|(header, body)| Node::Leaf { header, body });
    leaf.prop_recursive(5, 20, 4, |inner| {
        let subtype = select(vec!["mixed", "alternative", "digest"]);
        let preamble = select(vec!["", "This is a preamble.\r\n"]);
        let epilogue = select(vec!["", "\r\n", "\r\nepilogue"]);
        let multi = (subtype, preamble, epilogue, vec(inner.clone(), 1..4));
        prop_oneof![
            3 => multi.prop_map(|(subtype, preamble, epilogue, children)| {
                Node::Multi { subtype, preamble, epilogue, children }
            }),
            // mail-parser 0.11 loses its way where a message is all that a message in a multipart holds.
            1 => inner.prop_map(|inner| match inner {
                Node::Message(_) => inner,
                inner => Node::Message(Box::new(inner)),
            }),
        ]
    })
}

type Found = Vec<(&'static str, u64, u64, Option<u64>)>;

/// Kind, begin of header and body, and for leaves the end: what both parsers know.
fn by_splitter(part: &Part, found: &mut Found) {
    let (kind, end) = match (&part.message, part.is_multipart()) {
        (Some(_), _) => ("message", None),
        (None, true) => ("multipart", None),
        (None, false) => ("leaf", Some(part.body.end)),
    };
    found.push((kind, part.header.start, part.body.start, end));
    part.children
        .iter()
        .chain(part.message.as_ref().map(|message| &message.root))
        .for_each(|p| by_splitter(p, found));
}

fn by_mail_parser(message: &mail_parser::Message<'_>, id: u32, found: &mut Found) {
    let part = &message.parts[id as usize];
    let (start, body, end) = (part.offset_header.into(), part.offset_body.into(), part.offset_end.into());
    match &part.body {
        PartType::Multipart(children) => {
            found.push(("multipart", start, body, None));
            children.iter().for_each(|&child| by_mail_parser(message, child, found));
        }
        PartType::Message(inner) => {
            found.push(("message", start, body, None));
            by_mail_parser(inner, 0, found);
        }
        _ => found.push(("leaf", start, body, Some(end))),
    }
}

/// Spans lie within that of the part around them, in order.
fn check_nesting(part: &Part, around: Span) {
    assert!(around.start <= part.header.start && part.header.start <= part.header.end);
    assert!(
        part.header.end == part.body.start && part.body.start <= part.body.end && part.body.end <= around.end
    );
    let mut from = part.body.start;
    for child in &part.children {
        check_nesting(child, Span { start: from, end: part.body.end });
        from = child.body.end;
    }
    if let Some(inner) = &part.message {
        assert_eq!((inner.root.header.start, inner.root.body.end), (part.body.start, part.body.end));
        check_nesting(&inner.root, part.body);
    }
    assert!(!part.is_multipart() || !part.children.is_empty());
}

/// Lines counted the slow way.
fn check_lines(message: &[u8], part: &Part) {
    let body = &message[part.body.start as usize..part.body.end as usize];
    assert_eq!(part.lines, body.split_inclusive(|&octet| octet == b'\n').count() as u64);
    part.children
        .iter()
        .chain(part.message.as_ref().map(|inner| &inner.root))
        .for_each(|p| check_lines(message, p));
}

fn check(message: &[u8]) {
    let structure = split(message);
    check_nesting(&structure.root, Span { start: 0, end: message.len() as u64 });
    check_lines(message, &structure.root);
    assert_eq!(Structure::decode(&structure.encode()), Ok(structure));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mail_parser_finds_the_same_parts(node in node()) {
        let mut message = "Subject: outer\r\n".to_owned();
        node.write(0, "", &mut message);
        check(message.as_bytes());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        by_splitter(&split(message.as_bytes()).root, &mut ours);
        by_mail_parser(&MessageParser::default().parse(&message).unwrap(), 0, &mut theirs);
        prop_assert_eq!(ours, theirs, "{}", message);
    }

    #[test]
    fn any_octets_have_a_structure(pieces in vec(select(vec![
        "\r\n", "\n", "\r", "--b", "--c", "--", " ", "x", "\u{fc}", "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/digest; boundary=\"c\"\r\n", "Content-Type: message/rfc822\r\n", "From: a@b, g: c;\r\n",
        "Content-Type: text/plain; charset\r\n", "Content-Transfer-Encoding: base64\r\n", "Subject: \r\n",
    ]), 0..40), cut in option::of(any::<u8>())) {
        let mut message = pieces.concat().into_bytes();
        message.extend(cut);
        check(&message);
    }
}
