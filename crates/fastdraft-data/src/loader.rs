//! Which rows make up each training step.

use crate::Rank;
use crate::hash::{mix, permute};

/// Shuffled batches of row numbers, a pure function of seed and step.
///
/// Nothing needs to be saved to go on after an interruption except the step.
///
/// ```
/// use fastdraft_data::Loader;
///
/// let loader = Loader::new(10, 5, 42);
/// let mut epoch = [loader.batch(0), loader.batch(1)].concat();
/// epoch.sort();
/// assert_eq!(epoch, (0..10).collect::<Vec<_>>());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loader {
    rows: usize,
    batch: usize,
    seed: u64,
    rank: Rank,
}

impl Loader {
    /// A loader of `rows` rows, `batch` a step. Without rows all batches are empty.
    #[must_use]
    pub const fn new(rows: usize, batch: usize, seed: u64) -> Self {
        Self {
            rows,
            batch,
            seed,
            rank: Rank::ALONE,
        }
    }

    /// The loader of one worker; each step then takes `batch` rows for every worker.
    ///
    /// All workers together see each row once an epoch.
    #[must_use]
    pub const fn for_rank(mut self, rank: Rank) -> Self {
        self.rank = rank;
        self
    }

    /// The rows of a step. Where an epoch ends inside a batch, the next one begins there.
    #[must_use]
    pub fn batch(&self, step: usize) -> Vec<usize> {
        if self.rows == 0 {
            return Vec::new();
        }
        self.rank
            .samples(step, self.batch)
            .map(|sample| self.row(sample))
            .collect()
    }

    /// The number of rows.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// The row of a sample, counted over all epochs.
    pub(crate) const fn row(&self, sample: u64) -> usize {
        let rows = self.rows as u64;
        let key = mix(self.seed ^ mix(sample / rows));
        permute(sample % rows, rows, key) as usize
    }

    /// Steps until every row has been seen, rounded up.
    #[must_use]
    pub const fn steps_per_epoch(&self) -> usize {
        if self.batch == 0 {
            return 0;
        }
        self.rows.div_ceil(self.batch * self.rank.world())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_once_an_epoch(rows in 1usize..200, batch in 1usize..40, seed: u64) {
            let loader = Loader::new(rows, batch, seed);
            let samples: Vec<usize> = (0..3 * loader.steps_per_epoch())
                .flat_map(|step| loader.batch(step))
                .collect();
            for epoch in samples.chunks_exact(rows) {
                let mut epoch = epoch.to_vec();
                epoch.sort_unstable();
                prop_assert_eq!(epoch, (0..rows).collect::<Vec<_>>());
            }
        }

        #[test]
        fn workers_share_every_epoch(
            rows in 1usize..120,
            batch in 1usize..9,
            world in 1usize..8,
            seed: u64,
        ) {
            let loaders: Vec<Loader> = (0..world)
                .map(|rank| Loader::new(rows, batch, seed).for_rank(Rank::new(rank, world).unwrap()))
                .collect();
            let samples: Vec<usize> = (0..3 * loaders[0].steps_per_epoch())
                .flat_map(|step| loaders.iter().flat_map(move |loader| loader.batch(step)))
                .collect();
            prop_assert!(samples.len() >= 3 * rows);
            for epoch in samples.chunks_exact(rows) {
                let mut epoch = epoch.to_vec();
                epoch.sort_unstable();
                prop_assert_eq!(epoch, (0..rows).collect::<Vec<_>>());
            }
            // The same global batch, whatever the number of workers.
            let alone = Loader::new(rows, batch * world, seed);
            prop_assert_eq!(&samples[..batch * world], alone.batch(0));
        }

        #[test]
        fn a_step_does_not_depend_on_earlier_ones(step in 0usize..10_000, seed: u64) {
            let loader = Loader::new(77, 8, seed);
            prop_assert_eq!(loader.batch(step), Loader::new(77, 8, seed).batch(step));
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let loader = Loader::new(100, 100, 1);
        assert_ne!(loader.batch(0), loader.batch(1));
        assert_ne!(loader.batch(0), Loader::new(100, 100, 2).batch(0));
        assert!(Loader::new(0, 4, 1).batch(3).is_empty());
    }
}
