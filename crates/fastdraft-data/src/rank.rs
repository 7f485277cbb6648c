//! One worker among several.

use crate::DataError;

/// Which of a run's workers this is.
///
/// A step's samples are dealt to the ranks in order: with batch `b`, rank `r` of `w` takes samples
/// `r * b` to `(r + 1) * b` of the `w * b` of a step.
///
/// ```
/// use fastdraft_data::{Loader, Rank};
///
/// let loader = Loader::new(12, 2, 42);
/// let mut epoch = Vec::new();
/// for rank in 0..3 {
///     let loader = loader.for_rank(Rank::new(rank, 3)?);
///     epoch.extend([loader.batch(0), loader.batch(1)].concat());
/// }
/// epoch.sort();
/// assert_eq!(epoch, (0..12).collect::<Vec<_>>());
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    rank: u32,
    world: u32,
}

impl Rank {
    /// The only worker.
    pub const ALONE: Self = Self { rank: 0, world: 1 };

    /// Worker `rank`, counted from 0, of `world`.
    ///
    /// # Errors
    ///
    /// [`DataError::Rank`] when there is no such worker.
    pub fn new(rank: usize, world: usize) -> Result<Self, DataError> {
        match (u32::try_from(rank), u32::try_from(world)) {
            (Ok(rank), Ok(world)) if rank < world => Ok(Self { rank, world }),
            _ => Err(DataError::Rank { rank, world }),
        }
    }

    /// The worker, counted from 0.
    #[must_use]
    pub const fn rank(self) -> usize {
        self.rank as usize
    }

    /// The number of workers.
    #[must_use]
    pub const fn world(self) -> usize {
        self.world as usize
    }

    /// The samples of this worker in a step, counted over the whole run.
    pub(crate) const fn samples(self, step: usize, batch: usize) -> std::ops::Range<u64> {
        let batch = batch as u64;
        let first = (step as u64 * self.world as u64 + self.rank as u64) * batch;
        first..first + batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_outside_the_world_are_errors() {
        assert!(Rank::new(0, 0).is_err());
        let error = Rank::new(3, 3).unwrap_err();
        assert_eq!(error.to_string(), "rank 3 is not below the world size 3");
        assert_eq!(Rank::new(0, 1).unwrap(), Rank::ALONE);
    }
}
