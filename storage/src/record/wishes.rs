//! What a sender asks for, as records keep it.

use minicbor::{Decode, Encode};
use waypost_mail::{Deadline, EnvelopeId, Overdue, ReturnContent, Solicitation, Timestamp, Wishes};

use super::codec;

/// The form of [`Wishes`] on disk. Numbers are never given twice; what is new has a default.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct KeptWishes {
    #[cbor(n(0), with = "codec::return_content", default)]
    return_content: Option<ReturnContent>,
    #[cbor(n(1), with = "codec::envelope_id", default)]
    envelope_id: Option<EnvelopeId>,
    #[cbor(n(2), default)]
    require_tls: bool,
    #[cbor(n(3), default)]
    priority: i8,
    #[n(4)]
    deliver_by: Option<KeptDeadline>,
    #[cbor(n(5), default)]
    tls_optional: bool,
    #[cbor(n(6), with = "codec::solicitation", default)]
    solicitation: Option<Solicitation>,
}

#[derive(Clone, Copy, Debug, Decode, Encode, PartialEq)]
#[cbor(array)]
struct KeptDeadline {
    #[cbor(n(0), with = "codec::timestamp")]
    at: Timestamp,
    #[cbor(n(1), with = "codec::overdue")]
    overdue: Overdue,
    #[n(2)]
    trace: bool,
}

impl KeptWishes {
    /// As records hold them: most messages have none.
    pub(crate) fn some(wishes: &Wishes) -> Option<Self> {
        let kept = |Deadline { at, overdue, trace }| KeptDeadline { at, overdue, trace };
        (*wishes != Wishes::default()).then(|| Self {
            return_content: wishes.return_content,
            envelope_id: wishes.envelope_id.clone(),
            require_tls: wishes.require_tls,
            priority: wishes.priority,
            deliver_by: wishes.deliver_by.map(kept),
            tls_optional: wishes.tls_optional,
            solicitation: wishes.solicitation.clone(),
        })
    }
}

impl From<KeptWishes> for Wishes {
    fn from(kept: KeptWishes) -> Self {
        let deadline = |KeptDeadline { at, overdue, trace }| Deadline { at, overdue, trace };
        Self {
            return_content: kept.return_content,
            envelope_id: kept.envelope_id,
            require_tls: kept.require_tls,
            tls_optional: kept.tls_optional,
            priority: kept.priority,
            deliver_by: kept.deliver_by.map(deadline),
            solicitation: kept.solicitation,
        }
    }
}
