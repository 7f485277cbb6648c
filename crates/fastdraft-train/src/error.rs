//! What can go wrong while a draft is trained or measured.

use std::path::PathBuf;

use fastdraft_data::DataError;
use fastdraft_model::ModelError;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A model could not be read, run or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A corpus, tokenizer or template is not usable.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The draft was trained for another tokenizer.
    #[error("the draft's vocabulary does not fit the target's: {reason}")]
    Vocabulary {
        /// What differs, and what to do.
        reason: String,
    },
    /// The loss is not a number any more.
    #[error("stage {stage}, step {step}: the loss is {loss}; lower the learning rate")]
    Diverged {
        /// Stage.
        stage: String,
        /// Step, from 0.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// The gradient of a tensor is not a number any more.
    #[error("the gradient of {tensor} is not finite; lower the learning rate")]
    Gradient {
        /// Path of the parameter.
        tensor: String,
    },
    /// Text that is no recipe.
    #[error("recipe: {reason}")]
    RecipeSyntax {
        /// What the parser said, with the line.
        reason: String,
    },
    /// A recipe that cannot be run.
    #[error("recipe:\n{0}")]
    Recipe(#[from] crate::recipe::Problems),
    /// A recipe has no stage of that name.
    #[error("the recipe has no stage {name}; it has {}", known.join(", "))]
    UnknownStage {
        /// What was asked for.
        name: String,
        /// Names of its stages.
        known: Vec<String>,
    },
    /// A checkpoint belongs to another recipe.
    #[error("the checkpoint was written for another recipe:\n{diff}")]
    RecipeChanged {
        /// Lines of the old recipe after `-`, of the new one after `+`.
        diff: String,
    },
    /// A folder of answers belongs to other questions, or to other settings.
    #[error("{path} holds answers to something else; name another folder or remove it:\n{diff}")]
    AnswersChanged {
        /// The folder.
        path: PathBuf,
        /// Lines of what is there after `-`, of what was asked after `+`.
        diff: String,
    },
    /// The target has not answered all questions.
    #[error("{path} has {found} of {expected} parts; generate the rest first")]
    AnswersIncomplete {
        /// The folder.
        path: PathBuf,
        /// Parts that are there.
        found: usize,
        /// Parts of all questions.
        expected: usize,
    },
    /// A step failed.
    #[error("stage {stage}, step {step}: {source}")]
    Step {
        /// Stage.
        stage: String,
        /// Step, from 0.
        step: usize,
        /// What went wrong.
        source: Box<TrainError>,
    },
    /// A device did not hand a tensor over.
    #[error("tensor: {reason}")]
    Tensor {
        /// What the device said.
        reason: String,
    },
    /// The target's probabilities are missing or do not fit the rows.
    #[error("the target's probabilities: {reason}")]
    Teacher {
        /// What does not fit.
        reason: String,
    },
    /// There is nothing to train or measure on.
    #[error("{what} is empty")]
    Empty {
        /// What is empty.
        what: String,
    },
    /// An engine cannot run a stage as it is set up.
    #[error("engine: {reason}")]
    Engine {
        /// What does not fit, and what would.
        reason: String,
    },
    /// A Python interpreter cannot run the torch worker.
    #[error("{python}: {reason}")]
    Python {
        /// The interpreter.
        python: PathBuf,
        /// What is missing, and how to get it.
        reason: String,
    },
    /// The torch worker ended before the stage did.
    #[error("stage {stage}, step {step}: torch worker: {reason}\n{tail}")]
    Worker {
        /// Stage.
        stage: String,
        /// Step, from 0.
        step: usize,
        /// What happened.
        reason: String,
        /// Last lines of its error stream.
        tail: String,
    },
    /// Speculative decoding failed.
    #[error("decoding: {reason}")]
    Decode {
        /// What the decoder said.
        reason: String,
    },
}
