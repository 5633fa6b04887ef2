//! Secrets that were verified, for a few minutes.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::bounded;

/// How long a secret that was verified is believed.
const BELIEVED: Duration = Duration::from_secs(300);
/// Most secrets.
const SECRETS_MAX: usize = 10_000;

/// Tags of secrets, with the time of their verification: keyed hashes, from which nothing is to be learnt.
#[derive(Debug, Default)]
pub(super) struct Verified {
    tags: HashMap<[u8; 32], Instant>,
}

impl Verified {
    pub(super) fn contains(&self, tag: &[u8; 32]) -> bool {
        self.tags.get(tag).is_some_and(|since| since.elapsed() < BELIEVED)
    }

    pub(super) fn insert(&mut self, tag: [u8; 32]) {
        if self.tags.len() >= SECRETS_MAX {
            self.make_room();
        }
        self.tags.insert(tag, Instant::now());
    }

    /// What is too old goes, or the older half of all: seldom, so it need not be fast.
    fn make_room(&mut self) {
        self.tags.retain(|_, since| since.elapsed() < BELIEVED);
        if self.tags.len() >= SECRETS_MAX {
            bounded::keep_greater_half(&mut self.tags);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: usize) -> [u8; 32] {
        let mut tag = [0; 32];
        tag[..8].copy_from_slice(&number.to_le_bytes());
        tag
    }

    #[tokio::test(start_paused = true)]
    async fn secrets_are_believed_for_a_while_and_their_number_is_bounded() {
        let mut verified = Verified::default();
        verified.insert(tag(1));
        tokio::time::advance(BELIEVED - Duration::from_millis(1)).await;
        assert!(verified.contains(&tag(1)) && !verified.contains(&tag(2)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!verified.contains(&tag(1)));
        for number in 0..3 * SECRETS_MAX {
            verified.insert(tag(number));
            assert!(verified.contains(&tag(number)) && verified.tags.len() <= SECRETS_MAX);
            if number % 1000 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        assert!(verified.contains(&tag(3 * SECRETS_MAX - 2000)), "the youngest stay");
    }
}
