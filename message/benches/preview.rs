//! What the preview adds to a message while it is received: the splitter over a message whose text is shown, and over the same one with a
//! type that no reader shows as text.
//!
//!     cargo bench -p waypost-message --bench preview
//!
//! The shortest of many short rounds in turn, in microseconds for each message, so that what the machine does besides does not count. A message
//! comes in pieces of 4 KiB.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::{hint::black_box, time::Instant};

use waypost_message::Splitter;

const ROUNDS: usize = 300;
/// Octets of messages in a round.
const ROUND_BYTES: usize = 400 * 1024;
const PIECE_BYTES: usize = 4 * 1024;
const HEADER: &str = "From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: a message\r\n\
    Date: Wed, 25 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n";
const LINE: &str = "The quick brown fox jumps over the lazy dog, and nobody knows why it does so.\r\n";

fn main() {
    let style = "p.a, td.b { margin: 0; padding: 4px 8px; font-family: sans-serif }\r\n";
    let row = "<tr><td class=\"a\" style=\"padding: 0 4px\"><p class=\"b\">&nbsp;</p></td></tr>\r\n";
    let html = |head: usize, rows: usize| {
        let (head, rows) = (style.repeat(head), row.repeat(rows));
        format!("<html><head><style>{head}</style></head><body>{rows}<p>{}</p>", LINE.repeat(8))
    };
    println!("{:38} {:>7} | {:>7} {:>7} {:>7}", "", "octets", "without", "with", "adds");
    for (name, kind, encoding, body) in [
        ("plain", "plain", "7bit", LINE.repeat(48)),
        ("plain, in parts", "plain; charset=utf-8", "parts", LINE.repeat(46)),
        (
            "plain, quoted-printable",
            "plain; charset=iso-8859-1",
            "quoted-printable",
            LINE.replace("br", "=62r").repeat(46),
        ),
        (
            "plain, base 64",
            "plain; charset=utf-8",
            "base64",
            "VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZyAu\r\n".repeat(58),
        ),
        (
            "a reply: quoted lines, then words",
            "plain",
            "7bit",
            format!("> {LINE}").repeat(40) + &LINE.repeat(6),
        ),
        ("quoted lines, 16 KiB", "plain", "7bit", format!("> {LINE}").repeat(240)),
        ("HTML, 1 KiB of head, few tags", "html", "7bit", html(14, 3)),
        ("HTML, 14 KiB of head", "html", "7bit", html(200, 3)),
        ("HTML, 16 KiB of nothing but tags", "html", "7bit", html(0, 250)),
        ("HTML, 16 KiB, quoted-printable", "html", "quoted-printable", html(0, 250).replace('=', "=3D")),
    ] {
        let message = |top: &str| match encoding {
            "parts" => format!(
                "{HEADER}Content-Type: multipart/mixed; boundary=\"=_limit-4711\"\r\n\r\n--=_limit-4711\r\n\
                 Content-Type: {top}/{kind}\r\n\r\n{body}--=_limit-4711--\r\n"
            ),
            _ => format!(
                "{HEADER}Content-Type: {top}/{kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"
            ),
        };
        compare(name, &message("odd"), &message("text"));
    }
}

fn compare(name: &str, without: &str, with: &str) {
    let (mut less, mut more) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        less = less.min(micros(without));
        more = more.min(micros(with));
    }
    println!("{name:38} {:>7} | {less:>7.2} {more:>7.2} {:>7.2}", with.len(), more - less);
}

/// Splits the message again and again; what one time takes.
fn micros(message: &str) -> f64 {
    let count = ROUND_BYTES / message.len();
    let begun = Instant::now();
    for _ in 0..count {
        let mut splitter = Splitter::new();
        message.as_bytes().chunks(PIECE_BYTES).for_each(|piece| splitter.feed(piece));
        black_box(splitter.finish());
    }
    begun.elapsed().as_secs_f64() * 1e6 / count as f64
}
