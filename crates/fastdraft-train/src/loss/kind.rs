//! Which loss a stage uses.

use serde::{Deserialize, Serialize};

/// The losses of arXiv 2411.11055, by weight of their terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// Cross-entropy on the text.
    #[default]
    #[serde(rename = "ce")]
    CrossEntropy,
    /// Kullback-Leibler divergence from the target's probabilities.
    #[serde(rename = "kl")]
    Kl,
    /// Half cross-entropy, half KL.
    #[serde(rename = "ce+kl")]
    CrossEntropyKl,
    /// Total variation distance from the target's probabilities.
    #[serde(rename = "tvd")]
    TotalVariation,
    /// Half cross-entropy, half TVD.
    #[serde(rename = "ce+tvd")]
    CrossEntropyTotalVariation,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::CrossEntropy,
        Self::Kl,
        Self::CrossEntropyKl,
        Self::TotalVariation,
        Self::CrossEntropyTotalVariation,
    ];

    /// Weights of cross-entropy, KL and TVD.
    pub(crate) fn weights(self) -> [f32; 3] {
        match self {
            Self::CrossEntropy => [1.0, 0.0, 0.0],
            Self::Kl => [0.0, 1.0, 0.0],
            Self::CrossEntropyKl => [0.5, 0.5, 0.0],
            Self::TotalVariation => [0.0, 0.0, 1.0],
            Self::CrossEntropyTotalVariation => [0.5, 0.0, 0.5],
        }
    }

    /// Whether it needs the target's probabilities.
    #[must_use]
    pub fn needs_teacher(self) -> bool {
        self != Self::CrossEntropy
    }
}
