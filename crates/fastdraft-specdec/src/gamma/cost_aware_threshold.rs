//! Draft until the next token is not worth its time.

use super::{CostAware, GammaPolicy, StepReport};

/// What remains of earlier counts after a step. A threshold that moves with every step would stop
/// behind sure tokens now and then.
const MEMORY: f64 = 0.99;

/// A [`ConfidenceThreshold`](super::ConfidenceThreshold) that follows from measured times.
///
/// Another drafted token takes d seconds, and s more in the target's pass. It brings a token if it
/// and the one before it are accepted: with probability p · α, taking the draft's probability p of
/// the one before for its acceptance, and α, the running acceptance, for the next. A second is worth
/// R tokens, the running rate. So drafting goes on while p ≥ (d + s) · R / α, for at most as many
/// tokens as would be best if all were accepted as often as those behind which it went on.
///
/// Whether to draft at all is decided as by [`CostAware`], by the same measurements, with the same
/// rare probes while it does not pay. Needs a session with a [`Clock`](crate::Clock); without one it
/// stays at `start` tokens.
///
/// ```
/// use fastdraft_specdec::gamma::{CostAwareThreshold, GammaPolicy, StepReport};
/// let mut policy = CostAwareThreshold::new(2, 6);
/// assert_eq!((policy.gamma(), policy.threshold()), (2, None));
/// for (drafted, accepted) in [(2, 2), (0, 0), (2, 1), (3, 2)] {
///     let draft_seconds = 0.1 * drafted as f64;
///     policy.gamma();
///     policy.observe(&StepReport { drafted, accepted, draft_seconds, target_seconds: 1.0, ..StepReport::default() });
/// }
/// assert!(policy.gamma() > 2);
/// assert!(policy.threshold() < Some(0.4));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CostAwareThreshold {
    costs: CostAware,
    tokens: f64,
    seconds: f64,
    /// Accepted and judged of the tokens behind which drafting went on.
    sure: (f64, f64),
    max: usize,
    asked: usize,
}

impl CostAwareThreshold {
    /// Begins with `start` drafted tokens and never asks for more than `max`.
    #[must_use]
    pub fn new(start: usize, max: usize) -> Self {
        let max = max.max(1);
        Self {
            costs: CostAware::new(start, max).with_memory(MEMORY),
            tokens: 0.0,
            seconds: 0.0,
            // Worth two judged tokens, so that a few real ones outweigh it.
            sure: (1.6, 2.0),
            max,
            asked: 0,
        }
    }

    /// The probability of a drafted token below which drafting ends, once times are known.
    #[must_use]
    pub fn threshold(&self) -> Option<f64> {
        let token = self.costs.draft_seconds()? + self.costs.seconds_of_a_row(self.max)?;
        let rate = self.tokens / self.seconds;
        let threshold = token * rate / self.costs.acceptance();
        threshold.is_finite().then_some(threshold.min(1.0))
    }

    /// Whether it drafts at present.
    #[must_use]
    pub fn is_drafting(&self) -> bool {
        self.costs.is_drafting()
    }
}

impl GammaPolicy for CostAwareThreshold {
    fn gamma(&mut self) -> usize {
        let asked = self.costs.gamma();
        // A probe is one token long; otherwise the threshold decides.
        let longest = self.costs.best_at(self.sure.0 / self.sure.1);
        self.asked = match longest {
            Some(longest) if asked > 0 && self.costs.is_drafting() => longest.max(1),
            _ => asked,
        };
        self.asked
    }

    fn stop_below(&self) -> Option<f64> {
        self.threshold()
    }

    fn observe(&mut self, step: &StepReport) {
        self.costs.observe(step);
        let unsure = usize::from(step.drafted < self.asked);
        let sure = step.drafted.saturating_sub(unsure);
        if sure > 0 {
            let rejected = usize::from(step.accepted < step.drafted);
            let judged = sure.min(step.accepted + rejected);
            self.sure.0 = self.sure.0 * MEMORY + sure.min(step.accepted) as f64;
            self.sure.1 = self.sure.1 * MEMORY + judged as f64;
        }
        if !step.prefill {
            self.tokens = self.tokens * MEMORY + step.accepted as f64 + 1.0;
            self.seconds = self.seconds * MEMORY + step.draft_seconds + step.target_seconds;
        }
    }
}
