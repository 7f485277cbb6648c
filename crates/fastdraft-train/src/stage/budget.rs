//! When a stage ends.

use std::time::{Duration, Instant};

/// What a stage may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// Wall-clock time. Two runs do not take the same number of steps.
    Time(Duration),
    /// Optimizer steps. Two runs with equal seeds give equal weights on one machine.
    Steps(usize),
}

impl Budget {
    /// Fraction spent after `steps` steps since `start`; 1 or more ends the stage.
    pub(super) fn spent(self, start: Instant, steps: usize) -> f64 {
        match self {
            Self::Time(limit) => start.elapsed().as_secs_f64() / limit.as_secs_f64().max(1e-9),
            Self::Steps(limit) => steps as f64 / limit.max(1) as f64,
        }
    }
}
