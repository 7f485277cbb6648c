//! What training a draft costs, before money is spent.
//!
//! ```
//! use fastdraft_hw::plan::{Budget, Optimizer, PlanInput, StageInput, plan};
//! use fastdraft_hw::profile::Profile;
//! use fastdraft_hw::shape::DecoderShape;
//!
//! let input = PlanInput {
//!     draft: DecoderShape::new(32_064, 512, 6, 1408, 8),
//!     frozen_embedding: false,
//!     target: None,
//!     sequence_length: 2048,
//!     optimizer: Optimizer::AdamW,
//!     stages: vec![StageInput {
//!         name: "PT".to_owned(),
//!         batch: 64,
//!         accumulation: 1,
//!         budget: Budget::Tokens(5_000_000_000),
//!         answers: None,
//!         live_teacher: false,
//!     }],
//! };
//! let plan = plan(&input.validate()?, &Profile::named("gaudi-2")?, 8)?;
//! assert!(plan.hours < 24.0);
//! # Ok::<(), fastdraft_hw::HwError>(())
//! ```
//!
//! | quantity | formula | source |
//! |---|---|---|
//! | operations of a token in training | 6·N + 12·L·H·Q·T, N without the embedding, with the head | Chowdhery et al., arXiv 2204.02311, appendix B |
//! | MFU | operations of a token × tokens/s / (devices × peak) | the same |
//! | time of an operation | the longer of arithmetic and memory traffic | Williams, Waterman and Patterson, CACM 52(4), 2009 |
//! | bytes of a parameter with AdamW | 16, in f32 and in mixed precision | Rajbhandari et al., arXiv 1910.02054, section 3.1 |
//! | exchange of gradients | 2·(n − 1)/n of their bytes over each link | Patarasuk and Yuan, JPDC 69(2), 2009 |
//!
//! Memory traffic and activations are counted operation by operation (`work`, `memory`). The sum of
//! the times is divided by the profile's `efficiency`; the exchange of gradients does not overlap.

mod assumptions;
mod input;
mod memory;
mod step;
mod work;

use serde::Serialize;

pub(crate) use assumptions::unproven;
pub use input::{Answers, Budget, Optimizer, PlanInput, StageInput, ValidPlan};
pub use memory::{MemoryUse, memory_use};
pub use work::flops_per_token;

use crate::error::HwError;
use crate::predict::{Latency, RooflineLatency};
use crate::profile::Profile;

/// Part of a device's memory that is left to its runtime.
const RESERVED: f64 = 0.1;
/// Bytes of a weight of the target while it writes answers.
const TARGET_WEIGHT: f64 = 2.0;
const HOUR: f64 = 3600.0;

/// The forecast of one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StagePlan {
    /// Name of the stage.
    pub name: String,
    /// Input tokens.
    pub tokens: f64,
    /// Optimizer steps.
    pub steps: f64,
    /// Input tokens per second, all devices together.
    pub tokens_per_second: f64,
    /// Hours of training and of the target's answers.
    pub hours: f64,
    /// Hours of `hours` in which the target writes answers.
    pub answer_hours: f64,
    /// Bytes on the fullest device.
    pub memory_bytes: f64,
    /// Fraction of the peak rate of matrix products that the forecast amounts to (MFU).
    pub utilization: f64,
}

/// The forecast of a whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Product name of the device.
    pub device: String,
    /// Short name of its profile.
    pub profile: String,
    /// Devices.
    pub count: u64,
    /// Parameters of the draft.
    pub parameters: u64,
    /// Stages in order.
    pub stages: Vec<StagePlan>,
    /// Hours of all stages.
    pub hours: f64,
    /// Bytes on the fullest device, in the stage that needs most.
    pub memory_bytes: f64,
    /// Bytes that a device has for it.
    pub memory_available: f64,
    /// Operations of the training of all stages, of the draft alone.
    pub training_flops: f64,
    /// Peak rate of matrix products of all devices.
    pub peak_flops: f64,
    /// Fraction of the roofline that a training step is taken to reach.
    pub efficiency: f64,
    /// What the forecast rests on without proof.
    pub assumptions: Vec<String>,
}

impl Plan {
    /// The MFU at which training alone takes `hours`: below it the run takes longer.
    #[must_use]
    pub fn utilization_for(&self, hours: f64) -> f64 {
        self.training_flops / (self.peak_flops * hours * HOUR)
    }
}

/// Forecasts a run on `count` devices, each of which holds the whole draft (data parallel).
///
/// # Errors
///
/// [`HwError::DoesNotFit`] with what would fit, [`HwError::InvalidPlan`] for a batch with fewer rows
/// than devices, no device, or devices whose interconnect is unknown.
pub fn plan(input: &ValidPlan, profile: &Profile, count: u64) -> Result<Plan, HwError> {
    let mut plan = forecast(input, profile, count)?;
    plan.assumptions = assumptions::of(input, profile, count)?;
    Ok(plan)
}

fn forecast(input: &ValidPlan, profile: &Profile, count: u64) -> Result<Plan, HwError> {
    let wrong = |path: &str, reason: String| HwError::InvalidPlan {
        path: path.to_owned(),
        reason,
    };
    if count == 0 {
        return Err(wrong("devices", "there must be at least one".to_owned()));
    }
    if count > 1 && profile.interconnect.is_none() {
        let reason = format!("no interconnect between {} is known", profile.name);
        return Err(wrong("devices", reason));
    }
    let available = profile.memory.value * (1.0 - RESERVED);
    let mut stages = Vec::with_capacity(input.stages.len());
    let mut training_flops = 0.0;
    for (index, stage) in input.stages.iter().enumerate() {
        if stage.batch < count {
            let reason = format!("{} rows cannot be dealt to {count} devices", stage.batch);
            return Err(wrong(&format!("stage[{index}].batch"), reason));
        }
        let rows = stage.batch.div_ceil(count);
        let memory = memory::check(input, stage, rows, count, profile, available)?;
        let teacher = memory::teacher(input, stage);
        let seconds = step::seconds(input, teacher, rows, profile, count);
        let per_step = (stage.batch * input.sequence_length) as f64;
        let rate = per_step / seconds;
        let tokens = match stage.budget {
            Budget::Tokens(tokens) => tokens as f64,
            Budget::Steps(steps) => steps as f64 * per_step,
            Budget::Seconds(seconds) => seconds as f64 * rate,
        };
        let answer_seconds = answer_seconds(input, stage, profile, count, available)?;
        let per_token = flops_per_token(&input.draft, input.sequence_length);
        training_flops += per_token * tokens;
        stages.push(StagePlan {
            name: stage.name.clone(),
            tokens,
            steps: (tokens / per_step).ceil(),
            tokens_per_second: rate,
            hours: (tokens / rate + answer_seconds) / HOUR,
            answer_hours: answer_seconds / HOUR,
            memory_bytes: memory,
            utilization: per_token * rate / (profile.matmul.value * count as f64),
        });
    }
    let most = |value: fn(&StagePlan) -> f64| stages.iter().map(value).fold(0.0, f64::max);
    Ok(Plan {
        device: profile.name.clone(),
        profile: profile.id.clone(),
        count,
        parameters: input.draft.parameters(),
        hours: stages.iter().map(|stage| stage.hours).sum(),
        memory_bytes: most(|stage| stage.memory_bytes),
        memory_available: available,
        training_flops,
        peak_flops: profile.matmul.value * count as f64,
        efficiency: profile.efficiency.value,
        assumptions: Vec::new(),
        stages,
    })
}

/// Seconds in which the target writes the answers of a stage, on every device at once.
fn answer_seconds(
    input: &ValidPlan,
    stage: &StageInput,
    profile: &Profile,
    count: u64,
    available: f64,
) -> Result<f64, HwError> {
    let (Some(answers), Some(target)) = (&stage.answers, &input.target) else {
        return Ok(0.0);
    };
    let needed = target.parameters() as f64 * TARGET_WEIGHT;
    if needed > available {
        return Err(HwError::DoesNotFit {
            what: format!("the target that answers in stage {}", stage.name),
            device: profile.name.clone(),
            needed: memory::readable(needed),
            available: memory::readable(available),
            fits: format!(
                "a target of {:.1} billion parameters, or answers made on another device",
                available / TARGET_WEIGHT / 1e9
            ),
        });
    }
    let batch = u32::try_from(answers.batch).unwrap_or(u32::MAX);
    let pass = RooflineLatency::new(target, profile, TARGET_WEIGHT).seconds(batch);
    let rate = f64::from(batch) * count as f64 / pass * profile.efficiency.value;
    Ok(answers.tokens as f64 / rate)
}

#[cfg(test)]
mod tests;
