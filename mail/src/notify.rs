//! What a sender asks to be told of a message, as it travels in the envelope (RFC 3461).

use std::borrow::Cow;

/// Longest `ENVID` in octets as sent (RFC 3461 section 4.4).
pub const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// Longest `ORCPT` in octets as sent (RFC 3461 section 4.2).
pub const ORIGINAL_RECIPIENT_BYTES_MAX: usize = 500;

/// How much of a message comes back when it cannot be delivered: `RET` (RFC 3461 section 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReturnContent {
    /// All of it.
    Full,
    /// Its header block.
    Headers,
}

/// When the sender is told of a recipient: `NOTIFY` (RFC 3461 section 4.1). The default is never.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notify {
    /// When the message is delivered, or handed to a server that cannot tell.
    pub success: bool,
    /// When it is given up.
    pub failure: bool,
    /// When it is late.
    pub delay: bool,
}

impl Notify {
    /// What holds where the sender did not ask: failures, and, as RFC 3461 section 4.1 leaves open, delays.
    pub const UNASKED: Self = Self { success: false, failure: true, delay: true };

    /// Takes the value of the parameter: `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY`, each once.
    pub fn parse(value: &str) -> Option<Self> {
        let mut notify = Self::default();
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for word in value.split(',') {
            let places = [
                ("SUCCESS", &mut notify.success),
                ("FAILURE", &mut notify.failure),
                ("DELAY", &mut notify.delay),
            ];
            let (_, wanted) = places.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
            if std::mem::replace(wanted, true) {
                return None;
            }
        }
        Some(notify)
    }
}

impl std::fmt::Display for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let words: Vec<&str> = words.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word).collect();
        if words.is_empty() { f.write_str("NEVER") } else { f.write_str(&words.join(",")) }
    }
}

/// By when a message is to be delivered, in seconds from when it is given: `BY` (RFC 2852 section 4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliverBy {
    /// Seconds left; none or fewer only with [`Overdue::Notify`]. Nine digits at most.
    pub seconds: i64,
    /// What is done with it then.
    pub overdue: Overdue,
    /// Whether each server on the way is told of.
    pub trace: bool,
}

/// What is done with a message that is not delivered in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overdue {
    /// The sender is told, and it is tried on.
    Notify,
    /// It comes back.
    Return,
}

impl DeliverBy {
    /// Takes `by-value = by-time ";" by-mode [by-trace]`.
    pub fn parse(value: &str) -> Option<Self> {
        let (time, mode) = value.split_once(';')?;
        let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
        let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let seconds = time.parse().ok().filter(|_| is_number)?;
        let (overdue, trace) = match mode.to_ascii_uppercase().as_str() {
            "N" => (Overdue::Notify, false),
            "NT" => (Overdue::Notify, true),
            "R" => (Overdue::Return, false),
            "RT" => (Overdue::Return, true),
            _ => return None,
        };
        (seconds > 0 || overdue == Overdue::Notify).then_some(Self { seconds, overdue, trace })
    }
}

impl std::fmt::Display for DeliverBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NINE_DIGITS: i64 = 999_999_999;
        let seconds = self.seconds.clamp(-NINE_DIGITS, NINE_DIGITS);
        let mode = if self.overdue == Overdue::Notify { 'N' } else { 'R' };
        write!(f, "{seconds};{mode}{}", if self.trace { "T" } else { "" })
    }
}

/// What the sender calls the message: `ENVID`, as it is sent (RFC 3461 section 4.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvelopeId(String);

impl EnvelopeId {
    /// Takes xtext of printable characters.
    pub fn new(xtext: &str) -> Option<Self> {
        let is_valid =
            xtext.len() <= ENVELOPE_ID_BYTES_MAX && !xtext.is_empty() && decode_xtext(xtext).is_some();
        is_valid.then(|| Self(xtext.to_owned()))
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for.
    pub fn decoded(&self) -> String {
        decode_xtext(&self.0).unwrap_or_default()
    }
}

/// Whom the sender wrote to first: `ORCPT`, as it is sent (RFC 3461 section 4.2, RFC 6533 section 3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginalRecipient(String);

impl OriginalRecipient {
    /// Takes `addr-type ";" xtext`; behind `utf-8;` UTF-8 may stand for itself.
    pub fn new(text: &str) -> Option<Self> {
        let (kind, address) = text.split_once(';')?;
        let is_atom = |kind: &str| {
            !kind.is_empty()
                && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*/?^_`{|}~-".contains(&b))
        };
        let is_address = match kind.eq_ignore_ascii_case(UTF8) {
            true => !address.is_empty() && !address.chars().any(|c| c.is_control() || c == ' ' || c == '='),
            false => !address.is_empty() && decode_xtext(address).is_some(),
        };
        let is_valid = text.len() <= ORIGINAL_RECIPIENT_BYTES_MAX && is_atom(kind) && is_address;
        is_valid.then(|| Self(text.to_owned()))
    }

    /// An address that was written to here.
    pub fn of(address: &crate::Address) -> Option<Self> {
        let text = address.to_string();
        Self::new(&if text.is_ascii() {
            format!("rfc822;{}", encode_xtext(&text))
        } else {
            format!("utf-8;{}", encode_unitext(&text, Characters::Utf8))
        })
    }

    /// As it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it goes to a server with SMTPUTF8: characters of UTF-8 stand for themselves (RFC 6533 section 3).
    pub fn with_smtputf8(&self) -> Cow<'_, str> {
        self.written(Characters::Utf8)
    }

    /// As it goes to a server without SMTPUTF8 (`utf-8-addr-xtext`, RFC 6533 section 3); `None` where that is too long.
    pub fn without_smtputf8(&self) -> Option<Cow<'_, str>> {
        let text = self.written(Characters::Ascii);
        (text.is_ascii() && text.len() <= ORIGINAL_RECIPIENT_BYTES_MAX).then_some(text)
    }

    /// What is no address of its type goes on as it came, as long as that is US-ASCII.
    fn written(&self, characters: Characters) -> Cow<'_, str> {
        match self.internationalised() {
            Some((kind, address)) => Cow::Owned(format!("{kind};{}", encode_unitext(&address, characters))),
            None => Cow::Borrowed(&self.0),
        }
    }

    /// Its type and the address that it stands for. What is no address of type `utf-8` stays unaltered (RFC 6533 section 3).
    pub fn decoded(&self) -> (&str, String) {
        if let Some(address) = self.internationalised() {
            return address;
        }
        let (kind, address) = self.parts();
        match kind.eq_ignore_ascii_case(UTF8) {
            true => (kind, address.to_owned()),
            false => (kind, decode_xtext(address).unwrap_or_default()),
        }
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(';').unwrap_or(("rfc822", ""))
    }

    /// Type and address, where they are one of RFC 6533.
    fn internationalised(&self) -> Option<(&str, String)> {
        let (kind, address) = self.parts();
        let address = decode_unitext(address).filter(|_| kind.eq_ignore_ascii_case(UTF8))?;
        crate::Address::parse(&address).is_ok().then_some((kind, address))
    }
}

/// The address type of internationalised addresses (RFC 6533 section 3).
const UTF8: &str = "utf-8";

/// Which characters of UTF-8 stand for themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Characters {
    /// Those of US-ASCII: `utf-8-addr-xtext`.
    Ascii,
    /// All: `utf-8-addr-unitext`.
    Utf8,
}

/// `utf-8-addr-xtext` or `utf-8-addr-unitext` (RFC 6533 section 3): controls, space, `\`, `+` and `=` as `\x{…}`.
pub fn encode_unitext(text: &str, characters: Characters) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '!'..='~' if is_qchar(c) => encoded.push(c),
            '\u{80}'.. if characters == Characters::Utf8 => encoded.push(c),
            _ => encoded.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    encoded
}

/// The text of `utf-8-enc-addr` (RFC 6533 section 3), a `+` stands for itself; `None` where `\x{…}` stands for what needs no
/// encoding, or for no character.
pub fn decode_unitext(encoded: &str) -> Option<String> {
    let mut text = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((before, after)) = rest.split_once("\\x{") {
        text.push_str(before);
        let (digits, after) = after.split_once('}')?;
        let is_point = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let point = u32::from_str_radix(digits, 16).ok().filter(|_| is_point)?;
        text.push(char::from_u32(point).filter(|c| *c != '\0' && !is_qchar(*c))?);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// `QCHAR = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e`
fn is_qchar(c: char) -> bool {
    matches!(c, '!'..='~') && !"\\+=".contains(c)
}

/// `xtext = *( xchar / hexchar )` (RFC 3461 section 4): printable US-ASCII, `+` and `=` as `+` and two capital hexadecimal digits.
pub fn encode_xtext(text: &str) -> String {
    let mut xtext = String::new();
    for octet in text.bytes() {
        match octet {
            b'+' | b'=' | ..=b' ' | 127.. => xtext.push_str(&format!("+{octet:02X}")),
            _ => xtext.push(char::from(octet)),
        }
    }
    xtext
}

/// The text of xtext; `None` where it is none, or stands for anything but printable US-ASCII and spaces.
pub fn decode_xtext(xtext: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = xtext.as_bytes();
    while let [octet, after @ ..] = rest {
        let (octet, after) = match (octet, after) {
            (b'+', [high, low, after @ ..]) => (hexadecimal(*high)? * 16 + hexadecimal(*low)?, after),
            (b'+' | b'=' | b' ', _) => return None,
            _ => (*octet, after),
        };
        if !matches!(octet, b' '..=b'~') {
            return None;
        }
        text.push(char::from(octet));
        rest = after;
    }
    Some(text)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn notify_is_read_and_written() {
        for (value, shown) in [
            ("never", "NEVER"),
            ("SUCCESS", "SUCCESS"),
            ("delay,failure", "FAILURE,DELAY"),
            ("Success,Delay,Failure", "SUCCESS,FAILURE,DELAY"),
        ] {
            assert_eq!(Notify::parse(value).unwrap().to_string(), shown);
        }
        for value in ["", "NEVER,FAILURE", "SUCCESS,SUCCESS", "SUCCESS,", "ALWAYS", "SUCCESS DELAY"] {
            assert_eq!(Notify::parse(value), None, "{value}");
        }
    }

    #[test]
    fn deliver_by_is_read_and_written() {
        for (value, shown) in [
            ("120;R", "120;R"),
            ("+5;nt", "5;NT"),
            ("-10;N", "-10;N"),
            ("0;n", "0;N"),
            ("999999999;rT", "999999999;RT"),
        ] {
            assert_eq!(DeliverBy::parse(value).unwrap().to_string(), shown, "{value}");
        }
        for value in [
            "",
            "120",
            "120;",
            "120;X",
            "120;TR",
            "0;R",
            "-1;R",
            "1234567890;N",
            "+-1;N",
            "x;N",
            ";N",
            "1;N;T",
        ] {
            assert_eq!(DeliverBy::parse(value), None, "{value}");
        }
    }

    #[test]
    fn xtext_comes_back() {
        let printable: String = (b' '..=b'~').map(char::from).collect();
        assert_eq!(decode_xtext(&encode_xtext(&printable)), Some(printable));
        assert_eq!(encode_xtext("a+b=c d"), "a+2Bb+3Dc+20d");
        for bad in ["+", "+2", "+2b", "+GG", "a=b", "a b", "+0A", "+80", "ü"] {
            assert_eq!(decode_xtext(bad), None, "{bad}");
        }
    }

    #[test]
    fn unitext_comes_back() {
        for (text, ascii, utf8) in [
            ("bob@a.test", "bob@a.test", "bob@a.test"),
            ("j\u{f6}+x@a.test", "j\\x{F6}\\x{2B}x@a.test", "j\u{f6}\\x{2B}x@a.test"),
            ("\u{1f600} =\\", "\\x{1F600}\\x{20}\\x{3D}\\x{5C}", "\u{1f600}\\x{20}\\x{3D}\\x{5C}"),
        ] {
            assert_eq!(encode_unitext(text, Characters::Ascii), ascii);
            assert_eq!(encode_unitext(text, Characters::Utf8), utf8);
            for encoded in [ascii, utf8] {
                assert_eq!(decode_unitext(encoded).as_deref(), Some(text), "{encoded}");
            }
        }
        for bad in [
            "\\x{F6",
            "\\x{}",
            "\\x{F}",
            "\\x{41}",
            "\\x{00}",
            "\\x{D800}",
            "\\x{110000}",
            "\\x{+F6}",
            "\\x{00000F6}",
        ] {
            assert_eq!(decode_unitext(bad), None, "{bad}");
        }
    }

    #[test]
    fn internationalised_original_recipients_go_in_the_form_that_a_server_takes() {
        for (given, address, with, without) in [
            ("rfc822;a+2Bb@a.test", "a+b@a.test", "rfc822;a+2Bb@a.test", "rfc822;a+2Bb@a.test"),
            ("utf-8;j\u{f6}@a.test", "j\u{f6}@a.test", "utf-8;j\u{f6}@a.test", "utf-8;j\\x{F6}@a.test"),
            ("UTF-8;j\\x{F6}@a.test", "j\u{f6}@a.test", "UTF-8;j\u{f6}@a.test", "UTF-8;j\\x{F6}@a.test"),
            (
                "utf-8;\"\u{f6}\\x{20}\"@a.test",
                "\"\u{f6} \"@a.test",
                "utf-8;\"\u{f6}\\x{20}\"@a.test",
                "utf-8;\"\\x{F6}\\x{20}\"@a.test",
            ),
            // no address: it stays as it is
            ("utf-8;j\\x{41}@a.test", "j\\x{41}@a.test", "utf-8;j\\x{41}@a.test", "utf-8;j\\x{41}@a.test"),
            ("utf-8;x", "x", "utf-8;x", "utf-8;x"),
        ] {
            let orcpt = OriginalRecipient::new(given).unwrap();
            assert_eq!(orcpt.decoded().1, address, "{given}");
            assert_eq!(orcpt.with_smtputf8(), with, "{given}");
            assert_eq!(orcpt.without_smtputf8().unwrap(), without, "{given}");
        }
        let no_address = OriginalRecipient::new("utf-8;\u{f6}").unwrap();
        assert_eq!(
            (no_address.with_smtputf8().as_ref(), no_address.without_smtputf8()),
            ("utf-8;\u{f6}", None)
        );
        let long = format!("utf-8;{}@{}.test", "\u{f6}".repeat(32), "x.".repeat(115));
        assert_eq!(OriginalRecipient::new(&long).unwrap().without_smtputf8(), None);
        let of = |text: &str| OriginalRecipient::of(&Address::parse(text).unwrap()).unwrap();
        assert_eq!(of("j\u{f6}+=@a.test").decoded(), ("utf-8", "j\u{f6}+=@a.test".to_owned()));
    }

    #[test]
    fn envelope_ids_and_original_recipients_are_bounded() {
        assert_eq!(EnvelopeId::new("QQ+2B31").unwrap().decoded(), "QQ+31");
        assert!(EnvelopeId::new(&"x".repeat(ENVELOPE_ID_BYTES_MAX)).is_some());
        for bad in ["", "+", "a b", &"x".repeat(ENVELOPE_ID_BYTES_MAX + 1)] {
            assert_eq!(EnvelopeId::new(bad), None, "{bad}");
        }
        let first = OriginalRecipient::new("rfc822;Bob+2Bx@a.test").unwrap();
        assert_eq!(first.decoded(), ("rfc822", "Bob+x@a.test".to_owned()));
        let of = |text: &str| OriginalRecipient::of(&Address::parse(text).unwrap()).unwrap();
        assert_eq!(of("bob+x@a.test").as_str(), "rfc822;bob+2Bx@a.test");
        assert_eq!(of("jörg@a.test").decoded(), ("utf-8", "jörg@a.test".to_owned()));
        let long = format!("rfc822;{}", "x".repeat(ORIGINAL_RECIPIENT_BYTES_MAX));
        for bad in ["", "rfc822", ";x", "rfc822;", "rfc 822;x", "rfc822;a b", "rfc822;ü", "utf-8;a b", &long]
        {
            assert_eq!(OriginalRecipient::new(bad), None, "{bad}");
        }
    }
}
