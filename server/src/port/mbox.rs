//! The lines that mbox puts around a message (RFC 4155), and the fields that mail programs keep its flags in. Pure.
//!
//! An export puts four fields before each message, in this order, so that an import knows which fields are its own:
//!
//! ```text
//! From alice@a.test Sat Nov 21 04:05:06 2026
//! X-Waypost: 512 2345 +0100                    octets of header block and message as stored, zone of the internal date
//! Status: RO
//! X-Status: AF
//! X-Keywords: $Junk work
//! ```

use waypost_mail::{DateTime, Flag, Flags, Keyword, SystemFlags};
use waypost_message::HeaderBlock;

/// Longest `From ` line in octets that is taken for one.
pub(super) const FROM_LINE_BYTES_MAX: usize = 1000;

const MARK: &str = "X-Waypost";
/// The mark where octets are not as they were stored.
const CONVERTED: &[u8] = b"converted";
/// What an export writes, in this order.
const OWN: [&str; 4] = [MARK, "Status", "X-Status", "X-Keywords"];
/// Fields in which mail programs keep what mbox has no place for; they are no part of the message.
const METADATA: [&str; 11] = [
    MARK,
    "Status",
    "X-Status",
    "X-Keywords",
    "X-UID",
    "X-IMAP",
    "X-IMAPbase",
    "Content-Length",
    "X-Mozilla-Status",
    "X-Mozilla-Status2",
    "X-Mozilla-Keys",
];
/// Bits of X-Mozilla-Status, which is hexadecimal.
const MOZILLA: [(u16, SystemFlags); 4] = [
    (1, SystemFlags::SEEN),
    (2, SystemFlags::ANSWERED),
    (4, SystemFlags::FLAGGED),
    (8, SystemFlags::DELETED),
];
const LETTERS: [(char, SystemFlags); 5] = [
    ('R', SystemFlags::SEEN),
    ('A', SystemFlags::ANSWERED),
    ('F', SystemFlags::FLAGGED),
    ('D', SystemFlags::DELETED),
    ('T', SystemFlags::DRAFT),
];

/// The date of a `From ` line (`asctime`, with or without seconds and a zone); `None`: it is none. Without a zone it is UTC.
pub(super) fn from_line_date(line: &[u8]) -> Option<DateTime> {
    let line = line.strip_prefix(b"From ")?;
    let text = String::from_utf8_lossy(&line[..FROM_LINE_BYTES_MAX.min(line.len())]);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    // The sender may hold blanks: the date is where a day of the week, a month and a day stand in a row.
    (0..words.len().saturating_sub(3)).find_map(|at| asctime(&words[at..]))
}

/// `Sat Nov 21 04:05:06 2026`, with a zone before or behind the year.
fn asctime(words: &[&str]) -> Option<DateTime> {
    let [weekday, month, day, time, rest @ ..] = words else { return None };
    if !["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(weekday) {
        return None;
    }
    let time = if time.matches(':').count() == 1 { format!("{time}:00") } else { (*time).to_owned() };
    let is_year = |word: &&str| word.len() == 4 && word.bytes().all(|octet| octet.is_ascii_digit());
    let year = rest.iter().take(2).copied().find(is_year)?;
    let is_zone = |word: &&str| word.len() == 5 && word.starts_with(['+', '-']);
    let zone = rest.iter().take(2).copied().find(is_zone).unwrap_or("+0000");
    DateTime::parse_imap(&format!("{day}-{month}-{year} {time} {zone}"))
}

/// The `From ` line of an exported message. `sender`: what is no address is left out.
pub(super) fn from_line(sender: &[u8], date: DateTime) -> String {
    let sender = std::str::from_utf8(sender).ok().map(|text| text.trim_matches(['<', '>']));
    let is_sender = |text: &&str| {
        !text.is_empty() && text.len() <= 320 && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    let sender = sender.filter(is_sender).unwrap_or("MAILER-DAEMON");
    let date = DateTime { offset_minutes: 0, ..date }.rfc5322();
    // `Sat, 21 Nov 2026 04:05:06 +0000`
    let mut words = date.split([' ', ',']).filter(|word| !word.is_empty());
    let mut word = || words.next().unwrap_or_default();
    let (weekday, day, month, year, time) = (word(), word(), word(), word(), word());
    let day = day.trim_start_matches('0');
    format!("From {sender} {weekday} {month} {day:>2} {time} {year}\n")
}

/// What an export knows of the octets, if it keeps them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mark {
    /// Octets of the header block.
    pub(super) header: u64,
    /// Octets of the message.
    pub(super) size: u64,
    /// Minutes east of UTC.
    pub(super) zone: i16,
}

impl Mark {
    fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let (header, size) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let date = DateTime::parse_imap(&format!("1-Jan-2000 00:00:00 {}", words.next()?))?;
        Some(Self { header, size, zone: date.offset_minutes })
    }

    fn value(self) -> String {
        let date = DateTime { seconds: 0, offset_minutes: self.zone }.imap();
        let zone = date.rsplit(' ').next().unwrap_or("+0000");
        format!("{} {} {zone}", self.header, self.size)
    }
}

/// The fields before an exported message.
pub(super) fn metadata(mark: Option<Mark>, flags: &Flags, line_end: &str) -> String {
    let letters = |wanted: &dyn Fn(char) -> bool| -> String {
        let set = LETTERS.iter().filter(|(letter, flag)| wanted(*letter) && flags.system.contains(*flag));
        set.map(|(letter, _)| *letter).collect()
    };
    let keywords: Vec<&str> = flags.keywords.iter().map(Keyword::as_str).collect();
    let values = [
        mark.map_or_else(|| String::from_utf8_lossy(CONVERTED).into_owned(), Mark::value),
        letters(&|letter| letter == 'R') + "O",
        letters(&|letter| letter != 'R'),
        keywords.join(" "),
    ];
    let field = |(name, value): (&str, String)| format!("{name}: {value}{line_end}");
    OWN.into_iter().zip(values).map(field).collect()
}

/// A header block as it stands in an mbox, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Taken {
    /// The message's own header block.
    pub(super) header: Vec<u8>,
    /// What the fields said.
    pub(super) flags: Flags,
    /// Whether the octets are as they were stored.
    pub(super) mark: Option<Mark>,
    /// Whether it is the message in which programs keep data of the folder.
    pub(super) is_internal: bool,
}

/// Takes the fields out of a header block that are metadata of the mbox.
pub(super) fn take_metadata(mut block: HeaderBlock) -> Taken {
    if let Some(taken) = take_own(&block) {
        return taken;
    }
    let mut flags = Flags::default();
    for field in block.fields() {
        if field.is("Status") || field.is("X-Status") {
            add_letters(&mut flags, &field.value());
        } else if field.is("X-Keywords") || field.is("X-Mozilla-Keys") {
            add_keywords(&mut flags, &field.value());
        } else if field.is("X-Mozilla-Status") {
            add_mozilla(&mut flags, &field.value());
        }
    }
    let is_internal = (block.count("X-IMAP") > 0 || block.count("X-IMAPbase") > 0)
        && block.first("Subject").is_some_and(|subject| subject.starts_with(b"DON'T DELETE THIS MESSAGE"));
    for name in METADATA {
        block.remove(name);
    }
    Taken { header: block.into_octets(), flags, mark: None, is_internal }
}

/// The same for a message that an export wrote and nobody changed since. Lines are looked at, not fields: the message may
/// begin with a folded one.
fn take_own(block: &HeaderBlock) -> Option<Taken> {
    let mut rest = block.octets();
    let mut values = Vec::new();
    for name in OWN {
        let end = rest.iter().position(|&octet| octet == b'\n')? + 1;
        values.push(rest[..end].strip_prefix(name.as_bytes())?.strip_prefix(b": ")?.trim_ascii_end());
        rest = &rest[end..];
    }
    let length = rest.len() as u64;
    // A message that is all header, and whose last line had no end, got one.
    let got_end = |mark: Mark| mark.header == mark.size && mark.header + 1 == length && rest.ends_with(b"\n");
    let mark = match values[0] {
        CONVERTED => None,
        value => Some(Mark::parse(value).filter(|mark| mark.header == length || got_end(*mark))?),
    };
    let mut flags = Flags::default();
    add_letters(&mut flags, values[1]);
    add_letters(&mut flags, values[2]);
    add_keywords(&mut flags, values[3]);
    Some(Taken { header: rest.to_vec(), flags, mark, is_internal: false })
}

fn add_letters(flags: &mut Flags, value: &[u8]) {
    for octet in value {
        if let Some((_, flag)) = LETTERS.iter().find(|(letter, _)| *letter == char::from(*octet)) {
            flags.insert(Flag::System(*flag));
        }
    }
}

fn add_mozilla(flags: &mut Flags, value: &[u8]) {
    let bits =
        std::str::from_utf8(value).ok().and_then(|text| u16::from_str_radix(text, 16).ok()).unwrap_or(0);
    for (_, flag) in MOZILLA.iter().filter(|(bit, _)| bits & bit != 0) {
        flags.insert(Flag::System(*flag));
    }
}

fn add_keywords(flags: &mut Flags, value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    flags.keywords.extend(text.split([' ', '\t', ',']).filter_map(Keyword::new));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_lines_are_told_from_text() {
        for (line, date) in [
            ("From a@b Sat Nov 21 04:05:06 2026\n", Some("21-Nov-2026 04:05:06 +0000")),
            ("From a@b Sat Nov  1 04:05:06 2026\r\n", Some("01-Nov-2026 04:05:06 +0000")),
            ("From - Sat Nov 21 04:05 2026", Some("21-Nov-2026 04:05:00 +0000")),
            ("From \"a b\"@c Sat Nov 21 04:05:06 2026 +0100", Some("21-Nov-2026 04:05:06 +0100")),
            ("From a@b Sat Nov 21 04:05:06 -0130 2026", Some("21-Nov-2026 04:05:06 -0130")),
            ("From a@b Sat Nov 21 04:05:06 CET 2026", Some("21-Nov-2026 04:05:06 +0000")),
            ("From a@b Sat Nov 21 04:05:06 2026 remote from x", Some("21-Nov-2026 04:05:06 +0000")),
            ("From Sat Nov 21 04:05:06 2026", Some("21-Nov-2026 04:05:06 +0000")),
            ("From here on it gets better", None),
            ("From a@b Sat Nov 41 04:05:06 2026", None),
            ("From a@b Sat Nov 21", None),
            (">From a@b Sat Nov 21 04:05:06 2026", None),
            ("From ", None),
            ("", None),
        ] {
            assert_eq!(from_line_date(line.as_bytes()).map(|d| d.imap()).as_deref(), date, "{line}");
        }
        let long = format!("From {} Sat Nov 21 04:05:06 2026", "x".repeat(FROM_LINE_BYTES_MAX));
        assert_eq!(from_line_date(long.as_bytes()), None);
        assert!(from_line_date(b"From \xff Sat Nov 21 04:05:06 2026").is_some());
    }

    #[test]
    fn from_lines_are_written() {
        let date = DateTime::parse_imap("1-Nov-2026 01:02:03 +0100").unwrap();
        for (sender, line) in [
            ("<a@b>", "From a@b Sun Nov  1 00:02:03 2026\n"),
            ("", "From MAILER-DAEMON Sun Nov  1 00:02:03 2026\n"),
            ("<\"a b\"@c>", "From MAILER-DAEMON Sun Nov  1 00:02:03 2026\n"),
        ] {
            assert_eq!(from_line(sender.as_bytes(), date), line);
            assert_eq!(from_line_date(line.as_bytes()).unwrap().seconds, date.seconds);
        }
    }

    fn flags(names: &[&str]) -> Flags {
        names.iter().filter_map(|name| Flag::parse(name)).collect()
    }

    #[test]
    fn what_an_export_wrote_is_taken_out_and_nothing_else() {
        let own = "Status: X\r\nX-Status: F\r\nA: b\r\n\r\n";
        let all = flags(&["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Junk", "work"]);
        for flags in [Flags::default(), all] {
            let mark = Some(Mark { header: own.len() as u64, size: 4000, zone: -90 });
            let block = metadata(mark, &flags, "\r\n") + own;
            let taken = take_metadata(HeaderBlock::new(block.into()));
            assert_eq!(taken, Taken { header: own.into(), flags, mark, is_internal: false });
        }
        let folded = metadata(None, &Flags::default(), "\n") + " From: folded\nStatus: own\n\n";
        let taken = take_metadata(HeaderBlock::new(folded.into()));
        assert_eq!(taken.header, b" From: folded\nStatus: own\n\n");
        // Another program changed the header since.
        let mark = Some(Mark { header: 1, size: 2, zone: 0 });
        let block = metadata(mark, &flags(&["\\Seen"]), "\n") + "A: b\n\n";
        let taken = take_metadata(HeaderBlock::new(block.into()));
        assert_eq!((taken.header.as_slice(), taken.mark), (&b"A: b\n\n"[..], None));
        assert_eq!(taken.flags, flags(&["\\Seen"]));
    }

    #[test]
    fn metadata_of_other_programs_is_taken_out() {
        for (block, header, names) in [
            ("A: b\n\n", "A: b\n\n", &[][..]),
            (
                "A: b\nStatus: RO\nX-Status: AF\nX-Keywords: work $Junk (\nX-UID: 7\n\n",
                "A: b\n\n",
                &["\\Seen", "\\Answered", "\\Flagged", "work", "$Junk"],
            ),
            ("Content-Length: 12\nStatus: O\nX-IMAPbase: 1 2\nA: b", "A: b", &[]),
            (
                "X-Mozilla-Status: 0005\nX-Mozilla-Keys: $label1    \n\n",
                "\n",
                &["\\Seen", "\\Flagged", "$label1"],
            ),
            ("X-Status: DT\n\n", "\n", &["\\Deleted", "\\Draft"]),
        ] {
            let taken = take_metadata(HeaderBlock::new(block.into()));
            assert_eq!(String::from_utf8(taken.header).unwrap(), header);
            assert_eq!(taken.flags, flags(names), "{block}");
            assert!(!taken.is_internal);
        }
        let internal = "Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\n";
        assert!(take_metadata(HeaderBlock::new(internal.into())).is_internal);
    }
}
