//! MinHash: how much two texts have in common, from a few hundred bytes of each.

use crate::hash::mix;

/// Numbers in a signature.
pub(super) const PERMUTATIONS: usize = 128;
/// Parts of a signature that are looked up as a whole.
pub(super) const BANDS: usize = 16;
const ROWS: usize = PERMUTATIONS / BANDS;
/// Words in a run; texts are compared as sets of runs.
const RUN: usize = 5;

/// The lowest hash of a text's word runs under each of 128 hash functions (Broder, "On the
/// resemblance and containment of documents", 1997).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    // The upper halves: two that differ in the lower half only are equal once in 65,536 times.
    values: [u16; PERMUTATIONS],
    bands: [u64; BANDS],
}

impl Signature {
    /// The signature of a text's words, each given as a hash; none without words.
    pub(super) fn of(words: &[u64]) -> Option<Self> {
        if words.is_empty() {
            return None;
        }
        let mut least = [u32::MAX; PERMUTATIONS];
        for run in runs(words) {
            for (least, (factor, summand)) in least.iter_mut().zip(&FUNCTIONS) {
                let hash = (run.wrapping_mul(*factor).wrapping_add(*summand) >> 32) as u32;
                *least = (*least).min(hash);
            }
        }
        let mut bands = [0; BANDS];
        for (band, rows) in bands.iter_mut().zip(least.chunks_exact(ROWS)) {
            *band = rows.iter().fold(0, |hash, &row| mix(hash ^ u64::from(row)));
        }
        Some(Self {
            values: least.map(|value| (mix(u64::from(value)) >> 48) as u16),
            bands,
        })
    }

    pub(super) const fn bands(&self) -> &[u64; BANDS] {
        &self.bands
    }

    pub(super) const fn values(&self) -> &[u16; PERMUTATIONS] {
        &self.values
    }
}

/// Share of equal numbers, which estimates the Jaccard index of the two sets of runs.
pub(super) fn similarity(a: &[u16; PERMUTATIONS], b: &[u16; PERMUTATIONS]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / PERMUTATIONS as f64
}

/// Hashes of all runs of words; of a shorter text the whole is one run.
fn runs(words: &[u64]) -> impl Iterator<Item = u64> + '_ {
    words
        .windows(RUN.min(words.len()))
        .map(|run| run.iter().fold(0, |hash, &word| mix(hash ^ word)))
}

/// Odd factors and summands of multiply-add-shift hashing.
const FUNCTIONS: [(u64, u64); PERMUTATIONS] = {
    let mut functions = [(0, 0); PERMUTATIONS];
    let mut index = 0;
    while index < PERMUTATIONS {
        let seed = index as u64 * 2;
        functions[index] = (mix(seed) | 1, mix(seed + 1));
        index += 1;
    }
    functions
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The Jaccard index itself.
    fn jaccard(a: &[u64], b: &[u64]) -> f64 {
        let (a, b): (HashSet<u64>, HashSet<u64>) = (runs(a).collect(), runs(b).collect());
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn the_estimate_is_near_the_jaccard_index() {
        let mut squares = 0.0;
        for trial in 0..200u64 {
            let text = |keep: u64| -> Vec<u64> {
                (0..400)
                    .map(|i| mix(trial << 32 | if i < keep { i } else { i + 1000 * (keep + 1) }))
                    .collect()
            };
            let (a, b) = (text(400), text(trial * 2));
            let estimate = similarity(
                Signature::of(&a).unwrap().values(),
                Signature::of(&b).unwrap().values(),
            );
            let error = estimate - jaccard(&a, &b);
            // Five standard deviations at the worst place, one half.
            assert!(error.abs() < 5.0 * (0.25f64 / 128.0).sqrt(), "{error}");
            squares += error * error;
        }
        // The mean square over evenly spread similarities is below that of one half.
        assert!(squares / 200.0 < 0.25 / 128.0, "{squares}");
    }

    #[test]
    fn signatures_are_stable() {
        let words: Vec<u64> = (0..9).collect();
        let signature = Signature::of(&words).unwrap();
        assert_eq!(signature.values()[..3], STABLE_VALUES);
        assert_eq!(signature.bands()[0], STABLE_BAND);
        assert_eq!(Signature::of(&[]), None);
    }

    const STABLE_VALUES: [u16; 3] = [4692, 56638, 30991];
    const STABLE_BAND: u64 = 263_604_473_637_518_517;
}
