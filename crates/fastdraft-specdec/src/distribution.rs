//! Probability distributions over tokens, dense or sparse.

use alloc::vec::Vec;

use crate::candidates::Candidates;
use crate::{DistributionError, TokenId, cumulative};

/// How far the sum of probabilities may be from 1.
const SUM_TOLERANCE: f64 = 1e-6;

/// Work space of a transform, kept here so that a reused distribution allocates nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    /// Tokens that may survive truncation.
    pub(crate) candidates: Candidates,
    /// Logits with their tokens, to be sorted.
    pub(crate) pairs: Vec<(TokenId, f32)>,
    /// Logits with penalties, biases and masks applied.
    pub(crate) row: Vec<f32>,
    /// The ids of `row`, or a sorted history.
    pub(crate) ids: Vec<TokenId>,
    /// Another list of tokens.
    pub(crate) tokens: Vec<TokenId>,
    /// The largest logit of each block of the row.
    pub(crate) blocks: Vec<f32>,
    /// Block maxima to select from, or block masses.
    pub(crate) maxima: Vec<f32>,
    /// Weights to select from.
    pub(crate) weights: Vec<f64>,
}

/// A probability distribution over tokens: the support in ascending token order.
///
/// Tokens outside the support have probability 0. A new distribution is empty and assigns
/// probability 0 to everything; [`Transform::apply`](crate::Transform::apply) fills it. When the
/// support is every token from 0 on, looking up a probability takes one step.
///
/// ```
/// use fastdraft_specdec::Distribution;
/// let d = Distribution::from_parts(vec![2, 5], vec![0.25, 0.75])?;
/// assert_eq!(d.probability(5), 0.75);
/// assert_eq!(d.probability(3), 0.0);
/// assert_eq!(d.sample(0.3), Some(5));
/// # Ok::<(), fastdraft_specdec::DistributionError>(())
/// ```
#[derive(Debug, Default)]
pub struct Distribution {
    // Whether the support is 0..probabilities.len(); `tokens` is then unused.
    dense: bool,
    // 0, 1, 2, …: as long as the longest dense support so far, never written again.
    identity: Vec<TokenId>,
    tokens: Vec<TokenId>,
    probabilities: Vec<f64>,
    scratch: Scratch,
}

impl Clone for Distribution {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, source: &Self) {
        self.probabilities.clone_from(&source.probabilities);
        if source.dense {
            self.mark_dense();
        } else {
            self.tokens.clone_from(&source.tokens);
            self.dense = false;
        }
    }
}

impl PartialEq for Distribution {
    fn eq(&self, other: &Self) -> bool {
        self.tokens() == other.tokens() && self.probabilities == other.probabilities
    }
}

impl Distribution {
    /// An empty distribution, ready to be filled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The distribution that always gives `token`.
    #[must_use]
    pub fn one_hot(token: TokenId) -> Self {
        let mut distribution = Self::new();
        distribution.set_one_hot(token);
        distribution
    }

    /// Makes `self` the distribution that always gives `token`, keeping its allocations.
    pub fn set_one_hot(&mut self, token: TokenId) {
        self.clear();
        self.tokens.push(token);
        self.probabilities.push(1.0);
    }

    /// Builds a distribution from `tokens` (strictly ascending) and their `probabilities`.
    ///
    /// # Errors
    /// When the lengths differ, the tokens are not strictly ascending, a probability is not finite
    /// or is negative, or the probabilities do not sum to 1 within 1e-6.
    pub fn from_parts(
        tokens: Vec<TokenId>,
        probabilities: Vec<f64>,
    ) -> Result<Self, DistributionError> {
        let distribution = Self {
            tokens,
            probabilities,
            ..Self::default()
        };
        distribution.validate()?;
        Ok(distribution)
    }

    /// Builds a distribution over tokens `0..probabilities.len()`.
    ///
    /// # Errors
    /// As [`Distribution::from_parts`], and when there are more tokens than a [`TokenId`] can name.
    pub fn dense(probabilities: Vec<f64>) -> Result<Self, DistributionError> {
        TokenId::try_from(probabilities.len()).map_err(|_| DistributionError::TooManyTokens {
            tokens: probabilities.len(),
        })?;
        let mut distribution = Self {
            probabilities,
            ..Self::default()
        };
        distribution.mark_dense();
        distribution.validate()?;
        Ok(distribution)
    }

    /// Checks the invariants that [`Distribution::from_parts`] lists.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn validate(&self) -> Result<(), DistributionError> {
        if self.tokens().len() != self.probabilities.len() {
            return Err(DistributionError::LengthMismatch {
                tokens: self.tokens().len(),
                probabilities: self.probabilities.len(),
            });
        }
        let mut previous = None;
        let mut sum = 0.0;
        for (&token, &probability) in self.tokens().iter().zip(&self.probabilities) {
            if previous.is_some_and(|p| p >= token) {
                return Err(DistributionError::NotAscending { token });
            }
            if !probability.is_finite() || probability < 0.0 {
                return Err(DistributionError::InvalidProbability { token, probability });
            }
            previous = Some(token);
            sum += probability;
        }
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(DistributionError::NotNormalised { sum });
        }
        Ok(())
    }

    /// Removes every token, keeping the allocations.
    pub fn clear(&mut self) {
        self.dense = false;
        self.tokens.clear();
        self.probabilities.clear();
    }

    /// Tokens of the support, strictly ascending.
    #[must_use]
    pub fn tokens(&self) -> &[TokenId] {
        if self.dense {
            self.identity
                .get(..self.probabilities.len())
                .unwrap_or_default()
        } else {
            &self.tokens
        }
    }

    /// Probabilities, one for each of [`Distribution::tokens`].
    #[must_use]
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// Number of tokens in the support.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probabilities.len()
    }

    /// Whether the support is empty, as it is before the distribution is filled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// Probability of `token`, 0 outside the support.
    #[must_use]
    pub fn probability(&self, token: TokenId) -> f64 {
        let index = if self.dense {
            Some(token as usize)
        } else {
            self.tokens.binary_search(&token).ok()
        };
        index
            .and_then(|i| self.probabilities.get(i))
            .copied()
            .unwrap_or(0.0)
    }

    /// The most probable token, the lowest id among equals.
    #[must_use]
    pub fn argmax(&self) -> Option<TokenId> {
        let mut best: Option<(TokenId, f64)> = None;
        for (token, probability) in self.iter() {
            if best.is_none_or(|(_, p)| probability > p) {
                best = Some((token, probability));
            }
        }
        best.map(|(token, _)| token)
    }

    /// The token at quantile `u` of the cumulative distribution in token order.
    ///
    /// `None` when the distribution is empty or `u` is outside `[0, 1)`. A token of probability 0 is
    /// never returned.
    #[must_use]
    pub fn sample(&self, u: f64) -> Option<TokenId> {
        if !(0.0..1.0).contains(&u) {
            return None;
        }
        let index = cumulative::pick(u, &self.probabilities)?;
        self.tokens().get(index).copied()
    }

    /// Tokens with their probabilities in ascending token order.
    pub fn iter(&self) -> impl Iterator<Item = (TokenId, f64)> + Clone + '_ {
        self.tokens()
            .iter()
            .copied()
            .zip(self.probabilities.iter().copied())
    }

    pub(crate) fn take_scratch(&mut self) -> Scratch {
        core::mem::take(&mut self.scratch)
    }

    pub(crate) fn put_scratch(&mut self, scratch: Scratch) {
        self.scratch = scratch;
    }

    /// Fills `self` from positive weights in ascending token order.
    pub(crate) fn set_weights(&mut self, candidates: &Candidates) {
        self.clear();
        let share = 1.0 / candidates.total();
        self.tokens.extend_from_slice(&candidates.tokens);
        self.probabilities
            .extend(candidates.weights.iter().map(|w| w * share));
    }

    /// The probabilities of a dense support, to be written over before [`Self::mark_dense`].
    pub(crate) fn weights_mut(&mut self, size: usize) -> &mut [f64] {
        self.probabilities.resize(size, 0.0);
        &mut self.probabilities
    }

    /// Declares that the probabilities are those of tokens 0, 1, 2, …
    pub(crate) fn mark_dense(&mut self) {
        let known = self.identity.len();
        if known < self.probabilities.len() {
            let missing = self.probabilities.len() - known;
            self.identity
                .extend((0..=TokenId::MAX).skip(known).take(missing));
        }
        self.tokens.clear();
        self.dense = true;
    }

    /// Fills `self` with `source` once `token` is ruled out; false when nothing else is possible.
    pub(crate) fn set_without(&mut self, source: &Self, token: TokenId) -> bool {
        let rest = || source.iter().filter(|&(t, p)| t != token && p > 0.0);
        let total: f64 = rest().map(|(_, p)| p).sum();
        self.clear();
        self.tokens.extend(rest().map(|(t, _)| t));
        self.probabilities.extend(rest().map(|(_, p)| p / total));
        total > 0.0
    }

    /// Becomes `weight` of the distribution that always gives `token` and the rest of what it was.
    pub(crate) fn interpolate(&mut self, token: TokenId, weight: f64) {
        self.probabilities
            .iter_mut()
            .for_each(|p| *p *= 1.0 - weight);
        if token as usize >= self.probabilities.len() {
            self.list_tokens();
        }
        let index = if self.dense {
            Ok(token as usize)
        } else {
            self.tokens.binary_search(&token)
        };
        match index {
            Ok(index) => {
                if let Some(probability) = self.probabilities.get_mut(index) {
                    *probability += weight;
                }
            }
            Err(index) => {
                self.tokens.insert(index, token);
                self.probabilities.insert(index, weight);
            }
        }
    }

    /// Whether the support is 0, 1, 2, … without a gap.
    pub(crate) fn is_dense(&self) -> bool {
        self.dense
    }

    /// Declares that the probabilities, already written, are those of `tokens`, all ascending.
    pub(crate) fn set_tokens(&mut self, tokens: &[TokenId]) {
        self.dense = false;
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
    }

    /// Writes out the tokens of a dense support, which may then have gaps.
    fn list_tokens(&mut self) {
        if self.dense {
            self.tokens.clear();
            self.tokens
                .extend(self.identity.iter().take(self.probabilities.len()));
            self.dense = false;
        }
    }

    /// Drops tokens of probability 0.
    pub(crate) fn drop_zeros(&mut self) {
        self.list_tokens();
        let mut weights = self.probabilities.iter();
        self.tokens
            .retain(|_| weights.next().is_some_and(|&w| w > 0.0));
        self.probabilities.retain(|&w| w > 0.0);
    }
}
