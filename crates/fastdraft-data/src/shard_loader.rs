//! Batches from shards.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::shard::ShardSet;
use crate::{DataError, MixtureLoader, PackedTokens, Rank};

/// Batches from one or more folders of shards, a pure function of seed and step.
///
/// Nothing needs to be saved to go on after an interruption except the step. Clones share the
/// mapped files.
///
/// ```no_run
/// use fastdraft_data::{Rank, ShardLoader};
/// use fastdraft_data::shard::ShardSet;
///
/// let code = ShardSet::open("data/code", 0xfeed)?;
/// let text = ShardSet::open("data/text", 0xfeed)?;
/// let loader = ShardLoader::mixture(vec![code, text], &[2, 1], 8, 42)?.for_rank(Rank::new(0, 2)?);
/// for (step, batch) in (1000..2000).zip(loader.prefetch(1000, 4)) {
///     let batch = batch?;
///     println!("step {step}: {} rows", batch.rows());
/// }
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ShardLoader {
    sets: Arc<[ShardSet]>,
    order: MixtureLoader,
    sequence_length: usize,
}

impl ShardLoader {
    /// A loader of `batch` rows a step from one folder.
    ///
    /// # Errors
    ///
    /// [`DataError::Mixture`] when there are no rows.
    pub fn new(set: ShardSet, batch: usize, seed: u64) -> Result<Self, DataError> {
        Self::mixture(vec![set], &[1], batch, seed)
    }

    /// A loader of `batch` rows a step from several folders in these proportions.
    ///
    /// # Errors
    ///
    /// [`DataError::Mixture`] as [`MixtureLoader::new`], or when the rows of the folders differ in
    /// length.
    pub fn mixture(
        sets: Vec<ShardSet>,
        weights: &[u32],
        batch: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let order = MixtureLoader::new(&row_counts(&sets), weights, batch, seed)?;
        Self::of(sets, order, weights)
    }

    /// A loader of `batch` rows a step that shows every row of a folder as often as `epochs` says.
    ///
    /// # Errors
    ///
    /// As [`ShardLoader::mixture`], with [`MixtureLoader::from_epochs`] for the order.
    pub fn from_epochs(
        sets: Vec<ShardSet>,
        epochs: &[u32],
        batch: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let order = MixtureLoader::from_epochs(&row_counts(&sets), epochs, batch, seed)?;
        Self::of(sets, order, epochs)
    }

    fn of(sets: Vec<ShardSet>, order: MixtureLoader, shares: &[u32]) -> Result<Self, DataError> {
        let sequence_length = sets.first().map_or(0, ShardSet::sequence_length);
        if sets
            .iter()
            .any(|set| set.sequence_length() != sequence_length)
        {
            return Err(DataError::Mixture {
                weights: shares.to_vec(),
                rows: row_counts(&sets),
                reason: "the sources have rows of different lengths",
            });
        }
        Ok(Self {
            sets: sets.into(),
            order,
            sequence_length,
        })
    }

    /// The loader of one worker; each step then takes `batch` rows for every worker.
    #[must_use]
    pub fn for_rank(mut self, rank: Rank) -> Self {
        self.order = self.order.for_rank(rank);
        self
    }

    /// How often each folder has been seen whole after `steps` steps.
    #[must_use]
    pub fn epochs(&self, steps: usize) -> Vec<f64> {
        self.order.epochs(steps)
    }

    /// Source and row of every sample of a step.
    #[must_use]
    pub fn rows(&self, step: usize) -> Vec<(usize, usize)> {
        self.order.batch(step)
    }

    /// The rows of a step.
    ///
    /// # Errors
    ///
    /// [`DataError::ShardDamaged`] or [`DataError::ShardFormat`] when a block it needs is bad.
    pub fn batch(&self, step: usize) -> Result<PackedTokens, DataError> {
        let mut batch = PackedTokens::empty(self.sequence_length);
        for (source, row) in self.rows(step) {
            self.sets[source].append(row as u64, &mut batch)?;
        }
        Ok(batch)
    }

    /// The batches from `step` on, with up to `depth` of them read ahead by a thread.
    #[must_use]
    pub fn prefetch(&self, step: usize, depth: usize) -> Prefetch {
        let loader = self.clone();
        let (sender, receiver) = sync_channel(depth.max(1));
        let thread = std::thread::spawn(move || {
            for step in step.. {
                // The other end hangs up when it has seen enough.
                if sender.send(loader.batch(step)).is_err() {
                    return;
                }
            }
        });
        Prefetch {
            receiver: Some(receiver),
            thread: Some(thread),
        }
    }
}

fn row_counts(sets: &[ShardSet]) -> Vec<usize> {
    sets.iter()
        .map(|set| usize::try_from(set.rows()).unwrap_or(usize::MAX))
        .collect()
}

/// Endless batches, read ahead by a thread that ends with this.
#[derive(Debug)]
pub struct Prefetch {
    receiver: Option<Receiver<Result<PackedTokens, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Iterator for Prefetch {
    type Item = Result<PackedTokens, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
