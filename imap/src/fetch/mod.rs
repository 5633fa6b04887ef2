//! FETCH responses (RFC 3501 section 7.4.2): the items of one message, octets of bodies streamed from the store.
//!
//! A section that cannot be read is NIL and the command ends with NO; once the size of a literal is said nothing but its octets
//! can follow, so damage found later ends the session.

mod binary;
pub(crate) mod preview;
pub(crate) mod section;
pub(crate) mod structure;

use waypost_mail::{AccountId, DateTime, Flags};
use waypost_message::{HeaderBlock, Span, header::HEADER_BYTES_MAX};
use waypost_net::{Disconnect, Output};
use waypost_storage::{Reader, Row, Store};

use crate::op::Enabled;
use crate::wire::{
    BodySection, FetchItem, SectionText, Urgency, UrlFetchItem,
    encode::{self, Recent},
};
use structure::{Form, Global, MessageEnvelope, Structure};

/// Most octets of a header that HEADER.FIELDS looks at: the largest header block that is accepted, and as much prefix.
pub(crate) const HEADER_SUBSET_BYTES_MAX: u64 = 2 * HEADER_BYTES_MAX as u64;

/// Text of a response that is gathered before it is sent.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A message with all that its response needs.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// Message sequence number.
    pub(crate) number: u32,
    /// Its row.
    pub(crate) row: Row,
    /// Whose it is, where that is another one.
    pub(crate) owner: Option<AccountId>,
    /// Its flags.
    pub(crate) flags: Flags,
    /// Whether it is `\Recent`.
    pub(crate) recent: Recent,
    /// Its envelope, where an item needs that and none needs more of the structure.
    pub(crate) envelope: Option<MessageEnvelope<'a>>,
    /// Its structure, where an item needs it and it could be read.
    pub(crate) structure: Option<Structure<'a>>,
    /// Its preview, where one was asked for and is kept.
    pub(crate) preview: Option<&'a [u8]>,
    /// How message/global is shown.
    pub(crate) global: Global,
    /// Whether there is time to make a preview that may be left for later.
    pub(crate) urgent: bool,
}

/// Whether an item sets `\Seen` (RFC 3501 section 6.4.5).
pub(crate) fn sets_seen(item: &FetchItem) -> bool {
    match item {
        FetchItem::Rfc822 | FetchItem::Rfc822Text => true,
        FetchItem::BodySection(section) | FetchItem::Binary(section) => !section.peek,
        _ => false,
    }
}

impl<'a> Message<'a> {
    fn envelope(&self) -> Option<&MessageEnvelope<'a>> {
        self.structure.as_ref().map(|structure| &structure.envelope).or(self.envelope.as_ref())
    }

    /// Whether what an item is made of could not be read.
    fn lacks(&self, item: &FetchItem) -> bool {
        match item {
            FetchItem::Envelope => self.envelope().is_none(),
            FetchItem::Preview(_) => self.preview.is_none() && self.structure.is_none(),
            item => needs_structure(item) && self.structure.is_none(),
        }
    }
}

/// What of a message's structure is read for items that need some of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needs {
    /// Nothing: previews are not read, but at hand where they are kept.
    Nothing,
    /// Its envelope.
    Envelope,
    /// All.
    Structure,
}

impl Needs {
    /// Of items, where the message's preview is at hand or none is asked for.
    pub(crate) fn of(items: &[FetchItem]) -> Self {
        let need = |item: &FetchItem| match item {
            FetchItem::Envelope => Self::Envelope,
            FetchItem::Preview(_) => Self::Nothing,
            item if needs_structure(item) => Self::Structure,
            _ => Self::Nothing,
        };
        let most = |one, other| match (one, other) {
            (Self::Structure, _) | (_, Self::Structure) => Self::Structure,
            (Self::Envelope, _) | (_, Self::Envelope) => Self::Envelope,
            _ => Self::Nothing,
        };
        items.iter().map(need).fold(Self::Nothing, most)
    }
}

/// Whether an item needs the message's structure, or its envelope or preview alone.
pub(crate) fn needs_structure(item: &FetchItem) -> bool {
    match item {
        FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure | FetchItem::Preview(_) => true,
        FetchItem::Rfc822Header | FetchItem::Rfc822Text => true,
        FetchItem::Binary(section) => !section.part.is_empty(),
        FetchItem::BinarySize(part) => !part.is_empty(),
        FetchItem::BodySection(section) => !section.part.is_empty() || section.text != SectionText::All,
        _ => false,
    }
}

/// Writes FETCH responses.
pub(crate) struct Responder<'a, 'o> {
    store: &'a Store,
    output: &'a mut Output<'o>,
    text: Vec<u8>,
    read: Read,
    enabled: Enabled,
}

/// Whether all that was asked for could be read; what comes later weighs more.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Read {
    /// All.
    All,
    /// Some of it has a transfer encoding that is not known (RFC 3516 section 4.3).
    UnknownEncoding,
    /// Some of it is damaged.
    Damaged,
}

impl<'a, 'o> Responder<'a, 'o> {
    pub(crate) fn new(store: &'a Store, output: &'a mut Output<'o>, enabled: Enabled) -> Self {
        Self { store, output, text: Vec::new(), read: Read::All, enabled }
    }

    /// Whether all that was asked for could be read.
    pub(crate) fn read(&self) -> Read {
        self.read
    }

    /// `* n FETCH (items)`, or `* uid UIDFETCH (items)`
    pub(crate) async fn respond(
        &mut self,
        message: &Message<'_>,
        items: &[FetchItem],
    ) -> Result<(), Disconnect> {
        if items.iter().any(|item| message.lacks(item)) {
            self.read = Read::Damaged;
            return Ok(());
        }
        if !items.iter().all(|item| binary::is_decodable(message, item)) {
            self.read = self.read.max(Read::UnknownEncoding);
            return Ok(());
        }
        self.enabled.fetch_head(&mut self.text, message.number, &message.row);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(b' ');
            }
            self.item(message, item).await?;
            if self.text.len() >= TEXT_BYTES_MAX {
                self.send().await?;
            }
        }
        self.text.extend(b")\r\n");
        self.send().await
    }

    /// `SP url-full SP nstring` of URLFETCH (RFC 4467 section 9), or `SP url-full url-metadata` (RFC 5524 section 5).
    pub(crate) async fn url(
        &mut self,
        url: &str,
        items: &[UrlFetchItem],
        found: Option<&(Message<'_>, BodySection)>,
    ) -> Result<(), Disconnect> {
        self.text.push(b' ');
        encode::astring(&mut self.text, url.as_bytes());
        match found {
            None => self.text.extend(b" NIL"),
            Some((message, section)) if items.is_empty() => self.section(message, "", section).await?,
            Some((message, section)) => {
                for item in items {
                    self.text.extend(b" (");
                    match item {
                        UrlFetchItem::Body => self.section(message, "BODY", section).await?,
                        UrlFetchItem::Binary => self.url_binary(message, section).await?,
                        UrlFetchItem::BodyPartStructure => {
                            let is_decoded = items.contains(&UrlFetchItem::Binary);
                            self.url_structure(message, section, is_decoded).await;
                        }
                    }
                    self.text.push(b')');
                }
            }
        }
        self.send().await
    }

    async fn item(&mut self, message: &Message<'_>, item: &FetchItem) -> Result<(), Disconnect> {
        let whole = |text: SectionText| BodySection { peek: true, part: Vec::new(), text, partial: None };
        match item {
            FetchItem::Rfc822 => self.section(message, "RFC822", &whole(SectionText::All)).await,
            FetchItem::Rfc822Header => {
                self.section(message, "RFC822.HEADER", &whole(SectionText::Header)).await
            }
            FetchItem::Rfc822Text => self.section(message, "RFC822.TEXT", &whole(SectionText::Text)).await,
            FetchItem::BodySection(section) => self.section(message, &section_name(section), section).await,
            FetchItem::Binary(section) => self.binary(message, section).await,
            FetchItem::BinarySize(part) => self.binary_size(message, part).await,
            FetchItem::Preview(urgency) => {
                self.preview(message, *urgency).await;
                Ok(())
            }
            item => {
                simple(&mut self.text, message, item);
                Ok(())
            }
        }
    }

    /// `"PREVIEW" SP nstring` (RFC 8970 section 6); NIL only where it may be left for later.
    async fn preview(&mut self, message: &Message<'_>, urgency: Urgency) {
        self.text.extend(b"PREVIEW ");
        if let Some(kept) = message.preview {
            return encode::string(&mut self.text, kept);
        }
        let Some(structure) =
            message.structure.as_ref().filter(|_| message.urgent || urgency == Urgency::Now)
        else {
            self.text.extend(b"NIL");
            return;
        };
        let preview = preview::make(self.store, &message.row.content, structure).await;
        let preview = preview.unwrap_or_else(|error| {
            self.damaged(message, &error);
            String::new()
        });
        encode::string(&mut self.text, preview.as_bytes());
    }

    /// A name and the octets of its section.
    async fn section(
        &mut self,
        message: &Message<'_>,
        name: &str,
        section: &BodySection,
    ) -> Result<(), Disconnect> {
        self.text.extend(name.as_bytes());
        self.text.push(b' ');
        let content = &message.row.content;
        let span = match &message.structure {
            None => Some(Span { start: 0, end: content.size() }),
            Some(structure) => section::locate(structure, content.prefix_size(), content.size(), section),
        };
        let Some(span) = span else {
            self.text.extend(b"NIL");
            return Ok(());
        };
        if matches!(section.text, SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)) {
            self.header_fields(message, section, span).await;
            return Ok(());
        }
        self.stream(message, section::cut(span, section.partial)).await
    }

    async fn header_fields(&mut self, message: &Message<'_>, section: &BodySection, span: Span) {
        let length = (span.end - span.start).min(HEADER_SUBSET_BYTES_MAX);
        match self.store.read(&message.row.content, span.start, length).await {
            Ok(octets) => {
                let subset = section::subset(&HeaderBlock::new(octets.to_vec()), &section.text);
                let cut = section::cut(Span { start: 0, end: subset.len() as u64 }, section.partial);
                encode::literal(&mut self.text, &subset[cut.start as usize..cut.end as usize]);
            }
            Err(error) => self.unreadable(message, &error),
        }
    }

    /// A literal of octets that are read while they are sent.
    async fn stream(&mut self, message: &Message<'_>, span: Span) -> Result<(), Disconnect> {
        let mut left = span.end.saturating_sub(span.start);
        let mut reader: Reader = self.store.reader(&message.row.content, span.start, left);
        let mut octets = match reader.next().await {
            Ok(octets) => octets,
            Err(error) => {
                self.unreadable(message, &error);
                return Ok(());
            }
        };
        encode::literal_head(&mut self.text, left);
        self.send().await?;
        while !octets.is_empty() && octets.len() as u64 <= left {
            left -= octets.len() as u64;
            self.output.write(&encode::char8(&octets)).await?;
            octets = reader.next().await.map_err(|error| Disconnect::Handler(error.to_string()))?;
        }
        match left {
            0 => Ok(()),
            _ => Err(Disconnect::Handler(format!("message {} is shorter than its size", message.row.uid))),
        }
    }

    fn unreadable(&mut self, message: &Message<'_>, error: &waypost_storage::StoreError) {
        self.damaged(message, error);
        self.text.extend(b"NIL");
    }

    fn damaged(&mut self, message: &Message<'_>, error: &waypost_storage::StoreError) {
        tracing::error!(uid = %message.row.uid, email = %message.row.email, %error, "a message cannot be read");
        self.read = Read::Damaged;
    }

    async fn send(&mut self) -> Result<(), Disconnect> {
        self.output.write(&self.text).await?;
        self.text.clear();
        Ok(())
    }
}

/// An item that needs no octets of the message.
fn simple(out: &mut Vec<u8>, message: &Message<'_>, item: &FetchItem) {
    let row = &message.row;
    match item {
        FetchItem::Uid => named_number(out, b"UID ", row.uid.value().into()),
        FetchItem::Flags => {
            out.extend(b"FLAGS ");
            encode::flag_list(out, &message.flags, message.recent);
        }
        FetchItem::InternalDate => {
            out.extend(b"INTERNALDATE ");
            encode::date_time(out, &row.internal_date);
        }
        FetchItem::Rfc822Size => named_number(out, b"RFC822.SIZE ", row.content.size()),
        FetchItem::ModSeq => out.extend(format!("MODSEQ ({})", row.modseq).as_bytes()),
        FetchItem::EmailId => out.extend(format!("EMAILID ({})", email_id(message.owner, row)).as_bytes()),
        FetchItem::ThreadId => out.extend(format!("THREADID ({})", thread_id(message.owner, row)).as_bytes()),
        FetchItem::SaveDate => {
            out.extend(b"SAVEDATE ");
            encode::date_time(out, &DateTime::utc(row.save_date));
        }
        item => structured(out, message, item),
    }
}

fn named_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    encode::number(out, number);
}

/// An item that is computed from the structure.
fn structured(out: &mut Vec<u8>, message: &Message<'_>, item: &FetchItem) {
    if *item == FetchItem::Envelope {
        let Some(envelope) = message.envelope() else { return };
        out.extend(b"ENVELOPE ");
        return structure::envelope(out, envelope);
    }
    let Some(found) = &message.structure else { return };
    match item {
        FetchItem::Body => {
            out.extend(b"BODY ");
            structure::body(out, &found.root, Form::Basic, message.global);
        }
        _ => {
            out.extend(b"BODYSTRUCTURE ");
            structure::body(out, &found.root, Form::Extended, message.global);
        }
    }
}

/// `objectid` of a message (RFC 8474 section 4): ids are numbers of one account, so another one's number stands before them.
pub(crate) fn email_id(owner: Option<AccountId>, row: &Row) -> String {
    format!("M{}{}", owners_mark(owner), row.email)
}

/// `objectid` of a conversation.
pub(crate) fn thread_id(owner: Option<AccountId>, row: &Row) -> String {
    format!("T{}{}", owners_mark(owner), row.thread)
}

/// What tells the ids of another account from one's own.
pub(crate) fn owners_mark(owner: Option<AccountId>) -> String {
    owner.map_or_else(String::new, |owner| format!("{owner}-"))
}

/// `"BODY" section ["<" number ">"]`, as it was asked for.
fn section_name(section: &BodySection) -> String {
    let mut inside: Vec<String> = section.part.iter().map(u32::to_string).collect();
    match &section.text {
        SectionText::All => {}
        SectionText::Header => inside.push("HEADER".to_owned()),
        SectionText::HeaderFields(names) => inside.push(format!("HEADER.FIELDS {}", header_list(names))),
        SectionText::HeaderFieldsNot(names) => {
            inside.push(format!("HEADER.FIELDS.NOT {}", header_list(names)));
        }
        SectionText::Text => inside.push("TEXT".to_owned()),
        SectionText::Mime => inside.push("MIME".to_owned()),
    }
    let origin = section.partial.map(|(start, _)| format!("<{start}>")).unwrap_or_default();
    format!("BODY[{}]{origin}", inside.join("."))
}

/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`
fn header_list(names: &[String]) -> String {
    let mut list = Vec::new();
    for (index, name) in names.iter().enumerate() {
        list.push(if index == 0 { b'(' } else { b' ' });
        encode::astring(&mut list, name.as_bytes());
    }
    list.push(b')');
    String::from_utf8_lossy(&list).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_named_as_they_were_asked_for() {
        let names = || vec!["Date".to_owned(), "X\"Y".to_owned()];
        for (part, text, partial, expected) in [
            (vec![], SectionText::All, None, "BODY[]"),
            (vec![], SectionText::All, Some((5, 1)), "BODY[]<5>"),
            (vec![1, 2], SectionText::All, None, "BODY[1.2]"),
            (vec![3], SectionText::Mime, None, "BODY[3.MIME]"),
            (vec![], SectionText::Text, Some((0, 9)), "BODY[TEXT]<0>"),
            (vec![], SectionText::HeaderFields(names()), None, "BODY[HEADER.FIELDS (Date \"X\\\"Y\")]"),
            (
                vec![4],
                SectionText::HeaderFieldsNot(names()),
                None,
                "BODY[4.HEADER.FIELDS.NOT (Date \"X\\\"Y\")]",
            ),
        ] {
            assert_eq!(section_name(&BodySection { peek: true, part, text, partial }), expected);
        }
    }
}
