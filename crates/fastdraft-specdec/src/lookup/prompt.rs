//! Drafting without a model, from the context's own repetitions.

use core::convert::Infallible;

use crate::{Draft, Proposal, Sampler, TokenId};

/// Prompt lookup: proposes what followed the last occurrence of the context's ending n-gram.
///
/// Tries n-grams from the longest to the shortest and takes the most recent match. Its tokens are
/// proposed with certainty, which verification turns into a lossless draft.
///
/// ```
/// use fastdraft_specdec::{Draft, PromptLookup, Proposal, Sampler, SeededUniform, Transform};
/// let (transform, mut rng) = (Transform::default(), SeededUniform::new(0));
/// let mut out = Proposal::new();
/// let mut sampler = Sampler::new(&transform, &mut rng);
/// PromptLookup::new(1, 3).propose(&[5, 6, 7, 5, 6], 2, &mut sampler, &mut out)?;
/// assert_eq!(out.tokens(), &[7, 5]);
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptLookup {
    min_ngram: usize,
    max_ngram: usize,
}

impl PromptLookup {
    /// Matches n-grams of `min_ngram` to `max_ngram` tokens; lengths below 1 count as 1.
    #[must_use]
    pub fn new(min_ngram: usize, max_ngram: usize) -> Self {
        let min_ngram = min_ngram.max(1);
        Self {
            min_ngram,
            max_ngram: max_ngram.max(min_ngram),
        }
    }

    /// What followed the most recent earlier occurrence of the longest matching ending.
    fn continuation<'a>(&self, context: &'a [TokenId]) -> Option<&'a [TokenId]> {
        let longest = self.max_ngram.min(context.len().checked_sub(1)?);
        (self.min_ngram..=longest).rev().find_map(|n| {
            let ending = context.get(context.len() - n..)?;
            let earlier = context.get(..context.len() - 1)?;
            let start = earlier.windows(n).rposition(|w| w == ending)?;
            context.get(start + n..)
        })
    }
}

impl Default for PromptLookup {
    fn default() -> Self {
        Self::new(1, 3)
    }
}

impl Draft for PromptLookup {
    type Error = Infallible;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        _sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        for &token in self
            .continuation(context)
            .unwrap_or_default()
            .iter()
            .take(gamma)
        {
            out.push_certain(token);
        }
        Ok(())
    }

    fn truncate(&mut self, _len: usize) -> Result<(), Self::Error> {
        Ok(())
    }
}
