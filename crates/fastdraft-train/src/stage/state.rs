//! Where a stage is, and what it did.

use std::path::Path;

use fastdraft_model::Checkpoint;
use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::{error::TrainError, optim::AdamW};

/// Everything beside the weights that a stage needs to go on after its last step. Which rows
/// come next follows from the step, so there is no generator to keep.
#[derive(Debug, Clone, Default)]
pub struct StageState {
    /// Steps done.
    pub step: usize,
    /// Input tokens seen.
    pub tokens: usize,
    /// Wall clock spent.
    pub seconds: f64,
    /// Loss of every step that trained a position.
    pub losses: Vec<f32>,
    /// Moments and their step; `None` before the first step.
    pub optimizer: Option<AdamW>,
}

/// A step that is over.
pub struct Step<'a> {
    /// Loss, in nats a token for cross-entropy; `None` when no position was trained.
    pub loss: Option<f32>,
    /// Joint norm of the gradients before clipping.
    pub norm: Option<f32>,
    /// Learning rate.
    pub rate: f64,
    /// Share of the budget that is spent.
    pub done: f64,
    /// Where the stage is now.
    pub state: &'a StageState,
    pub(crate) weights: &'a dyn Snapshot,
}

impl Step<'_> {
    /// The draft as it is after this step.
    ///
    /// # Errors
    /// [`TrainError::Model`] when the device cannot hand the weights over.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        self.weights.checkpoint()
    }

    /// Writes model and moments into a folder; returns the optimizer's steps.
    pub(crate) fn save(&self, folder: &Path) -> Result<Option<u32>, TrainError> {
        self.weights.save(folder, self.state)
    }

    /// One line of a metrics log.
    ///
    /// An object with `stage`, `step` (from 1), `tokens`, `seconds`, `loss`, `norm` and `rate`.
    #[must_use]
    pub fn metrics(&self, stage: &str) -> serde_json::Value {
        serde_json::json!({
            "stage": stage,
            "step": self.state.step,
            "tokens": self.state.tokens,
            "seconds": self.state.seconds,
            "loss": self.loss,
            "norm": self.norm,
            "rate": self.rate,
        })
    }
}

/// What a stage did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Name of the stage.
    pub stage: String,
    /// Optimizer steps.
    pub steps: usize,
    /// Input tokens seen.
    pub tokens: usize,
    /// Wall clock.
    pub seconds: f64,
    /// Mean loss of the first tenth of the steps.
    pub first_loss: f32,
    /// Mean loss of the last tenth of the steps.
    pub last_loss: f32,
}

impl StageState {
    /// What was done so far.
    ///
    /// # Errors
    /// [`TrainError::Empty`] when no step trained a position.
    pub fn report(&self, stage: &str) -> Result<StageReport, TrainError> {
        if self.losses.is_empty() {
            return Err(TrainError::Empty {
                what: format!("the trained part of the data of stage {stage}"),
            });
        }
        let tenth = (self.losses.len() / 10).max(1);
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        Ok(StageReport {
            stage: stage.to_owned(),
            steps: self.step,
            tokens: self.tokens,
            seconds: self.seconds,
            first_loss: mean(&self.losses[..tenth]),
            last_loss: mean(&self.losses[self.losses.len() - tenth..]),
        })
    }
}
