//! Packed entries by name, many of them in one allocation.
//!
//! A page holds the entries from its key up to the next page's key, each as the difference of its name to the key, its length and
//! its octets. One of a million entries takes its octets and some ten more: in an allocation of its own, in a map, it would be
//! seventy. Pages that are copied are shared until they change.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use waypost_mail::EntryId;

use super::{
    QueueEntry,
    entries::{Packed, unpacked},
};
use crate::{leb128, record::EntryPart};

/// Octets of a page of more than one entry, at most.
const PAGE_BYTES_MAX: usize = 4096;
/// How many octets a page grows by at a time.
const GROWTH_BYTES: usize = 128;

/// Entries in ascending order of their names. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    pages: BTreeMap<EntryId, Arc<Vec<u8>>>,
    len: usize,
}

/// An entry in a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot<'a> {
    pub(crate) id: EntryId,
    octets: &'a [u8],
}

impl Slot<'_> {
    /// The entry as records hold it.
    pub(crate) fn part(&self) -> EntryPart {
        unpacked(self.id, self.octets)
    }

    /// The entry.
    pub(crate) fn entry(&self) -> QueueEntry {
        self.part().into_entry()
    }
}

impl Pages {
    /// Puts an entry in, in place of the one that has its name, if one does.
    pub(crate) fn insert(&mut self, packed: &Packed) {
        let (id, octets) = (packed.id(), packed.octets());
        let key = self.pages.range(..=id).next_back().map_or(id, |(key, _)| *key);
        let page = Arc::make_mut(self.pages.entry(key).or_default());
        let (place, is_there) = place(key, page, id);
        let slot = slot(key, id, octets);
        let more = slot.len().saturating_sub(place.len());
        if page.capacity() - page.len() < more {
            page.reserve_exact(more + GROWTH_BYTES);
        }
        drop(page.splice(place, slot));
        self.len += usize::from(!is_there);
        self.split(key);
    }

    /// Takes an entry out; whether it was there.
    pub(crate) fn remove(&mut self, id: EntryId) -> bool {
        let Some((key, page)) = self.pages.range_mut(..=id).next_back() else { return false };
        let (key, (place, is_there)) = (*key, place(*key, page, id));
        if !is_there {
            return false;
        }
        self.len -= 1;
        if place.len() == page.len() {
            self.pages.remove(&key);
            return true;
        }
        let page = Arc::make_mut(page);
        page.drain(place);
        if page.capacity() > 2 * page.len() + GROWTH_BYTES {
            page.shrink_to(page.len() + GROWTH_BYTES);
        }
        true
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<Packed> {
        let slot = self.slot(id)?;
        Some(Packed::copied(id, slot.octets))
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.slot(id).is_some()
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The entries behind a name, or all.
    pub(crate) fn behind(&self, after: Option<EntryId>) -> impl Iterator<Item = Slot<'_>> {
        let page = |id| self.pages.range(..=id).next_back().map(|(key, _)| *key);
        let first = after.and_then(page).unwrap_or(EntryId(0));
        let all = self.pages.range(first..).flat_map(|(key, page)| slots(*key, page));
        all.map(|(_, slot)| slot).skip_while(move |slot| after.is_some_and(|after| slot.id <= after))
    }

    /// The name of the last entry.
    pub(crate) fn last(&self) -> Option<EntryId> {
        let (key, page) = self.pages.last_key_value()?;
        slots(*key, page).last().map(|(_, slot)| slot.id)
    }

    fn slot(&self, id: EntryId) -> Option<Slot<'_>> {
        let (key, page) = self.pages.range(..=id).next_back()?;
        let mut slots = slots(*key, page).map(|(_, slot)| slot).skip_while(|slot| slot.id < id);
        slots.next().filter(|slot| slot.id == id)
    }

    /// Makes more pages of one that is too long, unless it has one entry.
    fn split(&mut self, key: EntryId) {
        let Some(page) = self.pages.get_mut(&key).filter(|page| page.len() > PAGE_BYTES_MAX) else { return };
        let middle =
            slots(key, page).skip(1).take_while(|(place, _)| place.start <= PAGE_BYTES_MAX / 2).last();
        let middle = middle.or_else(|| slots(key, page).nth(1));
        let Some((Range { start, .. }, Slot { id: second, .. })) = middle else { return };
        let mut upper = Vec::with_capacity(page.len() - start);
        for (_, Slot { id, octets }) in slots(key, page).skip_while(|(place, _)| place.start < start) {
            upper.extend(slot(second, id, octets));
        }
        let page = Arc::make_mut(page);
        page.truncate(start);
        page.shrink_to_fit();
        self.pages.insert(second, Arc::new(upper));
        self.split(key);
        self.split(second);
    }
}

impl PartialEq for Pages {
    /// The same entries, whatever pages they stand in.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.behind(None).eq(other.behind(None))
    }
}

/// An entry as it stands in the page of a key.
fn slot(key: EntryId, id: EntryId, octets: &[u8]) -> Vec<u8> {
    let mut slot = Vec::with_capacity(octets.len() + 12);
    leb128::write(&mut slot, id.0 - key.0);
    leb128::write(&mut slot, octets.len() as u64);
    slot.extend_from_slice(octets);
    slot
}

/// The entries of a page, with where they stand.
fn slots(key: EntryId, page: &[u8]) -> impl Iterator<Item = (Range<usize>, Slot<'_>)> {
    let mut rest = page;
    std::iter::from_fn(move || {
        let start = page.len() - rest.len();
        let id = EntryId(key.0.wrapping_add(leb128::read(&mut rest)?));
        let length = usize::try_from(leb128::read(&mut rest)?).ok()?;
        let (octets, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some((start..page.len() - rest.len(), Slot { id, octets }))
    })
}

/// Where an entry stands in a page, or would, and whether it is there.
fn place(key: EntryId, page: &[u8], id: EntryId) -> (Range<usize>, bool) {
    let mut from = slots(key, page).skip_while(|(_, slot)| slot.id < id);
    match from.next() {
        Some((place, slot)) if slot.id == id => (place, true),
        Some((place, _)) => (place.start..place.start, false),
        None => (page.len()..page.len(), false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::entries::tests::entry, *};

    /// An entry of about so many octets.
    fn packed(id: u64, bytes: usize) -> Packed {
        let held = super::super::Held { at: waypost_mail::Timestamp(0), why: "x".repeat(bytes) };
        Packed::new(&QueueEntry { held: Some(held), ..entry(id, 0) })
    }

    proptest! {
        #[test]
        fn pages_are_a_map(
            changes in proptest::collection::vec((0_u64..200, any::<u32>(), proptest::option::of(0_usize..600)), 0..400),
            spread in 0_u32..56,
            after in 0_u64..200,
        ) {
            let (mut pages, mut map) = (Pages::default(), BTreeMap::new());
            let mut earlier = None;
            for (number, (id, rare, bytes)) in changes.into_iter().enumerate() {
                let id = EntryId(id << spread);
                match bytes {
                    Some(bytes) => {
                        let bytes = if rare % 50 == 0 { bytes * 20 } else { bytes };
                        let packed = packed(id.0, bytes);
                        pages.insert(&packed);
                        map.insert(id, packed.entry());
                    }
                    None => prop_assert_eq!(pages.remove(id), map.remove(&id).is_some()),
                }
                if number == 100 {
                    earlier = Some((pages.clone(), map.clone()));
                }
                prop_assert_eq!(pages.len(), map.len());
                prop_assert_eq!(pages.get(id).map(|packed| packed.entry()), map.get(&id).cloned());
            }
            let all = |pages: &Pages, after| pages.behind(after).map(|slot| slot.entry()).collect::<Vec<_>>();
            prop_assert_eq!(all(&pages, None), map.values().cloned().collect::<Vec<_>>());
            let after = EntryId(after << spread);
            let behind = map.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
            prop_assert_eq!(all(&pages, Some(after)), behind.map(|(_, entry)| entry.clone()).collect::<Vec<_>>());
            prop_assert_eq!(pages.last(), map.keys().next_back().copied());
            for (key, page) in &pages.pages {
                prop_assert!(page.len() <= PAGE_BYTES_MAX || slots(*key, page).count() == 1);
            }
            if let Some((pages, map)) = earlier {
                prop_assert_eq!(all(&pages, None), map.into_values().collect::<Vec<_>>(), "a copy stays as it was");
            }
        }
    }

    #[test]
    fn an_entry_takes_little_more_than_its_octets() {
        let mut pages = Pages::default();
        let millisecond = 1 << 22;
        // nearly in order, as they become durable
        (0..10_000).for_each(|number: u64| pages.insert(&packed((number ^ 3) * millisecond / 4, 50)));
        let octets: usize = pages.behind(None).map(|slot| slot.octets.len()).sum();
        // of a page: its allocations, their sizes, the map
        let whole: usize = pages.pages.values().map(|page| page.capacity() + 100).sum();
        assert!(whole - octets < 15 * 10_000, "{octets} octets take {whole}");
        (0..10_000).filter(|number| number % 4 > 0).for_each(|number: u64| {
            assert!(pages.remove((EntryId((number ^ 3) * millisecond / 4)).to_owned()));
        });
        let left: usize = pages.pages.values().map(|page| page.capacity() + 100).sum();
        assert!(3 * left < 2 * whole, "{left} of {whole} are left");
    }
}
