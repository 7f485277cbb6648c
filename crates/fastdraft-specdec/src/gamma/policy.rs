//! What decides how many tokens to draft, and the policy that always decides the same.

use alloc::boxed::Box;

/// What a step did and how long it took, for a [`GammaPolicy`] to learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepReport {
    /// Whether this was the first step, which also reads the prompt.
    pub prefill: bool,
    /// Tokens drafted.
    pub drafted: usize,
    /// How many of them were accepted.
    pub accepted: usize,
    /// Seconds the draft took by the session's [`Clock`](crate::Clock); 0 without one.
    pub draft_seconds: f64,
    /// Seconds the target took.
    pub target_seconds: f64,
}

/// Decides before each step how many tokens to draft.
///
/// A policy may look at tokens already drafted and at steps already taken, never at the token that a
/// draft is about to sample, so every policy keeps the output lossless.
pub trait GammaPolicy {
    /// Tokens to draft in the next step; the session lowers this near the end of the output.
    fn gamma(&mut self) -> usize;

    /// Drafting goes on token by token only while each has at least this probability; `None` drafts
    /// all of them in one call.
    ///
    /// At temperature 0, where a draft is certain of every token, the probability is that of the
    /// logits at temperature 1, if the draft samples by [`Sampler::sample`](crate::Sampler::sample)
    /// or [`sample_subset`](crate::Sampler::sample_subset).
    ///
    /// The token that fell below stays in the proposal: dropping it would bias the output.
    fn stop_below(&self) -> Option<f64> {
        None
    }

    /// Takes note of a finished step.
    fn observe(&mut self, step: &StepReport) {
        let _ = step;
    }
}

impl<P: GammaPolicy + ?Sized> GammaPolicy for &mut P {
    fn gamma(&mut self) -> usize {
        (**self).gamma()
    }

    fn stop_below(&self) -> Option<f64> {
        (**self).stop_below()
    }

    fn observe(&mut self, step: &StepReport) {
        (**self).observe(step);
    }
}

impl<P: GammaPolicy + ?Sized> GammaPolicy for Box<P> {
    fn gamma(&mut self) -> usize {
        (**self).gamma()
    }

    fn stop_below(&self) -> Option<f64> {
        (**self).stop_below()
    }

    fn observe(&mut self, step: &StepReport) {
        (**self).observe(step);
    }
}

/// The same number of tokens in every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed(pub usize);

impl GammaPolicy for Fixed {
    fn gamma(&mut self) -> usize {
        self.0
    }
}
