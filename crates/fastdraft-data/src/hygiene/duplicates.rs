//! Which texts were seen before, in memory that does not grow with the corpus.

use std::collections::{HashSet, VecDeque};

use sha2::{Digest, Sha256};

use super::minhash::{BANDS, PERMUTATIONS, Signature, similarity};
use crate::decontaminate::words;

/// Entries of a chain that are looked at; boilerplate makes chains long.
const LONGEST_CHAIN: usize = 64;

/// What counts as a duplicate, and how far back it is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct DuplicateConfig {
    /// Jaccard index of the runs of five words from which two texts are near-duplicates; above 1
    /// only equal texts are found.
    pub threshold: f64,
    /// Texts that are remembered for comparing whole, about 64 bytes each.
    pub exact_window: usize,
    /// Texts that are remembered for comparing by runs, about 450 bytes each.
    pub near_window: usize,
}

impl Default for DuplicateConfig {
    /// Threshold 0.8, the last 1,048,576 texts whole and the last 131,072 by runs: about 130 MB.
    fn default() -> Self {
        Self {
            threshold: 0.8,
            exact_window: 1 << 20,
            near_window: 1 << 17,
        }
    }
}

/// What one text looks like to the index; made on any thread.
#[derive(Debug)]
pub(super) struct Print {
    digest: u128,
    signature: Option<Signature>,
}

impl Print {
    pub(super) fn of(text: &str, config: &DuplicateConfig) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let mut head = [0; 16];
        head.copy_from_slice(&digest[..16]);
        let near = config.threshold <= 1.0 && config.near_window > 0;
        Self {
            digest: u128::from_le_bytes(head),
            signature: near.then(|| Signature::of(&words(text))).flatten(),
        }
    }
}

/// How a text was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    No,
    Exact,
    Near,
}

/// The texts that were kept last.
///
/// Near-duplicates are found by locality-sensitive hashing: 16 bands of 8 numbers, candidates
/// confirmed by the whole signature. Chains of texts that share a band are kept like those of a
/// sliding-window compressor: what has left the window is never followed.
#[derive(Debug)]
pub(super) struct Duplicates {
    config: DuplicateConfig,
    digests: HashSet<u128>,
    order: VecDeque<u128>,
    signatures: Vec<[u16; PERMUTATIONS]>,
    // For text `n` and band `b`, the number of the text before it in the chain, plus one.
    before: Vec<[u64; BANDS]>,
    heads: Vec<u64>,
    kept: u64,
}

impl Duplicates {
    pub(super) fn new(config: DuplicateConfig) -> Self {
        let slots = config.near_window.next_power_of_two();
        Self {
            digests: HashSet::new(),
            order: VecDeque::new(),
            signatures: Vec::new(),
            before: Vec::new(),
            heads: vec![0; slots * BANDS],
            kept: 0,
            config,
        }
    }

    /// Looks a text up and remembers it if it is new.
    pub(super) fn admit(&mut self, print: &Print) -> Seen {
        if self.digests.contains(&print.digest) {
            return Seen::Exact;
        }
        if let Some(signature) = &print.signature {
            if self.near(signature) {
                return Seen::Near;
            }
            self.remember(signature);
        }
        if self.config.exact_window > 0 {
            if self.order.len() >= self.config.exact_window
                && let Some(oldest) = self.order.pop_front()
            {
                self.digests.remove(&oldest);
            }
            self.order.push_back(print.digest);
            self.digests.insert(print.digest);
        }
        Seen::No
    }

    fn head(&self, band: usize, hash: u64) -> usize {
        let slots = self.heads.len() / BANDS;
        band * slots + (hash as usize & (slots - 1))
    }

    fn near(&self, signature: &Signature) -> bool {
        let window = self.config.near_window as u64;
        for (band, &hash) in signature.bands().iter().enumerate() {
            let mut next = self.heads[self.head(band, hash)];
            for _ in 0..LONGEST_CHAIN {
                // Numbers only fall along a chain, so what follows is older still.
                if next == 0 || next + window <= self.kept {
                    break;
                }
                let slot = ((next - 1) % window) as usize;
                if similarity(&self.signatures[slot], signature.values()) >= self.config.threshold {
                    return true;
                }
                next = self.before[slot][band];
            }
        }
        false
    }

    fn remember(&mut self, signature: &Signature) {
        let slot = (self.kept % self.config.near_window as u64) as usize;
        self.kept += 1;
        let mut before = [0; BANDS];
        for (band, &hash) in signature.bands().iter().enumerate() {
            let head = self.head(band, hash);
            before[band] = std::mem::replace(&mut self.heads[head], self.kept);
        }
        if slot == self.signatures.len() {
            self.signatures.push(*signature.values());
            self.before.push(before);
        } else {
            self.signatures[slot] = *signature.values();
            self.before[slot] = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;

    fn admit(index: &mut Duplicates, text: &str) -> Seen {
        let print = Print::of(text, &index.config.clone());
        index.admit(&print)
    }

    fn text(seed: u64, words: u64, changed: u64) -> String {
        let word = |i: u64| {
            format!(
                "w{}",
                mix(seed << 40 | i << 1 | u64::from(i < changed)) % 5000
            )
        };
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn equal_texts_and_texts_with_other_case_and_signs() {
        let mut index = Duplicates::new(DuplicateConfig::default());
        let text = text(1, 40, 0);
        assert_eq!(admit(&mut index, &text), Seen::No);
        assert_eq!(admit(&mut index, &text), Seen::Exact);
        assert_eq!(
            admit(&mut index, &text.to_uppercase().replace(' ', ", ")),
            Seen::Near
        );
        for signs in ["", "...", "?!"] {
            assert_eq!(admit(&mut index, signs), Seen::No);
            assert_eq!(admit(&mut index, signs), Seen::Exact);
        }
    }

    fn runs(text: &str) -> HashSet<Vec<u64>> {
        words(text).windows(5).map(<[u64]>::to_vec).collect()
    }

    #[test]
    fn verdicts_agree_with_comparing_every_pair() {
        let mut index = Duplicates::new(DuplicateConfig::default());
        let mut kept: Vec<HashSet<Vec<u64>>> = Vec::new();
        let (mut near, mut doubtful) = (0, 0);
        for i in 0..450u64 {
            // A third of the texts are versions of earlier ones, more or less changed.
            let version = if i % 2 == 0 { i % 7 } else { 20 + i % 40 };
            let new = match i % 3 {
                2 => text(i - 2, 150, version),
                _ => text(i, 150, 0),
            };
            let own = runs(&new);
            let most = kept
                .iter()
                .map(|old| own.intersection(old).count())
                .map(|both| both as f64 / (2 * own.len() - both) as f64)
                .fold(0.0, f64::max);
            let seen = admit(&mut index, &new);
            // Four standard deviations of the estimate around the threshold say nothing.
            if most > 0.93 {
                assert_ne!(seen, Seen::No, "{most}");
                near += 1;
            } else if most < 0.66 {
                assert_eq!(seen, Seen::No, "{most}");
            } else {
                doubtful += 1;
            }
            if seen == Seen::No {
                kept.push(own);
            }
        }
        assert!(near > 30 && doubtful < 90, "{near} {doubtful}");
    }

    #[test]
    fn what_left_the_windows_is_forgotten() {
        let config = DuplicateConfig {
            exact_window: 4,
            near_window: 4,
            ..DuplicateConfig::default()
        };
        let mut index = Duplicates::new(config);
        let texts: Vec<String> = (0..50).map(|i| text(i, 30, 0)).collect();
        for (i, new) in texts.iter().enumerate() {
            assert_eq!(admit(&mut index, new), Seen::No);
            for (back, old) in texts[..i].iter().rev().take(3).enumerate() {
                assert_eq!(admit(&mut index, old), Seen::Exact, "{back} back at {i}");
                assert_eq!(
                    admit(&mut index, &format!("{old}.")),
                    Seen::Near,
                    "{back} back at {i}"
                );
            }
        }
        assert_eq!(admit(&mut index, &texts[10]), Seen::No);
        assert!(index.order.len() == 4 && index.digests.len() == 4 && index.signatures.len() == 4);
    }

    #[test]
    fn either_search_can_be_off() {
        let none = DuplicateConfig {
            exact_window: 0,
            near_window: 0,
            threshold: 0.8,
        };
        let exact = DuplicateConfig {
            threshold: 2.0,
            ..DuplicateConfig::default()
        };
        let (mut none, mut exact) = (Duplicates::new(none), Duplicates::new(exact));
        for expected in [(Seen::No, Seen::No), (Seen::No, Seen::Exact)] {
            assert_eq!(
                (admit(&mut none, "a b"), admit(&mut exact, "a b")),
                expected
            );
        }
        assert_eq!(admit(&mut exact, "a b."), Seen::No);
    }
}
