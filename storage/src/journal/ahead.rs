//! Zeros ahead of the end: small batches find their octets written.
//!
//! The first `fdatasync` of octets that were only allocated changes extents: the file system writes to its own journal, too, and the caller
//! waits for what others have in it, which takes as long as all the rest of a small batch. Octets that were written before, be it zeros, need
//! nothing of that. So the batch that reaches octets which were only allocated writes zeros far behind it with the same sync.
//! `docs/decisions/0012-zeros-ahead.md` has the measurements.

/// Octets in a batch, on average of late, up to which zeros cost no more octets than the file system's journal would.
const SMALL_BYTES: u64 = 20 * 1024;
/// The same for batches of one entry, one after the other: who comes alone waits for every sync.
const ALONE_BYTES: u64 = 128 * 1024;
/// Octets of zeros for batches of up to [`SMALL_BYTES`] on average, and for larger ones.
const REACH_BYTES: u64 = 256 * 1024;
const LONG_REACH_BYTES: u64 = 1024 * 1024;
/// A batch counts for this part of the average.
const WEIGHT: u64 = 32;

/// Decides how far ahead of the end zeros are written.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Whether the file system writes in place: on one that copies on write zeros save nothing, and what comes in their place needs room
    /// that was not reserved for it.
    in_place: bool,
    /// Octets in a batch, on average of late.
    usual: u64,
}

impl Ahead {
    pub(super) fn new(in_place: bool) -> Self {
        Self { in_place, usual: 0 }
    }

    /// Octets of zeros that a batch of so many octets writes behind it when it reaches the end of what was written. `alone`: whether entries
    /// come one by one of late.
    pub(super) fn reach(&mut self, octets: u64, alone: bool) -> u64 {
        self.usual = (self.usual * (WEIGHT - 1) + octets) / WEIGHT;
        match self.usual {
            _ if !self.in_place => 0,
            usual if usual <= SMALL_BYTES => REACH_BYTES,
            usual if alone && usual <= ALONE_BYTES => LONG_REACH_BYTES,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_and_lonely_entries_have_zeros_ahead_of_them() {
        let mut ahead = Ahead::new(true);
        assert_eq!(ahead.reach(5_000, false), REACH_BYTES);
        for _ in 0..100 {
            assert_eq!(ahead.reach(12_000, false), REACH_BYTES);
        }
        // Sixteen writers of 4 KiB, and eight.
        let reached: Vec<u64> = (0..100).map(|_| ahead.reach(37_000, false)).collect();
        assert_eq!((reached[0], reached[99]), (REACH_BYTES, 0));
        let reached: Vec<u64> = (0..100).map(|_| ahead.reach(16_000, false)).collect();
        assert_eq!((reached[0], reached[99]), (0, REACH_BYTES));
        for _ in 0..100 {
            ahead.reach(66_000, true);
        }
        assert_eq!((ahead.reach(66_000, true), ahead.reach(66_000, false)), (LONG_REACH_BYTES, 0));
        for _ in 0..100 {
            ahead.reach(1_000_000, true);
        }
        assert_eq!(ahead.reach(1_000, true), 0, "one small batch among large ones");
        assert_eq!(Ahead::new(false).reach(5_000, true), 0, "a file system that copies on write");
    }
}
