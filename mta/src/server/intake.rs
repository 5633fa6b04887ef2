//! A message while it arrives: the header block in memory until it is complete and rewritten, the body into the store.
//!
//! ```text
//! Header(collector) ── empty line, or the end ──► Body(rewritten header, writer) ── the end ──► Complete
//! ```

use bytes::{Buf, Bytes};
use waypost_mail::{BodyType, Refusal, Solicitation};
use waypost_message::{HeaderBlock, HeaderCollector, HeaderError, Splitter, Structure};
use waypost_storage::{Body, BodyWriter, Store};

use crate::authenticity::Check;

use super::{
    header::{Arrival, solicitations, tls_optional},
    octets::Scan,
    refusal,
};
use crate::authenticity::sign::Signing;

#[derive(Debug)]
enum Stage {
    Header(HeaderCollector),
    Body(HeaderBlock, BodyWriter),
}

/// The message so far. Dropping it removes what was written.
#[derive(Debug)]
pub(super) struct Intake {
    stage: Stage,
    /// Is fed with exactly the octets that are stored.
    splitter: Splitter,
    /// What the octets that came are, whatever was declared.
    scan: Scan,
    /// Sees the body as it came, where it is looked at.
    check: Option<Box<Check>>,
    /// Signs the message, once its header is complete.
    signing: Option<Signing>,
}

/// A message that is in the store, but in no mailbox and in no queue.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) header: Vec<u8>,
    pub(super) body: Body,
    pub(super) structure: Structure,
    pub(super) bytes: u64,
    /// What it is declared to be to the next server.
    pub(super) octets: BodyType,
    /// Whether its header says that it may go without TLS.
    pub(super) tls_optional: bool,
    /// Which kinds of solicitation its header says that it is.
    pub(super) solicitations: Vec<Solicitation>,
    /// Where it comes from is still to be looked up.
    pub(super) check: Option<Box<Check>>,
}

impl Intake {
    /// Before the first octet of a message that was declared so.
    pub(super) fn new(declared: BodyType) -> Self {
        let stage = Stage::Header(HeaderCollector::default());
        Self { stage, splitter: Splitter::new(), scan: Scan::new(declared), check: None, signing: None }
    }

    /// Takes octets, and gives itself back where they could be taken.
    pub(super) async fn take(
        mut self: Box<Self>,
        store: &Store,
        arrival: &Arrival<'_>,
        mut octets: Bytes,
    ) -> Result<Box<Self>, Refusal> {
        self.scan.feed(&octets);
        if let Stage::Header(collector) = &mut self.stage {
            let Some((header, used)) = collector.feed(&octets).map_err(header_error)? else {
                return Ok(self);
            };
            self.check = arrival.check(&header);
            let header = self.complete(arrival, header)?;
            self.stage = Stage::Body(header, store.body_writer());
            octets.advance(used);
        }
        if let Stage::Body(_, writer) = &mut self.stage
            && !octets.is_empty()
        {
            self.splitter.feed(&octets);
            if let Some(check) = &mut self.check {
                check.feed(&octets);
            }
            self.signing.iter_mut().for_each(|signing| signing.feed(&octets));
            writer.take(octets).await.map_err(|error| refusal::store_error(&error))?;
        }
        Ok(self)
    }

    /// Ends the message.
    pub(super) async fn finish(
        mut self: Box<Self>,
        store: &Store,
        arrival: &Arrival<'_>,
    ) -> Result<Complete, Refusal> {
        let (header, writer) = match self.stage {
            Stage::Body(header, writer) => (header, writer),
            Stage::Header(ref mut collector) => {
                let header = std::mem::take(collector).finish();
                self.check = arrival.check(&header);
                (self.complete(arrival, header)?, store.body_writer())
            }
        };
        let bytes = header.octets().len() as u64 + writer.size();
        let body = writer.finish().await.map_err(|error| refusal::store_error(&error))?;
        let (tls_optional, solicitations) = (tls_optional(&header), solicitations(&header));
        let (mut header, structure) = (header.into_octets(), self.splitter.finish());
        if let Some(signing) = self.signing {
            signing.finish(&mut header).map_err(|error| refusal::not_signed(&error))?;
        }
        let octets = self.scan.finish(&structure);
        let check = self.check;
        Ok(Complete { header, body, structure, bytes, octets, tls_optional, solicitations, check })
    }

    /// Makes the header block the one that is stored; only the hashes of our signatures are missing.
    fn complete(&mut self, arrival: &Arrival<'_>, header: HeaderBlock) -> Result<HeaderBlock, Refusal> {
        let mut header = arrival.rewrite(header)?;
        self.signing = arrival.sign(&mut header);
        self.splitter.feed(header.octets());
        Ok(header)
    }
}

fn header_error(error: HeaderError) -> Refusal {
    match error {
        HeaderError::TooLarge => refusal::HEADER_TOO_LARGE.into(),
    }
}
