//! Targets that score a tree.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::TreeProposal;
use crate::{LogitRows, Target, TokenId, Vocabulary};

/// A target that scores all nodes of a tree in one pass.
pub trait TreeTarget {
    /// What can go wrong in the target.
    type Error: core::error::Error;

    /// The target's vocabulary; its size is the length of a logits row.
    fn vocabulary(&self) -> &Vocabulary;

    /// Scores `tree` after `context`, attending along [`TreeProposal::parents`].
    ///
    /// Resets `out` to shape `[tree.len() + 1, vocabulary]`; row 0 holds the logits of the token after
    /// `context`, row `i + 1` of the token after node `i`. Cached state belongs to a prefix of
    /// `context`.
    ///
    /// # Errors
    /// When the target fails; the generation ends with that error.
    fn score_tree(
        &mut self,
        context: &[TokenId],
        tree: &TreeProposal,
        out: &mut LogitRows,
    ) -> Result<(), Self::Error>;

    /// Keeps cached state of the first `len` tokens of the context and the nodes of `path` alone.
    ///
    /// Keeping less is allowed: what is missing comes again with the next context.
    ///
    /// # Errors
    /// When the target fails; the generation ends with that error.
    fn keep(&mut self, len: usize, path: &[usize]) -> Result<(), Self::Error>;
}

impl<T: TreeTarget + ?Sized> TreeTarget for &mut T {
    type Error = T::Error;

    fn vocabulary(&self) -> &Vocabulary {
        (**self).vocabulary()
    }

    fn score_tree(
        &mut self,
        context: &[TokenId],
        tree: &TreeProposal,
        out: &mut LogitRows,
    ) -> Result<(), Self::Error> {
        (**self).score_tree(context, tree, out)
    }

    fn keep(&mut self, len: usize, path: &[usize]) -> Result<(), Self::Error> {
        (**self).keep(len, path)
    }
}

impl<T: TreeTarget + ?Sized> TreeTarget for Box<T> {
    type Error = T::Error;

    fn vocabulary(&self) -> &Vocabulary {
        (**self).vocabulary()
    }

    fn score_tree(
        &mut self,
        context: &[TokenId],
        tree: &TreeProposal,
        out: &mut LogitRows,
    ) -> Result<(), Self::Error> {
        (**self).score_tree(context, tree, out)
    }

    fn keep(&mut self, len: usize, path: &[usize]) -> Result<(), Self::Error> {
        (**self).keep(len, path)
    }
}

/// Scores a tree one path at a time, for a target without tree attention.
#[derive(Clone, Debug, Default)]
pub struct ByPath<T> {
    target: T,
    rows: LogitRows,
    path: Vec<usize>,
    tokens: Vec<TokenId>,
}

impl<T: Target> ByPath<T> {
    /// Wraps `target`.
    #[must_use]
    pub fn new(target: T) -> Self {
        Self {
            target,
            rows: LogitRows::new(),
            path: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

impl<T: Target> TreeTarget for ByPath<T> {
    type Error = T::Error;

    fn vocabulary(&self) -> &Vocabulary {
        self.target.vocabulary()
    }

    fn score_tree(
        &mut self,
        context: &[TokenId],
        tree: &TreeProposal,
        out: &mut LogitRows,
    ) -> Result<(), Self::Error> {
        let size = self.target.vocabulary().size;
        let all = out.reset(tree.len() + 1, size);
        let inner = |node: usize| tree.parents().contains(&Some(node));
        let leaves = (0..tree.len()).filter(|&n| !inner(n)).map(Some);
        for leaf in leaves.chain(tree.is_empty().then_some(None)) {
            self.path.clear();
            self.path
                .extend(leaf.into_iter().flat_map(|n| tree.ancestry(n)));
            self.path.reverse();
            self.tokens.clear();
            let path = self.path.iter();
            self.tokens
                .extend(path.filter_map(|&n| tree.tokens().get(n)));
            self.target.score(context, &self.tokens, &mut self.rows)?;
            self.target.truncate(context.len())?;
            let places = [0].into_iter().chain(self.path.iter().map(|&n| n + 1));
            for (index, place) in places.enumerate() {
                let start = place * size;
                if let (Some(to), Some(from)) =
                    (all.get_mut(start..start + size), self.rows.row(index))
                    && to.len() == from.len()
                {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, len: usize, _path: &[usize]) -> Result<(), Self::Error> {
        self.target.truncate(len)
    }
}
