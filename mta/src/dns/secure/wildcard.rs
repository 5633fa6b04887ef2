//! Answers made from a wildcard, in zones that deny by NSEC (RFC 4035 section 5.3.4).
//!
//! The library takes these for bogus, though it has verified each signature: what it asks for besides is a denial of the wildcard
//! itself, which is there. What has to be shown is that no name stands nearer to the one that was asked for than the wildcard does.

use hickory_resolver::proto::{
    dnssec::{
        Proof,
        rdata::{DNSSECRData, NSEC, RRSIG},
    },
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

/// Whether all of an answer is signed, and what comes from a wildcard does so rightly. The records say whether their signatures hold.
pub(super) fn is_proven(response: &Message) -> bool {
    let mut records = response.answers.iter().filter(|record| record.record_type() != RecordType::RRSIG);
    response.metadata.response_code == ResponseCode::NoError
        && response.answers.iter().any(|record| record.record_type() != RecordType::RRSIG)
        && records.all(|record| {
            let signature = signature(&response.answers, record);
            signature.is_some_and(|signature| {
                signature.input().num_labels >= record.name.num_labels()
                    || is_nearest(&response.authorities, &record.name, signature)
            })
        })
}

/// The signature that a record was verified by.
fn signature<'a>(section: &'a [Record], record: &Record) -> Option<&'a RRSIG> {
    if record.proof != Proof::Secure {
        return None;
    }
    section.iter().find_map(|other| match &other.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature))
            if other.proof == Proof::Secure
                && other.name == record.name
                && signature.input().type_covered == record.record_type() =>
        {
            Some(signature)
        }
        _ => None,
    })
}

/// Whether an NSEC record of the same zone denies the name that is one label longer than what the wildcard stands for.
fn is_nearest(authorities: &[Record], name: &Name, signature: &RRSIG) -> bool {
    let next_closer = name.trim_to(usize::from(signature.input().num_labels) + 1);
    authorities.iter().any(|record| {
        let RData::DNSSEC(DNSSECRData::NSEC(nsec)) = &record.data else { return false };
        let is_of_the_zone = self::signature(authorities, record).is_some_and(|other| {
            other.input().signer_name == signature.input().signer_name
                && other.input().num_labels == record.name.num_labels()
        });
        is_of_the_zone && denies(&record.name, nsec, &next_closer)
    })
}

/// Whether there is nothing of that name, nor below it.
fn denies(owner: &Name, nsec: &NSEC, name: &Name) -> bool {
    let next = nsec.next_domain_name();
    // RFC 6840 section 4.1: what is delegated is not the zone's to deny
    let is_delegated = nsec.is_ancestor_delegation() && owner.zone_of(name);
    let is_between = owner < name && (name < next || (next <= owner && next.zone_of(name)));
    is_between && !is_delegated && !name.zone_of(next)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn names_between_two_are_denied() {
        let name = |text: &str| Name::from_str(text).unwrap();
        let plain = [RecordType::A, RecordType::NSEC, RecordType::RRSIG];
        let cut = [RecordType::NS, RecordType::NSEC, RecordType::RRSIG];
        for (owner, next, types, denied, expected) in [
            ("a.test.", "c.test.", plain, "b.test.", true),
            ("a.test.", "c.test.", plain, "x.b.test.", true),
            ("a.test.", "c.test.", plain, "a.test.", false),
            ("a.test.", "c.test.", plain, "c.test.", false),
            ("a.test.", "c.test.", plain, "d.test.", false),
            // the last one, whose next is the zone
            ("x.test.", "test.", plain, "z.test.", true),
            ("x.test.", "test.", plain, "b.test.", false),
            ("x.test.", "test.", plain, "z.example.", false),
            // there is something below it
            ("a.test.", "x.b.test.", plain, "b.test.", false),
            ("a.test.", "c.test.", cut, "x.a.test.", false),
            ("a.test.", "c.test.", cut, "b.test.", true),
        ] {
            let nsec = NSEC::new(name(next), types);
            let found = denies(&name(owner), &nsec, &name(denied));
            assert_eq!(found, expected, "{owner} {next} {denied}");
        }
    }
}
