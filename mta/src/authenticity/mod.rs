//! Authenticity: who a message is from, as others can verify it (DKIM: RFC 6376, 8301 and 8463).
//!
//! `canonical` brings header fields and bodies into the form that is signed, `keys` are the keys, `sign` signs a message while it
//! passes, `signers` knows which keys sign for a domain now, `rotation` changes them over time.

pub mod canonical;
pub mod keys;
pub mod rotation;
pub mod sign;
mod signers;

pub use signers::Signers;
