//! How an accepted message stands in the log. What others chose is bounded here, and quoted where it is logged.

use waypost_mail::text::shortened;
use waypost_message::Structure;

use super::recipient::Recipient;

/// Most recipients that are named.
const RECIPIENTS_MAX: usize = 10;
/// Most octets of a Message-ID.
const MESSAGE_ID_BYTES_MAX: usize = 256;

/// The first recipients, as the client wrote them; `…` stands for more.
pub(super) fn recipients(recipients: &[Recipient]) -> String {
    let mut text = String::new();
    for (index, recipient) in recipients.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { ", " });
        if index == RECIPIENTS_MAX {
            text.push('…');
            break;
        }
        text.push_str(&recipient.address.to_string());
    }
    text
}

/// The Message-ID, with its angle brackets; its beginning and `…` where it is very long.
pub(super) fn message_id(structure: &Structure) -> Option<String> {
    let octets = structure.envelope.message_id.as_deref()?;
    Some(shortened(&String::from_utf8_lossy(octets), MESSAGE_ID_BYTES_MAX).into_owned())
}

#[cfg(test)]
mod tests {
    use waypost_auth::Directory;
    use waypost_mail::Address;
    use waypost_message::Splitter;

    use super::*;
    use crate::{
        server::recipient::Trust,
        smtp::{parameters::RcptParameters, path::ForwardPath},
    };

    #[test]
    fn a_few_recipients_are_named() {
        let config = "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\n\
                      address = \"127.0.0.1:0\"\ntls = \"none\"\n";
        let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), config).unwrap();
        let directory = Directory::new(&config, &[]).unwrap();
        let recipient = |number: usize| {
            let path = ForwardPath::Address(Address::parse(&format!("x{number}@b.test")).unwrap());
            Recipient::decide(&directory, path, RcptParameters::default(), Trust::MayRelay).unwrap()
        };
        let all: Vec<_> = (1..=11).map(recipient).collect();
        let ten = (1..=10).map(|number| format!("x{number}@b.test")).collect::<Vec<_>>().join(", ");
        for (number, expected) in [
            (0, String::new()),
            (1, "x1@b.test".to_owned()),
            (2, "x1@b.test, x2@b.test".to_owned()),
            (10, ten.clone()),
            (11, format!("{ten}, …")),
        ] {
            assert_eq!(recipients(&all[..number]), expected);
        }
    }

    #[test]
    fn a_message_id_is_bounded() {
        let of = |header: &[u8]| {
            let mut splitter = Splitter::new();
            splitter.feed(header);
            message_id(&splitter.finish())
        };
        let longest = format!("<{}>", "x".repeat(MESSAGE_ID_BYTES_MAX - 2));
        for (header, expected) in [
            ("Subject: x\r\n\r\n".to_owned(), None),
            ("Message-ID: <1@a.test>\r\n\r\n".to_owned(), Some("<1@a.test>".to_owned())),
            (format!("Message-ID: {longest}\r\n\r\n"), Some(longest.clone())),
            (format!("Message-ID: {longest}y\r\n\r\n"), Some(format!("{longest}…"))),
        ] {
            assert_eq!(of(header.as_bytes()), expected, "{header}");
        }
        assert_eq!(of(b"Message-ID: <\xff>\r\n\r\n").as_deref(), Some("<\u{fffd}>"));
    }
}
