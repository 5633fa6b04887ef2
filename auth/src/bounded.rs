//! Tables with a bound: what is worth least makes room.

use std::{collections::HashMap, hash::Hash};

/// Takes out the half of a table whose values are the lesser ones, and those that are as great as the greatest of them. It looks at all
/// of them: for tables that are seldom full.
pub(crate) fn keep_greater_half<K: Eq + Hash, V: Copy + Ord>(table: &mut HashMap<K, V>) {
    let mut values: Vec<V> = table.values().copied().collect();
    if values.is_empty() {
        return;
    }
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable(middle);
    let median = *median;
    table.retain(|_, value| *value > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greater_half_stays() {
        for (before, after) in [
            (&[][..], &[][..]),
            (&[1], &[]),
            (&[1, 2], &[]),
            (&[3, 1, 2], &[3]),
            (&[4, 1, 3, 2], &[4]),
            (&[5, 1, 1, 1], &[5]),
            (&[7; 8], &[]),
        ] {
            let mut table: HashMap<usize, u32> = before.iter().copied().enumerate().collect();
            keep_greater_half(&mut table);
            let mut left: Vec<u32> = table.into_values().collect();
            left.sort_unstable();
            assert_eq!(left, after, "{before:?}");
        }
    }
}
