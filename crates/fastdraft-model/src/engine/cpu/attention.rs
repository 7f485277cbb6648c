//! Causal attention of a pass over the KV cache.

use rayon::prelude::*;

use super::{arch, cache::KvCache, ops};
use crate::config::DecoderConfig;

/// Multiply-adds below which one thread does all heads.
const PARALLEL_WORK: usize = 64 * 1024;

/// Index of a head; its queries, its output, its scratch.
type HeadWork<'a> = (usize, ((&'a [f32], &'a mut [f32]), &'a mut [f32]));

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
    let dim = config.head_dim;
    let group = config.heads / config.kv_heads;
    let t = queries.len() / (config.heads * dim);
    let end = position + t;
    let window = config.window(layer);
    let first = window_start(window, position);
    let span = end - first;
    // One head's raw scores `[span, t]`, then one row of probabilities `[span]`.
    let per_head = span * (t + 1);
    scores.resize(config.heads * per_head, 0.0);
    let head = |(head, ((q, out), scores)): HeadWork<'_>| {
        let (keys, values) = cache.read(layer, head / group, first, end);
        let (raw, row) = scores.split_at_mut(span * t);
        arch::dot_rows(keys, q, raw, dim, t);
        let scale = 1.0 / (dim as f32).sqrt();
        for (i, out) in out.chunks_exact_mut(dim).enumerate() {
            let from = window_start(window, position + i) - first;
            let to = position + i + 1 - first;
            let row = &mut row[from..to];
            for (j, slot) in row.iter_mut().enumerate() {
                *slot = raw[(from + j) * t + i] * scale;
            }
            ops::softmax(row);
            arch::weighted_sum(row, &values[from * dim..to * dim], out);
        }
    };
    let size = t * dim;
    if config.heads * t * span * dim < PARALLEL_WORK || rayon::current_num_threads() < 2 {
        queries
            .chunks_exact(size)
            .zip(out.chunks_exact_mut(size))
            .zip(scores.chunks_exact_mut(per_head))
            .enumerate()
            .for_each(head);
    } else {
        queries
            .par_chunks_exact(size)
            .zip(out.par_chunks_exact_mut(size))
            .zip(scores.par_chunks_exact_mut(per_head))
            .enumerate()
            .for_each(head);
    }
}

/// First position that the token at `position` sees.
fn window_start(window: Option<usize>, position: usize) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window))
}
