//! A draft interpolated with what followed earlier repetitions.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use super::SuffixLookup;
use crate::{Distribution, Draft, Proposal, Sampler, TokenId, TransformError};

/// The weight of the repetition by the length of the repeated ending, the last for longer ones.
///
/// Fitted on text of SmolLM2-135M-Instruct; see `docs/adr/0022`.
const WEIGHTS: [f64; 8] = [0.0, 0.0, 0.2, 0.7, 0.75, 0.9, 0.95, 1.0];

/// From this weight on the other draft is not asked, since its answer would hardly count.
const SURE: f64 = 0.9;

/// Draws each token from `(1 − λ) q + λ r`: what another draft says, `q`, and the token that
/// followed the longest ending of the context that occurred before, `r`.
///
/// λ grows with the length of that ending. A summary copies names and half-sentences that a small
/// draft cannot say, and says the rest in its own words; [`Cascade`](crate::Cascade) takes a whole
/// block from one of the two, this decides for every token. The form is that of a cache language
/// model (Kuhn & De Mori 1990). Where λ is at least .9, or at temperature 0 above ½, the other draft
/// is not asked; where it proposes nothing, a repetition of any weight is proposed. Verification compares with
/// the distribution that the token was drawn from, so the output is lossless.
///
/// ```
/// use fastdraft_specdec::mock::{MockDraft, Table};
/// use fastdraft_specdec::{Draft, Interpolated, Proposal, Sampler, SeededUniform, Transform};
/// let (transform, mut rng) = (Transform::default(), SeededUniform::new(0));
/// let mut out = Proposal::new();
/// let mut draft = Interpolated::new(MockDraft::new(Table::new(16, 1, 3)));
/// let context = [5, 6, 7, 8, 5, 6];
/// draft.propose(&context, 1, &mut Sampler::new(&transform, &mut rng), &mut out)?;
/// assert!(out.distributions()[0].probability(7) > 0.2);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interpolated<D> {
    lookup: SuffixLookup,
    draft: D,
    weights: Vec<f64>,
    /// The context and what was drafted behind it.
    history: Vec<TokenId>,
    single: Proposal,
    distribution: Distribution,
}

impl<D> Interpolated<D> {
    /// `draft` with weights that were fitted on text of SmolLM2-135M-Instruct.
    #[must_use]
    pub fn new(draft: D) -> Self {
        Self::with_weights(draft, &WEIGHTS)
    }

    /// `draft` with the weights λ of repeated endings of 0, 1, 2, … tokens; the last stands for
    /// longer ones too. From .9 on the draft is not asked. What is not between 0 and 1 is brought there, what is no number counts as 0.
    #[must_use]
    pub fn with_weights(draft: D, weights: &[f64]) -> Self {
        let weights = (weights.iter().copied()).map(|weight| match weight.is_nan() {
            true => 0.0,
            false => weight.clamp(0.0, 1.0),
        });
        Self {
            lookup: SuffixLookup::default(),
            draft,
            weights: weights.collect(),
            history: Vec::new(),
            single: Proposal::new(),
            distribution: Distribution::new(),
        }
    }

    /// Appends a repeated token as certain.
    fn copy(&mut self, token: TokenId, weight: f64, sampler: &mut Sampler<'_>, out: &mut Proposal) {
        out.push_certain(token);
        sampler.set_confidence(weight);
        self.history.push(token);
    }

    /// The token that followed the longest repeated ending, with its weight.
    fn repetition(&mut self) -> (Option<TokenId>, f64) {
        let (length, end) = self.lookup.repeated(&self.history);
        let longest = self.weights.len().saturating_sub(1);
        let weight = self.weights.get(length.min(longest)).copied();
        let token = self.history.get(end).copied();
        (token, token.and(weight).unwrap_or(0.0))
    }
}

impl<D: Draft> Interpolated<D> {
    /// Appends one more token to `out`, false when there is none.
    fn draft_one(
        &mut self,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<bool, InterpolatedError<D::Error>> {
        let (repeated, weight) = self.repetition();
        let is_sure = weight >= SURE || (sampler.transform().is_greedy() && weight > 0.5);
        if let Some(token) = repeated.filter(|_| is_sure) {
            self.copy(token, weight, sampler, out);
            return Ok(true);
        }
        self.single.clear();
        let history = &self.history;
        self.draft
            .propose(history, 1, sampler, &mut self.single)
            .map_err(InterpolatedError::Draft)?;
        let Some((own, distribution)) = self.single.first() else {
            let copied = repeated.filter(|_| weight > 0.0);
            if let Some(token) = copied {
                self.copy(token, weight, sampler, out);
            }
            return Ok(copied.is_some());
        };
        let token = match repeated.filter(|_| weight > 0.0 && !sampler.transform().is_greedy()) {
            Some(repeated) => {
                self.distribution.clone_from(distribution);
                self.distribution.interpolate(repeated, weight);
                let token = sampler
                    .draw(&self.distribution)
                    .map_err(InterpolatedError::Transform)?;
                out.push(token, &self.distribution);
                // What the draft may have cached is its own token, not this one.
                if token != own {
                    self.draft
                        .truncate(history.len())
                        .map_err(InterpolatedError::Draft)?;
                }
                token
            }
            None => {
                out.push(own, distribution);
                own
            }
        };
        self.history.push(token);
        Ok(true)
    }
}

impl<D: Draft> Draft for Interpolated<D>
where
    D::Error: 'static,
{
    type Error = InterpolatedError<D::Error>;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        self.history.clear();
        self.history.extend_from_slice(context);
        for _ in 0..gamma {
            if !self.draft_one(sampler, out)? {
                break;
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        let Ok(()) = self.lookup.truncate(len);
        self.draft.truncate(len).map_err(InterpolatedError::Draft)
    }
}

/// What can go wrong in an [`Interpolated`] draft.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InterpolatedError<E> {
    /// The other draft failed.
    Draft(E),
    /// Sampling failed.
    Transform(TransformError),
}

impl<E: fmt::Display> fmt::Display for InterpolatedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draft(error) => write!(f, "{error}"),
            Self::Transform(error) => write!(f, "{error}"),
        }
    }
}

impl<E: Error + 'static> Error for InterpolatedError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Draft(error) => Some(error),
            Self::Transform(error) => Some(error),
        }
    }
}
