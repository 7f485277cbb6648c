//! How many tokens to draft.

mod confidence;
mod cost_aware;
mod cost_aware_threshold;
mod heuristic;
mod policy;

pub use confidence::ConfidenceThreshold;
pub use cost_aware::CostAware;
pub use cost_aware_threshold::CostAwareThreshold;
pub use heuristic::Heuristic;
pub use policy::{Fixed, GammaPolicy, StepReport};

use crate::math::powi;

/// Tokens to draft when `remaining` more are wanted: min(γ, remaining − 1).
///
/// The target adds a token of its own in every pass, so drafting more could only be discarded.
///
/// ```
/// use fastdraft_specdec::gamma::step_gamma;
/// assert_eq!([10, 3, 1].map(|remaining| step_gamma(4, remaining)), [4, 2, 0]);
/// ```
#[must_use]
pub fn step_gamma(gamma: usize, remaining: usize) -> usize {
    gamma.min(remaining.saturating_sub(1))
}

/// Expected tokens per target pass, (1 − α^(γ+1)) / (1 − α), when each drafted token is accepted
/// with probability `alpha` independently (arXiv 2211.17192, equation 1).
///
/// ```
/// use fastdraft_specdec::gamma::expected_tokens;
/// assert_eq!(expected_tokens(0.5, 2), 1.0 + 0.5 + 0.25);
/// ```
#[must_use]
pub fn expected_tokens(alpha: f64, gamma: usize) -> f64 {
    let alpha = alpha.clamp(0.0, 1.0);
    if alpha > 1.0 - 1e-9 {
        return gamma as f64 + 1.0;
    }
    (1.0 - powi(alpha, gamma.saturating_add(1))) / (1.0 - alpha)
}

/// Expected speed-up over plain decoding, [`expected_tokens`] / (cγ + 1), when a draft pass costs
/// `c` target passes (arXiv 2211.17192, theorem 3.8).
///
/// ```
/// use fastdraft_specdec::gamma::expected_speedup;
/// assert_eq!(expected_speedup(0.5, 0.1, 2), 1.75 / 1.2);
/// ```
#[must_use]
pub fn expected_speedup(alpha: f64, c: f64, gamma: usize) -> f64 {
    expected_tokens(alpha, gamma) / (c * gamma as f64 + 1.0)
}

/// The γ up to `max` with the best [`expected_speedup`]; 0 when drafting cannot win.
///
/// ```
/// use fastdraft_specdec::gamma::best_gamma;
/// assert_eq!(best_gamma(0.1, 0.5, 8), 0);
/// assert!(best_gamma(0.8, 0.05, 8) > 2);
/// ```
#[must_use]
pub fn best_gamma(alpha: f64, c: f64, max: usize) -> usize {
    let mut best = (0, 1.0);
    for gamma in 1..=max {
        let speedup = expected_speedup(alpha, c, gamma);
        if speedup > best.1 {
            best = (gamma, speedup);
        }
    }
    best.0
}
