//! Seconds of one optimizer step.

use super::input::{Optimizer, PlanInput};
use super::memory::{Attention, trainable};
use super::work;
use crate::profile::Profile;

/// Operations of a block that each cost a launch, forward; backward has twice as many.
const LAUNCHES: f64 = 12.0;

pub(super) fn seconds(input: &PlanInput, rows: u64, profile: &Profile, count: u64) -> f64 {
    let (matmul, bandwidth) = (profile.matmul.value, profile.bandwidth.value);
    let operations = work::step(
        &input.draft,
        rows,
        input.sequence_length,
        profile.dtype.bytes(),
        Attention::of(profile),
    );
    let passes: f64 = operations
        .iter()
        .map(|work| work.seconds(matmul, bandwidth))
        .sum();
    let parameters = trainable(input) as f64;
    // AdamW reads weight, gradient and two moments and writes all but the gradient, in f32.
    let updates = match input.optimizer {
        Optimizer::AdamW => 28.0,
        Optimizer::Sgd => 12.0,
    };
    let update = parameters * updates / bandwidth;
    let devices = count as f64;
    let exchange = profile.interconnect.as_ref().map_or(0.0, |link| {
        2.0 * (devices - 1.0) / devices * 4.0 * parameters / link.value
    });
    let launches = 3.0 * LAUNCHES * input.draft.layers as f64;
    let launch = profile.launch_overhead.as_ref().map_or(0.0, |x| x.value);
    (passes + update) / profile.efficiency.value + exchange + launches * launch
}
