//! CATENATE (RFC 4469): parts of a message that come out of others, octet for octet, from the store into the store.

use waypost_message::{HeaderBlock, Span};
use waypost_storage::{MailboxState, Previews, Rights, Row, StoreError};

use super::{Failure, Operation, append::Appending, place::Found};
use crate::{
    fetch::{HEADER_SUBSET_BYTES_MAX, section},
    wire::{BodySection, MessageUrl, SectionText},
};

const NO_SUCH_PART: &str = "the URL names no message or part that is there";

/// A part that a URL names.
struct Source {
    row: Row,
    span: Span,
    section: BodySection,
}

impl Operation<'_, '_> {
    /// Adds what a URL names to the message that arrives. `\Seen` of the message that it comes out of stays as it is.
    pub(super) async fn catenate(&mut self, appending: &mut Appending, url: &str) -> Result<(), Failure> {
        let source = match self.source(url).await {
            Ok(Some(source)) => source,
            Ok(None) => return Err(Failure::no(&bad_url(url), NO_SUCH_PART)),
            Err(error) => return Err(error),
        };
        if matches!(source.section.text, SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)) {
            return self.catenate_fields(appending, &source).await;
        }
        let span = section::cut(source.span, source.section.partial);
        appending.makes_room(span.end - span.start)?;
        let content = &source.row.content;
        let mut reader = self.context.store.reader(content, span.start, span.end - span.start);
        loop {
            let octets = reader.next().await?;
            if octets.is_empty() {
                return Ok(());
            }
            appending.write(&octets).await?;
        }
    }

    /// Adds some fields of a header.
    async fn catenate_fields(&mut self, appending: &mut Appending, source: &Source) -> Result<(), Failure> {
        let Source { row, span, section } = source;
        let length = (span.end - span.start).min(HEADER_SUBSET_BYTES_MAX);
        let header = self.context.store.read(&row.content, span.start, length).await?;
        let subset = section::subset(&HeaderBlock::new(header.to_vec()), &section.text);
        let cut = section::cut(Span { start: 0, end: subset.len() as u64 }, section.partial);
        let octets = &subset[cut.start as usize..cut.end as usize];
        appending.makes_room(octets.len() as u64)?;
        appending.write(octets).await
    }

    /// What a URL names; `None`: nothing that is there, or that may be read.
    async fn source(&mut self, url: &str) -> Result<Option<Source>, Failure> {
        let selected = self.user.selected.as_ref();
        let selected = selected.map(|selected| selected.space.name(selected.view.state()));
        let Some(url) = MessageUrl::parse(url, selected.as_deref()) else { return Ok(None) };
        let Found { space, mailbox, .. } = match self.mailbox(&url.mailbox, Rights::READ).await {
            Err(Failure::Refused(_)) => return Ok(None),
            found => found?,
        };
        let row = match space.account.select(mailbox.id).await {
            Err(StoreError::NoSuchMailbox) => None,
            selection => selection?.state().and_then(|mailbox| row(&mailbox, &url)),
        };
        let Some(row) = row else { return Ok(None) };
        let (part, text) = url.section;
        let partial = url.partial.map(|(start, length)| (start, length.unwrap_or(u64::MAX)));
        let section = BodySection { peek: true, part, text, partial };
        let account = space.account.id();
        let structure = self.context.store.kept_structure(account, &row, Previews::Unwanted).await?;
        let content = &row.content;
        let span = section::locate(&structure.read()?, content.prefix_size(), content.size(), &section);
        Ok(span.map(|span| Source { row, span, section }))
    }
}

/// The message of a URL, if its mailbox is the one that the URL means.
fn row(mailbox: &MailboxState, url: &MessageUrl) -> Option<Row> {
    let uid = waypost_mail::Uid::new(url.uid)?;
    url.is_of(mailbox.uid_validity).then(|| mailbox.row(uid).cloned()).flatten()
}

/// `badurl-response-code = "BADURL" SP url-resp-text` (RFC 4469 section 5), which holds no `]`.
fn bad_url(url: &str) -> String {
    format!("BADURL {}", url.replace(']', "%5D"))
}
