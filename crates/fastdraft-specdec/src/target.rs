//! The model whose distribution is followed.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{TokenId, Vocabulary};

/// Rows of logits, shape `[rows, vocabulary]`, row-major, in a buffer that is reused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogitRows {
    data: Vec<f32>,
    rows: usize,
    vocabulary: usize,
}

impl LogitRows {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the buffer the shape `[rows, vocabulary]` and returns it flat to be written over.
    ///
    /// Values not written are NaN, which the session reports as an error. A shape too large to
    /// address becomes empty.
    pub fn reset(&mut self, rows: usize, vocabulary: usize) -> &mut [f32] {
        self.data.clear();
        let Some(length) = rows.checked_mul(vocabulary) else {
            self.rows = 0;
            self.vocabulary = 0;
            return &mut self.data;
        };
        self.data.resize(length, f32::NAN);
        self.rows = rows;
        self.vocabulary = vocabulary;
        &mut self.data
    }

    /// Row `index`, shape `[vocabulary]`, or `None` beyond the last.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<&[f32]> {
        if index >= self.rows {
            return None;
        }
        let start = index * self.vocabulary;
        self.data.get(start..start + self.vocabulary)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a row.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

/// The model whose distribution the output follows.
pub trait Target {
    /// What can go wrong in the target.
    type Error: core::error::Error;

    /// The target's vocabulary; its size is the length of a logits row.
    fn vocabulary(&self) -> &Vocabulary;

    /// Scores `proposal` after `context` in one pass.
    ///
    /// Resets `out` to shape `[proposal.len() + 1, vocabulary]`; row `i` holds the logits of the
    /// token after `context` and `proposal[..i]`. Cached state always belongs to a prefix of
    /// `context`.
    ///
    /// # Errors
    /// When the target fails; the generation ends with that error.
    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), Self::Error>;

    /// Forgets cached state beyond the first `len` tokens; does nothing when less is cached.
    ///
    /// # Errors
    /// When the target fails; the generation ends with that error.
    fn truncate(&mut self, len: usize) -> Result<(), Self::Error>;
}

impl<T: Target + ?Sized> Target for &mut T {
    type Error = T::Error;

    fn vocabulary(&self) -> &Vocabulary {
        (**self).vocabulary()
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), Self::Error> {
        (**self).score(context, proposal, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        (**self).truncate(len)
    }
}

impl<T: Target + ?Sized> Target for Box<T> {
    type Error = T::Error;

    fn vocabulary(&self) -> &Vocabulary {
        (**self).vocabulary()
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), Self::Error> {
        (**self).score(context, proposal, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        (**self).truncate(len)
    }
}
