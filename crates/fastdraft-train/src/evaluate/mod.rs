//! Acceptance and speed on prompts, by task, measured with the verifier that ships.

mod expected;
mod interval;
mod length;
mod speed;
mod tasks;

use std::{collections::BTreeMap, ops::ControlFlow};

use fastdraft_data::source::Prompt;
use fastdraft_specdec::{SessionConfig, Stop, Transform, generate_plain};
use serde::{Deserialize, Serialize};

pub use self::{
    expected::{DraftAcceptance, ExpectedAcceptance, expected_acceptance},
    length::DraftLength,
    speed::DecodeSpeed,
};
use self::{
    speed::{Speed, Stopwatch},
    tasks::Tasks,
};
use crate::{draft::DraftSource, error::TrainError, progress::Progress, target::TargetModel};

/// How prompts are decoded.
#[derive(Debug, Clone)]
pub struct EvaluateConfig {
    /// Draft tokens a step, at most.
    pub gamma: usize,
    /// What decides how many up to that.
    pub length: DraftLength,
    /// 0 is greedy.
    pub temperature: f64,
    /// Longest continuation, in tokens.
    pub max_new_tokens: usize,
    /// Of the sampling.
    pub seed: u64,
    /// Tasks whose prompts go without the chat template.
    pub raw_tasks: Vec<String>,
    /// All prompts go without the chat template.
    pub raw: bool,
}

impl EvaluateConfig {
    fn session(&self, target: &TargetModel, index: usize) -> SessionConfig {
        SessionConfig {
            gamma: self.gamma,
            max_new_tokens: self.max_new_tokens,
            transform: Transform::temperature(self.temperature),
            stop: Stop {
                tokens: target.config().eos_ids.clone(),
                ..Stop::default()
            },
            seed: self.seed.wrapping_add(index as u64),
        }
    }

    fn is_raw(&self, task: &str) -> bool {
        self.raw || self.raw_tasks.iter().any(|t| t == task)
    }
}

/// Plain decoding of one task, reused between drafts.
#[derive(Debug, Clone, Default)]
pub struct PlainSpeed {
    tasks: BTreeMap<String, Speed>,
}

/// One row of the report. Speeds count prompt processing, those of [`decode`](Self::decode) do not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: String,
    /// Prompts decoded.
    pub prompts: usize,
    /// Draft tokens proposed.
    pub drafted: u64,
    /// Draft tokens accepted.
    pub accepted: u64,
    /// Target passes.
    pub target_passes: u64,
    /// Tokens emitted.
    pub emitted: u64,
    /// Accepted over drafted, the paper's AR; 0 when nothing was drafted.
    pub acceptance_rate: f64,
    /// Where the acceptance rate lies with 95 % confidence, by resampling prompts (percentile
    /// bootstrap, Efron 1979); absent with fewer than two prompts.
    #[serde(default)]
    pub acceptance_interval: Option<(f64, f64)>,
    /// Tokens emitted for each target pass, τ.
    pub block_efficiency: f64,
    /// τ / (cγ + 1), with c the draft's share of the target's parameters.
    pub mbsu: f64,
    /// Plain decoding.
    pub plain_tokens_per_s: f64,
    /// Speculative decoding.
    pub speculative_tokens_per_s: f64,
    /// Speculative over plain, wall clock.
    pub speedup: f64,
    /// The same behind the prompt.
    #[serde(default)]
    pub decode: DecodeSpeed,
    /// For each position in a block, how often a token was drafted and how often accepted there.
    #[serde(default)]
    pub draft_position: Vec<(u64, u64)>,
}

/// Decodes every prompt without a draft.
///
/// # Errors
/// [`TrainError::Empty`] without prompts, [`TrainError::Decode`] when the target fails.
pub fn plain_speed(
    target: &TargetModel,
    prompts: &[Prompt],
    config: &EvaluateConfig,
    progress: &mut Progress,
) -> Result<PlainSpeed, TrainError> {
    not_empty(prompts)?;
    let mut plain = PlainSpeed::default();
    for (index, prompt) in prompts.iter().enumerate() {
        plain.add(target, prompt, index, config)?;
        progress.set((index + 1) as f64 / prompts.len() as f64, &prompt.task);
    }
    Ok(plain)
}

impl PlainSpeed {
    fn add(
        &mut self,
        target: &TargetModel,
        prompt: &Prompt,
        index: usize,
        config: &EvaluateConfig,
    ) -> Result<(), TrainError> {
        let ids = target.encode(&prompt.prompt, config.is_raw(&prompt.task))?;
        let mut engine = target.engine(ids.len() + config.max_new_tokens + 1);
        let session = config.session(target, index);
        let mut watch = Stopwatch::start();
        let out = generate_plain(&mut engine, &ids, &session, |step| {
            watch.pass(step.tokens.len());
            ControlFlow::Continue(())
        })
        .map_err(decode)?;
        let speed = self.tasks.entry(prompt.task.clone()).or_default();
        watch.add_to(speed, out.metrics.emitted);
        Ok(())
    }
}

/// Decodes every prompt with the draft, and reports each task, by name.
///
/// # Errors
/// [`TrainError::Empty`] without prompts, [`TrainError::Decode`] when a model fails.
pub fn evaluate<S: DraftSource>(
    target: &TargetModel,
    draft: &S,
    prompts: &[Prompt],
    plain: &PlainSpeed,
    config: &EvaluateConfig,
    progress: &mut Progress,
) -> Result<Vec<TaskReport>, TrainError> {
    not_empty(prompts)?;
    let _span = crate::spans::evaluation(prompts.len());
    let mut measured = Tasks::default();
    for (index, prompt) in prompts.iter().enumerate() {
        measured.add(target, draft, prompt, index, config)?;
        progress.set((index + 1) as f64 / prompts.len() as f64, &prompt.task);
    }
    Ok(measured.report(plain, draft.cost_ratio(target), config))
}

/// Decodes every prompt without the draft and then with it as each of `configs` says, and reports
/// the tasks of each.
///
/// The ways take turns prompt by prompt, so that a machine that slows down slows them all.
///
/// # Errors
/// [`TrainError::Empty`] without prompts or configurations, [`TrainError::Decode`] when a model
/// fails.
pub fn compare<S: DraftSource>(
    target: &TargetModel,
    draft: &S,
    prompts: &[Prompt],
    configs: &[EvaluateConfig],
    progress: &mut Progress,
) -> Result<Vec<Vec<TaskReport>>, TrainError> {
    not_empty(prompts)?;
    let first = configs.first().ok_or_else(|| TrainError::Empty {
        what: "the list of configurations".into(),
    })?;
    let _span = crate::spans::evaluation(prompts.len());
    let mut plain = PlainSpeed::default();
    let mut measured: Vec<Tasks> = configs.iter().map(|_| Tasks::default()).collect();
    for (index, prompt) in prompts.iter().enumerate() {
        plain.add(target, prompt, index, first)?;
        for (config, measured) in configs.iter().zip(&mut measured) {
            measured.add(target, draft, prompt, index, config)?;
        }
        progress.set((index + 1) as f64 / prompts.len() as f64, &prompt.task);
    }
    let c = draft.cost_ratio(target);
    Ok((measured.into_iter().zip(configs))
        .map(|(measured, config)| measured.report(&plain, c, config))
        .collect())
}

fn not_empty(prompts: &[Prompt]) -> Result<(), TrainError> {
    if prompts.is_empty() {
        return Err(TrainError::Empty {
            what: "the list of prompts".into(),
        });
    }
    Ok(())
}

fn decode(error: impl std::fmt::Display) -> TrainError {
    TrainError::Decode {
        reason: error.to_string(),
    }
}
