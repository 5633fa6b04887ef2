//! What came of a try, as records keep it.

use minicbor::{
    Decode, Decoder, Encode, Encoder, decode,
    encode::{self, Write},
};
use waypost_mail::{EnhancedStatus, Issuer, Reply};

use crate::queue::Outcome;

/// Status of what is given up because it waited too long (RFC 3463 section 3.5): no server says that of us.
const EXPIRED: EnhancedStatus = EnhancedStatus(5, 4, 7);

/// The form of what was said, on disk. Numbers are never given twice.
#[derive(Decode, Encode)]
#[cbor(array)]
struct KeptSaid {
    #[n(0)]
    peer: String,
    /// Code, status and lines.
    #[n(1)]
    reply: (u16, Option<(u8, u16, u16)>, Vec<String>),
    /// Whether the reply is ours; only where it is not as [`supposed`], so that most records are what they were before format 11.
    #[n(2)]
    is_ours: Option<bool>,
}

/// Whose reply it is where a record does not say so.
fn supposed(peer: &str, status: Option<EnhancedStatus>) -> Issuer {
    if peer.is_empty() || status == Some(EXPIRED) { Issuer::Here } else { Issuer::Peer }
}

impl KeptSaid {
    fn of(peer: &str, reply: &Reply) -> Self {
        let status = reply.status.map(|EnhancedStatus(class, subject, detail)| (class, subject, detail));
        Self {
            peer: peer.to_owned(),
            reply: (reply.code, status, reply.lines.clone()),
            is_ours: (reply.issuer != supposed(peer, reply.status)).then_some(reply.issuer == Issuer::Here),
        }
    }

    fn into_said(self) -> (String, Reply) {
        let Self { peer, reply: (code, status, lines), is_ours } = self;
        let status = status.map(|(class, subject, detail)| EnhancedStatus(class, subject, detail));
        let issuer = match is_ours {
            Some(true) => Issuer::Here,
            Some(false) => Issuer::Peer,
            None => supposed(&peer, status),
        };
        (peer, Reply { code, status, lines, issuer })
    }
}

impl<C> Encode<C> for Outcome {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let number = match self {
            Self::Delivered { .. } => 0,
            Self::Deferred { .. } => 1,
            Self::Failed { .. } => 2,
        };
        let (peer, reply) = self.said();
        e.array(2)?.u32(number)?.encode_with(KeptSaid::of(peer, reply), ctx)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Outcome {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(2) {
            return Err(decode::Error::message("not a value: Outcome"));
        }
        let number = d.u32()?;
        let (peer, reply) = d.decode_with::<C, KeptSaid>(ctx)?.into_said();
        match number {
            0 => Ok(Self::Delivered { peer, reply }),
            1 => Ok(Self::Deferred { peer, reply }),
            2 => Ok(Self::Failed { peer, reply }),
            number => Err(decode::Error::unknown_variant(i64::from(number))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(peer: &str, status: Option<EnhancedStatus>, issuer: Issuer) -> Outcome {
        let reply = Reply { code: 554, status, lines: vec!["no".to_owned()], issuer };
        Outcome::Failed { peer: peer.to_owned(), reply }
    }

    #[test]
    fn whose_word_it_is_stands_where_it_is_not_as_it_was_supposed_before() {
        let status = Some(EnhancedStatus(5, 3, 4));
        for (peer, status, issuer, members) in [
            ("mx", status, Issuer::Peer, 2),
            ("mx", status, Issuer::Here, 3),
            ("mx", None, Issuer::Here, 3),
            ("", status, Issuer::Here, 2),
            ("mx", Some(EXPIRED), Issuer::Here, 2),
            ("mx", Some(EXPIRED), Issuer::Peer, 3),
        ] {
            let outcome = failed(peer, status, issuer);
            let octets = minicbor::to_vec(&outcome).unwrap();
            assert_eq!(octets[2], 0x80 | members, "{outcome:?}");
            assert_eq!(decode::<Outcome>(&octets).unwrap(), outcome);
        }
    }

    #[test]
    fn what_earlier_formats_hold_is_read() {
        let octets = |number: u8, peer: &str| {
            let reply = (451_u16, Some((4_u8, 4_u16, 1_u16)), vec!["no connection"]);
            minicbor::to_vec((number, (peer, reply))).unwrap()
        };
        let lines = vec!["no connection".to_owned()];
        let reply =
            |issuer| Reply { code: 451, status: Some(EnhancedStatus(4, 4, 1)), lines: lines.clone(), issuer };
        for (peer, issuer) in [("mx", Issuer::Peer), ("", Issuer::Here)] {
            let (peer, reply) = (peer.to_owned(), reply(issuer));
            let expected = Outcome::Deferred { peer: peer.clone(), reply };
            assert_eq!(decode::<Outcome>(&octets(1, &peer)).unwrap(), expected);
        }
        assert!(decode::<Outcome>(&octets(3, "mx")).is_err());
    }
}
