//! Seconds of one optimizer step.

use super::input::{Optimizer, PlanInput};
use super::memory::trainable;
use super::work;
use crate::profile::Profile;
use crate::shape::DecoderShape;

/// Operations of a block that each cost a launch, forward; backward has twice as many.
const LAUNCHES: f64 = 12.0;

/// With a `teacher`, its forward pass over the same rows comes before.
pub(super) fn seconds(
    input: &PlanInput,
    teacher: Option<&DecoderShape>,
    rows: u64,
    profile: &Profile,
    count: u64,
) -> f64 {
    let (matmul, bandwidth) = (profile.matmul.value, profile.bandwidth.value);
    let training = |shape| -> f64 {
        let number = profile.dtype.bytes();
        let operations = work::step(shape, rows, input.sequence_length, number);
        operations
            .iter()
            .map(|work| work.seconds(matmul, bandwidth))
            .sum()
    };
    // A forward pass is a third of the products of a step.
    let passes = training(&input.draft) + teacher.map_or(0.0, |target| training(target) / 3.0);
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
    let blocks = 3.0 * input.draft.layers as f64 + teacher.map_or(0.0, |t| t.layers as f64);
    let launches = LAUNCHES * blocks;
    let launch = profile.launch_overhead.as_ref().map_or(0.0, |x| x.value);
    (passes + update) / profile.efficiency.value + exchange + launches * launch
}
