//! Several corpora in fixed proportions.

use crate::hash::{mix, permute};
use crate::{DataError, Loader, Rank};

/// Which source each sample comes from.
///
/// The samples go in cycles as long as the sum of the weights. Each cycle takes exactly its
/// weight from every source, in an order that the seed shuffles.
///
/// ```
/// use fastdraft_data::Mixture;
///
/// let mixture = Mixture::new(&[2, 1], 42)?;
/// let code = (0..300).filter(|&sample| mixture.source_of(sample) == 0).count();
/// assert_eq!(code, 200);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixture {
    weights: Vec<u32>,
    total: u64,
    seed: u64,
}

impl Mixture {
    /// A mixture with these weights; a source of weight zero is never used.
    ///
    /// # Errors
    ///
    /// [`DataError::Mixture`] when no weight is above zero.
    pub fn new(weights: &[u32], seed: u64) -> Result<Self, DataError> {
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        if total == 0 {
            return Err(DataError::Mixture {
                weights: weights.to_vec(),
                rows: Vec::new(),
                reason: "no weight is above zero",
            });
        }
        Ok(Self {
            weights: weights.to_vec(),
            total,
            seed,
        })
    }

    /// The source of a sample, counted from 0 over the whole run.
    #[must_use]
    pub fn source_of(&self, sample: u64) -> usize {
        self.pick(sample).0
    }

    /// The source of a sample, and how many earlier cycles and slots that source has filled.
    fn pick(&self, sample: u64) -> (usize, u64) {
        let (cycle, place) = (sample / self.total, sample % self.total);
        let mut slot = permute(place, self.total, mix(self.seed ^ mix(cycle)));
        let mut source = 0;
        // Slots are below the sum of the weights.
        while slot >= u64::from(self.weights[source]) {
            slot -= u64::from(self.weights[source]);
            source += 1;
        }
        (source, cycle * u64::from(self.weights[source]) + slot)
    }
}

/// Batches from several packed corpora, a pure function of seed and step.
///
/// ```
/// use fastdraft_data::MixtureLoader;
///
/// let loader = MixtureLoader::new(&[100, 50], &[2, 1], 3, 42)?;
/// for (source, row) in loader.batch(7) {
///     assert!(row < [100, 50][source]);
/// }
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixtureLoader {
    mixture: Mixture,
    loaders: Vec<Loader>,
    batch: usize,
    rank: Rank,
}

impl MixtureLoader {
    /// A loader for sources with these numbers of rows.
    ///
    /// # Errors
    ///
    /// [`DataError::Mixture`] when there is not one weight a source, no weight is above zero, or
    /// a source that is used has no rows.
    pub fn new(
        rows: &[usize],
        weights: &[u32],
        batch: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let error = |reason| DataError::Mixture {
            weights: weights.to_vec(),
            rows: rows.to_vec(),
            reason,
        };
        if rows.len() != weights.len() {
            return Err(error("there must be one weight a source"));
        }
        if rows
            .iter()
            .zip(weights)
            .any(|(&rows, &weight)| rows == 0 && weight > 0)
        {
            return Err(error("a source with a weight has no rows"));
        }
        let mixture = Mixture::new(weights, seed)?;
        let loaders = (0..)
            .zip(rows)
            .map(|(source, &rows)| Loader::new(rows, batch, mix(seed.wrapping_add(source))))
            .collect();
        Ok(Self {
            mixture,
            loaders,
            batch,
            rank: Rank::ALONE,
        })
    }

    /// The loader of one worker; each step then takes `batch` samples for every worker.
    #[must_use]
    pub const fn for_rank(mut self, rank: Rank) -> Self {
        self.rank = rank;
        self
    }

    /// The samples of a step as source and row.
    ///
    /// No row of a source comes twice before all others of that source have come.
    #[must_use]
    pub fn batch(&self, step: usize) -> Vec<(usize, usize)> {
        self.rank
            .samples(step, self.batch)
            .map(|sample| {
                let (source, ordinal) = self.mixture.pick(sample);
                (source, self.loaders[source].row(ordinal))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn proportions_are_exact(weights in prop::collection::vec(0u32..9, 1..5), seed: u64) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let mixture = Mixture::new(&weights, seed).unwrap();
            let mut counts = vec![0; weights.len()];
            for sample in 0..4 * mixture.total {
                counts[mixture.source_of(sample)] += 1;
            }
            let expected: Vec<u32> = weights.iter().map(|weight| weight * 4).collect();
            prop_assert_eq!(counts, expected);
        }

        #[test]
        fn rows_do_not_repeat_within_whole_cycles(seed: u64) {
            let loader = MixtureLoader::new(&[6, 3], &[2, 1], 9, seed).unwrap();
            let mut batch = loader.batch(5);
            batch.sort_unstable();
            let all: Vec<_> = (0..6).map(|row| (0, row)).chain((0..3).map(|row| (1, row))).collect();
            prop_assert_eq!(batch, all);
        }
    }

    #[test]
    fn unusable_mixtures_are_errors() {
        assert!(Mixture::new(&[], 0).is_err());
        assert!(Mixture::new(&[0, 0], 0).is_err());
        assert!(MixtureLoader::new(&[1], &[1, 1], 1, 0).is_err());
        let error = MixtureLoader::new(&[4, 0], &[2, 1], 1, 0).unwrap_err();
        assert!(
            error.to_string().contains("[2, 1] for sources of [4, 0]"),
            "{error}"
        );
        assert!(MixtureLoader::new(&[4, 0], &[2, 0], 1, 0).is_ok());
    }
}
