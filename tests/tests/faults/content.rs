//! The messages of the load: each is made from its name, so that its octets can be checked wherever it turns up.

use waypost_tests::after_added_fields;

/// A message of a name. Some ride in the journal, some have a file of their own.
pub(crate) fn message(name: &str) -> String {
    let number =
        name.bytes().fold(7, |sum: usize, octet| sum.wrapping_mul(31).wrapping_add(usize::from(octet)));
    let lines = match number / 7 % 32 {
        0 => 4_600,
        1..=4 => 400,
        small => small,
    };
    let text = format!("{name} {}\r\n", "y".repeat(60)).repeat(lines);
    format!(
        "From: <alice@a.test>\r\nSubject: {name}\r\nMessage-ID: <{name}@far.test>\r\nDate: Sat, 21 Nov 2026 04:05:06 +0000\r\n\r\n{text}"
    )
}

/// The name of a message that was stored, or what is wrong with its octets.
pub(crate) fn identify(stored: &[u8]) -> Result<String, String> {
    let own = after_added_fields(stored);
    let head = String::from_utf8_lossy(&own[..own.len().min(300)]).into_owned();
    let name = head.lines().find_map(|line| line.strip_prefix("Subject: "));
    let name = name.ok_or_else(|| format!("its octets are others: {head:?}"))?;
    if own == message(name).as_bytes() {
        Ok(name.to_owned())
    } else {
        Err(format!("{name} has other octets"))
    }
}
