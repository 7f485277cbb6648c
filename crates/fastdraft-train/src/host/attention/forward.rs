//! Attention forward.

use rayon::prelude::*;

use super::{Heads, Inputs, TILE, softmax::softmax, with_packed};
use crate::host::{
    matrix::{Put, View, ViewMut, multiply_packed},
    memory::{Buffer, Memory},
};

/// Attended values `[rows · seq, heads · dim]`, and the logarithm of each softmax's sum,
/// `[rows · kv_heads][group · seq]`.
pub(in super::super) fn forward(
    heads: &Heads,
    inputs: Inputs<'_>,
    memory: &Memory,
) -> (Buffer, Vec<Vec<f32>>) {
    let mut out = memory.take(inputs.q.len());
    let parts = heads.parts(&mut out, heads.group() * heads.dim);
    let log_sums = (parts.into_par_iter().with_max_len(1).enumerate())
        .map(|(part, out)| attend(heads, part, inputs, out, memory))
        .collect();
    (out, log_sums)
}

/// Attends to one key-value head of one row.
fn attend(
    heads: &Heads,
    part: usize,
    inputs: Inputs<'_>,
    mut out: ViewMut<'_>,
    memory: &Memory,
) -> Vec<f32> {
    let (dim, seq) = (heads.dim, heads.seq);
    let [k, v] = [inputs.k, inputs.v].map(|all| heads.kv_head(all, part));
    let mut log_sums = vec![0.0; heads.group() * seq];
    let mut scores = memory.take(TILE * seq);
    with_packed(|[turned_k, packed_v, _]| {
        turned_k.pack(k.all().t());
        packed_v.pack(v.all());
        let (turned_k, packed_v) = (turned_k.view(), packed_v.view());
        for (member, log_sums) in log_sums.chunks_exact_mut(seq).enumerate() {
            let q = heads.head(inputs.q, part, member);
            for (queries, keys) in heads.tiles() {
                let (high, width) = (queries.len(), keys.len());
                let scores = &mut scores[..high * width];
                let to = ViewMut::new(scores, high, width);
                let keys_of = turned_k.part(0..dim, keys.clone());
                multiply_packed(to, Put::Over, q.tokens(&queries), &keys_of);
                let sums = &mut log_sums[queries.clone()];
                softmax(scores, &queries, &keys, heads.window, heads.scale(), sums);
                let weights = View::new(scores, high, width);
                let mut out = out.some_rows(queries);
                let to = out.some_columns(member * dim..(member + 1) * dim);
                multiply_packed(to, Put::Over, weights, &packed_v.part(keys, 0..dim));
            }
        }
    });
    log_sums
}
