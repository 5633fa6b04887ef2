//! Reports between mail servers: DMARC aggregate reports (RFC 9990) and reports of TLS (RFC 8460).
//!
//! `outgoing` tells domains what was seen of their mail, and of TLS towards them.

pub mod outgoing;
