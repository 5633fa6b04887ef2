//! Variable envelope return paths: mail of our users can go on with a reverse path that names the message, so that what comes back
//! finds it.
//!
//! ```text
//! local@domain ──► local+b=id=hash@domain
//! ```
//! Nothing is kept: the hash, an HMAC over the rest, shows that a path is ours. As every server on the way sees it, it says where a
//! report belongs, and not that the report is true.

use aws_lc_rs::constant_time;
use waypost_mail::{Address, EntryId, LocalPart};

use crate::Srs;

/// What stands between the local part and the token.
const TAG: &str = "+b=";

impl Srs {
    /// The path for a message; `None` where it would be longer than a local part may be (RFC 5321 section 4.5.3.1.1).
    pub fn bounce_path(&self, sender: &Address, id: EntryId) -> Option<Address> {
        let local = format!("{}{TAG}{id}={}", sender.local.as_str(), self.bounce_hash(sender, id));
        Some(Address { local: LocalPart::new(&local).ok()?, domain: sender.domain.clone() })
    }

    /// Sender and message of a path that was made here; `None` for any other address.
    pub fn bounced(&self, address: &Address) -> Option<(Address, EntryId)> {
        let (local, token) = address.local.as_str().rsplit_once(TAG).or_else(|| {
            // folded on the way, as some servers do
            address.local.as_str().rsplit_once("+B=")
        })?;
        let (id, hash) = token.split_once('=')?;
        let id: EntryId = id.parse().ok()?;
        let sender = Address { local: LocalPart::new(local).ok()?, domain: address.domain.clone() };
        let expected = self.bounce_hash(&sender, id);
        let is_ours =
            constant_time::verify_slices_are_equal(hash.to_ascii_uppercase().as_bytes(), expected.as_bytes());
        is_ours.ok().map(|()| (sender, id))
    }

    fn bounce_hash(&self, sender: &Address, id: EntryId) -> String {
        self.hash("VERP", &format!("{id}={}", sender.folded()))
    }
}

#[cfg(test)]
mod tests {
    use waypost_mail::Domain;

    use super::*;
    use crate::srs::KEY_BYTES;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn what_comes_back_names_sender_and_message() {
        let srs = Srs::new(&[7; KEY_BYTES]);
        for sender in
            ["anna@a.test", "Anna+lists@a.test", "j\u{f6}rg@a.test", "\"a b\"@a.test", "a+b=c@a.test"]
        {
            for id in [EntryId(0), EntryId(12_345), EntryId(u64::MAX)] {
                let (sender, path) = (address(sender), srs.bounce_path(&address(sender), id).unwrap());
                assert_eq!(path.to_string().parse::<Address>().as_ref(), Ok(&path));
                assert_eq!(srs.bounced(&path), Some((sender.clone(), id)), "{path}");
                for folded in [path.to_string().to_lowercase(), path.to_string().to_uppercase()] {
                    let Some((back, found)) = srs.bounced(&address(&folded)) else { panic!("{folded}") };
                    assert!(back.same_mailbox(&sender) && found == id, "{folded}");
                }
            }
        }
    }

    #[test]
    fn what_is_forged_or_wrong_is_no_path() {
        let srs = Srs::new(&[7; KEY_BYTES]);
        let path = srs.bounce_path(&address("anna@a.test"), EntryId(7)).unwrap().to_string();
        for (from, to) in [
            ("anna", "bert"),
            ("@a.test", "@b.test"),
            ("0000000000007", "0000000000008"),
            ("0000000000007", "000000000007"),
            ("=00", "==00"),
            ("+b=", "+c="),
            ("@", "A@"),
        ] {
            let forged = path.replacen(from, to, 1);
            assert!(forged != path && srs.bounced(&address(&forged)).is_none(), "{forged}");
        }
        assert_eq!(Srs::new(&[8; KEY_BYTES]).bounced(&address(&path)), None);
        for text in ["anna@a.test", "anna+b=@a.test", "anna+b==@a.test", "+b=0000000000007=AAAAAAAA@a.test"] {
            assert_eq!(srs.bounced(&address(text)), None, "{text}");
        }
        // a path of the other scheme has another hash
        let ours = Domain::new("a.test").unwrap();
        let forward = srs.forward(&address("x@far.test"), &ours, 9).unwrap();
        assert_eq!(srs.bounced(&forward), None);
    }

    #[test]
    fn what_is_too_long_keeps_its_path() {
        let srs = Srs::new(&[7; KEY_BYTES]);
        let longest = "x".repeat(64 - "+b=0000000000007=hhhhhhhh".len());
        assert!(srs.bounce_path(&address(&format!("{longest}@a.test")), EntryId(7)).is_some());
        assert!(srs.bounce_path(&address(&format!("{longest}x@a.test")), EntryId(7)).is_none());
    }
}
