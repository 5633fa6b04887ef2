//! Messages for tests.

/// The message behind the header fields that Waypost documents as added in front: Return-Path, Delivered-To, Received.
pub fn after_added_fields(stored: &[u8]) -> &[u8] {
    let mut rest = stored;
    while ["Return-Path:", "Delivered-To:", "Received:"].iter().any(|name| rest.starts_with(name.as_bytes()))
    {
        let mut end = 0;
        loop {
            end += rest[end..].windows(2).position(|w| w == b"\r\n").expect("a field ends") + 2;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        rest = &rest[end..];
    }
    rest
}

/// A message with traps: leading dots, a lone dot, trailing white space, long lines, an attachment.
pub fn sample(from: &str, to: &str, number: u32) -> Vec<u8> {
    let long = "x".repeat(900);
    format!(
        "Date: Sat, 21 Nov 2026 04:05:06 +0000\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: sample {number}\r\n\
         Message-ID: <sample.{number}@{from}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\npreamble\r\n--=_b\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n.leading dot\r\n..two\r\n.\r\ntrailing space \r\n\r\nFrom here\r\n{long}\r\n\
         --=_b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"f.bin\"\r\n\r\nAAECAwQFBgc=\r\n--=_b--\r\nepilogue\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_fields_are_taken_off() {
        let stored = b"Return-Path: <a@b>\r\nDelivered-To: x\r\nReceived: from a\r\n\tby b; now\r\nSubject: s\r\n\r\nReceived: no\r\n";
        assert_eq!(after_added_fields(stored), b"Subject: s\r\n\r\nReceived: no\r\n");
    }
}
