//! When a stage ends.

use std::time::Duration;

use super::StageState;

/// What a stage may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// Wall-clock time. Two runs do not take the same number of steps.
    Time(Duration),
    /// Optimizer steps. Two runs with equal seeds give equal weights on one machine.
    Steps(usize),
    /// Input tokens. The step that passes the limit is the last.
    Tokens(u64),
}

impl Budget {
    /// Fraction spent; 1 or more ends the stage.
    pub(crate) fn spent(self, state: &StageState) -> f64 {
        match self {
            Self::Time(limit) => state.seconds / limit.as_secs_f64().max(1e-9),
            Self::Steps(limit) => state.step as f64 / limit.max(1) as f64,
            Self::Tokens(limit) => state.tokens as f64 / limit.max(1) as f64,
        }
    }
}
