//! One decoder block, forward and backward.

use fastdraft_model::decoder::Block;

use super::{
    attention::{self, Heads, Inputs},
    gate,
    linear::{Linear, Norm, Sums},
    matrix::Put,
    memory::{Buffer, Memory},
    norm,
    rotary::Rotary,
    rows::Rows,
};
use crate::error::TrainError;

/// What a block does not know of itself.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) heads: &'a Heads,
    pub(super) rotary: &'a Rotary,
    /// Positions at which its output is wanted.
    pub(super) wanted: Rows<'a>,
}

/// A block whose weights are in host memory.
pub(super) struct HostBlock<'a> {
    input_norm: Norm<'a>,
    q: Linear<'a>,
    k: Linear<'a>,
    v: Linear<'a>,
    o: Linear<'a>,
    q_norm: Option<Norm<'a>>,
    k_norm: Option<Norm<'a>>,
    mlp_norm: Norm<'a>,
    gate: Linear<'a>,
    up: Linear<'a>,
    down: Linear<'a>,
    memory: &'a Memory,
}

/// Heads before their norm.
struct Normed {
    raw: Buffer,
    inverse: Vec<f32>,
}

/// What the backward pass needs of a forward pass. Everything else follows from it at little
/// cost.
pub(super) struct Kept {
    x: Buffer,
    input_inverse: Vec<f32>,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    q_normed: Option<Normed>,
    k_normed: Option<Normed>,
    attended: Buffer,
    log_sums: Vec<Vec<f32>>,
    /// The stream after attention, at the wanted positions.
    middle: Buffer,
    mlp_inverse: Vec<f32>,
    gate: Buffer,
    up: Buffer,
}

impl Kept {
    /// The block's input.
    pub(super) fn into_input(self) -> Buffer {
        self.x
    }
}

impl<'a> HostBlock<'a> {
    pub(super) fn read(block: &'a Block, memory: &'a Memory) -> Result<Self, TrainError> {
        let attention = &block.self_attn;
        let linear = |layer| Linear::read(layer, memory);
        Ok(Self {
            input_norm: Norm::read(&block.input_layernorm)?,
            q: linear(&attention.q_proj)?,
            k: linear(&attention.k_proj)?,
            v: linear(&attention.v_proj)?,
            o: linear(&attention.o_proj)?,
            q_norm: attention.q_norm.as_ref().map(Norm::read).transpose()?,
            k_norm: attention.k_norm.as_ref().map(Norm::read).transpose()?,
            mlp_norm: Norm::read(&block.post_attention_layernorm)?,
            gate: linear(&block.mlp.gate_proj)?,
            up: linear(&block.mlp.up_proj)?,
            down: linear(&block.mlp.down_proj)?,
            memory,
        })
    }

    /// All of the block but its last product, which [`output`](Self::output) takes. What follows
    /// attention is done at the `wanted` positions alone.
    ///
    /// # Shapes
    /// - `x`: `[rows · seq, hidden]`
    pub(super) fn forward(&self, at: Setting<'_>, x: Buffer) -> Kept {
        let Setting {
            heads,
            rotary,
            wanted,
        } = at;
        let mut normed = self.memory.take(x.len());
        let own = &self.input_norm;
        let input_inverse = norm::forward(&x, &own.gamma, own.epsilon, &mut normed);
        let turned = |layer: &Linear<'_>, own: Option<&Norm<'_>>| {
            let (mut heads, normed) = norm_heads(layer.forward(&normed), own, self.memory);
            rotary.turn(&mut heads, layer.output);
            (heads, normed)
        };
        let (q, q_normed) = turned(&self.q, self.q_norm.as_ref());
        let (k, k_normed) = turned(&self.k, self.k_norm.as_ref());
        let v = self.v.forward(&normed);
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
        };
        let (attended, log_sums) = attention::forward(heads, inputs, self.memory);
        let mut middle = self.memory.copy(&wanted.gather(&x, self.o.output));
        let given = wanted.gather(&attended, self.o.input);
        self.o.forward_onto(&given, &mut middle);
        drop(given);
        let normed = &mut normed[..middle.len()];
        let own = &self.mlp_norm;
        let mlp_inverse = norm::forward(&middle, &own.gamma, own.epsilon, normed);
        let (gate, up) = (self.gate.forward(normed), self.up.forward(normed));
        Kept {
            x,
            input_inverse,
            q,
            k,
            v,
            q_normed,
            k_normed,
            attended,
            log_sums,
            middle,
            mlp_inverse,
            gate,
            up,
        }
    }

    /// The block's output at the wanted positions, `[wanted, hidden]`.
    pub(super) fn output(&self, kept: &Kept) -> Buffer {
        let mut gated = self.memory.take(kept.gate.len());
        gate::forward(&kept.gate, &kept.up, &mut gated);
        let mut out = self.memory.copy(&kept.middle);
        self.down.forward_onto(&gated, &mut out);
        out
    }

    /// Adds the gradients of all parameters; returns the input's gradient from the output's. It
    /// is of no use without `input`.
    pub(super) fn backward(
        &self,
        at: Setting<'_>,
        kept: Kept,
        mut dy: Buffer,
        input: bool,
        sums: &mut Sums,
    ) -> Buffer {
        let memory = self.memory;
        let Setting {
            heads,
            rotary,
            wanted,
        } = at;
        let Kept {
            mut gate, mut up, ..
        } = kept;
        let mut normed = memory.take(dy.len());
        let own = &self.mlp_norm;
        norm::again(&kept.middle, &own.gamma, &kept.mlp_inverse, &mut normed);
        let mut gated = memory.take(gate.len());
        self.down.below(&dy, &mut gated, Put::Over);
        gate::backward(&mut gate, &mut up, &mut gated);
        self.down.backward(&gated, &dy, sums);
        drop(gated);
        self.gate.backward(&normed, &gate, sums);
        self.up.backward(&normed, &up, sums);
        drop(normed);
        let mut below = memory.take(dy.len());
        self.gate.below(&gate, &mut below, Put::Over);
        self.up.below(&up, &mut below, Put::Onto);
        drop((gate, up));
        let inverse = &kept.mlp_inverse;
        let gamma = norm::backward(&kept.middle, &own.gamma, inverse, &below, &mut dy);
        drop(below);
        sums.add(own.param, &gamma);

        let given = wanted.gather(&kept.attended, self.o.input);
        self.o.backward(&given, &dy, sums);
        let mut d_attended = memory.take(given.len());
        self.o.below(&dy, &mut d_attended, Put::Over);
        let d_attended = wanted.scatter(d_attended, self.o.input, memory);
        let mut dy = wanted.scatter(dy, self.o.output, memory);
        let inputs = Inputs {
            q: &kept.q,
            k: &kept.k,
            v: &kept.v,
        };
        let attended = &kept.attended;
        let log_sums = &kept.log_sums;
        let mut d = attention::backward(heads, inputs, attended, log_sums, &d_attended, memory);
        rotary.turn_back(&mut d.q, self.q.output);
        rotary.turn_back(&mut d.k, self.k.output);
        let d_q = heads_backward(d.q, self.q_norm.as_ref(), kept.q_normed, sums, memory);
        let d_k = heads_backward(d.k, self.k_norm.as_ref(), kept.k_normed, sums, memory);
        let own = &self.input_norm;
        let mut normed = memory.take(dy.len());
        norm::again(&kept.x, &own.gamma, &kept.input_inverse, &mut normed);
        for (layer, gradient) in [(&self.q, &d_q), (&self.k, &d_k), (&self.v, &d.v)] {
            layer.backward(&normed, gradient, sums);
        }
        if !input && !own.param.is_require_grad() {
            return dy;
        }
        let mut below = memory.take(dy.len());
        self.q.below(&d_q, &mut below, Put::Over);
        self.k.below(&d_k, &mut below, Put::Onto);
        self.v.below(&d.v, &mut below, Put::Onto);
        let gamma = norm::backward(&kept.x, &own.gamma, &kept.input_inverse, &below, &mut dy);
        sums.add(own.param, &gamma);
        dy
    }
}

/// Norms every head, where the family does.
fn norm_heads(raw: Buffer, own: Option<&Norm<'_>>, memory: &Memory) -> (Buffer, Option<Normed>) {
    let Some(own) = own else {
        return (raw, None);
    };
    let mut heads = memory.take(raw.len());
    let inverse = norm::forward(&raw, &own.gamma, own.epsilon, &mut heads);
    (heads, Some(Normed { raw, inverse }))
}

/// The gradient before the norm of heads.
fn heads_backward(
    d_heads: Buffer,
    own: Option<&Norm<'_>>,
    normed: Option<Normed>,
    sums: &mut Sums,
    memory: &Memory,
) -> Buffer {
    let (Some(own), Some(normed)) = (own, normed) else {
        return d_heads;
    };
    let Normed { raw, inverse } = normed;
    let mut below = memory.zeros(raw.len());
    let gamma = norm::backward(&raw, &own.gamma, &inverse, &d_heads, &mut below);
    sums.add(own.param, &gamma);
    below
}
