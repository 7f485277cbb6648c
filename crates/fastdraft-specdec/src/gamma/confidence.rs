//! Draft until the draft is unsure.

use super::GammaPolicy;

/// Up to `max` tokens, ending behind the first that the draft gave less than `threshold`.
///
/// The counterpart of `assistant_confidence_threshold` in transformers. The draft is asked for one
/// token at a time.
///
/// ```
/// use fastdraft_specdec::gamma::{ConfidenceThreshold, GammaPolicy};
/// let mut policy = ConfidenceThreshold { max: 8, threshold: 0.4 };
/// assert_eq!((policy.gamma(), policy.stop_below()), (8, Some(0.4)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfidenceThreshold {
    /// Most tokens to draft.
    pub max: usize,
    /// Probability of a drafted token below which drafting ends.
    pub threshold: f64,
}

impl GammaPolicy for ConfidenceThreshold {
    fn gamma(&mut self) -> usize {
        self.max
    }

    fn stop_below(&self) -> Option<f64> {
        Some(self.threshold)
    }
}
