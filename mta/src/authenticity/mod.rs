//! Authenticity: whether a message comes from whom it says.

pub mod dkim;
pub mod spf;
#[cfg(test)]
pub(crate) mod testing;
