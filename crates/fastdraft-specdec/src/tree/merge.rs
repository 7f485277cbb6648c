//! Two drafts' proposals in one tree.

use super::{TreeDraft, TreeProposal};
use crate::{Draft, EitherError, Proposal, Sampler, TokenId};

/// Proposes what both drafts do, as a tree whose common beginning is scored once.
///
/// With [`NoDraft`](crate::NoDraft) as the second it is a chain.
#[derive(Clone, Debug, Default)]
pub struct Merge<A, B> {
    first: A,
    second: B,
    chain: Proposal,
}

impl<A, B> Merge<A, B> {
    /// Merges `first` and `second`, whose tokens are tried in that order.
    #[must_use]
    pub fn new(first: A, second: B) -> Self {
        Self {
            first,
            second,
            chain: Proposal::new(),
        }
    }
}

impl<A: Draft, B: Draft> TreeDraft for Merge<A, B>
where
    A::Error: 'static,
    B::Error: 'static,
{
    type Error = EitherError<A::Error, B::Error>;

    fn propose_tree(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut TreeProposal,
    ) -> Result<(), Self::Error> {
        self.chain.clear();
        self.first
            .propose(context, gamma, sampler, &mut self.chain)
            .map_err(EitherError::First)?;
        out.graft(&self.chain);
        self.chain.clear();
        self.second
            .propose(context, gamma, sampler, &mut self.chain)
            .map_err(EitherError::Second)?;
        out.graft(&self.chain);
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        self.first.truncate(len).map_err(EitherError::First)?;
        self.second.truncate(len).map_err(EitherError::Second)
    }
}
