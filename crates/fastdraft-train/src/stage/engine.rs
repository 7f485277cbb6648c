//! What runs the steps of a stage.

use std::{ops::ControlFlow, path::Path};

use fastdraft_model::Checkpoint;

use super::{Source, StageConfig, StageState, Step};
use crate::error::TrainError;

/// Sees every step and can end the stage.
pub type Observer<'a> = dyn FnMut(&Step<'_>) -> Result<ControlFlow<()>, TrainError> + 'a;

/// Holds a draft and trains it: in this process ([`Trainer`](super::Trainer)) or in others
/// ([`TorchEngine`](crate::torch::TorchEngine)).
///
/// ```
/// use fastdraft_train::{TrainError, stage::{Engine, Source, StageConfig, StageState}};
///
/// fn train(
///     engine: &mut dyn Engine,
///     stages: &[(StageConfig, Vec<Source<'_>>)],
/// ) -> Result<(), TrainError> {
///     for (config, sources) in stages {
///         engine.run_stage(config, sources, StageState::default(), &mut |step| {
///             println!("{:?}", step.loss);
///             Ok(std::ops::ControlFlow::Continue(()))
///         })?;
///     }
///     Ok(())
/// }
/// ```
pub trait Engine {
    /// Trains on from a state; `observe` sees every step and can end the stage. The draft stays
    /// as it was when it fails.
    ///
    /// # Errors
    /// What a step and `observe` return.
    fn run_stage(
        &mut self,
        config: &StageConfig,
        sources: &[Source<'_>],
        state: StageState,
        observe: &mut Observer<'_>,
    ) -> Result<StageState, TrainError>;

    /// The draft as it is now.
    ///
    /// # Errors
    /// [`TrainError::Model`] when the device cannot hand the weights over.
    fn checkpoint(&self) -> Result<Checkpoint, TrainError>;
}

/// The weights of a step, wherever they are.
pub(crate) trait Snapshot {
    fn checkpoint(&self) -> Result<Checkpoint, TrainError>;

    /// Writes model and `moments.safetensors` into a folder; returns the optimizer's steps.
    fn save(&self, folder: &Path, state: &StageState) -> Result<Option<u32>, TrainError>;
}
