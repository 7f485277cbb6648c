//! Settings of a stage.

use super::Budget;
use crate::{
    loss::Loss,
    optim::{AdamWConfig, schedule::Schedule},
};

/// One stage.
///
/// ```
/// use fastdraft_train::stage::{Budget, StageConfig};
/// let stage = StageConfig { budget: Budget::Steps(100), ..StageConfig::default() };
/// assert_eq!(stage.batch, 8);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct StageConfig {
    /// Shown and reported: `PT`, `CP`, `FT`.
    pub name: String,
    /// When it ends.
    pub budget: Budget,
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// Rows of a step.
    pub batch: usize,
    /// Largest joint norm of the gradients.
    pub clip: f32,
    /// Order of the rows.
    pub seed: u64,
    /// What is minimised.
    pub loss: Loss,
    /// Constants of the optimizer.
    pub optimizer: AdamWConfig,
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            name: "PT".into(),
            budget: Budget::Steps(1000),
            schedule: Schedule::cosine(1e-3),
            batch: 8,
            clip: 1.0,
            seed: 0,
            loss: Loss::default(),
            optimizer: AdamWConfig::default(),
        }
    }
}
