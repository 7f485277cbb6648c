//! Settings of a stage.

use super::{Budget, Precision, TeacherLogits};
use crate::{
    loss::Loss,
    optim::{AdamWConfig, schedule::Schedule},
};

/// One stage.
///
/// ```
/// use fastdraft_train::stage::{Budget, StageConfig};
/// let stage = StageConfig { budget: Budget::Steps(100), ..StageConfig::default() };
/// assert_eq!(stage.rows(), 8);
/// let stage = StageConfig { accumulation: 4, ..stage };
/// assert_eq!(stage.rows(), 32);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct StageConfig {
    /// Shown and reported: `PT`, `CP`, `FT`.
    pub name: String,
    /// When it ends.
    pub budget: Budget,
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// Rows of a micro-batch; without accumulation that is the step.
    pub batch: usize,
    /// Micro-batches whose gradients add up to one optimizer step, at least 1. Loss and gradients
    /// are those of one batch of all their rows; only one micro-batch is in memory at a time.
    pub accumulation: usize,
    /// Keep only the inputs of decoder blocks until the backward pass, which runs each block
    /// again: less memory, more work, the same gradients.
    pub gradient_checkpointing: bool,
    /// Type of matrix products.
    pub precision: Precision,
    /// Largest joint norm of the gradients.
    pub clip: f32,
    /// Order of the rows.
    pub seed: u64,
    /// What is minimised.
    pub loss: Loss,
    /// Where the probabilities of a loss with a teacher come from.
    pub teacher_logits: TeacherLogits,
    /// Constants of the optimizer.
    pub optimizer: AdamWConfig,
}

impl StageConfig {
    /// Rows of an optimizer step.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batch * self.accumulation.max(1)
    }

    /// Whether each step asks the target itself: the loss has a teacher, and it is live.
    #[must_use]
    pub fn has_live_teacher(&self) -> bool {
        self.loss.needs_teacher() && self.teacher_logits == TeacherLogits::Live
    }
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            name: "PT".into(),
            budget: Budget::Steps(1000),
            schedule: Schedule::cosine(1e-3),
            batch: 8,
            accumulation: 1,
            gradient_checkpointing: false,
            precision: Precision::default(),
            clip: 1.0,
            seed: 0,
            loss: Loss::default(),
            teacher_logits: TeacherLogits::default(),
            optimizer: AdamWConfig::default(),
        }
    }
}
