//! PREVIEW (RFC 8970): the first words of a message. Delivery has found them, and they are kept with the structure.
//!
//! What came before they were kept, and what they could not be found of in what delivery looks at, is made when it is asked for: of the
//! first part that a reader would see [`PREVIEW_PART_BYTES_MAX`] octets are looked at, at most; so that costs no more than a short FETCH of the body.
//! With LAZY only the first [`LAZY_MESSAGES_MAX`] messages of a command are looked at so.

use waypost_message::preview::{self, PREVIEW_PART_BYTES_MAX, PreviewWriter};
use waypost_storage::{Content, Store, StoreError};

use super::structure::Structure;

/// Messages of a command that a preview is made for with LAZY, where none is kept.
pub(crate) const LAZY_MESSAGES_MAX: usize = 500;

/// The preview of a message, made of its octets; empty where it has no text.
pub(crate) async fn make(
    store: &Store,
    content: &Content,
    structure: &Structure<'_>,
) -> Result<String, StoreError> {
    let Some(part) = preview::part(&structure.root) else { return Ok(String::new()) };
    let length = part.body.end.saturating_sub(part.body.start).min(PREVIEW_PART_BYTES_MAX);
    let mut reader = store.reader(content, content.prefix_size() + part.body.start, length);
    let mut writer = PreviewWriter::new(part);
    while !writer.is_full() {
        let octets = reader.next().await?;
        if octets.is_empty() {
            break;
        }
        writer.feed(&octets);
    }
    Ok(writer.finish())
}
