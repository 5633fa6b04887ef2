//! Variable envelope return paths: mail of our users can go on with a reverse path that names the message, so that what comes back
//! finds it.
//!
//! ```text
//! local@domain ──► local+b=id=day=hash@domain
//! ```
//! Nothing is kept: the hash, an HMAC over the rest, shows that a path is ours, and the day that it is young enough. As every server on the way sees it, it says where a
//! report belongs, and not that the report is true.

use aws_lc_rs::constant_time;
use waypost_mail::{Address, EntryId, LocalPart};

use crate::{
    Srs,
    srs::{age, day_characters, day_of},
};

/// What stands between the local part and the token.
const TAG: &str = "+b=";
/// So many days after the message could be sent first a report may still come: servers try for five and more, and people complain of what
/// they find when they are back.
const DAYS_MAX: u32 = 45;

impl Srs {
    /// The path for a message; `None` where it would be longer than a local part may be (RFC 5321 section 4.5.3.1.1). `day`, from 1970:
    /// one that stays the same whenever the message is tried, or servers that let unknown senders wait would do so each time.
    pub fn bounce_path(&self, sender: &Address, id: EntryId, day: u32) -> Option<Address> {
        let token = format!("{id}={}", day_characters(day));
        let hash = self.bounce_hash(sender, &token);
        let local = format!("{}{TAG}{token}={hash}", sender.local.as_str());
        Some(Address { local: LocalPart::new(&local).ok()?, domain: sender.domain.clone() })
    }

    /// Sender and message of a path that was made here and is no older than 45 days on a day; `None` for any other address.
    pub fn bounced(&self, address: &Address, day: u32) -> Option<(Address, EntryId)> {
        let (local, token) = address.local.as_str().rsplit_once(TAG).or_else(|| {
            // folded on the way, as some servers do
            address.local.as_str().rsplit_once("+B=")
        })?;
        let (token, hash) = token.rsplit_once('=')?;
        let (id, made) = token.split_once('=')?;
        let id: EntryId = id.parse().ok()?;
        let age = age(day_of(made)?, day);
        let sender = Address { local: LocalPart::new(local).ok()?, domain: address.domain.clone() };
        let expected = self.bounce_hash(&sender, token);
        let is_ours =
            constant_time::verify_slices_are_equal(hash.to_ascii_uppercase().as_bytes(), expected.as_bytes());
        is_ours.ok().filter(|()| age <= DAYS_MAX).map(|()| (sender, id))
    }

    fn bounce_hash(&self, sender: &Address, token: &str) -> String {
        self.hash("VERP", &format!("{token}={}", sender.folded()))
    }
}

#[cfg(test)]
mod tests {
    use waypost_mail::Domain;

    use super::*;
    use crate::srs::KEY_BYTES;

    /// Which two characters say `TQ` of.
    const DAY: u32 = 20 * 1024 + (19 << 5) + 16;

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
                let (sender, path) = (address(sender), srs.bounce_path(&address(sender), id, DAY).unwrap());
                assert_eq!(path.to_string().parse::<Address>().as_ref(), Ok(&path));
                assert_eq!(srs.bounced(&path, DAY), Some((sender.clone(), id)), "{path}");
                for folded in [path.to_string().to_lowercase(), path.to_string().to_uppercase()] {
                    let Some((back, found)) = srs.bounced(&address(&folded), DAY) else { panic!("{folded}") };
                    assert!(back.same_mailbox(&sender) && found == id, "{folded}");
                }
            }
        }
    }

    #[test]
    fn what_is_forged_or_wrong_is_no_path() {
        let srs = Srs::new(&[7; KEY_BYTES]);
        let path = srs.bounce_path(&address("anna@a.test"), EntryId(7), DAY).unwrap().to_string();
        for (from, to) in [
            ("anna", "bert"),
            ("@a.test", "@b.test"),
            ("0000000000007", "0000000000008"),
            ("0000000000007", "000000000007"),
            ("=00", "==00"),
            ("7=TQ=", "7=TR="),
            ("7=TQ=", "7="),
            ("+b=", "+c="),
            ("@", "A@"),
        ] {
            let forged = path.replacen(from, to, 1);
            assert!(forged != path && srs.bounced(&address(&forged), DAY).is_none(), "{forged}");
        }
        assert_eq!(Srs::new(&[8; KEY_BYTES]).bounced(&address(&path), DAY), None);
        for text in ["anna@a.test", "anna+b=@a.test", "anna+b==@a.test", "+b=0000000000007=AAAAAAAA@a.test"] {
            assert_eq!(srs.bounced(&address(text), DAY), None, "{text}");
        }
        // a path of the other scheme has another hash
        let ours = Domain::new("a.test").unwrap();
        let forward = srs.forward(&address("x@far.test"), &ours, 9).unwrap();
        assert_eq!(srs.bounced(&forward, DAY), None);
    }

    #[test]
    fn paths_are_believed_for_some_weeks() {
        let srs = Srs::new(&[7; KEY_BYTES]);
        for made in [0, 5, 1021, DAY] {
            let path = srs.bounce_path(&address("anna@a.test"), EntryId(7), made).unwrap();
            let is = |day| srs.bounced(&path, day).is_some();
            assert!(is(made) && is(made + DAYS_MAX), "{made}");
            assert!(!is(made + DAYS_MAX + 1) && !is(made + 1023), "{made}");
        }
    }

    #[test]
    fn what_is_too_long_keeps_its_path() {
        let srs = Srs::new(&[7; KEY_BYTES]);
        let longest = "x".repeat(64 - "+b=0000000000007=dd=hhhhhhhh".len());
        assert!(srs.bounce_path(&address(&format!("{longest}@a.test")), EntryId(7), DAY).is_some());
        assert!(srs.bounce_path(&address(&format!("{longest}x@a.test")), EntryId(7), DAY).is_none());
    }
}
