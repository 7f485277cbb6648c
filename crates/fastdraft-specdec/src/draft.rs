//! The side that proposes tokens.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::convert::Infallible;

use crate::{Distribution, Sampler, TokenId};

/// Proposed tokens, each with the distribution it was sampled from.
///
/// Clearing keeps the distributions' allocations for the next tokens.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    tokens: Vec<TokenId>,
    // May be longer than `tokens`; what is beyond is spare.
    distributions: Vec<Distribution>,
}

impl Proposal {
    /// An empty proposal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all tokens, keeping the allocations.
    pub fn clear(&mut self) {
        self.tokens.clear();
    }

    /// Appends `token`, sampled from `distribution`.
    pub fn push(&mut self, token: TokenId, distribution: &Distribution) {
        match self.distributions.get_mut(self.tokens.len()) {
            Some(spare) => spare.clone_from(distribution),
            None => self.distributions.push(distribution.clone()),
        }
        self.tokens.push(token);
    }

    /// Appends `token` as proposed with certainty.
    pub fn push_certain(&mut self, token: TokenId) {
        match self.distributions.get_mut(self.tokens.len()) {
            Some(spare) => spare.set_one_hot(token),
            None => self.distributions.push(Distribution::one_hot(token)),
        }
        self.tokens.push(token);
    }

    /// The first token with its distribution.
    pub(crate) fn first(&self) -> Option<(TokenId, &Distribution)> {
        let token = self.tokens.first()?;
        Some((*token, self.distributions.first()?))
    }

    /// Number of proposed tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is proposed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The proposed tokens in order.
    #[must_use]
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The distributions that the tokens were sampled from, one for each token.
    #[must_use]
    pub fn distributions(&self) -> &[Distribution] {
        self.distributions
            .get(..self.tokens.len())
            .unwrap_or_default()
    }
}

/// A model, or anything else, that guesses the next tokens cheaply.
pub trait Draft {
    /// What can go wrong in the draft.
    type Error: core::error::Error;

    /// Appends up to `gamma` tokens that may follow `context` to the empty `out`.
    ///
    /// Each token must be drawn with `sampler` from the distribution pushed beside it, with
    /// `context` followed by the tokens drafted before it as the history. Proposing fewer than
    /// `gamma` tokens, even none, is allowed. Cached state always belongs to a prefix of `context`.
    ///
    /// # Errors
    /// When the draft fails; the generation ends with that error.
    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error>;

    /// Forgets cached state beyond the first `len` tokens; does nothing when less is cached.
    ///
    /// # Errors
    /// When the draft fails; the generation ends with that error.
    fn truncate(&mut self, len: usize) -> Result<(), Self::Error>;
}

impl<D: Draft + ?Sized> Draft for &mut D {
    type Error = D::Error;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        (**self).propose(context, gamma, sampler, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        (**self).truncate(len)
    }
}

impl<D: Draft + ?Sized> Draft for Box<D> {
    type Error = D::Error;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        (**self).propose(context, gamma, sampler, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        (**self).truncate(len)
    }
}

/// A draft that never proposes, which makes the loop plain decoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoDraft;

impl Draft for NoDraft {
    type Error = Infallible;

    fn propose(
        &mut self,
        _context: &[TokenId],
        _gamma: usize,
        _sampler: &mut Sampler<'_>,
        _out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn truncate(&mut self, _len: usize) -> Result<(), Self::Error> {
        Ok(())
    }
}
