//! Blocks of structures that were read lately: what clients show again and again needs neither sled nor decompression, nor a thread
//! that may wait for the disk. A structure never changes, so what is kept is right for ever.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use waypost_mail::{AccountId, EmailId};

use super::structures::Block;
use crate::{
    shared::locked,
    structure::{KeptStructure, Previews},
};

/// Most octets that are kept of all accounts.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages read at once from which on a block is not kept: whoever reads a whole mailbox does not come again soon.
pub(crate) const LATELY_MESSAGES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By account and the first EmailId.
    blocks: BTreeMap<(AccountId, EmailId), Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    block: Arc<Block>,
    used: u64,
}

impl Blocks {
    /// The structure of a message, where its block is kept with what is wanted of it.
    pub(crate) fn find(
        &self,
        account: AccountId,
        email: EmailId,
        previews: Previews,
    ) -> Option<KeptStructure> {
        let mut kept = locked(&self.0);
        kept.clock += 1;
        let clock = kept.clock;
        let before = kept.blocks.range_mut((account, EmailId(0))..=(account, email));
        let (_, entry) = before.last()?;
        let found = entry.block.find(email, previews)?;
        entry.used = clock;
        Some(found)
    }

    /// Keeps a block; those that were not used for the longest time go.
    pub(super) fn keep(&self, account: AccountId, block: Arc<Block>) {
        let (Some(first), bytes) = (block.first(), block.bytes()) else { return };
        let mut kept = locked(&self.0);
        kept.clock += 1;
        let entry = Entry { block, used: kept.clock };
        kept.bytes += bytes;
        if let Some(replaced) = kept.blocks.insert((account, first), entry) {
            kept.bytes -= replaced.block.bytes();
        }
        while kept.bytes > BYTES_MAX {
            let oldest = kept.blocks.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(name, _)| *name) else { return };
            if let Some(gone) = kept.blocks.remove(&oldest) {
                kept.bytes -= gone.block.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AccountId = AccountId(1);

    fn block(first: u64, structures: &[&[u8]]) -> Arc<Block> {
        let items = (first..).zip(structures.iter().copied());
        Arc::new(Block::of(&items.map(|(email, octets)| (EmailId(email), octets)).collect::<Vec<_>>()))
    }

    fn has(blocks: &Blocks, email: u64) -> bool {
        blocks.find(ONE, EmailId(email), Previews::Unwanted).is_some()
    }

    #[test]
    fn structures_are_found_by_account_and_message() {
        let blocks = Blocks::default();
        blocks.keep(ONE, block(10, &[b"ten", b"eleven"]));
        blocks.keep(ONE, block(20, &[b"twenty"]));
        let found = |account, email| {
            Some(blocks.find(account, EmailId(email), Previews::Unwanted)?.octets().to_vec())
        };
        assert_eq!(found(ONE, 11).as_deref(), Some(&b"eleven"[..]));
        assert_eq!(found(ONE, 20).as_deref(), Some(&b"twenty"[..]));
        assert_eq!(
            [found(ONE, 9), found(ONE, 12), found(ONE, 21), found(AccountId(2), 10)],
            [const { None }; 4]
        );
        // a block that has grown since takes the place of what it was
        blocks.keep(ONE, block(20, &[b"twenty", b"more"]));
        assert_eq!(found(ONE, 21).as_deref(), Some(&b"more"[..]));
        assert_eq!(locked(&blocks.0).blocks.len(), 2);
    }

    #[test]
    fn a_block_serves_those_who_want_no_more_than_it_has() {
        let blocks = Blocks::default();
        let preview = |email| {
            let kept = blocks.find(ONE, EmailId(email), Previews::Wanted)?;
            Some(kept.preview().map(<[u8]>::to_vec))
        };
        blocks.keep(ONE, block(10, &[b"ten", b"eleven"]));
        assert_eq!(preview(10), None, "it was opened without its previews");
        let opened = Block::of(&[(EmailId(10), b"ten"), (EmailId(11), b"eleven")]);
        blocks.keep(ONE, Arc::new(opened.with(&[(EmailId(10), b"words")])));
        assert_eq!((preview(10), preview(11)), (Some(Some(b"words".to_vec())), Some(None)));
        assert!(blocks.find(ONE, EmailId(10), Previews::Unwanted).is_some());
    }

    #[test]
    fn what_was_not_used_goes_first() {
        let (blocks, large) = (Blocks::default(), vec![7; BYTES_MAX / 4]);
        for first in [10, 20, 30] {
            blocks.keep(ONE, block(first, &[&large]));
        }
        assert!(has(&blocks, 10));
        blocks.keep(ONE, block(40, &[&large]));
        let left = [10, 20, 30, 40].map(|email| has(&blocks, email));
        assert_eq!(left, [true, false, true, true]);
        assert!(locked(&blocks.0).bytes <= BYTES_MAX);
        blocks.keep(ONE, block(50, &[&vec![7; 2 * BYTES_MAX]]));
        let kept = locked(&blocks.0);
        assert_eq!((kept.bytes, kept.blocks.len()), (0, 0), "what is too large is not kept");
    }
}
