use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{Splitter, Structure};

/// What is made of a message's octets when it is asked for, as FETCH does.
fn on_demand(structure: &Structure, octets: &[u8]) -> String {
    let Some(part) = part(&structure.root) else { return String::new() };
    let body = &octets[part.body.start as usize..part.body.end as usize];
    let mut writer = PreviewWriter::new(part);
    writer.feed(&body[..body.len().min(PREVIEW_PART_BYTES_MAX as usize)]);
    writer.finish()
}

/// What is gathered while a message passes in pieces; it is what is made on demand.
fn gathered(message: &[u8], piece: usize) -> Option<String> {
    let mut splitter = Splitter::new();
    message.chunks(piece).for_each(|piece| splitter.feed(piece));
    let structure = splitter.finish();
    let preview = structure.preview.clone().map(|preview| String::from_utf8(preview).unwrap());
    if let Some(preview) = &preview {
        assert_eq!(*preview, on_demand(&structure, message), "{}", String::from_utf8_lossy(message));
    }
    preview
}

fn multipart(kind: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("--x\r\n{part}\r\n")).collect();
    format!("Content-Type: multipart/{kind}; boundary=x\r\n\r\n{parts}--x--\r\n")
}

const HTML: &str = "Content-Type: text/html\r\n\r\n<p>h";
const IMAGE: &str = "Content-Type: image/png\r\n\r\ni";
const ATTACHED: &str = "Content-Disposition: attachment\r\n\r\na";

#[test]
fn the_part_that_is_read_is_found_and_gathered() {
    let inner = multipart("mixed", &[HTML, "\r\nx"]).replace("=x", "=y").replace("--x", "--y");
    let message = format!("Content-Type: message/rfc822\r\n\r\n{HTML}");
    for (message, body, preview) in [
        ("Subject: a\r\n\r\nplain".to_owned(), Some("plain"), "plain"),
        (HTML.to_owned(), Some("<p>h"), "h"),
        (IMAGE.to_owned(), None, ""),
        ("Content-Type: text/calendar\r\n\r\nc".to_owned(), None, ""),
        (multipart("alternative", &[HTML, "\r\np"]), Some("p"), "p"),
        (multipart("alternative", &["\r\np", HTML]), Some("p"), "p"),
        (multipart("alternative", &[IMAGE, HTML]), Some("<p>h"), "h"),
        (multipart("alternative", &[&inner, "\r\np"]), Some("p"), "p"),
        (multipart("mixed", &[HTML, "\r\np"]), Some("<p>h"), "h"),
        (multipart("mixed", &[&inner, "\r\np"]), Some("<p>h"), "h"),
        (
            multipart("mixed", &[ATTACHED, IMAGE, "\r\np\r\n-p\r\n--xp\r\n"]),
            Some("p\r\n-p\r\n--xp\r\n"),
            "p -p --xp",
        ),
        (multipart("mixed", &[&message, "\r\np"]), Some("p"), "p"),
        (multipart("mixed", &["\r\n", "\r\np"]), Some(""), ""),
        (multipart("mixed", &["", "\r\np"]), Some(""), ""),
        (multipart("mixed", &[ATTACHED]), None, ""),
        (multipart("mixed", &[]), Some(""), ""),
        (multipart("encrypted", &["Content-Type: application/pgp-encrypted\r\n\r\nv"]), None, ""),
        (message.clone(), None, ""),
        ("Content-Type: multipart/mixed\r\n\r\nno boundary".to_owned(), Some(""), ""),
        ("Subject: no body".to_owned(), Some(""), ""),
    ] {
        let structure = Splitter::split(message.as_bytes());
        let found =
            part(&structure.root).map(|part| &message[part.body.start as usize..part.body.end as usize]);
        assert_eq!(found, body, "{message}");
        for piece in [1, 3, 7, 4096] {
            assert_eq!(gathered(message.as_bytes(), piece).as_deref(), Some(preview), "{message} by {piece}");
        }
    }
}

#[test]
fn what_is_hard_to_find_is_left_for_later() {
    let html = |style: usize, text: &str| {
        format!("Content-Type: text/html\r\n\r\n<style>{}</style>{text}", "s".repeat(style))
    };
    let (short, long) = ("one two", "one two ".repeat(30));
    let full = long[..199].to_owned();
    for (message, preview) in [
        (html(16_000, short), Some(short.to_owned())),
        (html(16_000, &long), Some(full.clone())),
        // 16 KiB end before the text does, or before it begins
        (html(16_200, &long), None),
        (html(20_000, &long), None),
        (format!("\r\n{}", "> quoted\r\n".repeat(2_000)), None),
        (format!("\r\n{}own", "> quoted\r\n".repeat(1_000)), Some("own".to_owned())),
        (format!("\r\n{}", "one two ".repeat(9_000)), Some(full)),
    ] {
        for piece in [11, 4096] {
            assert_eq!(gathered(message.as_bytes(), piece), preview, "{} octets", message.len());
        }
        let parts = multipart("mixed", &[&message, "\r\nmore"]);
        assert_eq!(gathered(parts.as_bytes(), 500), preview, "{} octets, in parts", message.len());
    }
}

#[test]
fn the_longest_boundary_line_is_not_in_it() {
    for quoted in (0..1_200).step_by(7) {
        let body = format!("\r\n> {}\r\nend", "q".repeat(quoted));
        let long = format!("--x{}\r\n", " ".repeat(995));
        let message = multipart("mixed", &[&body]).replace("--x--\r\n", &long);
        for piece in [50, 1_000] {
            assert_eq!(gathered(message.as_bytes(), piece).as_deref(), Some("end"), "{quoted} by {piece}");
        }
    }
}

/// Mails as clients and lists write them.
fn line() -> impl Strategy<Value = String> {
    let known = vec![
        "--x",
        "--x--",
        "--y",
        "--y--",
        "--x ",
        "-- ",
        "-",
        "",
        "",
        "> quoted",
        "words of a text",
        "=C3=BC=",
        "4oKsIHg=",
        "<p>h</p>",
        "<style>",
        "</style>",
        "&uuml;",
        "Content-Type: text/plain",
        "Content-Type: text/html",
        "Content-Type: multipart/alternative; boundary=x",
        "Content-Type: multipart/mixed; boundary=y",
        "Content-Type: message/rfc822",
        "Content-Disposition: attachment",
        "Content-Transfer-Encoding: quoted-printable",
        "Content-Transfer-Encoding: base64",
        "Content-Type: text/plain; charset=iso-2022-jp",
        "\u{1b}$BF|K\\",
    ];
    let end = select(vec!["\r\n", "\r\n", "\r\n", "\n", "\r", ""]);
    let line = prop_oneof![9 => select(known).prop_map(str::to_owned), 1 => "[ -~]{0,1200}"];
    (line, end).prop_map(|(line, end)| line + end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_gathered_is_what_is_made_on_demand(lines in vec(line(), 0..40), piece in 1usize..9) {
        let message = lines.concat();
        let preview = gathered(message.as_bytes(), piece);
        prop_assert_eq!(&preview, &gathered(message.as_bytes(), 4096));
        prop_assert!(preview.is_none_or(|preview| preview.chars().count() <= PREVIEW_CHARS_MAX));
    }
}
