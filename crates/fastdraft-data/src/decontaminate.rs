//! Keeping evaluation texts out of training texts.

use std::collections::HashSet;

use crate::hash::Fnv;

/// Finds texts that share a run of words with an evaluation text.
///
/// Words are compared without case and punctuation.
///
/// ```
/// use fastdraft_data::decontaminate::Decontaminator;
///
/// let mut filter = Decontaminator::new(4);
/// filter.add("The quick brown fox jumps over the lazy dog.");
/// assert!(filter.contaminated("He saw: the QUICK, brown fox!"));
/// assert!(!filter.contaminated("The quick and the brown fox"));
/// ```
#[derive(Debug, Clone)]
pub struct Decontaminator {
    n: usize,
    grams: HashSet<u64>,
    // A text shorter than a run is only compared as a whole.
    short: HashSet<u64>,
}

impl Decontaminator {
    /// A filter for runs of `n` words; 13 is usual. Zero counts as one.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self {
            n: n.max(1),
            grams: HashSet::new(),
            short: HashSet::new(),
        }
    }

    /// Adds an evaluation text.
    pub fn add(&mut self, text: &str) {
        self.add_items(&words(text));
    }

    /// Adds an evaluation text given as ids; compare it with ids only.
    pub fn add_ids(&mut self, ids: &[u32]) {
        self.add_items(&widen(ids));
    }

    /// Whether a text shares a run of words with, or is, an added text.
    #[must_use]
    pub fn contaminated(&self, text: &str) -> bool {
        self.contains(&words(text))
    }

    /// Whether ids share a run with, or are, added ids.
    #[must_use]
    pub fn contaminated_ids(&self, ids: &[u32]) -> bool {
        self.contains(&widen(ids))
    }

    fn add_items(&mut self, items: &[u64]) {
        if items.is_empty() {
            return;
        }
        if items.len() < self.n {
            self.short.insert(hash(items));
        } else {
            self.grams.extend(items.windows(self.n).map(hash));
        }
    }

    fn contains(&self, items: &[u64]) -> bool {
        if items.len() < self.n {
            return self.short.contains(&hash(items));
        }
        items
            .windows(self.n)
            .any(|run| self.grams.contains(&hash(run)))
    }
}

pub(crate) fn words(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            let mut hash = Fnv::new();
            hash.write(word.to_lowercase().as_bytes());
            hash.finish()
        })
        .collect()
}

fn widen(ids: &[u32]) -> Vec<u64> {
    ids.iter().map(|&id| u64::from(id)).collect()
}

fn hash(items: &[u64]) -> u64 {
    let mut hash = Fnv::new();
    for item in items {
        hash.write(&item.to_le_bytes());
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_match_only_whole() {
        let mut filter = Decontaminator::new(13);
        filter.add("Write a poem about rain.");
        assert!(filter.contaminated("write a poem about RAIN"));
        assert!(!filter.contaminated("Write a poem about rain and wind."));
        assert!(!filter.contaminated(""));
    }

    #[test]
    fn ids_match_by_runs() {
        let mut filter = Decontaminator::new(3);
        filter.add_ids(&[1, 2, 3, 4]);
        assert!(filter.contaminated_ids(&[9, 2, 3, 4, 9]));
        assert!(!filter.contaminated_ids(&[1, 2, 4, 3]));
    }
}
