//! Exponentials of a block of positions, and what they give below the head.

use rayon::prelude::*;

use super::{Cut, Head, position::inner};
use crate::{
    host::{
        Buffer, Memory,
        matrix::{Put, View, ViewMut, multiply_packed, with_memory},
        product::{Aligned, Packed},
        vector::{exp, exp_with, vectorized},
    },
    loss::batch::Goal,
};

/// Some positions with the whole vocabulary.
pub(super) struct Block<'a> {
    /// `[positions, width]`
    pub(super) x: &'a [f32],
    /// `[size, stride]`, the first `positions` of each row.
    pub(super) exponentials: &'a [f32],
    /// Peaks that are not raised, `[stride]`.
    pub(super) start: Vec<f32>,
    /// Of the vocabulary.
    pub(super) parts: Vec<Part>,
}

/// What some panels of the vocabulary give to the positions of a block.
pub(super) struct Part {
    /// The peaks that each panel's exponentials are under, `[panels, stride]`.
    pub(super) peaks: Vec<f32>,
    /// Sums of the exponentials under the last peak, `[stride]`.
    pub(super) sums: Vec<f64>,
    /// The exponentials under the last peak times the weights, `[positions, width]`.
    pub(super) below: Buffer,
}

impl Part {
    /// `[stride]`
    pub(super) fn last_peaks(&self) -> &[f32] {
        &self.peaks[self.peaks.len() - self.sums.len()..]
    }
}

/// All blocks of some positions, `x` with `[positions, width]` and their goals.
pub(super) fn blocks<'a>(
    head: &Head<'_>,
    cut: &Cut,
    (x, goals): (&'a [f32], &[Goal]),
    exponentials: &'a mut Aligned,
    memory: &Memory,
) -> Vec<Block<'a>> {
    let (width, stride) = (head.width, cut.stride());
    let each = head.size * stride;
    let count = (x.len() / width).div_ceil(cut.block);
    (exponentials.room(count * each).par_chunks_mut(each))
        .zip(x.par_chunks(cut.block * width))
        .zip(goals.par_chunks(cut.block))
        .map(|((exponentials, x), goals)| {
            let mut start = vec![0.0; stride];
            let goals = x.chunks_exact(width).zip(goals);
            for (start, (x, goal)) in start.iter_mut().zip(goals) {
                *start = inner(x, head.row(goal.likely()));
            }
            let mut packed = Packed::default();
            packed.pack(View::new(x, x.len() / width, width).t());
            let chunk = cut.chunk_rows(width);
            let parts = (exponentials.par_chunks_mut(chunk * stride))
                .zip(head.rows().par_chunks(chunk * width))
                .map(|(values, weights)| {
                    let from = (&packed, &start[..]);
                    with_memory(|scratch| part(cut, width, from, weights, values, scratch, memory))
                })
                .collect();
            Block {
                x,
                exponentials,
                start,
                parts,
            }
        })
        .collect()
}

/// Rows of the head whose logits are looked at before those of the next: they are in the first
/// cache.
const FEW: usize = 24;

/// Goes through some panels.
fn part(
    cut: &Cut,
    width: usize,
    (x, start): (&Packed, &[f32]),
    weights: &[f32],
    values: &mut [f32],
    scratch: &mut Packed,
    memory: &Memory,
) -> Part {
    let (positions, stride, panel) = (x.columns(), cut.stride(), cut.panel_rows(width));
    let mut part = Part {
        peaks: Vec::with_capacity(weights.len().div_ceil(panel * width) * stride),
        sums: vec![0.0; stride],
        below: memory.take(positions * width),
    };
    let mut peaks = start.to_vec();
    let mut highest = vec![0.0; stride];
    let mut sums = vec![0.0; stride];
    let panels = (weights.chunks(panel * width)).zip(values.chunks_mut(panel * stride));
    for (index, (weights, values)) in panels.enumerate() {
        highest.fill(f32::NEG_INFINITY);
        let tokens = weights.len() / width;
        scratch.empty(tokens, width);
        let few = weights
            .chunks(FEW * width)
            .zip(values.chunks_mut(FEW * stride));
        for (few, (weights, values)) in few.enumerate() {
            let tokens = weights.len() / width;
            let weights = View::new(weights, tokens, width);
            let out = ViewMut::strided(values, tokens, positions, stride);
            multiply_packed(out, Put::Over, weights, &x.view());
            raise(&mut highest, values);
            scratch.put(few * FEW, weights);
        }
        let before = raise_far(&mut peaks[..positions], &highest, cut.slack);
        if let (Some(before), 1..) = (before, index) {
            lower(&mut part, width, &before, &peaks);
        }
        exponentials(values, &peaks, &mut sums);
        part.peaks.extend_from_slice(&peaks);
        for (sum, new) in part.sums.iter_mut().zip(&sums) {
            *sum += f64::from(*new);
        }
        let values = View::strided(values, tokens, positions, stride);
        let put = if index > 0 { Put::Onto } else { Put::Over };
        let out = ViewMut::new(&mut part.below, positions, width);
        multiply_packed(out, put, values.t(), &scratch.view());
    }
    part
}

/// Raises peaks that are too far below the highest logits; returns what they were, if one was.
fn raise_far(peaks: &mut [f32], highest: &[f32], slack: f32) -> Option<Vec<f32>> {
    let far = |peak: f32, highest: f32| highest - peak > slack;
    let mut pairs = peaks.iter().zip(highest);
    if !pairs.any(|(peak, highest)| far(*peak, *highest)) {
        return None;
    }
    let before = peaks.to_vec();
    for (peak, highest) in peaks.iter_mut().zip(highest) {
        if far(*peak, *highest) {
            *peak = *highest;
        }
    }
    Some(before)
}

/// Scales what was added up under other peaks.
fn lower(part: &mut Part, width: usize, before: &[f32], peaks: &[f32]) {
    for (sum, (before, peak)) in part.sums.iter_mut().zip(before.iter().zip(peaks)) {
        *sum *= f64::from(exp(before - peak));
    }
    let rows = part.below.chunks_exact_mut(width);
    for (row, (before, peak)) in rows.zip(before.iter().zip(peaks)) {
        if before < peak {
            scale(row, exp(before - peak));
        }
    }
}

vectorized! {
    /// Raises numbers to the values of rows.
    fn raise(peaks: &mut [f32], values: &[f32]) {
        for row in values.chunks_exact(peaks.len()) {
            for (peak, value) in peaks.iter_mut().zip(row) {
                *peak = if *peak > *value { *peak } else { *value };
            }
        }
    }
}

vectorized! {
    /// Turns rows of values into exponentials; adds them up over the rows.
    fn exponentials<FUSED>(values: &mut [f32], peaks: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for row in values.chunks_exact_mut(peaks.len()) {
            for ((value, peak), sum) in row.iter_mut().zip(peaks).zip(&mut *sums) {
                *value = exp_with::<FUSED>(*value - peak);
                *sum += *value;
            }
        }
    }
}

vectorized! {
    fn scale(values: &mut [f32], factor: f32) {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}
