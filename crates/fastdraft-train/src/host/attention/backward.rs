//! Attention backward.

use rayon::prelude::*;

use super::{
    Heads, Inputs, TILE,
    softmax::{score_gradients, softmax_again},
    with_packed,
};
use crate::host::{
    matrix::{Put, View, ViewMut, multiply, multiply_packed},
    memory::{Buffer, Memory},
    vector::dot,
};

/// Gradients of queries, keys and values, shaped like them.
pub(in super::super) struct Gradients {
    pub(in super::super) q: Buffer,
    pub(in super::super) k: Buffer,
    pub(in super::super) v: Buffer,
}

/// What a forward pass left, and the gradient of its output.
#[derive(Clone, Copy)]
pub(in super::super) struct Attended<'a> {
    pub(in super::super) inputs: Inputs<'a>,
    pub(in super::super) out: &'a [f32],
    pub(in super::super) log_sums: &'a [Vec<f32>],
    pub(in super::super) d_out: &'a [f32],
}

/// Gradients of what [`forward`](super::forward()) took.
pub(in super::super) fn backward(
    heads: &Heads,
    attended: Attended<'_>,
    memory: &Memory,
) -> Gradients {
    let Inputs { q, k, v } = attended.inputs;
    let [q, k, v] = [q, k, v].map(|like| memory.take(like.len()));
    let mut d = Gradients { q, k, v };
    (
        heads.parts(&mut d.q, heads.group() * heads.dim),
        heads.parts(&mut d.k, heads.dim),
        heads.parts(&mut d.v, heads.dim),
    )
        .into_par_iter()
        .enumerate()
        .with_max_len(1)
        .for_each(|(part, (q, k, v))| part_backward(heads, part, attended, [q, k, v], memory));
    d
}

/// Of one key-value head of one row.
fn part_backward(
    heads: &Heads,
    part: usize,
    attended: Attended<'_>,
    [mut dq, mut dk, mut dv]: [ViewMut<'_>; 3],
    memory: &Memory,
) {
    let Attended {
        inputs, out, d_out, ..
    } = attended;
    let (dim, seq) = (heads.dim, heads.seq);
    let [k, v] = [inputs.k, inputs.v].map(|all| heads.kv_head(all, part));
    dk.fill(0.0);
    dv.fill(0.0);
    let [mut weights, mut d_weights] = [(); 2].map(|()| memory.take(TILE * seq));
    with_packed(|[turned_k, turned_v, packed_k]| {
        turned_k.pack(k.all().t());
        turned_v.pack(v.all().t());
        packed_k.pack(k.all());
        let [turned_k, turned_v, packed_k] = [turned_k, turned_v, packed_k].map(|all| all.view());
        for (member, log_sums) in attended.log_sums[part].chunks_exact(seq).enumerate() {
            let [q, o, d] = [inputs.q, out, d_out].map(|all| heads.head(all, part, member));
            for (queries, keys) in heads.tiles() {
                let (high, width) = (queries.len(), keys.len());
                let [weights, d_weights] =
                    [&mut weights, &mut d_weights].map(|all| &mut all[..high * width]);
                let [q_tile, d_tile] = [q, d].map(|head| head.tokens(&queries));
                let to = ViewMut::new(weights, high, width);
                let columns = turned_k.part(0..dim, keys.clone());
                multiply_packed(to, Put::Over, q_tile, &columns);
                let sums = &log_sums[queries.clone()];
                softmax_again(weights, &queries, &keys, heads.window, heads.scale(), sums);
                let to = ViewMut::new(d_weights, high, width);
                let columns = turned_v.part(0..dim, keys.clone());
                multiply_packed(to, Put::Over, d_tile, &columns);
                let turned = |values| View::new(values, high, width).t();
                multiply(
                    dv.some_rows(keys.clone()),
                    Put::Onto,
                    turned(weights),
                    d_tile,
                );
                let through: Vec<f32> = (queries.clone())
                    .map(|query| dot(o.token(query), d.token(query)))
                    .collect();
                score_gradients(weights, d_weights, &through, heads.scale());
                let mut dq = dq.some_rows(queries);
                let to = dq.some_columns(member * dim..(member + 1) * dim);
                let d_scores = View::new(d_weights, high, width);
                multiply_packed(
                    to,
                    Put::Over,
                    d_scores,
                    &packed_k.part(keys.clone(), 0..dim),
                );
                multiply(dk.some_rows(keys), Put::Onto, turned(d_weights), q_tile);
            }
        }
    });
}
