//! The oracle: plain Rust in the common order of addition.

use std::ops::Range;

use super::{
    LANES,
    packed::{Element, GROUP, Packed},
};

pub(super) fn multiply_packed<E: Element>(
    w: &Packed<E>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    let mut row = vec![0.0; w.padded_columns()];
    for (r, out) in (groups.start * GROUP..w.rows()).zip(y.chunks_exact_mut(t)) {
        w.read_row(r, &mut row[..w.columns()]);
        for (token, value) in x.chunks_exact(w.padded_columns()).zip(out) {
            *value = dot(&row, token);
        }
    }
}

pub(super) fn dot_rows(w: &[f32], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    for (row, out) in w.chunks_exact(k).zip(y.chunks_exact_mut(t)) {
        for (token, value) in x.chunks_exact(k).zip(out) {
            *value = dot(row, token);
        }
    }
}

fn dot(w: &[f32], x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (w_chunks, x_chunks) = (w.chunks_exact(LANES), x.chunks_exact(LANES));
    let (w_tail, x_tail) = (w_chunks.remainder(), x_chunks.remainder());
    for (a, b) in w_chunks.zip(x_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    let mut sum = sum_lanes(lanes);
    for (a, b) in w_tail.iter().zip(x_tail) {
        sum = a.mul_add(*b, sum);
    }
    sum
}

/// Pairwise, in the order the vector kernels reduce.
pub(super) fn sum_lanes(l: [f32; LANES]) -> f32 {
    let h = [l[0] + l[4], l[1] + l[5], l[2] + l[6], l[3] + l[7]];
    (h[0] + h[2]) + (h[1] + h[3])
}

pub(super) fn weighted_sum(p: &[f32], v: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (weight, row) in p.iter().zip(v.chunks_exact(out.len())) {
        for (sum, value) in out.iter_mut().zip(row) {
            *sum = weight.mul_add(*value, *sum);
        }
    }
}
