//! Reports between servers: about who sends in whose name (DMARC, RFC 9990), about TLS (RFC 8460), about single messages (ARF, RFC 5965).
//!
//! `outgoing` tells domains what was seen of their mail, and of TLS towards them; `incoming` reads what others say of ours.

pub mod incoming;
pub mod outgoing;
