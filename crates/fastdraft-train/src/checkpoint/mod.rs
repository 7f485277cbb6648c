//! A stage on disk: weights, optimizer moments, position and the recipe it belongs to.
//!
//! A checkpoint is a folder `step-N` that appears whole, by one rename, or not at all. Which
//! rows come next follows from the step and the recipe's seed, so no generator is stored.

pub(crate) mod diff;
pub(crate) mod tensors;

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastdraft_model::{Checkpoint, import};
use serde::{Deserialize, Serialize};

use crate::{
    error::TrainError,
    optim::{AdamW, AdamWConfig},
    spans,
    stage::{StageState, Step},
};

const PREFIX: &str = "step-";

/// What is stored beside weights and moments.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    stage: String,
    step: usize,
    tokens: usize,
    seconds: f64,
    optimizer_step: Option<u32>,
    recipe: String,
}

/// A checkpoint that was read back.
#[derive(Debug)]
pub struct Resumed {
    /// Stage it belongs to.
    pub stage: String,
    /// The draft as it was.
    pub draft: Checkpoint,
    /// Where the stage was.
    pub state: StageState,
}

/// Checkpoints of one run.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    folder: PathBuf,
    recipe: String,
    keep: usize,
}

impl CheckpointFolder {
    /// Checkpoints below `folder` for a recipe, given as text; the last `keep` of them stay, at
    /// least one.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, recipe: impl Into<String>, keep: usize) -> Self {
        Self {
            folder: folder.into(),
            recipe: recipe.into(),
            keep: keep.max(1),
        }
    }

    /// Stores a step, then drops the oldest checkpoints.
    ///
    /// # Errors
    /// [`TrainError::Io`] when the folder cannot be written.
    pub fn save(&self, stage: &str, step: &Step<'_>) -> Result<PathBuf, TrainError> {
        let _span = spans::checkpoint(stage, step.state.step);
        let io = |source| self.io(source);
        fs::create_dir_all(&self.folder).map_err(io)?;
        let staging = (tempfile::Builder::new().prefix(".checkpoint"))
            .tempdir_in(&self.folder)
            .map_err(io)?;
        let optimizer_step = step.save(staging.path())?;
        let state = step.state;
        let position = Position {
            stage: stage.to_owned(),
            step: state.step,
            tokens: state.tokens,
            seconds: state.seconds,
            optimizer_step,
            recipe: self.recipe.clone(),
        };
        crate::report::write_json(&staging.path().join("position.json"), &position)?;
        for entry in fs::read_dir(staging.path()).map_err(io)? {
            let file = fs::File::open(entry.map_err(io)?.path()).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        let path = self.folder.join(format!("{PREFIX}{:010}", state.step));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(io)?;
        }
        fs::rename(staging.keep(), &path).map_err(io)?;
        let all = self.list()?;
        for old in &all[..all.len().saturating_sub(self.keep)] {
            fs::remove_dir_all(old).map_err(io)?;
        }
        Ok(path)
    }

    /// The newest checkpoint; `None` when there is none.
    ///
    /// # Errors
    /// [`TrainError::RecipeChanged`] with the lines that differ when it was stored for another
    /// recipe, [`TrainError::Model`] or [`TrainError::Io`] when it cannot be read.
    pub fn resume(&self, optimizer: AdamWConfig) -> Result<Option<Resumed>, TrainError> {
        let Some(path) = self.list()?.pop() else {
            return Ok(None);
        };
        let text = fs::read(path.join("position.json")).map_err(|error| self.io(error))?;
        let position: Position =
            serde_json::from_slice(&text).map_err(|error| self.io(error.into()))?;
        if position.recipe != self.recipe {
            return Err(TrainError::RecipeChanged {
                diff: diff::lines(&position.recipe, &self.recipe),
            });
        }
        let (losses, moments) = tensors::read(&path.join("moments.safetensors"))?;
        let state = StageState {
            step: position.step,
            tokens: position.tokens,
            seconds: position.seconds,
            losses,
            optimizer: (position.optimizer_step)
                .map(|step| AdamW::restore(optimizer, step, moments)),
        };
        Ok(Some(Resumed {
            stage: position.stage,
            draft: import::load(&path)?,
            state,
        }))
    }

    /// Whole checkpoints, oldest first.
    fn list(&self) -> Result<Vec<PathBuf>, TrainError> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| self.io(error))? {
            let path = entry.map_err(|error| self.io(error))?.path();
            if is_checkpoint(&path) {
                all.push(path);
            }
        }
        all.sort();
        Ok(all)
    }

    fn io(&self, source: std::io::Error) -> TrainError {
        TrainError::Io {
            path: self.folder.clone(),
            source,
        }
    }
}

fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PREFIX))
}
