//! What a message is: header block, MIME structure, the streaming splitter that finds it, and building messages.
//!
//! The only crate that knows mail-parser and mail-builder. No I/O.

mod address_list;
pub mod build;
mod codec;
pub mod decode;
mod fields;
pub mod header;
mod lexer;
pub mod preview;
pub mod report;
pub mod splitter;
pub mod structure;
pub mod surrogate;

pub use header::{Field, HeaderBlock, HeaderCollector, HeaderError};
pub use splitter::Splitter;
pub use structure::{ContentType, Disposition, EnvelopeAddress, MessageEnvelope, Part, Span, Structure};
pub use surrogate::Surrogate;
