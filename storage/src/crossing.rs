//! Messages on their way from one account to another while what is needed is searched for.
//!
//! The search ([`crate::compaction`]) reads one account after the other. A message that goes from one that it has not read yet to
//! one that it has read would be found in neither: it is noted here before it goes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{content::Content, shared::locked};

/// What goes from account to account.
#[derive(Debug, Default)]
pub(crate) struct Crossings(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    next: u64,
    /// What is on its way.
    open: HashMap<u64, Vec<Content>>,
    /// Searches that run.
    searches: usize,
    /// What arrived since the first of them began.
    arrived: Vec<Content>,
}

/// Messages are on their way while it lives.
#[derive(Debug)]
pub(crate) struct Crossing {
    noted: Arc<Mutex<Noted>>,
    number: u64,
}

/// A search runs while it lives.
#[derive(Debug)]
pub(crate) struct Watched(Arc<Mutex<Noted>>);

impl Crossings {
    /// Messages set out.
    pub(crate) fn enter(&self, contents: Vec<Content>) -> Crossing {
        let mut noted = locked(&self.0);
        let number = noted.next;
        noted.next += 1;
        noted.open.insert(number, contents);
        Crossing { noted: Arc::clone(&self.0), number }
    }

    /// A search begins.
    pub(crate) fn watch(&self) -> Watched {
        locked(&self.0).searches += 1;
        Watched(Arc::clone(&self.0))
    }
}

impl Watched {
    /// All that was on its way since the search began.
    pub(crate) fn contents(&self) -> Vec<Content> {
        let noted = locked(&self.0);
        noted.open.values().flatten().chain(&noted.arrived).cloned().collect()
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        let mut noted = locked(&self.noted);
        let contents = noted.open.remove(&self.number).unwrap_or_default();
        if noted.searches > 0 {
            noted.arrived.extend(contents);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut noted = locked(&self.0);
        noted.searches -= 1;
        if noted.searches == 0 {
            noted.arrived.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::BodyPlace;

    fn content(segment: u64) -> Content {
        Content {
            segment,
            area_at: 0,
            area_bytes: 0,
            prefix: (0, 0),
            header: (0, 0),
            body: BodyPlace::Area(0),
            body_bytes: 0,
        }
    }

    #[test]
    fn a_search_knows_what_crossed_while_it_ran() {
        let crossings = Crossings::default();
        let over = crossings.enter(vec![content(1)]);
        drop(over);
        let before = crossings.enter(vec![content(2)]);
        let watched = crossings.watch();
        let during = crossings.enter(vec![content(3)]);
        drop((before, during));
        let open = crossings.enter(vec![content(4)]);
        let mut found: Vec<u64> = watched.contents().iter().map(|content| content.segment).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
        drop((watched, open));
        assert!(crossings.watch().contents().is_empty());
    }
}
