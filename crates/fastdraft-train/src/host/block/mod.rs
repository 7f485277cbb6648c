//! One decoder block, forward and backward. Between products that need all positions it goes a
//! strip of positions at a time.

mod backward;
mod forward;
mod heads;
mod weights;

use std::sync::Arc;

use fastdraft_model::decoder::Block;

pub(crate) use self::weights::Weights;

use self::heads::Normed;
use super::{
    attention::{Heads, Inputs},
    linear::{Linear, Norm},
    memory::{Buffer, Memory},
    rotary::Rotary,
    rows::Rows,
};
use crate::error::TrainError;

/// What a block does not know of itself.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) heads: Heads,
    pub(super) rotary: &'a Rotary,
    /// Positions at which its output is wanted.
    pub(super) wanted: Rows<'a>,
    /// Whether the gradient of its input is.
    pub(super) input: bool,
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

/// What the backward pass needs of a forward pass. Everything else follows from it at little
/// cost.
pub(super) struct Kept {
    x: Buffer,
    projected: Projected,
    attended: Arc<Buffer>,
    log_sums: Vec<Vec<f32>>,
    mixed: Mixed,
}

/// What attention reads, and what it was made from.
struct Projected {
    input_inverse: Vec<f32>,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    q_normed: Option<Normed>,
    k_normed: Option<Normed>,
}

impl Projected {
    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
        }
    }
}

/// What follows attention, at the wanted positions.
struct Mixed {
    /// The stream after attention.
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
        Ok(Self {
            input_norm: Norm::read(&block.input_layernorm)?,
            q: Linear::read(&attention.q_proj)?,
            k: Linear::read(&attention.k_proj)?,
            v: Linear::read(&attention.v_proj)?,
            o: Linear::read(&attention.o_proj)?,
            q_norm: attention.q_norm.as_ref().map(Norm::read).transpose()?,
            k_norm: attention.k_norm.as_ref().map(Norm::read).transpose()?,
            mlp_norm: Norm::read(&block.post_attention_layernorm)?,
            gate: Linear::read(&block.mlp.gate_proj)?,
            up: Linear::read(&block.mlp.up_proj)?,
            down: Linear::read(&block.mlp.down_proj)?,
            memory,
        })
    }

    /// Norms of inputs, queries and keys.
    fn attention_norms(&self) -> [Option<&Norm<'a>>; 3] {
        let heads = [self.q_norm.as_ref(), self.k_norm.as_ref()];
        [Some(&self.input_norm), heads[0], heads[1]]
    }

    fn hidden(&self) -> usize {
        self.input_norm.gamma.len()
    }
}
