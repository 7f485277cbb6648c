//! Tokens that may be sampled, with their weights.

use alloc::vec::Vec;

use crate::{TokenId, cumulative};

/// Tokens in ascending order and, side by side with them, their unnormalised weights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) weights: Vec<f64>,
}

impl Candidates {
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.weights.clear();
    }

    pub(crate) fn total(&self) -> f64 {
        cumulative::sum(&self.weights)
    }

    /// Keeps the candidates whose weight `keep` accepts, in their order.
    ///
    /// Each is moved to where the next kept one belongs, kept or not: there is no branch that a
    /// processor could guess wrong.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(f64) -> bool) {
        let Self { tokens, weights } = self;
        let mut kept = 0;
        for index in 0..weights.len().min(tokens.len()) {
            let (token, weight) = (tokens[index], weights[index]);
            tokens[kept] = token;
            weights[kept] = weight;
            kept += usize::from(keep(weight));
        }
        tokens.truncate(kept);
        weights.truncate(kept);
    }
}
