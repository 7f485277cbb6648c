//! Two more after a full block, one fewer after a rejection.

use super::{GammaPolicy, StepReport};

/// The `heuristic` schedule of assisted generation in transformers: +2 when every drafted token was
/// accepted, else −1 down to 1, starting at `start` and never above `max`.
///
/// ```
/// use fastdraft_specdec::gamma::{GammaPolicy, Heuristic, StepReport};
/// let mut policy = Heuristic::new(5, 20);
/// policy.observe(&StepReport { drafted: 5, accepted: 5, ..StepReport::default() });
/// assert_eq!(policy.gamma(), 7);
/// policy.observe(&StepReport { drafted: 7, accepted: 2, ..StepReport::default() });
/// assert_eq!(policy.gamma(), 6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    gamma: usize,
    max: usize,
}

impl Heuristic {
    /// Starts at `start` tokens and stays within 1 and `max`.
    #[must_use]
    pub fn new(start: usize, max: usize) -> Self {
        let max = max.max(1);
        Self {
            gamma: start.clamp(1, max),
            max,
        }
    }
}

impl GammaPolicy for Heuristic {
    fn gamma(&mut self) -> usize {
        self.gamma
    }

    fn observe(&mut self, step: &StepReport) {
        // A step that was cut short by the draft or the end of the output says nothing about γ.
        if step.accepted < step.drafted {
            self.gamma = self.gamma.saturating_sub(1).max(1);
        } else if step.drafted >= self.gamma {
            self.gamma = self.gamma.saturating_add(2).min(self.max);
        }
    }
}
