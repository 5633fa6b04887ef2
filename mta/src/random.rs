//! Chance: what spreads load and waits, and what nobody is to foresee.

use std::{fmt, sync::Arc};

/// A source of chance. Cheap to clone; clones draw from the same source. The default is the system's.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Random {
    /// Draws from another source: a seed repeats a simulation.
    pub fn new(source: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// 64 bits.
    pub(crate) fn next(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Random {
    /// Without randomness of the system it is always 0: a loss of balance, not of mail.
    fn default() -> Self {
        Self::new(|| getrandom::u64().unwrap_or(0))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_gives_other_numbers_each_time() {
        let random = Random::default();
        assert_ne!(random.next(), random.next());
        assert_eq!(Random::new(|| 7).clone().next(), 7);
    }
}
