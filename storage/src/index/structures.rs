//! Structures of messages, 32 in a block, compressed. A message's copies share one, found by its EmailId.
//!
//! The previews of a block are compressed apart, behind its structures: who needs none does not open them. A block that was written
//! before there were previews ends where they would begin.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use waypost_mail::{AccountId, EmailId};
use waypost_message::Structure;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{find_frame_compressed_size, get_frame_content_size},
};

use super::{
    Operation, VALUE_BYTES_MAX,
    value::{self, Value},
};
use crate::structure::{KeptStructure, Previews};

/// Structures in one block.
const BLOCK_STRUCTURES_MAX: usize = 32;
/// Octets in one block before it is compressed; one structure alone may have more.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Most octets that a block is decompressed to.
const BLOCK_BYTES_LIMIT: usize = 16 * 1024 * 1024;
const COMPRESSION_LEVEL: i32 = 3;

/// Encoded structures by EmailId.
pub(crate) type Structures = BTreeMap<EmailId, Arc<[u8]>>;

/// The key of the block that begins with an EmailId.
pub(crate) fn key(account: AccountId, first: EmailId) -> Vec<u8> {
    let mut key = super::prefix(b's', account);
    key.extend_from_slice(&first.0.to_be_bytes());
    key
}

/// The operations that write new structures: the last block that is there is filled first.
pub(crate) fn put(
    last: Option<(Vec<u8>, Vec<u8>)>,
    account: AccountId,
    seq: u64,
    new: &Structures,
) -> Vec<Operation> {
    let mut blocks: Vec<Vec<Item>> = Vec::new();
    if let Some((key, octets)) = last {
        let zstd = Decompressor::new().ok();
        let open = zstd.and_then(|mut zstd| Block::open(&key, &octets, Previews::Wanted, &mut zstd));
        let open = open.map(|block| block.items());
        blocks.extend(open.filter(|block| block.len() < BLOCK_STRUCTURES_MAX));
    }
    for (email, structure) in new {
        let size = |block: &Vec<Item>| block.iter().map(Item::bytes).sum::<usize>();
        let item = Item::new(*email, structure);
        let fits = |block: &Vec<_>| {
            block.len() < BLOCK_STRUCTURES_MAX && size(block) + item.bytes() <= BLOCK_BYTES_MAX
        };
        match blocks.last_mut().filter(|block| fits(block)) {
            Some(block) if block.iter().any(|known| known.email == item.email) => {}
            Some(block) => block.push(item),
            None => blocks.push(vec![item]),
        }
    }
    let Ok(mut zstd) = Compressor::new(COMPRESSION_LEVEL) else { return Vec::new() };
    blocks.iter().filter_map(|block| seal(account, seq, block, &mut zstd)).collect()
}

/// What a block holds of one message.
struct Item {
    email: u64,
    structure: ByteVec,
    preview: Option<ByteVec>,
}

impl Item {
    fn new(email: EmailId, encoded: &[u8]) -> Self {
        let (structure, preview) = match Structure::without_preview(encoded) {
            Some((structure, preview)) => (structure, Some(preview.to_vec().into())),
            None => (encoded.to_vec(), None),
        };
        Self { email: email.0, structure: structure.into(), preview }
    }

    fn bytes(&self) -> usize {
        self.structure.len() + self.preview.as_ref().map_or(0, |preview| preview.len())
    }
}

/// A block, decompressed.
#[derive(Debug)]
pub(super) struct Block {
    structures: Pieces,
    /// `None`: not opened.
    previews: Option<Pieces>,
}

impl Block {
    /// `None`: damaged.
    pub(super) fn open(
        key: &[u8],
        octets: &[u8],
        previews: Previews,
        zstd: &mut Decompressor<'_>,
    ) -> Option<Self> {
        let packed = Value::open(key, octets)?.payload;
        let (packed, behind) = packed.split_at_checked(find_frame_compressed_size(packed).ok()?)?;
        let structures = Pieces::open(packed, zstd)?;
        let previews = match previews {
            Previews::Unwanted => None,
            Previews::Wanted if behind.is_empty() => Some(Pieces::default()),
            Previews::Wanted => Some(Pieces::open(behind, zstd)?),
        };
        Some(Self { structures, previews })
    }

    /// The structure of one message. `None`: it is not here, or its preview is wanted and none was opened.
    pub(super) fn find(&self, email: EmailId, previews: Previews) -> Option<KeptStructure> {
        let preview = match (previews, &self.previews) {
            (Previews::Unwanted, _) => None,
            (Previews::Wanted, Some(previews)) => previews.find(email),
            (Previews::Wanted, None) => return None,
        };
        Some(KeptStructure::new(self.structures.find(email)?, preview))
    }

    /// The EmailId that it begins with.
    pub(super) fn first(&self) -> Option<EmailId> {
        self.structures.places.first().map(|(id, _)| EmailId(*id))
    }

    /// The room that it takes, in octets.
    pub(super) fn bytes(&self) -> usize {
        self.structures.bytes() + self.previews.as_ref().map_or(0, Pieces::bytes)
    }

    /// One of some structures.
    #[cfg(test)]
    pub(super) fn of(structures: &[(EmailId, &[u8])]) -> Self {
        Self { structures: Pieces::of(structures), previews: None }
    }

    /// The same with previews.
    #[cfg(test)]
    pub(super) fn with(self, previews: &[(EmailId, &[u8])]) -> Self {
        Self { previews: Some(Pieces::of(previews)), ..self }
    }

    /// All of it, to write it again.
    fn items(&self) -> Vec<Item> {
        let preview = |email| self.previews.as_ref().and_then(|previews| previews.find(email));
        let item = |(email, at): &(u64, Range<usize>)| Item {
            email: *email,
            structure: ByteVec::from(self.structures.octets[at.clone()].to_vec()),
            preview: preview(EmailId(*email)).map(|preview| preview.to_vec().into()),
        };
        self.structures.places.iter().map(item).collect()
    }
}

/// Octets of messages: an array of pairs.
#[derive(Debug, Default)]
struct Pieces {
    octets: Bytes,
    /// EmailIds, ascending, with the place of each one's octets in `octets`.
    places: Vec<(u64, Range<usize>)>,
}

impl Pieces {
    fn open(packed: &[u8], zstd: &mut Decompressor<'_>) -> Option<Self> {
        let size = get_frame_content_size(packed).ok()??;
        let capacity = usize::try_from(size).ok().filter(|size| *size <= BLOCK_BYTES_LIMIT)?;
        let octets = Bytes::from(zstd.decompress(packed, capacity).ok()?);
        let places = places(&octets).ok()?;
        Some(Self { octets, places })
    }

    fn find(&self, email: EmailId) -> Option<Bytes> {
        let found = self.places.iter().find(|(id, _)| *id == email.0)?;
        Some(self.octets.slice(found.1.clone()))
    }

    fn bytes(&self) -> usize {
        self.octets.len() + size_of_val(self.places.as_slice())
    }

    #[cfg(test)]
    fn of(pieces: &[(EmailId, &[u8])]) -> Self {
        let (mut octets, mut places) = (Vec::new(), Vec::new());
        for (email, piece) in pieces {
            places.push((email.0, octets.len()..octets.len() + piece.len()));
            octets.extend_from_slice(piece);
        }
        Self { octets: octets.into(), places }
    }
}

/// Where the pieces are.
fn places(octets: &[u8]) -> Result<Vec<(u64, Range<usize>)>, minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(octets);
    let count = decoder.array()?.unwrap_or_default();
    let mut items = Vec::new();
    for _ in 0..count {
        decoder.array()?;
        let (id, length) = (decoder.u64()?, decoder.bytes()?.len());
        let end = decoder.position();
        items.push((id, end - length..end));
    }
    Ok(items)
}

/// `None`: too large even compressed; such structures are found again in the message when they are asked for.
fn seal(account: AccountId, seq: u64, block: &[Item], zstd: &mut Compressor<'_>) -> Option<Operation> {
    let key = key(account, EmailId(block.first()?.email));
    let structures: Vec<_> = block.iter().map(|item| (item.email, &item.structure)).collect();
    let previews: Vec<_> =
        block.iter().filter_map(|item| Some((item.email, item.preview.as_ref()?))).collect();
    let mut packed = zstd.compress(&value::cbor(&structures)).ok()?;
    if !previews.is_empty() {
        packed.extend(zstd.compress(&value::cbor(&previews)).ok()?);
    }
    (packed.len() <= VALUE_BYTES_MAX).then(|| {
        let value = value::seal(&key, seq, &packed);
        (key, Some(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AccountId = AccountId(1);

    fn encoded(subject: &str, preview: Option<&str>) -> Arc<[u8]> {
        let mut structure = Structure::default();
        structure.envelope.subject = Some(subject.into());
        structure.preview = preview.map(Into::into);
        structure.encode().into()
    }

    fn open((key, value): &Operation, previews: Previews) -> Block {
        Block::open(key, value.as_ref().unwrap(), previews, &mut Decompressor::new().unwrap()).unwrap()
    }

    fn found(block: &Block, email: u64, previews: Previews) -> Option<(String, Option<String>)> {
        let kept = block.find(EmailId(email), previews)?;
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let subject = kept.envelope::<Vec<u8>>().unwrap().subject.unwrap();
        Some((text(&subject), kept.preview().map(text)))
    }

    #[test]
    fn previews_lie_behind_structures() {
        let new: Structures = [(10, Some("ten")), (11, None), (12, Some(""))]
            .map(|(email, preview)| (EmailId(email), encoded(&email.to_string(), preview)))
            .into();
        let put = put(None, ONE, 1, &new);
        let (left, read) = (open(&put[0], Previews::Unwanted), open(&put[0], Previews::Wanted));
        let is =
            |subject: &str, preview: Option<&str>| Some((subject.to_owned(), preview.map(str::to_owned)));
        assert_eq!(found(&left, 10, Previews::Unwanted), is("10", None));
        assert_eq!(found(&left, 10, Previews::Wanted), None, "they were not opened");
        assert_eq!(found(&read, 10, Previews::Unwanted), is("10", None));
        assert_eq!(found(&read, 10, Previews::Wanted), is("10", Some("ten")));
        assert_eq!(found(&read, 11, Previews::Wanted), is("11", None));
        assert_eq!(found(&read, 12, Previews::Wanted), is("12", Some("")));
        assert_eq!(found(&read, 13, Previews::Wanted), None);
        let kept = |email| read.find(EmailId(email), Previews::Wanted).unwrap().encoded();
        assert!(new.iter().all(|(email, octets)| kept(email.0) == octets[..]), "they come back as they were");
    }

    #[test]
    fn a_block_without_previews_goes_on() {
        let old: Structures = [(EmailId(1), encoded("1", None))].into();
        let first = put(None, ONE, 1, &old).remove(0);
        assert_eq!(found(&open(&first, Previews::Wanted), 1, Previews::Wanted), Some(("1".to_owned(), None)));
        let more: Structures = [(EmailId(2), encoded("2", Some("two")))].into();
        let (key, value) = first;
        let second = put(Some((key.clone(), value.unwrap())), ONE, 2, &more).remove(0);
        assert_eq!(second.0, key);
        let block = open(&second, Previews::Wanted);
        assert_eq!(found(&block, 1, Previews::Wanted), Some(("1".to_owned(), None)));
        assert_eq!(found(&block, 2, Previews::Wanted), Some(("2".to_owned(), Some("two".to_owned()))));
    }
}
