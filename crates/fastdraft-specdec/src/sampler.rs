//! Sampling through a transform.

use crate::{Distribution, TokenId, Transform, TransformError, Uniform};

/// Samples tokens from logits through the session's transform and random numbers.
///
/// A draft samples its tokens with this, so that the distribution it reports is the one it sampled
/// from. Greedy transforms draw no random number.
pub struct Sampler<'a> {
    transform: &'a Transform,
    rng: &'a mut dyn Uniform,
}

impl core::fmt::Debug for Sampler<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sampler")
            .field("transform", &self.transform)
            .finish_non_exhaustive()
    }
}

impl<'a> Sampler<'a> {
    /// Samples through `transform` with the numbers of `rng`.
    pub fn new(transform: &'a Transform, rng: &'a mut dyn Uniform) -> Self {
        Self { transform, rng }
    }

    /// The transform in use.
    #[must_use]
    pub fn transform(&self) -> &Transform {
        self.transform
    }

    /// Transforms `logits`, shape `[vocabulary]`, into `out` and samples a token from it.
    ///
    /// `history` is the context followed by the tokens drafted so far.
    ///
    /// # Errors
    /// As [`Transform::apply`], and when the random numbers are outside `[0, 1)`.
    pub fn sample(
        &mut self,
        logits: &[f32],
        history: &[TokenId],
        out: &mut Distribution,
    ) -> Result<TokenId, TransformError> {
        self.transform.apply(logits, history, out)?;
        self.draw(out)
    }

    /// As [`Sampler::sample`] when `logits[i]` belongs to target token `token_ids[i]`.
    ///
    /// # Errors
    /// As [`Transform::apply_subset`], and when the random numbers are outside `[0, 1)`.
    pub fn sample_subset(
        &mut self,
        logits: &[f32],
        token_ids: &[TokenId],
        history: &[TokenId],
        out: &mut Distribution,
    ) -> Result<TokenId, TransformError> {
        self.transform
            .apply_subset(logits, token_ids, history, out)?;
        self.draw(out)
    }

    /// Draws a token from `distribution`, the most likely one under a greedy transform.
    ///
    /// # Errors
    /// When the distribution is empty or the random numbers are outside `[0, 1)`.
    pub fn draw(&mut self, distribution: &Distribution) -> Result<TokenId, TransformError> {
        if distribution.is_empty() {
            return Err(TransformError::NoSupport);
        }
        if self.transform.is_greedy() {
            return distribution.argmax().ok_or(TransformError::NoSupport);
        }
        let value = self.rng.uniform();
        distribution
            .sample(value)
            .ok_or(TransformError::UniformOutOfRange { value })
    }
}
