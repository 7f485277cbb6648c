//! The first of two drafts that proposes.

use core::error::Error;
use core::fmt;

use crate::{Draft, Proposal, Sampler, TokenId};

/// Asks the first draft and, when it proposes nothing, the second; nest it for more.
///
/// Which draft is asked depends on the context alone or on tokens the first has not sampled, so the
/// output stays lossless.
///
/// ```
/// use fastdraft_specdec::{Cascade, Draft, PromptLookup, Proposal, Sampler, SeededUniform, SuffixLookup, Transform};
/// let (transform, mut rng) = (Transform::default(), SeededUniform::new(0));
/// let mut out = Proposal::new();
/// let mut sampler = Sampler::new(&transform, &mut rng);
/// let mut cascade = Cascade::new(SuffixLookup::new(4), PromptLookup::new(1, 3));
/// cascade.propose(&[5, 6, 5], 1, &mut sampler, &mut out)?;
/// assert_eq!(out.tokens(), &[6]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cascade<A, B> {
    first: A,
    second: B,
}

impl<A, B> Cascade<A, B> {
    /// Asks `first`, then `second`.
    #[must_use]
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

/// The error of one of two drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EitherError<A, B> {
    /// The first draft's.
    First(A),
    /// The second draft's.
    Second(B),
}

impl<A: fmt::Display, B: fmt::Display> fmt::Display for EitherError<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(error) => write!(f, "first draft: {error}"),
            Self::Second(error) => write!(f, "second draft: {error}"),
        }
    }
}

impl<A: Error + 'static, B: Error + 'static> Error for EitherError<A, B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::First(error) => Some(error),
            Self::Second(error) => Some(error),
        }
    }
}

impl<A: Draft, B: Draft> Draft for Cascade<A, B>
where
    A::Error: 'static,
    B::Error: 'static,
{
    type Error = EitherError<A::Error, B::Error>;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        self.first
            .propose(context, gamma, sampler, out)
            .map_err(EitherError::First)?;
        if out.is_empty() {
            self.second
                .propose(context, gamma, sampler, out)
                .map_err(EitherError::Second)?;
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        self.first.truncate(len).map_err(EitherError::First)?;
        self.second.truncate(len).map_err(EitherError::Second)
    }
}
