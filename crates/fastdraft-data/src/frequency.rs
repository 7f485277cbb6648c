//! Which tokens a smaller vocabulary should keep.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// Counts tokens.
#[must_use]
pub fn count(ids: impl IntoIterator<Item = u32>) -> HashMap<u32, u64> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// The `n` most frequent tokens, in ascending order of id; of equally frequent ones the lower ids.
///
/// `always_keep` comes first: its ids are part of the `n`, and all of them are kept even if they
/// are more. Fewer than `n` come back if fewer occur.
///
/// ```
/// use fastdraft_data::frequency::top_n;
///
/// assert_eq!(top_n([7, 7, 7, 5, 5, 9], 3, &[0]), [0, 5, 7]);
/// ```
#[must_use]
pub fn top_n(ids: impl IntoIterator<Item = u32>, n: usize, always_keep: &[u32]) -> Vec<u32> {
    let mut kept: BTreeSet<u32> = always_keep.iter().copied().collect();
    let mut ranked: Vec<(Reverse<u64>, u32)> = count(ids)
        .into_iter()
        .map(|(id, count)| (Reverse(count), id))
        .collect();
    ranked.sort_unstable();
    for (_, id) in ranked {
        if kept.len() >= n {
            break;
        }
        kept.insert(id);
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_limits() {
        assert_eq!(top_n([4, 3, 2], 2, &[]), [2, 3]);
        assert_eq!(top_n([4, 4], 1, &[8, 9]), [8, 9]);
        assert_eq!(top_n([4, 4], 9, &[4, 4]), [4]);
        assert!(top_n([], 3, &[]).is_empty());
    }
}
