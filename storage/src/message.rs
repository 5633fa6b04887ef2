//! A whole message on its way into the store, cut anywhere: header block in memory, body into its writer, structure found
//! as the octets pass. For those who take a message as it is (APPEND, imports); SMTP rewrites the header in between.
//!
//! ```text
//! Arriving(collector) ── empty line ──► Complete(block) ──┐
//!     └──────────────── finish ───────────────────────────┴──► Written
//! ```

use bytes::Bytes;
use waypost_message::{HeaderBlock, HeaderCollector, HeaderError, Splitter, Structure};

use crate::{
    accept::{Acceptance, Delivery},
    content::{Body, BodyWriter},
    error::StoreError,
    store::Store,
};

/// Why a message is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// The header is too large.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a message while it arrives. Dropping it removes what was written.
#[derive(Debug)]
pub struct MessageWriter {
    header: Header,
    splitter: Splitter,
    body: BodyWriter,
    size: u64,
}

/// How far the header is.
#[derive(Debug)]
enum Header {
    Arriving(HeaderCollector),
    Complete(HeaderBlock),
}

/// A message whose octets are there, but in no mailbox. Dropping it removes them.
#[derive(Debug)]
pub struct Written {
    /// Header block with its empty line.
    pub header: Bytes,
    /// What follows.
    pub body: Body,
    /// MIME structure over both.
    pub structure: Structure,
}

impl Store {
    /// Begins a message.
    pub fn message_writer(&self) -> MessageWriter {
        MessageWriter {
            header: Header::Arriving(HeaderCollector::default()),
            splitter: Splitter::new(),
            body: self.body_writer(),
            size: 0,
        }
    }
}

impl MessageWriter {
    /// Adds octets, NUL too: what cannot be shown of it is for the protocols to say (RFC 3516 section 4.4). After an error the message
    /// is lost.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), MessageError> {
        self.size += octets.len() as u64;
        self.splitter.feed(octets);
        let mut body = octets;
        if let Header::Arriving(collector) = &mut self.header {
            let Some((header, taken)) = collector.feed(octets)? else { return Ok(()) };
            self.header = Header::Complete(header);
            body = &octets[taken..];
        }
        Ok(self.body.write(body).await?)
    }

    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Octets of its body that are in memory.
    pub fn body_in_memory(&self) -> u64 {
        self.body.in_memory()
    }

    /// Ends the message. Errors as [`BodyWriter::finish`].
    pub async fn finish(self) -> Result<Written, StoreError> {
        let Self { header, splitter, body, .. } = self;
        Ok(Written::new(header, splitter, body.finish().await?))
    }

    /// Ends the message with its body in a file. Errors as [`BodyWriter::finish_in_file`].
    pub async fn finish_in_file(self) -> Result<Written, StoreError> {
        let Self { header, splitter, body, .. } = self;
        Ok(Written::new(header, splitter, body.finish_in_file().await?))
    }
}

impl Written {
    fn new(header: Header, splitter: Splitter, body: Body) -> Self {
        let header = match header {
            Header::Arriving(collector) => collector.finish(),
            Header::Complete(header) => header,
        };
        Self { header: header.into_octets().into(), body, structure: splitter.finish() }
    }

    /// Octets of the message.
    pub fn size(&self) -> u64 {
        self.header.len() as u64 + self.body.size()
    }

    /// The message for one mailbox, to be accepted.
    pub fn for_mailbox(self, store: &Store, delivery: Delivery) -> Acceptance {
        let Self { header, body, structure } = self;
        Acceptance { id: store.new_entry_id(), header, body, structure, local: vec![delivery], relay: None }
    }
}
