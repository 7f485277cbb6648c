//! Scores of a tile become weights, and back.

use std::ops::Range;

use crate::host::vector::{LANES, exp_in_place, highest, vectorized};

/// Keys of a tile that a query sees, as places in its row of scores.
#[inline(always)]
fn seen(query: usize, keys: &Range<usize>, window: usize) -> Range<usize> {
    let first = (query + 1).saturating_sub(window).max(keys.start);
    first - keys.start..query + 1 - keys.start
}

/// What holds the seen scores in whole vectors, the others in it −∞, whose weight is 0; those
/// outside become 0.
#[inline(always)]
fn among(row: &mut [f32], seen: Range<usize>) -> &mut [f32] {
    let start = seen.start / LANES * LANES;
    let end = seen.end.next_multiple_of(LANES).min(row.len());
    row[..start].fill(0.0);
    row[end..].fill(0.0);
    row[start..seen.start].fill(f32::NEG_INFINITY);
    row[seen.end..end].fill(f32::NEG_INFINITY);
    &mut row[start..end]
}

vectorized! {
    /// Scores become weights; unseen ones 0.
    pub(super) fn softmax(
        scores: &mut [f32],
        queries: &Range<usize>,
        keys: &Range<usize>,
        window: usize,
        scale: f32,
        log_sums: &mut [f32],
    ) {
        let rows = scores.chunks_exact_mut(keys.len()).zip(queries.clone());
        for ((row, query), log_sum) in rows.zip(log_sums) {
            let row = among(row, seen(query, keys, window));
            row.iter_mut().for_each(|score| *score *= scale);
            let shift = highest(row);
            let sum: f32 = exp_in_place(row, shift).iter().sum();
            *log_sum = shift + sum.ln();
            let inverse = 1.0 / sum;
            row.iter_mut().for_each(|weight| *weight *= inverse);
        }
    }
}

vectorized! {
    /// As [`softmax`], from the logarithms that it left.
    pub(super) fn softmax_again(
        scores: &mut [f32],
        queries: &Range<usize>,
        keys: &Range<usize>,
        window: usize,
        scale: f32,
        log_sums: &[f32],
    ) {
        let rows = scores.chunks_exact_mut(keys.len()).zip(queries.clone());
        for ((row, query), log_sum) in rows.zip(log_sums) {
            let row = among(row, seen(query, keys, window));
            row.iter_mut().for_each(|score| *score = *score * scale - log_sum);
            // A weight above 1 by rounding would be a logarithm above 0.
            row.iter_mut().for_each(|log| *log = if *log > 0.0 { 0.0 } else { *log });
            exp_in_place(row, 0.0);
        }
    }
}

vectorized! {
    /// Gradients of weights become those of scores.
    pub(super) fn score_gradients(weights: &[f32], d_weights: &mut [f32], through: &[f32], scale: f32) {
        let width = weights.len() / through.len();
        let rows = weights.chunks_exact(width).zip(d_weights.chunks_exact_mut(width));
        for ((weights, d_weights), through) in rows.zip(through) {
            for (weight, d) in weights.iter().zip(d_weights) {
                *d = weight * (*d - through) * scale;
            }
        }
    }
}
