//! Acceptance and speed on prompts, by task, measured with the verifier that ships.

mod interval;

use std::{collections::BTreeMap, ops::ControlFlow, time::Instant};

use fastdraft_data::source::Prompt;
use fastdraft_specdec::{
    Generation, Metrics, SessionConfig, Stop, Transform, generate, generate_plain,
};
use serde::{Deserialize, Serialize};

use crate::{draft::DraftSource, error::TrainError, progress::Progress, target::TargetModel};

/// How prompts are decoded.
#[derive(Debug, Clone)]
pub struct EvaluateConfig {
    /// Draft tokens a step.
    pub gamma: usize,
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
    emitted: BTreeMap<String, u64>,
    seconds: BTreeMap<String, f64>,
}

/// One row of the report. Speeds count prompt processing.
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
        let ids = target.encode(&prompt.prompt, config.is_raw(&prompt.task))?;
        let mut engine = target.engine(ids.len() + config.max_new_tokens + 1);
        let session = config.session(target, index);
        let start = Instant::now();
        let out = generate_plain(&mut engine, &ids, &session, |_| ControlFlow::Continue(()))
            .map_err(decode)?;
        *plain.seconds.entry(prompt.task.clone()).or_default() += start.elapsed().as_secs_f64();
        *plain.emitted.entry(prompt.task.clone()).or_default() += out.metrics.emitted;
        progress.set((index + 1) as f64 / prompts.len() as f64, &prompt.task);
    }
    Ok(plain)
}

/// What one task gave: drafted and accepted of each prompt, and the sums.
#[derive(Default)]
struct Measured {
    prompts: Vec<(u64, u64)>,
    metrics: Metrics,
    seconds: f64,
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
    let mut tasks: BTreeMap<String, Measured> = BTreeMap::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let ids = target.encode(&prompt.prompt, config.is_raw(&prompt.task))?;
        let capacity = ids.len() + config.max_new_tokens + config.gamma + 1;
        let (mut target_engine, mut draft_engine) =
            (target.engine(capacity), draft.draft(capacity));
        let session = config.session(target, index);
        let start = Instant::now();
        let out: Generation = generate(
            &mut draft_engine,
            &mut target_engine,
            &ids,
            &session,
            |_| ControlFlow::Continue(()),
        )
        .map_err(decode)?;
        let entry = tasks.entry(prompt.task.clone()).or_default();
        entry.seconds += start.elapsed().as_secs_f64();
        entry.metrics.merge(&out.metrics);
        (entry.prompts).push((out.metrics.drafted, out.metrics.accepted));
        progress.set((index + 1) as f64 / prompts.len() as f64, &prompt.task);
    }
    let c = draft.cost_ratio(target);
    Ok(tasks
        .into_iter()
        .map(|(task, measured)| {
            let Measured {
                prompts,
                metrics,
                seconds,
            } = measured;
            let rate = |tokens: u64, seconds: f64| tokens as f64 / seconds.max(1e-9);
            let plain_tokens_per_s = rate(
                plain.emitted.get(&task).copied().unwrap_or(0),
                plain.seconds.get(&task).copied().unwrap_or(0.0),
            );
            let speculative_tokens_per_s = rate(metrics.emitted, seconds);
            TaskReport {
                task,
                prompts: prompts.len(),
                acceptance_interval: interval::bootstrap(&prompts, config.seed),
                drafted: metrics.drafted,
                accepted: metrics.accepted,
                target_passes: metrics.target_passes,
                emitted: metrics.emitted,
                acceptance_rate: metrics.acceptance_rate().unwrap_or(0.0),
                block_efficiency: metrics.block_efficiency().unwrap_or(0.0),
                mbsu: metrics.mbsu(c, config.gamma).unwrap_or(0.0),
                plain_tokens_per_s,
                speculative_tokens_per_s,
                speedup: speculative_tokens_per_s / plain_tokens_per_s.max(1e-9),
                draft_position: metrics.draft_position,
            }
        })
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
