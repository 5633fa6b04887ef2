//! Structures of messages, 32 in a block, compressed. A message's copies share one, found by its EmailId.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use waypost_mail::{AccountId, EmailId};
use zstd::bulk::Decompressor;

use super::{
    Operation, VALUE_BYTES_MAX,
    value::{self, Value},
};

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
    let mut blocks: Vec<Vec<(u64, ByteVec)>> = Vec::new();
    if let Some((key, octets)) = last {
        let zstd = Decompressor::new().ok();
        let open = zstd.and_then(|mut zstd| Block::open(&key, &octets, &mut zstd)).map(Block::into_items);
        blocks.extend(open.filter(|block| block.len() < BLOCK_STRUCTURES_MAX));
    }
    for (email, structure) in new {
        let size = |block: &Vec<(u64, ByteVec)>| block.iter().map(|(_, octets)| octets.len()).sum::<usize>();
        let fits = |block: &Vec<_>| {
            block.len() < BLOCK_STRUCTURES_MAX && size(block) + structure.len() <= BLOCK_BYTES_MAX
        };
        let item = (email.0, ByteVec::from(structure.to_vec()));
        match blocks.last_mut().filter(|block| fits(block)) {
            Some(block) if block.iter().any(|(known, _)| *known == email.0) => {}
            Some(block) => block.push(item),
            None => blocks.push(vec![item]),
        }
    }
    blocks.iter().filter_map(|block| seal(account, seq, block)).collect()
}

/// A block, decompressed.
#[derive(Debug)]
pub(super) struct Block {
    octets: Bytes,
    /// EmailIds, ascending, with the place of each structure in `octets`.
    items: Vec<(u64, Range<usize>)>,
}

impl Block {
    /// `None`: damaged.
    pub(super) fn open(key: &[u8], octets: &[u8], zstd: &mut Decompressor<'_>) -> Option<Self> {
        let packed = Value::open(key, octets)?.payload;
        let size = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
        let capacity = usize::try_from(size).ok().filter(|size| *size <= BLOCK_BYTES_LIMIT)?;
        let octets = Bytes::from(zstd.decompress(packed, capacity).ok()?);
        let items = places(&octets).ok()?;
        Some(Self { octets, items })
    }

    /// The structure of one message.
    pub(super) fn find(&self, email: EmailId) -> Option<Bytes> {
        let found = self.items.iter().find(|(id, _)| *id == email.0)?;
        Some(self.octets.slice(found.1.clone()))
    }

    /// The EmailId that it begins with.
    pub(super) fn first(&self) -> Option<EmailId> {
        self.items.first().map(|(id, _)| EmailId(*id))
    }

    /// The room that it takes, in octets.
    pub(super) fn bytes(&self) -> usize {
        self.octets.len() + size_of_val(self.items.as_slice())
    }

    /// One of some structures.
    #[cfg(test)]
    pub(super) fn of(structures: &[(EmailId, &[u8])]) -> Self {
        let (mut octets, mut items) = (Vec::new(), Vec::new());
        for (email, structure) in structures {
            items.push((email.0, octets.len()..octets.len() + structure.len()));
            octets.extend_from_slice(structure);
        }
        Self { octets: octets.into(), items }
    }

    /// All structures, to write them again.
    fn into_items(self) -> Vec<(u64, ByteVec)> {
        let item = |(id, at): &(u64, Range<usize>)| (*id, ByteVec::from(self.octets[at.clone()].to_vec()));
        self.items.iter().map(item).collect()
    }
}

/// Where the structures are in a block: it is an array of pairs.
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
fn seal(account: AccountId, seq: u64, block: &Vec<(u64, ByteVec)>) -> Option<Operation> {
    let key = key(account, EmailId(block.first()?.0));
    let packed = zstd::bulk::compress(&value::cbor(block), COMPRESSION_LEVEL).ok()?;
    (packed.len() <= VALUE_BYTES_MAX).then(|| {
        let value = value::seal(&key, seq, &packed);
        (key, Some(value))
    })
}
