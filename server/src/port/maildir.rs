//! Names and files of a Maildir as text. Pure; the format is Dovecot's and Courier's Maildir++.
//!
//! A message is a file `<unique>[,S=<octets>][,W=<octets with CRLF>][,K=<zone>]:2,<flags>`. `K` is of an export that kept the
//! stored octets: they are taken as they are, and its value is the zone of the internal date (`p0100`).

use std::collections::BTreeMap;

use waypost_mail::{DateTime, Flag, Flags, Keyword, SystemFlags};

/// The keyword that the flag `P` (passed on) stands for.
const FORWARDED: &str = "$Forwarded";
/// Keywords of a folder: one lower-case letter each.
pub(super) const LETTERS_MAX: usize = 26;

const SYSTEM: [(char, SystemFlags); 5] = [
    ('D', SystemFlags::DRAFT),
    ('F', SystemFlags::FLAGGED),
    ('R', SystemFlags::ANSWERED),
    ('S', SystemFlags::SEEN),
    ('T', SystemFlags::DELETED),
];

/// What the name of a message's file says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FileName<'a> {
    /// All before the flags: what does not change.
    pub(super) base: &'a str,
    /// The letters behind `:2,`.
    pub(super) letters: &'a str,
    /// Octets of the file.
    pub(super) size: Option<u64>,
    /// Whether the octets are as they were stored; minutes east of UTC.
    pub(super) kept: Option<i16>,
}

impl<'a> FileName<'a> {
    /// Reads any name.
    pub(super) fn parse(name: &'a str) -> Self {
        let (base, info) = name.split_once(':').unwrap_or((name, ""));
        let field = |key: &str| base.split(',').skip(1).find_map(|field| field.strip_prefix(key));
        Self {
            base,
            letters: info.strip_prefix("2,").unwrap_or(""),
            size: field("S=").and_then(|octets| octets.parse().ok()),
            kept: field("K=").and_then(zone),
        }
    }

    /// What files are sorted by where no list of UIDs is: time of arrival, then name.
    pub(super) fn order(&self) -> (u64, &'a str) {
        let digits = self.base.bytes().take_while(u8::is_ascii_digit).count();
        (self.base[..digits].parse().unwrap_or(u64::MAX), self.base)
    }

    /// Flags, with the keywords of the folder.
    pub(super) fn flags(&self, keywords: &Keywords) -> Flags {
        let mut flags = Flags::default();
        for letter in self.letters.chars() {
            if let Some((_, flag)) = SYSTEM.iter().find(|(known, _)| *known == letter) {
                flags.insert(Flag::System(*flag));
            } else if letter == 'P' {
                flags.keywords.extend(Keyword::new(FORWARDED));
            } else if let Some(keyword) = keywords.of(letter) {
                flags.keywords.insert(keyword.clone());
            }
        }
        flags
    }
}

/// The part of a name before the flags. `octets`: of the file, and with CRLF at each line's end.
pub(super) fn base(unique: &str, octets: (u64, u64), kept: Option<DateTime>) -> String {
    let kept = kept.map_or_else(String::new, |date| {
        let minutes = date.offset_minutes.unsigned_abs();
        let sign = if date.offset_minutes < 0 { 'm' } else { 'p' };
        format!(",K={sign}{:02}{:02}", minutes / 60, minutes % 60)
    });
    format!("{unique},S={},W={}{kept}", octets.0, octets.1)
}

fn zone(text: &str) -> Option<i16> {
    let digits =
        text.get(1..).filter(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let number: i16 = digits.parse().ok()?;
    let minutes = number / 100 * 60 + number % 100;
    match text.as_bytes()[0] {
        b'p' if minutes < 24 * 60 => Some(minutes),
        b'm' if minutes < 24 * 60 => Some(-minutes),
        _ => None,
    }
}

/// The keywords of a folder with their letters: the file `dovecot-keywords`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Keywords {
    by_letter: BTreeMap<u8, Keyword>,
}

impl Keywords {
    /// Reads lines of `number SP keyword`; passes over what is none.
    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (number, keyword) = line.split_once(' ')?;
            let number: u8 = number.parse().ok()?;
            Some((number, Keyword::new(keyword)?)).filter(|_| usize::from(number) < LETTERS_MAX)
        };
        Self { by_letter: text.lines().filter_map(line).collect() }
    }

    /// The first keywords of a mailbox; how many have no letter.
    pub(super) fn assign(keywords: &[Keyword]) -> (Self, usize) {
        let mut numbered =
            keywords.iter().filter(|keyword| !keyword.as_str().eq_ignore_ascii_case(FORWARDED));
        let by_letter = (0..).zip(numbered.by_ref().take(LETTERS_MAX).cloned()).collect();
        (Self { by_letter }, numbered.count())
    }

    /// The file's text.
    pub(super) fn text(&self) -> String {
        self.by_letter.iter().map(|(number, keyword)| format!("{number} {}\n", keyword.as_str())).collect()
    }

    /// The letters of flags, in the order of ASCII.
    pub(super) fn letters(&self, flags: &Flags) -> String {
        let system =
            SYSTEM.iter().filter(|(_, flag)| flags.system.contains(*flag)).map(|(letter, _)| *letter);
        let passed = Keyword::new(FORWARDED).filter(|forwarded| flags.keywords.contains(forwarded));
        let mut letters: Vec<char> = system.chain(passed.map(|_| 'P')).collect();
        let set = self.by_letter.iter().filter(|(_, keyword)| flags.keywords.contains(*keyword));
        letters.extend(set.map(|(number, _)| char::from(b'a' + number)));
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    fn of(&self, letter: char) -> Option<&Keyword> {
        let number = u8::try_from(letter).ok()?.checked_sub(b'a')?;
        self.by_letter.get(&number)
    }
}

/// The first line of `dovecot-uidlist`.
pub(super) fn uid_list_head(uid_validity: u32, uid_next: u32) -> String {
    format!("3 V{uid_validity} N{uid_next}\n")
}

/// A line of `dovecot-uidlist`, versions 1 and 3: UID and base of the file's name. `None`: the head, or no such line.
pub(super) fn uid_list_line(line: &str) -> Option<(u32, &str)> {
    let (uid, rest) = line.split_once(' ')?;
    let name = match rest.strip_prefix(':') {
        Some(name) => name,
        None => rest.split_once(" :").map_or(rest, |(_, name)| name),
    };
    Some((uid.parse().ok()?, FileName::parse(name).base))
}

/// The names in a file `subscriptions`, levels apart; both of Dovecot's versions.
pub(super) fn subscriptions(text: &str, separator: char) -> Vec<Vec<&str>> {
    let (separator, text) = match text.strip_prefix("V\t2\n") {
        Some(names) => ('\t', names),
        None => (separator, text),
    };
    text.lines().filter(|line| !line.is_empty()).map(|line| line.split(separator).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(name: &str) -> Keyword {
        Keyword::new(name).unwrap()
    }

    #[test]
    fn file_names_are_read() {
        for (name, base, letters, size, kept, time) in [
            ("1700000000.M1P2.host", "1700000000.M1P2.host", "", None, None, 1_700_000_000),
            ("17.x,S=12,W=13:2,FSab", "17.x,S=12,W=13", "FSab", Some(12), None, 17),
            ("17.x,S=12,K=m0130:2,", "17.x,S=12,K=m0130", "", Some(12), Some(-90), 17),
            ("17.x,S=y,K=p9999:1,S", "17.x,S=y,K=p9999", "", None, None, 17),
            ("x,S", "x,S", "", None, None, u64::MAX),
            ("", "", "", None, None, u64::MAX),
        ] {
            let read = FileName::parse(name);
            assert_eq!((read.base, read.letters, read.size, read.kept), (base, letters, size, kept));
            assert_eq!(read.order().0, time, "{name}");
        }
        let date = DateTime { seconds: 0, offset_minutes: -90 };
        assert_eq!(base("1.x", (12, 13), Some(date)), "1.x,S=12,W=13,K=m0130");
        assert_eq!(base("1.x", (12, 13), None), "1.x,S=12,W=13");
    }

    #[test]
    fn flags_are_letters_and_come_back() {
        let (keywords, left_out) =
            Keywords::assign(&[keyword("$Junk"), keyword("$forwarded"), keyword("work")]);
        assert_eq!((left_out, keywords.text().as_str()), (0, "0 $Junk\n1 work\n"));
        assert_eq!(Keywords::parse("0 $Junk\n1 work\n26 x\n2 bad(\nnone\n"), keywords);
        for letters in ["", "S", "DFPRST", "FSab", "b"] {
            let name = format!("1.x:2,{letters}");
            assert_eq!(keywords.letters(&FileName::parse(&name).flags(&keywords)), letters);
        }
        assert_eq!(FileName::parse("1.x:2,SzXé").flags(&keywords).to_string(), "\\Seen");
        let many: Vec<_> = (0..30).map(|n| keyword(&format!("k{n}"))).collect();
        assert_eq!(Keywords::assign(&many).1, 4);
    }

    #[test]
    fn lists_of_uids_are_read() {
        for (line, found) in [
            ("3 V17 N5 G00ff", None),
            ("1 :17.x,S=1", Some((1, "17.x,S=1"))),
            ("2 W12 G1 :17.y:2,S", Some((2, "17.y"))),
            ("3 17.z", Some((3, "17.z"))),
            ("4", None),
            ("", None),
        ] {
            // The head of the file has a number in front, too; no file has a name like that.
            let read = uid_list_line(line).filter(|(_, name)| !name.starts_with('V'));
            assert_eq!(read, found, "{line}");
        }
    }

    #[test]
    fn subscriptions_are_read_in_both_versions() {
        assert_eq!(subscriptions("INBOX\nA.B\n\n", '.'), [vec!["INBOX"], vec!["A", "B"]]);
        assert_eq!(subscriptions("V\t2\n\nINBOX\nA\tB.c\n", '.'), [vec!["INBOX"], vec!["A", "B.c"]]);
    }
}
