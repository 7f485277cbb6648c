//! The decoder.

use burn::{
    module::Module,
    nn::{Embedding, Linear, RmsNorm},
    tensor::{Int, Tensor},
};

use super::{block::Block, rope::Positions};
use crate::config::DecoderConfig;

/// A decoder language model.
///
/// Made from a [`Checkpoint`](crate::Checkpoint) by [`Decoder::from_checkpoint`] on any
/// device; on an autodiff device its outputs carry gradients.
#[derive(Module, Debug)]
pub struct Decoder {
    /// `[vocabulary, hidden]`
    pub embed_tokens: Embedding,
    /// Blocks, first to last.
    pub layers: Vec<Block>,
    /// The last norm.
    pub norm: RmsNorm,
    /// `[hidden, head_size]`; `None` when the embedding serves, transposed.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    pub(super) config: DecoderConfig,
}

impl Decoder {
    /// Shape and constants.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The residual stream after the last norm.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, hidden]`
    #[must_use]
    pub fn hidden(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [_, seq] = tokens.dims();
        let x = self.embed_tokens.forward(tokens);
        // The autodiff device would track these constants for nothing.
        let positions = Positions::new(&self.config, seq, &x.device());
        let x = self.layers.iter().enumerate().fold(x, |x, (index, layer)| {
            layer.forward(x, &positions, positions.view(&self.config, index))
        });
        self.norm.forward(x)
    }

    /// One block alone: the residual stream before it to that after it.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    ///
    /// # Panics
    /// When there is no block `index`.
    #[must_use]
    pub fn block(&self, index: usize, x: Tensor<3>) -> Tensor<3> {
        let [_, seq, _] = x.dims();
        let positions = Positions::new(&self.config, seq, &x.device());
        self.layers[index].forward(x, &positions, positions.view(&self.config, index))
    }

    /// Logits of hidden states.
    ///
    /// # Shapes
    /// - `hidden`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, head_size]`
    #[must_use]
    pub fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => {
                let weight = self.embed_tokens.weight.val().transpose();
                hidden.matmul(weight.unsqueeze::<3>())
            }
        }
    }

    /// Logits of the token after each position.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, seq]`
    /// - output: `[batch, seq, head_size]`
    #[must_use]
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.head(self.hidden(tokens))
    }
}
