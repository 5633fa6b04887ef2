//! Texts of strangers, as they are kept and shown. Pure.

/// Longest text that is kept, in octets.
pub(crate) const TEXT_BYTES_MAX: usize = 255;

/// A text in one line without control characters, cut to what is kept.
pub(crate) fn bounded(text: &str) -> String {
    let start = &text[..text.floor_char_boundary(4 * TEXT_BYTES_MAX)];
    let mut line: String = start.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(TEXT_BYTES_MAX));
    line
}

/// The domain of an address, or a domain; in lower case. `None` where it is neither.
pub(crate) fn domain_of(text: &str) -> Option<String> {
    let text = text.trim().trim_matches(['<', '>']).trim_start_matches("mailto:");
    let domain = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
    let domain = waypost_mail::Domain::new(domain.trim_end_matches('.')).ok()?;
    (domain.as_ip().is_none() && domain.as_str().contains('.')).then(|| domain.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_lines_of_bounded_length() {
        assert_eq!(bounded("a\r\nb\x1b[2J"), "a  b [2J");
        assert_eq!(bounded(&"ü".repeat(1000)), "ü".repeat(TEXT_BYTES_MAX / 2));
        assert_eq!(bounded(&"x".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn domains_are_found_in_addresses() {
        for (text, expected) in [
            ("noreply@Big.test", Some("big.test")),
            ("mailto:tls@big.test", Some("big.test")),
            (" <x@big.test.> ", Some("big.test")),
            ("big.test", Some("big.test")),
            ("Big Mail", None),
            ("big", None),
            ("", None),
            ("x@[192.0.2.1]", None),
        ] {
            assert_eq!(domain_of(text).as_deref(), expected, "{text}");
        }
    }
}
