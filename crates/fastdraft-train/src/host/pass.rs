//! A whole decoder below its head, forward and backward.

use burn::tensor::{Tensor, TensorData};
use fastdraft_model::decoder::Decoder;
use rayon::prelude::*;

use super::{
    attention::Heads,
    block::{HostBlock, Kept, Setting, Weights},
    linear::{Norm, Sums},
    memory::{Buffer, Memory},
    norm,
    rotary::Rotary,
    rows::Rows,
    strips::{strips, strips_mut, total},
    values::{Values, copied},
    weight_gradients::WeightGradients,
};
use crate::error::TrainError;

/// Tokens of a pass and the positions whose outputs are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    /// Rows of `seq` tokens.
    pub(crate) ids: &'a [i64],
    pub(crate) seq: usize,
    /// Of `ids`, ascending.
    pub(crate) wanted: &'a [i64],
}

impl<'a> Tokens<'a> {
    fn wanted(&self) -> Rows<'a> {
        Rows::of(self.wanted, self.ids.len())
    }

    /// What block `index` does not know of itself. Its output is wanted everywhere but in the last
    /// block.
    fn at<'s>(
        &self,
        index: usize,
        decoder: &Decoder,
        heads: Heads,
        rotary: &'s Rotary,
    ) -> Setting<'s>
    where
        'a: 's,
    {
        let last = index + 1 == decoder.layers.len();
        Setting {
            heads: heads.of_block(decoder.config(), index),
            rotary,
            wanted: if last {
                self.wanted()
            } else {
                Rows::all(self.ids.len())
            },
            input: index > 0 || decoder.embed_tokens.weight.is_require_grad(),
        }
    }
}

/// A forward pass that can be gone back through.
pub(crate) struct Pass<'a> {
    decoder: &'a Decoder,
    tokens: Tokens<'a>,
    heads: Heads,
    rotary: Rotary,
    blocks: Vec<(HostBlock<'a>, Stored)>,
    norm: Norm<'a>,
    /// Inputs of the last norm, `[wanted, hidden]`.
    last: Buffer,
    inverse: Vec<f32>,
    memory: &'a Memory,
}

/// What is there of a block until the backward pass.
enum Stored {
    All(Box<Kept>),
    Input(Buffer),
}

impl<'a> Pass<'a> {
    /// Runs the decoder; returns the pass and the stream after the last norm at the wanted
    /// positions, `[wanted, hidden]`. With `checkpointing` only the inputs of blocks are kept.
    ///
    /// # Errors
    /// [`TrainError::Tensor`] when the device does not hand tensors over as float32.
    pub(crate) fn forward(
        decoder: &'a Decoder,
        tokens: Tokens<'a>,
        checkpointing: bool,
        memory: &'a Memory,
        weights: &mut Weights,
    ) -> Result<(Self, Buffer), TrainError> {
        let config = decoder.config();
        let heads = Heads {
            seq: tokens.seq,
            heads: config.heads,
            kv_heads: config.kv_heads,
            dim: config.head_dim,
            window: tokens.seq,
        };
        let rotary = Rotary::new(config, tokens.seq);
        let width = config.hidden_size;
        let mut x = embed(decoder, tokens.ids, memory)?;
        let mut blocks = Vec::with_capacity(decoder.layers.len());
        for (index, block) in decoder.layers.iter().enumerate() {
            let at = tokens.at(index, decoder, heads, &rotary);
            let block = HostBlock::read(block, memory)?;
            let (kept, out) = block.forward(at, x, weights);
            x = out;
            let stored = if checkpointing {
                Stored::Input(kept.into_input())
            } else {
                Stored::All(Box::new(kept))
            };
            blocks.push((block, stored));
        }
        let last = if decoder.layers.is_empty() {
            memory.copy(&tokens.wanted().gather(&x, width))
        } else {
            x
        };
        let norm = Norm::read(&decoder.norm)?;
        let mut out = memory.take(last.len());
        let mut inverse = vec![0.0; last.len() / width];
        (
            strips(&last, width),
            strips_mut(&mut out, width),
            strips_mut(&mut inverse, 1),
        )
            .into_par_iter()
            .for_each(|(x, y, inverse)| norm::forward(x, &norm.gamma, norm.epsilon, y, inverse));
        let pass = Self {
            decoder,
            tokens,
            heads,
            rotary,
            blocks,
            norm,
            last,
            inverse,
            memory,
        };
        Ok((pass, out))
    }

    /// Adds the gradients of everything below the head, from that of what
    /// [`forward`](Self::forward) returned.
    pub(crate) fn backward(self, d_out: &[f32], weights: &mut Weights, sums: &mut Sums) {
        let width = self.norm.gamma.len();
        let mut d_last = self.memory.zeros(d_out.len());
        let gamma = &self.norm.gamma;
        let gammas: Vec<Vec<f32>> = (
            strips(&self.last, width),
            strips(&self.inverse, 1),
            strips(d_out, width),
            strips_mut(&mut d_last, width),
        )
            .into_par_iter()
            .map(|(x, inverse, dy, dx)| {
                let mut sum = vec![0.0; width];
                norm::backward(x, gamma, inverse, dy, dx, &mut sum);
                sum
            })
            .collect();
        sums.add(self.norm.param, &total(width, gammas));
        let (mut gradient, mut left) = (d_last, WeightGradients::default());
        let embedding = &self.decoder.embed_tokens.weight;
        let trained = embedding.is_require_grad();
        for (index, (block, stored)) in self.blocks.into_iter().enumerate().rev() {
            let at = self
                .tokens
                .at(index, self.decoder, self.heads, &self.rotary);
            let kept = match stored {
                Stored::All(kept) => *kept,
                Stored::Input(x) => block.again(at, x, weights),
            };
            let from = (gradient, left);
            (gradient, left) = block.backward(at, kept, from, weights, sums);
        }
        left.multiply();
        left.finish(sums);
        if trained {
            if self.decoder.layers.is_empty() {
                gradient = (self.tokens.wanted()).scatter(gradient, width, self.memory);
            }
            let sum = sums.onto(embedding);
            for (id, gradient) in self.tokens.ids.iter().zip(gradient.chunks_exact(width)) {
                let row = &mut sum[*id as usize * width..][..width];
                for (sum, value) in row.iter_mut().zip(gradient) {
                    *sum += value;
                }
            }
        }
    }
}

/// Rows of the embedding, `[ids, hidden]`.
fn embed(decoder: &Decoder, ids: &[i64], memory: &Memory) -> Result<Buffer, TrainError> {
    let param = &decoder.embed_tokens.weight;
    let Some(table) = Values::shared(param) else {
        let table = param.val().without_autodiff();
        let ids = TensorData::new(ids.to_vec(), [ids.len()]);
        let ids = Tensor::from_data(ids, &table.device());
        return Ok(memory.copy(&copied(table.select(0, ids))?));
    };
    let width = decoder.config().hidden_size;
    let mut rows = memory.take(ids.len() * width);
    let table = &*table;
    (rows.par_chunks_exact_mut(width).zip(ids)).for_each(|(row, id)| {
        row.copy_from_slice(&table[*id as usize * width..][..width]);
    });
    Ok(rows)
}
