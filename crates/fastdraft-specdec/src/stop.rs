//! Where a generation ends.

use alloc::vec::Vec;

use crate::TokenId;

/// Tokens and token sequences that end a generation.
///
/// They are matched against generated tokens only, never the prompt, and what matched is the end of
/// the output, included in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Stop {
    /// Each of these ends the generation, such as the end-of-sequence token.
    pub tokens: Vec<TokenId>,
    /// Each of these, as consecutive generated tokens, ends the generation; none may be empty.
    pub sequences: Vec<Vec<TokenId>>,
}

impl Stop {
    /// Ends at `token` alone.
    #[must_use]
    pub fn token(token: TokenId) -> Self {
        Self {
            tokens: alloc::vec![token],
            sequences: Vec::new(),
        }
    }

    /// Whether a generation ends with the last of the tokens `generated` so far.
    #[must_use]
    pub fn ends(&self, generated: &[TokenId]) -> bool {
        generated
            .last()
            .is_some_and(|last| self.tokens.contains(last))
            || self
                .sequences
                .iter()
                .any(|s| !s.is_empty() && generated.ends_with(s))
    }
}
