//! A run as far as its cost depends on it.

use std::ops::Deref;

use crate::error::HwError;
use crate::shape::DecoderShape;

/// Longest sequence and largest batch; products of both stay within 64 bits.
const MOST: u64 = 1 << 31;

/// What keeps state for each parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Optimizer {
    /// Two moments in f32.
    #[default]
    AdamW,
    /// No state.
    Sgd,
}

/// When a stage ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Optimizer steps.
    Steps(u64),
    /// Input tokens.
    Tokens(u64),
    /// Wall clock.
    Seconds(u64),
}

/// Answers that the target writes for a stage before it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Tokens of all answers.
    pub tokens: u64,
    /// Sequences that share a pass, on each device.
    pub batch: u64,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageInput {
    /// Name, such as `PT`.
    pub name: String,
    /// Rows of a step, all devices together.
    pub batch: u64,
    /// Micro-batches that a step goes through one after the other; 1 for none.
    pub accumulation: u64,
    /// When it ends.
    pub budget: Budget,
    /// Answers of the target, if it has to write any.
    pub answers: Option<Answers>,
    /// The target reads the rows of every step beside the draft, as the draft's teacher.
    pub live_teacher: bool,
}

/// A run, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// The draft.
    pub draft: DecoderShape,
    /// The embedding stays as it is.
    pub frozen_embedding: bool,
    /// The target, needed when a stage has answers or a live teacher.
    pub target: Option<DecoderShape>,
    /// Tokens of a row.
    pub sequence_length: u64,
    /// Optimizer.
    pub optimizer: Optimizer,
    /// Stages in order.
    pub stages: Vec<StageInput>,
}

/// A run whose numbers are in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPlan(PlanInput);

impl Deref for ValidPlan {
    type Target = PlanInput;

    fn deref(&self) -> &PlanInput {
        &self.0
    }
}

impl PlanInput {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`HwError::InvalidPlan`] with the path of the first that is out of range.
    pub fn validate(self) -> Result<ValidPlan, HwError> {
        self.draft.check("draft")?;
        if let Some(target) = &self.target {
            target.check("target")?;
        }
        within("sequence_length", self.sequence_length)?;
        if self.stages.is_empty() {
            return Err(wrong("stage", "there must be at least one"));
        }
        for (index, stage) in self.stages.iter().enumerate() {
            let at = |field: &str| format!("stage[{index}].{field}");
            within(&at("batch"), stage.batch)?;
            within(&at("accumulation"), stage.accumulation)?;
            let budget = match stage.budget {
                Budget::Steps(amount) | Budget::Tokens(amount) | Budget::Seconds(amount) => amount,
            };
            if budget == 0 {
                return Err(wrong(&at("budget"), "must be above 0"));
            }
            if stage.live_teacher && self.target.is_none() {
                return Err(wrong(&at("live_teacher"), "needs the sizes of the target"));
            }
            if let Some(answers) = &stage.answers {
                within(&at("answers.batch"), answers.batch)?;
                if self.target.is_none() {
                    return Err(wrong(&at("answers"), "need the sizes of the target"));
                }
            }
        }
        Ok(ValidPlan(self))
    }
}

fn within(path: &str, value: u64) -> Result<(), HwError> {
    if (1..=MOST).contains(&value) {
        return Ok(());
    }
    Err(wrong(path, &format!("{value} is not in 1..={MOST}")))
}

fn wrong(path: &str, reason: &str) -> HwError {
    HwError::InvalidPlan {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
