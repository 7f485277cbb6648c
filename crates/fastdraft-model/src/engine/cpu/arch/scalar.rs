//! The oracle: plain Rust in the common order of addition.

use std::ops::Range;

use half::bf16;

pub(super) use super::elementwise::{
    gated_silu, rms_scale, round_to_8_bits, round_to_16_bits, softmax,
};
use super::{
    POSITIONS, Stored,
    four_bit::{self, PackedFourBit, RUN, Runs},
    int8::{self, Activations, PackedInt8},
    packed::{Element, GROUP, PAIR, Packed},
};

pub(super) fn multiply_f32(w: &Packed<f32>, g: Range<usize>, x: &[f32], y: &mut [f32], t: usize) {
    multiply_packed(w, g, x, y, t);
}

pub(super) fn multiply_bf16(w: &Packed<bf16>, g: Range<usize>, x: &[f32], y: &mut [f32], t: usize) {
    multiply_packed(w, g, x, y, t);
}

fn multiply_packed<E: Element>(
    w: &Packed<E>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    let mut row = vec![0.0; w.padded_columns()];
    let height = y.len() / t;
    for r in 0..height {
        w.read_row(groups.start * GROUP + r, &mut row[..w.columns()]);
        for (i, token) in x.chunks_exact(w.padded_columns()).enumerate() {
            y[i * height + r] = dot(&row, token);
        }
    }
}

pub(super) fn multiply_int8(w: &PackedInt8, groups: Range<usize>, x: &Activations, y: &mut [f32]) {
    let width = w.steps() * int8::STEP;
    let height = y.len() / x.scales.len();
    for (i, scale) in x.scales.iter().enumerate() {
        let token = &x.values[i * width..i * width + w.columns()];
        for r in 0..height {
            let row = groups.start * int8::GROUP + r;
            let mut total = 0.0f32;
            for (run, values) in token.chunks(w.run()).enumerate() {
                let sum: i32 = (values.iter().enumerate())
                    .map(|(j, b)| i32::from(w.value(row, run * w.run() + j)) * i32::from(*b))
                    .sum();
                total = (sum as f32).mul_add(w.scale(row, run), total);
            }
            y[i * height + r] = total * scale;
        }
    }
}

pub(super) fn multiply_four_bit(w: &PackedFourBit, groups: Range<usize>, x: &Runs, y: &mut [f32]) {
    let runs = w.runs();
    let t = x.scales.len() / runs;
    let height = y.len() / t;
    for i in 0..t {
        for r in 0..height {
            let row = groups.start * four_bit::GROUP + r;
            let mut total = 0.0f32;
            for run in 0..runs {
                let at = i * runs + run;
                let token = &x.values[at * RUN..(at + 1) * RUN];
                let sum: i32 = (0..RUN)
                    .map(|column| i32::from(w.value(row, run, column)) * i32::from(token[column]))
                    .sum();
                let (scale, minimum) = w.constants(row, run);
                total = (sum as f32).mul_add(scale * x.scales[at], total);
                total = minimum.mul_add(x.sums[at], total);
            }
            y[i * height + r] = total;
        }
    }
}

pub(super) fn scores<S: Stored>(keys: &[S], queries: &[f32], out: &mut [f32], dim: usize) {
    let width = keys.len() / dim;
    for (query, out) in queries.chunks_exact(dim).zip(out.chunks_exact_mut(width)) {
        for (position, score) in out.iter_mut().enumerate() {
            let (block, lane) = (position / POSITIONS, position % POSITIONS);
            *score = query.iter().enumerate().fold(0.0, |sum, (d, q)| {
                q.mul_add(keys[(block * dim + d) * POSITIONS + lane].to_f32(), sum)
            });
        }
    }
}

/// Even and odd columns apart.
fn dot(w: &[f32], x: &[f32]) -> f32 {
    let mut sums = [0.0f32; PAIR];
    for (w, x) in w.chunks_exact(PAIR).zip(x.chunks_exact(PAIR)) {
        for ((sum, w), x) in sums.iter_mut().zip(w).zip(x) {
            *sum = w.mul_add(*x, *sum);
        }
    }
    sums[0] + sums[1]
}

pub(super) fn weigh<S: Stored>(
    weights: &[f32],
    width: usize,
    values: &[S],
    out: &mut [f32],
    dim: usize,
) {
    for (weights, out) in weights.chunks(width).zip(out.chunks_exact_mut(dim)) {
        out.fill(0.0);
        for (weight, row) in weights.iter().zip(values.chunks_exact(dim)) {
            for (sum, value) in out.iter_mut().zip(row) {
                *sum = weight.mul_add(value.to_f32(), *sum);
            }
        }
    }
}

pub(super) use self::{
    scores as scores_f32, scores as scores_f16, weigh as weigh_f32, weigh as weigh_f16,
};
