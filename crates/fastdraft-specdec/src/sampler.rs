//! Sampling through a transform.

use crate::softmax::weight_share;
use crate::{Distribution, TokenId, Transform, TransformError, Uniform};

/// Samples tokens from logits through the session's transform and random numbers.
///
/// A draft samples its tokens with this, so that the distribution it reports is the one it sampled
/// from. Greedy transforms draw no random number.
pub struct Sampler<'a> {
    transform: &'a Transform,
    rng: &'a mut dyn Uniform,
    watched: bool,
    confidence: Option<f64>,
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
        Self {
            transform,
            rng,
            watched: false,
            confidence: None,
        }
    }

    /// Has [`Self::confidence`] worked out for every sampled token.
    pub(crate) fn watched(self) -> Self {
        Self {
            watched: true,
            ..self
        }
    }

    /// What the logits of the last sampled token gave it at temperature 1, where the transform is
    /// greedy: its own distribution says 1 whatever the logits were. Asking forgets it.
    pub(crate) fn confidence(&mut self) -> Option<f64> {
        self.confidence.take()
    }

    /// Has [`Self::confidence`] say `confidence` of a token that came from no logits.
    pub(crate) fn set_confidence(&mut self, confidence: f64) {
        self.confidence = (self.watched && self.transform.is_greedy()).then_some(confidence);
    }

    fn note(&mut self, logits: &[f32], index: impl FnOnce() -> Option<usize>) {
        if self.watched && self.transform.is_greedy() {
            self.confidence = index().and_then(|index| weight_share(logits, index));
        }
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
        let token = self.draw(out)?;
        self.note(logits, || usize::try_from(token).ok());
        Ok(token)
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
        let token = self.draw(out)?;
        self.note(logits, || token_ids.iter().position(|&id| id == token));
        Ok(token)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededUniform;

    #[test]
    fn greedy_tokens_have_the_confidence_of_their_logits() {
        let (transform, mut rng) = (Transform::greedy(), SeededUniform::new(1));
        let mut out = Distribution::new();
        // More than a block of logits, of which 2 and 1 weigh twice and once as much as e⁻⁹.
        let mut logits = [f32::NEG_INFINITY; 100];
        (logits[70], logits[3]) = (core::f32::consts::LN_2 - 9.0, -9.0);
        let mut quiet = Sampler::new(&transform, &mut rng);
        assert_eq!(quiet.sample(&logits, &[], &mut out), Ok(70));
        assert_eq!(quiet.confidence(), None);
        let mut sampler = Sampler::new(&transform, &mut rng).watched();
        assert_eq!(sampler.sample(&logits, &[], &mut out), Ok(70));
        let found = sampler.confidence().unwrap_or_default();
        assert!((found - 2.0 / 3.0).abs() < 1e-6, "{found}");
        assert_eq!((out.probability(70), sampler.confidence()), (1.0, None));
        let ids = [7, 9];
        assert_eq!(
            sampler.sample_subset(&[0.0, 0.0], &ids, &[], &mut out),
            Ok(7)
        );
        assert_eq!(sampler.confidence(), Some(0.5));
    }

    #[test]
    fn above_temperature_0_the_distribution_tells() {
        let (transform, mut rng) = (Transform::default(), SeededUniform::new(1));
        let mut sampler = Sampler::new(&transform, &mut rng).watched();
        assert!(
            sampler
                .sample(&[0.0, 1.0], &[], &mut Distribution::new())
                .is_ok()
        );
        assert_eq!(sampler.confidence(), None);
    }
}
