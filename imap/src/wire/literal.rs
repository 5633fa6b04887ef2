//! Literals as lines announce them (RFC 3501 section 4.3, RFC 7888).

/// Octets at the end of a line in which an announcement is looked for: `{`, a number, `+}`, CRLF.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 32;

/// Whether the client waits before it sends a literal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sync {
    /// `{n}`: it waits for our `+`.
    Waits,
    /// `{n+}`: its octets follow at once.
    FollowsAtOnce,
}

/// A literal that a line announces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announced {
    /// Its octets; a number too large for any literal counts as `u64::MAX`.
    pub bytes: u64,
    /// Whether the client waits.
    pub sync: Sync,
}

/// The literal that a line with its CRLF announces at its end.
pub fn announced(line: &[u8]) -> Option<Announced> {
    let line = line.strip_suffix(b"}\r\n")?;
    let (line, sync) = match line.strip_suffix(b"+") {
        Some(line) => (line, Sync::FollowsAtOnce),
        None => (line, Sync::Waits),
    };
    let digits = line.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (before, number) = line.split_at(line.len() - digits);
    if number.is_empty() || !before.ends_with(b"{") {
        return None;
    }
    let number =
        number.iter().try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some(Announced { bytes: number.unwrap_or(u64::MAX), sync })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements() {
        let waits = |bytes| Some(Announced { bytes, sync: Sync::Waits });
        let follows = |bytes| Some(Announced { bytes, sync: Sync::FollowsAtOnce });
        for (line, expected) in [
            ("a LOGIN {5}\r\n", waits(5)),
            ("{0}\r\n", waits(0)),
            ("a APPEND x {12+}\r\n", follows(12)),
            ("a APPEND x ~{12+}\r\n", follows(12)),
            ("a {18446744073709551615+}\r\n", follows(u64::MAX)),
            ("a {18446744073709551616+}\r\n", follows(u64::MAX)),
            ("a {99999999999999999999999999}\r\n", waits(u64::MAX)),
            ("a {}\r\n", None),
            ("a {+}\r\n", None),
            ("a {5-}\r\n", None),
            ("a {-5}\r\n", None),
            ("a {5}\n", None),
            ("a {5} \r\n", None),
            ("a 5}\r\n", None),
            ("5}\r\n", None),
            ("", None),
            ("\r\n", None),
        ] {
            assert_eq!(announced(line.as_bytes()), expected, "{line:?}");
        }
    }
}
