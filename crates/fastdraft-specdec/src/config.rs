//! Settings and results of a generation.

use alloc::vec::Vec;

use crate::{Metrics, Stop, TokenId, Transform};

/// Settings of a generation.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct SessionConfig {
    /// Tokens to draft for each target pass; near the end no more than can still be used.
    pub gamma: usize,
    /// Most tokens to generate.
    pub max_new_tokens: usize,
    /// How logits become distributions; temperature 0 also selects
    /// [`Rule::Greedy`](crate::Rule::Greedy).
    pub transform: Transform,
    /// What ends the generation before that.
    pub stop: Stop,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            gamma: 3,
            max_new_tokens: 64,
            transform: Transform::default(),
            stop: Stop::default(),
            seed: 0,
        }
    }
}

/// Tokens committed by one target pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted<'a> {
    /// The tokens, at least one.
    pub tokens: &'a [TokenId],
    /// How many of the first of them came from the draft.
    pub accepted: usize,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StopReason {
    /// A stop token or sequence.
    Stop,
    /// The most tokens wanted.
    MaxTokens,
    /// The callback asked for it.
    Cancelled,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Generation {
    /// The generated tokens without the prompt; a stop token or sequence is included.
    pub tokens: Vec<TokenId>,
    /// What it cost.
    pub metrics: Metrics,
    /// Why it ended.
    pub stop_reason: StopReason,
}
