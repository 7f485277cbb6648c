//! A tree of proposed tokens.

use alloc::vec::Vec;

use crate::{Distribution, Proposal, Sampler, TokenId, TransformError};

/// One token drawn as a child of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Draw {
    node: usize,
    parent: Option<usize>,
}

/// Proposed tokens in a tree, each with the distributions it was drawn from.
///
/// Node `i` has a token and a parent before it, `None` for the children of the context. Drawing the
/// same token twice below a parent gives one node with two draws: the target scores it once.
#[derive(Clone, Debug, Default)]
pub struct TreeProposal {
    tokens: Vec<TokenId>,
    parents: Vec<Option<usize>>,
    draws: Vec<Draw>,
    // May be longer than `draws`; what is beyond is spare.
    distributions: Vec<Distribution>,
}

impl TreeProposal {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all nodes, keeping the allocations.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.parents.clear();
        self.draws.clear();
    }

    /// Adds `token` below `parent`, drawn from `distribution`, and returns its node.
    ///
    /// Draws below one parent are tried in the order they were added; each distribution may depend
    /// on the tokens drawn there before. `None` when there is no node `parent`.
    pub fn push(
        &mut self,
        parent: Option<usize>,
        token: TokenId,
        distribution: &Distribution,
    ) -> Option<usize> {
        if parent.is_some_and(|p| p >= self.tokens.len()) {
            return None;
        }
        let mut nodes = self.tokens.iter().zip(&self.parents);
        let node = match nodes.position(|(&t, &p)| t == token && p == parent) {
            Some(node) => node,
            None => {
                self.tokens.push(token);
                self.parents.push(parent);
                self.tokens.len() - 1
            }
        };
        match self.distributions.get_mut(self.draws.len()) {
            Some(spare) => spare.clone_from(distribution),
            None => self.distributions.push(distribution.clone()),
        }
        self.draws.push(Draw { node, parent });
        Some(node)
    }

    /// Draws up to `width` different tokens from `distribution` below `parent`, without replacement.
    ///
    /// Each is drawn from the distribution without those before it, and pushed with that one.
    ///
    /// # Errors
    /// When the random numbers are outside `[0, 1)`.
    pub fn push_children(
        &mut self,
        parent: Option<usize>,
        distribution: &Distribution,
        width: usize,
        sampler: &mut Sampler<'_>,
    ) -> Result<(), TransformError> {
        let mut left = distribution.clone();
        let mut spare = Distribution::new();
        for _ in 0..width {
            let token = sampler.draw(&left)?;
            self.push(parent, token, &left);
            if !spare.set_without(&left, token) {
                break;
            }
            core::mem::swap(&mut left, &mut spare);
        }
        Ok(())
    }

    /// Adds the tokens of `chain`, each below the one before, sharing nodes the tree already has.
    pub fn graft(&mut self, chain: &Proposal) {
        let mut parent = None;
        for (&token, distribution) in chain.tokens().iter().zip(chain.distributions()) {
            parent = self.push(parent, token, distribution);
        }
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token of each node.
    #[must_use]
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The parent of each node, always an earlier one: what a target builds its attention mask from.
    ///
    /// A node attends to the context, its parent, that node's parent and so on.
    #[must_use]
    pub fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    /// `node`, its parent, and so on up to a child of the context.
    pub fn ancestry(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let first = (node < self.len()).then_some(node);
        core::iter::successors(first, |&n| self.parents.get(n).copied().flatten())
    }

    /// Number of nodes on the longest path.
    #[must_use]
    pub fn depth(&self) -> usize {
        let depths = (0..self.len()).map(|node| self.ancestry(node).count());
        depths.max().unwrap_or(0)
    }

    /// The child of `parent` with `token`.
    #[must_use]
    pub fn child(&self, parent: Option<usize>, token: TokenId) -> Option<usize> {
        let mut nodes = self.tokens.iter().zip(&self.parents);
        nodes.position(|(&t, &p)| t == token && p == parent)
    }

    /// The draws below `parent` in order: node, its token, the distribution it was drawn from.
    pub fn draws(
        &self,
        parent: Option<usize>,
    ) -> impl Iterator<Item = (usize, TokenId, &Distribution)> {
        let draws = self.draws.iter().zip(&self.distributions);
        draws
            .filter(move |(draw, _)| draw.parent == parent)
            .filter_map(|(draw, q)| Some((draw.node, *self.tokens.get(draw.node)?, q)))
    }

    /// Every draw in the order it was added.
    pub(crate) fn all_draws(&self) -> impl Iterator<Item = (TokenId, &Distribution)> {
        let draws = self.draws.iter().zip(&self.distributions);
        draws.filter_map(|(draw, q)| Some((*self.tokens.get(draw.node)?, q)))
    }
}
