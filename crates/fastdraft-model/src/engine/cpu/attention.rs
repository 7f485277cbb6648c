//! Causal attention of a pass over the KV cache.

use rayon::prelude::*;

use super::{
    arch::{self, POSITIONS, Stored},
    cache::{Kv, KvCache, Numbers},
};
use crate::config::DecoderConfig;

/// Multiply-adds below which one thread does all heads.
const PARALLEL_WORK: usize = 64 * 1024;

/// Attention of `t` tokens of one sequence whose keys are already in `cache`.
///
/// `queries` and `out` are `[heads, t, head_dim]`; the first token sits at `position`.
pub(super) fn attend(
    config: &DecoderConfig,
    cache: &KvCache,
    layer: usize,
    position: usize,
    queries: &[f32],
    out: &mut [f32],
    scores: &mut Vec<f32>,
) {
    match &cache.numbers {
        Numbers::F32(kv) => attend_over(config, kv, layer, position, queries, out, scores),
        Numbers::F16(kv) => attend_over(config, kv, layer, position, queries, out, scores),
    }
}

fn attend_over<S: Stored>(
    config: &DecoderConfig,
    kv: &Kv<S>,
    layer: usize,
    position: usize,
    queries: &[f32],
    out: &mut [f32],
    scores: &mut Vec<f32>,
) {
    let dim = config.head_dim;
    let group = config.heads / config.kv_heads;
    let t = queries.len() / (config.heads * dim);
    let end = position + t;
    let window = config.window(layer);
    let first = window_start(window, position) / POSITIONS * POSITIONS;
    let width = (end - first).next_multiple_of(POSITIONS);
    scores.resize(config.heads * t * width, 0.0);
    let scale = 1.0 / (dim as f32).sqrt();
    // The queries of all heads that share keys meet them together: `[group · t, dim]`.
    let rows = group * t;
    let threads = rayon::current_num_threads();
    let some_rows = |head: usize, start: usize, out: &mut [f32], scores: &mut [f32]| {
        let (keys, values) = kv.read(layer, head, first, end);
        let queries = &queries[(head * rows + start) * dim..][..out.len()];
        S::scores(keys, queries, scores, dim);
        for (i, row) in scores.chunks_exact_mut(width).enumerate() {
            let seen = position + (start + i) % t;
            let from = window_start(window, seen) - first;
            let to = seen + 1 - first;
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            arch::softmax(&mut row[from..to], scale);
        }
        S::weigh(scores, width, values, out, dim);
    };
    if threads < 2 || config.heads * t * width * dim < PARALLEL_WORK {
        (out.chunks_exact_mut(rows * dim))
            .zip(scores.chunks_exact_mut(rows * width))
            .enumerate()
            .for_each(|(head, (out, scores))| some_rows(head, 0, out, scores));
        return;
    }
    // Rows are split where heads alone would leave a thread without work.
    let part = if config.kv_heads.is_multiple_of(threads) {
        rows
    } else {
        rows.div_ceil(threads)
    };
    (out.par_chunks_exact_mut(rows * dim))
        .zip(scores.par_chunks_exact_mut(rows * width))
        .enumerate()
        .for_each(|(head, (out, scores))| {
            (out.par_chunks_mut(part * dim))
                .zip(scores.par_chunks_mut(part * width))
                .enumerate()
                .for_each(|(index, (out, scores))| some_rows(head, index * part, out, scores));
        });
}

/// First position that the token at `position` sees.
fn window_start(window: Option<usize>, position: usize) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}
