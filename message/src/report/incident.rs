//! What a feedback report says of the one message that it is about (RFC 5965 section 3, RFC 6591 section 3, RFC 9991).

use super::{Feedback, Report, cut, decoded, groups, value};
use crate::{HeaderBlock, Part, Structure, decode::header_text};

/// Most domains of one report that are kept.
pub const DOMAINS_MAX: usize = 10;
/// Most trace fields of the message that are kept.
pub const RECEIVED_MAX: usize = 30;

/// A feedback report with what it tells beside its kind. Each text is what its writer says, as [`Feedback`] has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Incident {
    /// Its kind, and to whom the message went.
    pub feedback: Feedback,
    /// When the message came there: `Arrival-Date`, or its older name `Received-Date`.
    pub arrival: Option<String>,
    /// The address that it came from: `Source-IP`.
    pub source: Option<String>,
    /// Whose message it was taken for: `Reported-Domain`; at most [`DOMAINS_MAX`].
    pub domains: Vec<String>,
    /// What did not hold: `Auth-Failure`, in lower case.
    pub failure: Option<String>,
    /// What was done with the message: `Delivery-Result`.
    pub delivery: Option<String>,
    /// `DKIM-Domain` and `DKIM-Selector` of the signature that did not hold.
    pub signature: Option<(String, String)>,
    /// What is shown of the message itself.
    pub original: ReturnedHeader,
}

/// Fields of a message that came back with a report, decoded and unfolded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReturnedHeader {
    /// Message-ID, without brackets.
    pub message_id: Option<String>,
    /// From.
    pub from: Option<String>,
    /// Subject.
    pub subject: Option<String>,
    /// Received, the newest first; at most [`RECEIVED_MAX`].
    pub received: Vec<String>,
}

impl Incident {
    /// Reads a message as [`Report::read`] does. `None`: it is no feedback report that could be read.
    pub fn read(structure: &Structure, header_bytes: usize, body: &[u8]) -> Option<Self> {
        let Report::Feedback(feedback) = Report::read(structure, header_bytes, body)? else { return None };
        let parts = &structure.root.children;
        let report = parts.iter().find(|part| part.content_type.is("message", "feedback-report"))?;
        let fields = groups(&decoded(report, header_bytes, body)?).into_iter().next()?;
        let original = parts.iter().find(|part| is_original(part));
        let original =
            original.and_then(|part| groups(&decoded(part, header_bytes, body)?).into_iter().next());
        let domains = fields.named("Reported-Domain").take(DOMAINS_MAX);
        let signer = value(&fields, "DKIM-Domain").map(|domain| cut(&domain));
        let selector = value(&fields, "DKIM-Selector").map(|selector| cut(&selector)).unwrap_or_default();
        Some(Self {
            feedback,
            arrival: text(&fields, "Arrival-Date").or_else(|| text(&fields, "Received-Date")),
            source: text(&fields, "Source-IP"),
            domains: domains.map(|field| cut(&header_text(&field.value()))).collect(),
            failure: text(&fields, "Auth-Failure").map(|failure| failure.to_ascii_lowercase()),
            delivery: text(&fields, "Delivery-Result").map(|result| result.to_ascii_lowercase()),
            signature: signer.map(|signer| (signer, selector)),
            original: original.as_ref().map(ReturnedHeader::read).unwrap_or_default(),
        })
    }
}

impl ReturnedHeader {
    fn read(header: &HeaderBlock) -> Self {
        let received = header.named("Received").take(RECEIVED_MAX);
        Self {
            message_id: text(header, "Message-ID").map(|id| id.trim_matches(['<', '>']).to_owned()),
            from: text(header, "From"),
            subject: text(header, "Subject"),
            received: received.map(|field| cut(&header_text(&field.value()))).collect(),
        }
    }
}

/// Whether a part is the message that the report is about, or its header (RFC 5965 section 2, RFC 6522 section 4).
fn is_original(part: &Part) -> bool {
    let is = |kind: &str, subtype: &str| part.content_type.is(kind, subtype);
    is("message", "rfc822")
        || is("text", "rfc822-headers")
        || is("message", "global")
        || is("message", "global-headers")
}

fn text(fields: &HeaderBlock, name: &str) -> Option<String> {
    value(fields, name).map(|text| cut(&text))
}
