//! Loss of each position, and its gradient below the head.

use rayon::prelude::*;

use super::{Cut, Head, part::Block};
use crate::{
    host::vector::{dot, exp, vectorized},
    loss::{
        batch::Goal,
        row::{Gradient, Softmax, gradient},
    },
};

/// What a position's exponentials are to be multiplied with.
pub(super) struct Position {
    pub(super) loss: f64,
    /// No logit is far above it.
    pub(super) peak: f32,
    /// Of exponentials under that peak.
    pub(super) factor: f32,
    /// Tokens that less of the stream is added to than that.
    pub(super) less: Vec<(u32, f32)>,
}

/// Writes the gradient below the head, `[positions, width]`.
pub(super) fn positions(
    head: &Head<'_>,
    cut: &Cut,
    goals: &[Goal],
    blocks: &[Block<'_>],
    below: &mut [f32],
) -> Vec<Position> {
    (below.par_chunks_mut(head.width).zip(goals).enumerate())
        .map(|(at, (below, goal))| {
            position(head, &blocks[at / cut.block], at % cut.block, goal, below)
        })
        .collect()
}

fn position(
    head: &Head<'_>,
    block: &Block<'_>,
    at: usize,
    goal: &Goal,
    below: &mut [f32],
) -> Position {
    let width = head.width;
    let peaks = block.parts.iter().map(|part| part.last_peaks()[at]);
    let peak = peaks.clone().fold(f32::NEG_INFINITY, f32::max);
    let under = |other: f32| exp(other - peak);
    let sums = block.parts.iter().zip(peaks.clone());
    let sum = sums.map(|(part, peak)| part.sums[at] * f64::from(under(peak)));
    let softmax = Softmax {
        peak,
        sum: sum.sum(),
    };
    let x = &block.x[at * width..][..width];
    let Gradient { loss, factor, less } = gradient(goal, softmax, |id| inner(x, head.row(id)));
    below.fill(0.0);
    for (part, peak) in block.parts.iter().zip(peaks) {
        add_scaled(
            below,
            &part.below[at * width..][..width],
            factor * under(peak),
        );
    }
    for (id, less) in &less {
        add_scaled(below, head.row(*id), -less);
    }
    Position {
        loss,
        peak,
        factor,
        less,
    }
}

vectorized! {
    pub(super) fn inner(a: &[f32], b: &[f32]) -> f32 {
        dot(a, b)
    }
}

vectorized! {
    pub(super) fn add_scaled(sum: &mut [f32], values: &[f32], factor: f32) {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += factor * value;
        }
    }
}
