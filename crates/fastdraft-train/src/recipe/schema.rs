//! The file as types.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    error::TrainError,
    loss::Loss,
    optim::AdamWConfig,
    stage::{Precision, TeacherLogits},
};

/// A whole run. Paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Path, or a known name.
    pub target: String,
    /// Of data order, initial weights and sampling.
    #[serde(default)]
    pub seed: u64,
    /// Inputs of a row.
    pub sequence_length: usize,
    /// The draft before training.
    pub draft: DraftSpec,
    /// Stages, first to last.
    #[serde(rename = "stage", default)]
    pub stages: Vec<StageSpec>,
    /// How stages are measured; without it they are not.
    #[serde(default)]
    pub evaluation: Option<EvaluationSpec>,
}

/// The draft: blocks of the target, or random weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DraftSpec {
    /// A draft to go on with: a directory, a file of blocks or a GGUF file.
    pub from: Option<PathBuf>,
    /// Blocks of the target to start from; none for random weights.
    pub blocks: Vec<usize>,
    /// Width of a draft made of the target's blocks; 0 is the target's.
    pub width: usize,
    /// Blocks of a random draft.
    pub layers: usize,
    /// Width of a random draft.
    pub hidden_size: usize,
    /// Width of the MLP of a random draft.
    pub intermediate_size: usize,
    /// Attention heads of a random draft.
    pub heads: usize,
    /// Most frequent tokens that the head keeps; 0 keeps all.
    pub vocabulary: usize,
    /// Leave the embedding as it is.
    pub freeze_embedding: bool,
    /// Leave the head as it is.
    pub freeze_head: bool,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    /// Name, such as `PT`.
    pub name: String,
    /// When it ends.
    pub budget: BudgetSpec,
    /// Rows of a micro-batch.
    pub batch: usize,
    /// Micro-batches of an optimizer step: it takes `batch · accumulation` rows.
    #[serde(default = "accumulation", skip_serializing_if = "is_one")]
    pub accumulation: usize,
    /// Run decoder blocks again in the backward pass instead of keeping what they computed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gradient_checkpointing: bool,
    /// Type of matrix products; `bf16` needs the torch engine.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Fraction of the stage that warms up.
    #[serde(default = "warmup")]
    pub warmup: f64,
    /// Last learning rate, as a fraction of the highest.
    #[serde(default = "floor")]
    pub floor: f64,
    /// Largest joint norm of the gradients.
    #[serde(default = "clip")]
    pub clip: f32,
    /// What is minimised.
    #[serde(default)]
    pub loss: Loss,
    /// Where the target's probabilities come from; `live` needs the torch engine.
    #[serde(default, skip_serializing_if = "TeacherLogits::is_default")]
    pub teacher_logits: TeacherLogits,
    /// Constants of AdamW.
    #[serde(default)]
    pub optimizer: AdamWConfig,
    /// The mixture.
    pub sources: Vec<SourceSpec>,
}

/// When a stage ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BudgetSpec {
    /// Optimizer steps.
    Steps(usize),
    /// Input tokens.
    Tokens(u64),
    /// Wall clock; such a run cannot be repeated exactly.
    Seconds(u64),
}

/// One part of a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Documents, one JSON object a line.
    #[serde(default)]
    pub documents: Option<PathBuf>,
    /// Key of a document's text.
    #[serde(default = "field")]
    pub field: String,
    /// Answers that the target writes when the recipe is run.
    #[serde(default)]
    pub answers: Option<AnswersSource>,
    /// A folder of answers that the target wrote before, see [`answers`](crate::answers).
    #[serde(default)]
    pub answered: Option<PathBuf>,
    /// Rows of this source for each cycle of the mixture.
    #[serde(default = "weight")]
    pub weight: u32,
}

/// Answers of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswersSource {
    /// Prompts, one JSON object a line.
    pub prompts: PathBuf,
    /// Prompts go without the chat template, to be continued.
    #[serde(default)]
    pub raw: bool,
    /// Dealt to the prompts in turn; 0 is greedy.
    pub temperatures: Vec<f64>,
    /// Longest answer, in tokens.
    pub max_new_tokens: usize,
    /// Probabilities recorded for each token.
    #[serde(default)]
    pub top_k: usize,
    /// Sequences that share a pass.
    #[serde(default = "sequences")]
    pub batch: usize,
}

/// How stages are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Prompts, one JSON object a line, with their task.
    pub prompts: Vec<PathBuf>,
    /// Draft tokens a step.
    pub gamma: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Longest continuation, in tokens.
    pub max_new_tokens: usize,
    /// Prompts of each file; 0 takes all.
    #[serde(default)]
    pub limit: usize,
    /// Tasks whose prompts go without the chat template.
    #[serde(default)]
    pub raw_tasks: Vec<String>,
    /// Steps between looks at the acceptance rate, which keep the best draft; 0 looks at the ends
    /// of stages alone.
    #[serde(default)]
    pub every: usize,
}

fn accumulation() -> usize {
    1
}
// A checkpoint of a recipe from before this key is still one of the same recipe.
fn is_one(value: &usize) -> bool {
    *value == 1
}
fn warmup() -> f64 {
    0.05
}
fn floor() -> f64 {
    0.1
}
fn clip() -> f32 {
    1.0
}
fn field() -> String {
    "text".into()
}
fn weight() -> u32 {
    1
}
fn sequences() -> usize {
    32
}

impl Recipe {
    /// Reads TOML.
    ///
    /// # Errors
    /// [`TrainError::RecipeSyntax`] with the line of the first thing that is no recipe.
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        toml::from_str(text).map_err(|error| TrainError::RecipeSyntax {
            reason: error.to_string(),
        })
    }

    /// Reads a TOML file; its paths become relative to where the program runs.
    ///
    /// # Errors
    /// [`TrainError::Io`], or as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut recipe = Self::parse(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for source in recipe
            .stages
            .iter_mut()
            .flat_map(|stage| &mut stage.sources)
        {
            let answers = source.answers.as_mut().map(|answers| &mut answers.prompts);
            let answered = source.answered.as_mut();
            for path in source.documents.iter_mut().chain(answers).chain(answered) {
                *path = folder.join(&path);
            }
        }
        let prompts = recipe.evaluation.iter_mut().flat_map(|e| &mut e.prompts);
        for path in prompts.chain(&mut recipe.draft.from) {
            *path = folder.join(&path);
        }
        Ok(recipe)
    }

    /// The recipe with the named stages left out.
    ///
    /// # Errors
    /// [`TrainError::UnknownStage`] for a name that no stage has.
    pub fn without(mut self, names: &[String]) -> Result<Self, TrainError> {
        for name in names {
            if !self.stages.iter().any(|stage| stage.name == *name) {
                return Err(TrainError::UnknownStage {
                    name: name.clone(),
                    known: self.stages.iter().map(|s| s.name.clone()).collect(),
                });
            }
        }
        self.stages.retain(|stage| !names.contains(&stage.name));
        Ok(self)
    }

    /// Writes TOML that [`parse`](Self::parse) reads back.
    ///
    /// # Errors
    /// [`TrainError::RecipeSyntax`] for a number that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string_pretty(self).map_err(|error| TrainError::RecipeSyntax {
            reason: error.to_string(),
        })
    }
}
