//! Causal attention, forward and backward, a tile of queries at a time: `[seq, seq]` is never in
//! memory, and keys that no query of a tile sees are not looked at.

use std::ops::Range;

use fastdraft_model::DecoderConfig;
use rayon::prelude::*;

use super::{
    matrix::{Put, View, ViewMut, multiply},
    memory::{Buffer, Memory},
    vector::{LANES, dot, exp_in_place, highest, vectorized},
};

/// Queries that are scored together.
const TILE: usize = 64;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) seq: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) dim: usize,
    /// Latest tokens that a query sees, itself included.
    pub(super) window: usize,
}

/// Rotated queries, rotated keys and values: `[rows · seq, heads · dim]` and twice
/// `[rows · seq, kv_heads · dim]`.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

impl Heads {
    /// Those of block `index`.
    pub(super) fn of_block(self, config: &DecoderConfig, index: usize) -> Self {
        Self {
            window: config.window(index).unwrap_or(self.seq),
            ..self
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Tiles of queries, each with the keys that one of them sees.
    fn tiles(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<> {
        let (seq, window) = (self.seq, self.window);
        (0..seq).step_by(TILE).map(move |start| {
            let end = (start + TILE).min(seq);
            (start..end, (start + 1).saturating_sub(window)..end)
        })
    }

    /// What each row and key-value head has of `[rows · seq, kv_heads · wide]`, `[seq, wide]`.
    fn parts<'a>(&self, all: &'a mut [f32], wide: usize) -> Vec<ViewMut<'a>> {
        let width = self.kv_heads * wide;
        (all.chunks_exact_mut(self.seq * width))
            .flat_map(|row| ViewMut::new(row, self.seq, width).bands(wide))
            .collect()
    }

    /// Values of one head, `[seq, dim]`, of `heads` that lie side by side.
    fn head<'a>(&self, all: &'a [f32], heads: usize, row: usize, head: usize) -> Head<'a> {
        let width = heads * self.dim;
        Head {
            values: &all[row * self.seq * width + head * self.dim..],
            width,
            dim: self.dim,
        }
    }
}

/// One head among others.
#[derive(Clone, Copy)]
struct Head<'a> {
    values: &'a [f32],
    width: usize,
    dim: usize,
}

impl<'a> Head<'a> {
    fn tokens(&self, range: &Range<usize>) -> View<'a> {
        View::strided(
            &self.values[range.start * self.width..],
            range.len(),
            self.dim,
            self.width,
        )
    }

    fn token(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.width..][..self.dim]
    }
}

/// Attended values `[rows · seq, heads · dim]`, and the logarithm of each softmax's sum,
/// `[rows · kv_heads][group · seq]`.
pub(super) fn forward(
    heads: &Heads,
    inputs: Inputs<'_>,
    memory: &Memory,
) -> (Buffer, Vec<Vec<f32>>) {
    let (group, dim, seq) = (heads.group(), heads.dim, heads.seq);
    let mut all = memory.take(inputs.q.len());
    let parts = heads.parts(&mut all, group * dim);
    let parts = parts.into_par_iter().with_max_len(1).enumerate();
    let log_sums = parts.map(|(part, mut out)| {
        let (row, kv_head) = (part / heads.kv_heads, part % heads.kv_heads);
        let k = heads.head(inputs.k, heads.kv_heads, row, kv_head);
        let v = heads.head(inputs.v, heads.kv_heads, row, kv_head);
        let mut log_sums = vec![0.0; group * seq];
        let mut scores = memory.take(TILE * seq);
        for member in 0..group {
            let q = heads.head(inputs.q, heads.heads, row, kv_head * group + member);
            for (queries, keys) in heads.tiles() {
                let scores = &mut scores[..queries.len() * keys.len()];
                let width = keys.len();
                let shape = ViewMut::new(scores, queries.len(), width);
                multiply(shape, Put::Over, q.tokens(&queries), k.tokens(&keys).t());
                let sums = &mut log_sums[member * seq..][queries.clone()];
                softmax(scores, &queries, &keys, heads.window, heads.scale(), sums);
                let weights = View::new(scores, queries.len(), width);
                let mut out = out.some_rows(queries);
                let out = out.some_columns(member * dim..(member + 1) * dim);
                multiply(out, Put::Over, weights, v.tokens(&keys));
            }
        }
        log_sums
    });
    let log_sums = log_sums.collect();
    (all, log_sums)
}

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
    fn softmax(
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
    fn softmax_again(
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

/// Gradients of queries, keys and values, shaped like them.
pub(super) struct Gradients {
    pub(super) q: Buffer,
    pub(super) k: Buffer,
    pub(super) v: Buffer,
}

/// Gradients from what [`forward`] took and returned, and from the gradient `d_out` of its
/// output.
pub(super) fn backward(
    heads: &Heads,
    inputs: Inputs<'_>,
    out: &[f32],
    log_sums: &[Vec<f32>],
    d_out: &[f32],
    memory: &Memory,
) -> Gradients {
    let (group, dim, seq) = (heads.group(), heads.dim, heads.seq);
    let room = |like: &[f32]| memory.take(like.len());
    let mut all = Gradients {
        q: room(inputs.q),
        k: room(inputs.k),
        v: room(inputs.v),
    };
    let parts = (
        heads.parts(&mut all.q, group * dim),
        heads.parts(&mut all.k, dim),
        heads.parts(&mut all.v, dim),
    );
    let parts = parts.into_par_iter().with_max_len(1).enumerate();
    parts.for_each(|(part, (mut dq, mut dk, mut dv))| {
        let (row, kv_head) = (part / heads.kv_heads, part % heads.kv_heads);
        let k = heads.head(inputs.k, heads.kv_heads, row, kv_head);
        let v = heads.head(inputs.v, heads.kv_heads, row, kv_head);
        dk.fill(0.0);
        dv.fill(0.0);
        let (mut weights, mut d_weights) = (memory.take(TILE * seq), memory.take(TILE * seq));
        for member in 0..group {
            let head = kv_head * group + member;
            let [q, o, d] =
                [inputs.q, out, d_out].map(|all| heads.head(all, heads.heads, row, head));
            let sums = &log_sums[part][member * seq..][..seq];
            for (queries, keys) in heads.tiles() {
                let (tile, width) = (queries.len() * keys.len(), keys.len());
                let (weights, d_weights) = (&mut weights[..tile], &mut d_weights[..tile]);
                let (q_tile, d_tile) = (q.tokens(&queries), d.tokens(&queries));
                let (k_tile, v_tile) = (k.tokens(&keys), v.tokens(&keys));
                let out = ViewMut::new(weights, queries.len(), width);
                multiply(out, Put::Over, q_tile, k_tile.t());
                let sums = &sums[queries.clone()];
                softmax_again(weights, &queries, &keys, heads.window, heads.scale(), sums);
                let out = ViewMut::new(d_weights, queries.len(), width);
                multiply(out, Put::Over, d_tile, v_tile.t());
                let shape = |values| View::new(values, queries.len(), width);
                let out = dv.some_rows(keys.clone());
                multiply(out, Put::Onto, shape(weights).t(), d_tile);
                let through: Vec<f32> = (queries.clone())
                    .map(|query| dot(o.token(query), d.token(query)))
                    .collect();
                score_gradients(weights, d_weights, &through, heads.scale());
                let mut out = dq.some_rows(queries.clone());
                let out = out.some_columns(member * dim..(member + 1) * dim);
                multiply(out, Put::Over, shape(d_weights), k_tile);
                let out = dk.some_rows(keys);
                multiply(out, Put::Onto, shape(d_weights).t(), q_tile);
            }
        }
    });
    all
}

vectorized! {
    /// Gradients of weights become those of scores.
    fn score_gradients(weights: &[f32], d_weights: &mut [f32], through: &[f32], scale: f32) {
        let width = weights.len() / through.len();
        let rows = weights.chunks_exact(width).zip(d_weights.chunks_exact_mut(width));
        for ((weights, d_weights), through) in rows.zip(through) {
            for (weight, d) in weights.iter().zip(d_weights) {
                *d = weight * (*d - through) * scale;
            }
        }
    }
}
