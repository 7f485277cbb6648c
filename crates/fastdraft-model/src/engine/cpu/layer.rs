//! One decoder block.

use super::{
    attention::attend,
    matrix::{Layout, Matrix, Part},
    ops,
    pass::Segment,
    workspace::Workspace,
};
use crate::{
    config::DecoderConfig,
    error::ModelError,
    import::tensors::{Tensors, whole},
};

#[derive(Debug)]
pub(super) struct Layer {
    input_norm: Vec<f32>,
    post_norm: Vec<f32>,
    qk_norm: Option<(Vec<f32>, Vec<f32>)>,
    qkv: Matrix,
    output: Matrix,
    gate_up: Matrix,
    down: Matrix,
}

impl Layer {
    pub(super) fn load(
        tensors: &dyn Tensors,
        index: usize,
        layout: Layout<'_>,
    ) -> Result<Self, ModelError> {
        let config = tensors.config();
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let hidden = config.hidden_size;
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let vector = |part: &str, n: usize| whole(tensors, &name(part), &[n]);
        let fused = |parts: &[(&str, usize)], columns: usize, bias: bool| {
            let mut biases = Vec::new();
            if bias {
                for (part, rows) in parts {
                    biases.extend(vector(&format!("{part}.bias"), *rows)?);
                }
            }
            let parts: Vec<Part> = (parts.iter())
                .map(|(part, rows)| (name(&format!("{part}.weight")), *rows))
                .collect();
            Matrix::load(tensors, &parts, columns, bias.then_some(biases), layout)
        };
        let qk_norm = if config.qk_norm {
            Some((
                vector("self_attn.q_norm.weight", config.head_dim)?,
                vector("self_attn.k_norm.weight", config.head_dim)?,
            ))
        } else {
            None
        };
        Ok(Self {
            input_norm: vector("input_layernorm.weight", hidden)?,
            post_norm: vector("post_attention_layernorm.weight", hidden)?,
            qk_norm,
            qkv: fused(
                &[
                    ("self_attn.q_proj", q),
                    ("self_attn.k_proj", kv),
                    ("self_attn.v_proj", kv),
                ],
                hidden,
                config.qkv_bias,
            )?,
            output: fused(&[("self_attn.o_proj", hidden)], q, config.output_bias)?,
            gate_up: fused(
                &[
                    ("mlp.gate_proj", config.intermediate_size),
                    ("mlp.up_proj", config.intermediate_size),
                ],
                hidden,
                config.mlp_bias,
            )?,
            down: fused(
                &[("mlp.down_proj", hidden)],
                config.intermediate_size,
                config.mlp_bias,
            )?,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
            .iter()
            .map(|m| m.bytes())
            .sum()
    }

    /// Adds the block's contribution to `work.hidden` `[t, hidden]`, in place.
    pub(super) fn forward(
        &self,
        config: &DecoderConfig,
        index: usize,
        segments: &mut [Segment<'_>],
        work: &mut Workspace,
    ) {
        let dim = config.head_dim;
        let (q, kv) = (config.heads * dim, config.kv_heads * dim);
        let t = work.hidden.len() / config.hidden_size;
        work.normed.resize(t * config.hidden_size);
        ops::rms_norm(
            &work.hidden,
            &self.input_norm,
            config.norm_epsilon,
            &mut work.normed,
        );
        work.qkv.resize(t * (q + 2 * kv), 0.0);
        self.qkv
            .apply(&work.normed, &mut work.qkv, &mut work.scratch);

        let half = dim / 2;
        let (cos, sin) = (&work.cos, &work.sin);
        ops::each_row(&mut work.qkv, q + 2 * kv, |i, row| {
            if let Some((q_norm, k_norm)) = &self.qk_norm {
                for head in row[..q].chunks_exact_mut(dim) {
                    ops::rms_norm_in_place(head, q_norm, config.norm_epsilon);
                }
                for head in row[q..q + kv].chunks_exact_mut(dim) {
                    ops::rms_norm_in_place(head, k_norm, config.norm_epsilon);
                }
            }
            let angles = i * half..(i + 1) * half;
            ops::rotate(&mut row[..q + kv], &cos[angles.clone()], &sin[angles]);
        });

        work.attended.resize(t * q);
        let mut start = 0;
        for segment in segments.iter_mut() {
            let count = segment.tokens.len();
            let position = segment.cache.len();
            let rows = &work.qkv[start * (q + 2 * kv)..(start + count) * (q + 2 * kv)];
            work.queries.resize(count * q, 0.0);
            work.head_out.resize(count * q, 0.0);
            let width = q + 2 * kv;
            segment.cache.write(index, position, &rows[q..], width);
            ops::each_row(&mut work.queries, count * dim, |head, queries| {
                let queries = queries.chunks_exact_mut(dim);
                for (query, row) in queries.zip(rows.chunks_exact(width)) {
                    query.copy_from_slice(&row[head * dim..][..dim]);
                }
            });
            attend(
                config,
                segment.cache,
                index,
                position,
                &work.queries,
                &mut work.head_out,
                &mut work.scores,
            );
            let attended = &mut work.attended[start * q..(start + count) * q];
            let heads = &work.head_out;
            ops::each_row(attended, q, |i, row| {
                for (head, values) in row.chunks_exact_mut(dim).enumerate() {
                    values.copy_from_slice(&heads[(head * count + i) * dim..][..dim]);
                }
            });
            start += count;
        }

        self.output
            .apply(&work.attended, &mut work.normed, &mut work.scratch);
        ops::add(&mut work.hidden, &work.normed, config.hidden_size);

        ops::rms_norm(
            &work.hidden,
            &self.post_norm,
            config.norm_epsilon,
            &mut work.normed,
        );
        work.gate_up.resize(t * 2 * config.intermediate_size, 0.0);
        self.gate_up
            .apply(&work.normed, &mut work.gate_up, &mut work.scratch);
        work.gated.resize(t * config.intermediate_size);
        ops::gated_silu(&work.gate_up, &mut work.gated, config.intermediate_size);
        self.down
            .apply(&work.gated, &mut work.normed, &mut work.scratch);
        ops::add(&mut work.hidden, &work.normed, config.hidden_size);
    }
}
