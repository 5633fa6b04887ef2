//! The SMTP envelope (RFC 5321 section 2.3.1): what travels beside a message.

use crate::{Address, ReversePath};

/// Which octets a message holds, as declared by MAIL (RFC 6152, RFC 3030 section 3); each holds what those before it hold.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum BodyType {
    /// Only US-ASCII.
    #[default]
    SevenBit,
    /// Octets above 127, too.
    EightBitMime,
    /// Any octets, in lines or not: they travel counted, not ended by a dot.
    BinaryMime,
}

/// Sender and recipients of a message on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// Whom the message is for.
    pub recipients: Vec<Address>,
    /// Declared octets of the body.
    pub body: BodyType,
    /// Whether addresses or header fields hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
}
