//! What a sender asks to be told of a message, as it travels in the envelope (RFC 3461).

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
            let wanted = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return None,
            };
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
        let is_address = match kind.eq_ignore_ascii_case("utf-8") {
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
            format!("utf-8;{text}")
        })
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its type and the address that it stands for.
    pub fn decoded(&self) -> (&str, String) {
        let (kind, address) = self.0.split_once(';').unwrap_or(("rfc822", ""));
        match kind.eq_ignore_ascii_case("utf-8") {
            true => (kind, address.to_owned()),
            false => (kind, decode_xtext(address).unwrap_or_default()),
        }
    }
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
