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

    /// A mixture that shows every row of a source as often as `epochs` says, evenly over one cycle.
    ///
    /// Weights are rows times epochs, without their common divisor.
    ///
    /// ```
    /// use fastdraft_data::Mixture;
    ///
    /// // 300 rows twice and 100 rows four times: 3 to 2.
    /// let mixture = Mixture::from_epochs(&[300, 100], &[2, 4], 42)?;
    /// assert_eq!(mixture.weights(), [3, 2]);
    /// # Ok::<(), fastdraft_data::DataError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DataError::Mixture`] when there is not one number of epochs a source, nothing is ever seen,
    /// or a source would be seen more than 2³² times its share.
    pub fn from_epochs(rows: &[usize], epochs: &[u32], seed: u64) -> Result<Self, DataError> {
        let error = |reason| DataError::Mixture {
            weights: epochs.to_vec(),
            rows: rows.to_vec(),
            reason,
        };
        if rows.len() != epochs.len() {
            return Err(error("there must be one number of epochs a source"));
        }
        let seen: Vec<u64> = rows
            .iter()
            .zip(epochs)
            .map(|(&rows, &epochs)| (rows as u64).saturating_mul(u64::from(epochs)))
            .collect();
        let divisor = seen.iter().copied().fold(0, divisor).max(1);
        let weights: Option<Vec<u32>> = seen
            .iter()
            .map(|seen| u32::try_from(seen / divisor).ok())
            .collect();
        Self::new(&weights.ok_or_else(|| error("too many rows"))?, seed)
    }

    /// Samples of each source in a cycle.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
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

/// Greatest common divisor; that of 0 and `b` is `b`.
fn divisor(a: u64, b: u64) -> u64 {
    if a == 0 { b } else { divisor(b % a, a) }
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
        Ok(Self::of(Mixture::new(weights, seed)?, rows, batch, seed))
    }

    /// A loader that shows every row of a source as often as `epochs` says over the whole run;
    /// [`steps_for`](Self::steps_for) says how long that is.
    ///
    /// ```
    /// use fastdraft_data::MixtureLoader;
    ///
    /// let loader = MixtureLoader::from_epochs(&[4, 2], &[1, 3], 5, 42)?;
    /// let mut seen = [0; 2];
    /// for step in 0..loader.steps_for(10) {
    ///     for (source, _row) in loader.batch(step) {
    ///         seen[source] += 1;
    ///     }
    /// }
    /// assert_eq!(seen, [4, 6]);
    /// # Ok::<(), fastdraft_data::DataError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mixture::from_epochs`].
    pub fn from_epochs(
        rows: &[usize],
        epochs: &[u32],
        batch: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let mixture = Mixture::from_epochs(rows, epochs, seed)?;
        Ok(Self::of(mixture, rows, batch, seed))
    }

    fn of(mixture: Mixture, rows: &[usize], batch: usize, seed: u64) -> Self {
        let loaders = (0..)
            .zip(rows)
            .map(|(source, &rows)| Loader::new(rows, batch, mix(seed.wrapping_add(source))))
            .collect();
        Self {
            mixture,
            loaders,
            batch,
            rank: Rank::ALONE,
        }
    }

    /// Steps in which all workers together take so many samples, rounded up.
    #[must_use]
    pub const fn steps_for(&self, samples: u64) -> usize {
        let step = self.batch as u64 * self.rank.world() as u64;
        if step == 0 {
            return 0;
        }
        samples.div_ceil(step) as usize
    }

    /// How often each source has been seen whole after `steps` steps; exact where a cycle ends.
    ///
    /// A source without rows or weight has been seen 0 times.
    #[must_use]
    pub fn epochs(&self, steps: usize) -> Vec<f64> {
        let samples = steps as f64 * self.batch as f64 * self.rank.world() as f64;
        let share = samples / self.mixture.total as f64;
        (self.mixture.weights.iter().zip(&self.loaders))
            .map(|(&weight, loader)| match loader.rows() {
                0 => 0.0,
                rows => share * f64::from(weight) / rows as f64,
            })
            .collect()
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

    proptest! {
        #[test]
        fn every_row_as_often_as_its_epochs(
            sizes in prop::collection::vec((0usize..12, 0u32..4), 1..4),
            batch in 1usize..5,
            world in 1usize..8,
            seed: u64,
        ) {
            let (rows, epochs): (Vec<usize>, Vec<u32>) = sizes.into_iter().unzip();
            let samples: usize = rows.iter().zip(&epochs).map(|(rows, epochs)| rows * *epochs as usize).sum();
            prop_assume!(samples > 0);
            let loader = MixtureLoader::from_epochs(&rows, &epochs, batch, seed).unwrap();
            let ranks: Vec<MixtureLoader> = (0..world)
                .map(|rank| loader.clone().for_rank(Rank::new(rank, world).unwrap()))
                .collect();
            let steps = ranks[0].steps_for(samples as u64);
            let seen: Vec<(usize, usize)> = (0..steps)
                .flat_map(|step| ranks.iter().flat_map(move |loader| loader.batch(step)))
                .take(samples)
                .collect();
            for (source, (&rows, &epochs)) in rows.iter().zip(&epochs).enumerate() {
                for row in 0..rows {
                    let times = seen.iter().filter(|one| **one == (source, row)).count();
                    prop_assert_eq!(times, epochs as usize);
                }
            }
            let total: u64 = loader.mixture.total;
            for (found, (&rows, &epochs)) in loader.epochs(samples).into_iter().zip(rows.iter().zip(&epochs)) {
                let expected = if rows == 0 { 0.0 } else { f64::from(epochs) };
                // `samples` steps of `batch` samples are `batch` runs.
                prop_assert!((found - expected * batch as f64).abs() < 1e-9, "{total}");
            }
        }
    }

    #[test]
    fn epochs_without_rows_are_errors() {
        assert!(Mixture::from_epochs(&[3], &[1, 2], 0).is_err());
        assert!(Mixture::from_epochs(&[0, 3], &[5, 0], 0).is_err());
        let error = Mixture::from_epochs(&[usize::MAX, 3], &[1, 1], 0).unwrap_err();
        assert!(error.to_string().contains("too many rows"), "{error}");
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
