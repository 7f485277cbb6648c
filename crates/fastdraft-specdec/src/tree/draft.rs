//! The side that proposes trees.

use alloc::boxed::Box;

use super::TreeProposal;
use crate::{Sampler, TokenId};

/// A draft that proposes several continuations at once.
pub trait TreeDraft {
    /// What can go wrong in the draft.
    type Error: core::error::Error;

    /// Adds to the empty `out` a tree of tokens that may follow `context`, at most `gamma` deep.
    ///
    /// Each token must be drawn with `sampler` from the distribution pushed beside it, or be pushed
    /// as certain; see [`TreeProposal::push_children`]. Cached state always belongs to a prefix of
    /// `context`.
    ///
    /// # Errors
    /// When the draft fails; the generation ends with that error.
    fn propose_tree(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut TreeProposal,
    ) -> Result<(), Self::Error>;

    /// Forgets cached state beyond the first `len` tokens; does nothing when less is cached.
    ///
    /// # Errors
    /// When the draft fails; the generation ends with that error.
    fn truncate(&mut self, len: usize) -> Result<(), Self::Error>;
}

impl<D: TreeDraft + ?Sized> TreeDraft for &mut D {
    type Error = D::Error;

    fn propose_tree(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut TreeProposal,
    ) -> Result<(), Self::Error> {
        (**self).propose_tree(context, gamma, sampler, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        (**self).truncate(len)
    }
}

impl<D: TreeDraft + ?Sized> TreeDraft for Box<D> {
    type Error = D::Error;

    fn propose_tree(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut TreeProposal,
    ) -> Result<(), Self::Error> {
        (**self).propose_tree(context, gamma, sampler, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        (**self).truncate(len)
    }
}
