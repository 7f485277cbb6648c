//! What speculative decoding gave, task by task.

use std::collections::BTreeMap;

use fastdraft_data::source::Prompt;
use fastdraft_specdec::{Metrics, Session, SystemClock, gamma::GammaPolicy};

use super::{
    DecodeSpeed, EvaluateConfig, PlainSpeed, TaskReport, decode, interval,
    speed::{Speed, Stopwatch, over},
};
use crate::{draft::DraftSource, error::TrainError, target::TargetModel};

/// Drafted and accepted of each prompt, and the sums.
#[derive(Default)]
struct Measured {
    prompts: Vec<(f64, f64)>,
    metrics: Metrics,
    speed: Speed,
    /// One for all prompts, so that what it learns from one is of use for the next.
    policy: Option<Box<dyn GammaPolicy>>,
}

#[derive(Default)]
pub(super) struct Tasks {
    tasks: BTreeMap<String, Measured>,
}

impl Tasks {
    /// Decodes a prompt with the draft.
    pub(super) fn add<S: DraftSource>(
        &mut self,
        target: &TargetModel,
        draft: &S,
        prompt: &Prompt,
        index: usize,
        config: &EvaluateConfig,
    ) -> Result<(), TrainError> {
        let ids = target.encode(&prompt.prompt, config.is_raw(&prompt.task))?;
        let capacity = ids.len() + config.max_new_tokens + config.gamma + 1;
        let (mut target_engine, mut draft_engine) =
            (target.engine(capacity), draft.draft(capacity));
        let session = config.session(target, index);
        let entry = self.tasks.entry(prompt.task.clone()).or_default();
        let policy = (entry.policy).get_or_insert_with(|| config.length.policy(config.gamma));
        let mut watch = Stopwatch::start();
        let mut generation = Session::new(&mut draft_engine, &mut target_engine, &ids, &session)
            .map_err(decode)?
            .with_policy(policy)
            .with_clock(SystemClock::default());
        while let Some(step) = generation.advance().map_err(decode)? {
            watch.pass(step.tokens.len());
        }
        let out = generation.finish();
        watch.add_to(&mut entry.speed, out.metrics.emitted);
        entry.metrics.merge(&out.metrics);
        (entry.prompts).push((out.metrics.drafted as f64, out.metrics.accepted as f64));
        Ok(())
    }

    /// Each task against plain decoding; a draft token costs `c` target passes in MBSU.
    pub(super) fn report(
        self,
        plain: &PlainSpeed,
        c: f64,
        config: &EvaluateConfig,
    ) -> Vec<TaskReport> {
        (self.tasks.into_iter())
            .map(|(task, measured)| {
                let Measured {
                    prompts,
                    metrics,
                    speed,
                    policy: _,
                } = measured;
                let plain = plain.tasks.get(&task).copied().unwrap_or_default();
                let (plain_tokens_per_s, speculative_tokens_per_s) =
                    (plain.whole.rate(), speed.whole.rate());
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
                    speedup: over(speculative_tokens_per_s, plain_tokens_per_s),
                    decode: DecodeSpeed::new(&plain, &speed),
                    draft_position: metrics.draft_position,
                }
            })
            .collect()
    }
}
