//! Authenticity: whether a message comes from whom it says.

pub mod spf;
