//! What a message is: header block, MIME structure, decoding.

use waypost_message::{
    HeaderBlock, HeaderCollector, Part, Span, Splitter, Structure,
    decode::{self, BodyDecoder, HtmlText},
    preview::{self, PREVIEW_CHARS_MAX, PREVIEW_PART_BYTES_MAX, PreviewWriter},
    report::{RECIPIENTS_MAX, Report, TEXT_BYTES_MAX},
    splitter::{NESTING_MAX, PARTS_MAX},
    surrogate::Surrogate,
};

use super::{play::PIECES, settings};

/// A surrogate is the same wherever the stream is cut. Its header fields are US-ASCII where those of the message are UTF-8; what is US-ASCII, or no
/// UTF-8 at all, stays.
pub(crate) fn surrogate(octets: &[u8]) {
    let structure = Splitter::split(octets);
    let [first, other, whole] = PIECES.map(|piece| {
        let mut surrogate = Surrogate::new(&structure, 0, 0);
        let pieces = octets.chunks(piece.min(octets.len().max(1)));
        pieces.flat_map(|octets| surrogate.feed(octets)).collect::<Vec<u8>>()
    });
    assert!(first == whole && other == whole, "cut elsewhere, written otherwise");
    let header = &octets[..structure.root.header.end as usize];
    if header.is_ascii() {
        assert!(whole.starts_with(header));
    } else if std::str::from_utf8(header).is_ok() {
        let written = Splitter::split(&whole).root.header.end as usize;
        assert!(whole[..written].is_ascii(), "{}", whole[..written].escape_ascii());
    }
    if octets.is_ascii() {
        assert_eq!(whole, octets);
    }
}

/// A block is gathered alike wherever the stream is cut; fields lie in it; removing and adding do what they say.
pub(crate) fn header_block(octets: &[u8]) {
    let [first, other, whole] = PIECES.map(|piece| collect(octets, piece));
    assert!(first == whole && other == whole, "cut elsewhere, gathered otherwise");
    let block = whole.0;
    assert!(octets.starts_with(block.octets()));
    let mut at = 0;
    for field in block.fields() {
        let place =
            block.octets()[at..].windows(field.octets.len()).position(|window| window == field.octets);
        at += place.expect("a field in its order") + field.octets.len();
        assert!(field.octets.ends_with(field.raw) && field.octets.starts_with(field.name));
        assert!(field.value().len() <= field.raw.len());
    }
    edit(&block, "Received");
    if let Some(name) = block.fields().next().map(|field| String::from_utf8_lossy(field.name).into_owned()) {
        edit(&block, &name);
    }
}

fn collect(octets: &[u8], piece: usize) -> (HeaderBlock, usize) {
    let mut collector = HeaderCollector::default();
    let mut taken = 0;
    for piece in octets.chunks(piece.min(octets.len().max(1))) {
        match collector.feed(piece) {
            Ok(Some((block, used))) => return (block, taken + used),
            Ok(None) => taken += piece.len(),
            Err(_) => panic!("the input is smaller than the bound"),
        }
    }
    (collector.finish(), taken)
}

fn edit(block: &HeaderBlock, name: &str) {
    let mut edited = block.clone();
    let count = edited.count(name);
    let all = edited.fields().count();
    assert_eq!(edited.remove(name), count);
    assert_eq!((edited.count(name), edited.first(name)), (0, None));
    assert_eq!(edited.fields().count(), all - count, "other fields went too");
    // Before a line that begins with white space a field would go on in it.
    if !matches!(edited.octets().first(), Some(b' ' | b'\t')) {
        edited.prepend("X-Fuzz: first\r\n");
        assert_eq!(edited.first("X-Fuzz").as_deref(), Some(&b"first"[..]));
    }
    edited.append("X-Last: last\r\n");
    assert_eq!(edited.fields().last().map(|field| field.value()).as_deref(), Some(&b"last"[..]));
}

/// What is kept of a report is bounded and of one line, whatever it holds.
pub(crate) fn report(octets: &[u8]) {
    let structure = Splitter::split(octets);
    let Ok(header) = usize::try_from(structure.root.header.end) else { panic!("beyond the input") };
    let Some(report) = Report::read(&structure, header, &octets[header..]) else { return };
    let texts: Vec<Option<String>> = match report {
        Report::Delivery(recipients) => {
            assert!((1..=RECIPIENTS_MAX).contains(&recipients.len()));
            recipients.into_iter().flat_map(|to| [Some(to.recipient), to.diagnostic]).collect()
        }
        Report::Feedback(feedback) => {
            assert!(feedback.recipients.len() <= RECIPIENTS_MAX);
            feedback.recipients.into_iter().chain([feedback.kind]).map(Some).collect()
        }
    };
    for text in texts.into_iter().flatten() {
        assert!(text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control), "{text:?}");
    }
}

/// A structure is the same wherever the stream is cut; parts lie in one another; it comes back from the store. Its preview is the one that
/// is made of the octets.
pub(crate) fn splitter(octets: &[u8]) {
    let whole = Splitter::split(octets);
    for piece in &PIECES[..2] {
        let mut splitter = Splitter::new();
        octets.chunks(*piece).for_each(|piece| splitter.feed(piece));
        assert_eq!(splitter.finish(), whole, "cut elsewhere, split otherwise");
    }
    let mut parts = 0;
    nested(&whole.root, Span { start: 0, end: octets.len() as u64 }, 0, &mut parts);
    assert!(parts <= 2 * PARTS_MAX, "{parts} parts");
    assert_eq!(Structure::decode(&whole.encode()), Ok(whole.clone()));
    assert_ne!(whole.thread_key(), Some(0));
    if let Some(kept) = &whole.preview {
        assert_eq!(String::from_utf8_lossy(kept), preview_of(&whole.root, octets));
    }
}

fn preview_of(root: &Part, octets: &[u8]) -> String {
    let Some(part) = preview::part(root) else { return String::new() };
    let length = (part.body.end - part.body.start).min(PREVIEW_PART_BYTES_MAX);
    let body = octets.iter().skip(part.body.start as usize).take(length as usize);
    let mut writer = PreviewWriter::new(part);
    writer.feed(&body.copied().collect::<Vec<u8>>());
    let preview = writer.finish();
    assert!(preview.chars().count() <= PREVIEW_CHARS_MAX, "{preview}");
    preview
}

fn nested(part: &Part, around: Span, depth: usize, parts: &mut usize) {
    assert!(depth <= NESTING_MAX + 1, "nested too deep");
    *parts += 1;
    let Span { start, end } = part.header;
    assert!(around.start <= start && start <= end && end <= around.end, "{:?} in {around:?}", part.header);
    assert!(end <= part.body.start && part.body.start <= part.body.end && part.body.end <= around.end);
    assert!(part.lines <= part.body.end - part.body.start, "more lines than octets");
    let mut before = part.body.start;
    for child in &part.children {
        nested(child, part.body, depth + 1, parts);
        assert!(before <= child.header.start, "parts overlap");
        before = child.body.end;
    }
    assert_eq!(part.is_multipart(), !part.children.is_empty());
    if let Some(message) = &part.message {
        nested(&message.root, part.body, depth + 1, parts);
    }
}

/// A structure that the store gives back is one that it could have kept.
pub(crate) fn structure(octets: &[u8]) {
    if let Ok(structure) = Structure::decode(octets) {
        assert_eq!(Structure::decode(&structure.encode()), Ok(structure));
    }
}

const ENCODINGS: [&[u8]; 4] = [b"base64", b"quoted-printable", b"8bit", b"x-unknown"];
const CHARSETS: [&[u8]; 8] =
    [b"utf-8", b"iso-2022-jp", b"gb18030", b"utf-16", b"us-ascii", b"shift_jis", b"big5", b"iso-8859-1"];

/// A body decodes to the same text wherever it is cut, and to not much more.
pub(crate) fn body_decoder(octets: &[u8]) {
    let Some((settings, body)) = settings(octets) else { return };
    let encoding = ENCODINGS[usize::from(settings & 3)];
    let charset = CHARSETS[usize::from(settings >> 2 & 7)];
    let decode = |piece: usize| {
        let mut decoder = BodyDecoder::new(Some(encoding), Some(charset));
        let text: String =
            body.chunks(piece.min(body.len().max(1))).map(|piece| decoder.feed(piece)).collect();
        text + &decoder.finish()
    };
    let [first, other, whole] = PIECES.map(decode);
    assert!(first == whole && other == whole, "cut elsewhere, decoded otherwise");
    assert!(whole.len() <= 3 * body.len() + 16, "{} octets of {}", whole.len(), body.len());
}

/// A field's text is bounded, and plain text stays as it is.
pub(crate) fn header_text(octets: &[u8]) {
    let text = decode::header_text(octets);
    assert!(text.len() <= 4 * octets.len() + 16, "{} octets of {}", text.len(), octets.len());
    if octets.iter().all(u8::is_ascii_graphic) && !octets.windows(2).any(|pair| pair == b"=?") {
        assert_eq!(text.as_bytes(), octets);
    }
}

/// HTML gives the same text wherever it is cut, and not more of it.
pub(crate) fn html_text(octets: &[u8]) {
    let html = String::from_utf8_lossy(octets);
    let chars: Vec<char> = html.chars().collect();
    let text = |piece: usize| {
        let (mut taker, mut out) = (HtmlText::default(), String::new());
        for piece in chars.chunks(piece.min(chars.len().max(1))) {
            taker.feed(&piece.iter().collect::<String>(), &mut out);
        }
        taker.finish(&mut out);
        out
    };
    let [first, other, whole] = PIECES.map(text);
    assert!(first == whole && other == whole, "cut elsewhere, taken otherwise");
    assert!(whole.len() <= html.len(), "{} octets of {}", whole.len(), html.len());
}
