//! Target distributions, ready or made when they are reached.

use super::sure;
use crate::{Distribution, LogitRows, RowError, TokenId, Transform, VerifyError};

/// Gives the target's distribution for a row.
pub(crate) trait Rows {
    type Error: From<VerifyError>;

    /// The distribution of row `index`, which has tokens.
    fn row(&mut self, index: usize) -> Result<&Distribution, Self::Error>;

    /// Whether row `index` is known to give `token` more than `bound`; `false` when only
    /// [`Rows::row`] can tell.
    fn surely_exceeds(&self, index: usize, token: TokenId, bound: f64) -> bool {
        let _ = (index, token, bound);
        false
    }
}

impl Rows for &[Distribution] {
    type Error = VerifyError;

    fn row(&mut self, index: usize) -> Result<&Distribution, VerifyError> {
        self.get(index)
            .filter(|d| !d.is_empty())
            .ok_or(VerifyError::EmptyDistribution { row: index })
    }
}

/// Logits that become a distribution only when verification reaches them.
pub(crate) struct Scored<'a> {
    pub(crate) rows: &'a LogitRows,
    pub(crate) transform: &'a Transform,
    /// The context followed by the proposed tokens.
    pub(crate) history: &'a [TokenId],
    /// Length of the context.
    pub(crate) context: usize,
    pub(crate) out: &'a mut Distribution,
}

impl Rows for Scored<'_> {
    type Error = RowError;

    fn row(&mut self, index: usize) -> Result<&Distribution, RowError> {
        let logits = self.rows.row(index).unwrap_or_default();
        let history = self.history.get(..self.context + index).unwrap_or_default();
        self.transform
            .apply(logits, history, self.out)
            .map_err(RowError::Transform)?;
        Ok(self.out)
    }

    fn surely_exceeds(&self, index: usize, token: TokenId, bound: f64) -> bool {
        let logits = self.rows.row(index).unwrap_or_default();
        sure::exceeds(self.transform, logits, token, bound)
    }
}
