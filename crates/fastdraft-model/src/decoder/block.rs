//! One decoder block.

use burn::{module::Module, nn::RmsNorm, tensor::Tensor};

use super::{
    attention::Attention,
    mlp::Mlp,
    rope::{Positions, View},
};

/// Pre-norm attention and MLP, each with a residual connection.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: Attention,
    /// Norm before the MLP.
    pub post_attention_layernorm: RmsNorm,
    /// Gated MLP.
    pub mlp: Mlp,
}

impl Block {
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    pub(super) fn forward(&self, x: Tensor<3>, positions: &Positions, view: &View) -> Tensor<3> {
        self.with_attention(x, |x| self.self_attn.forward(x, positions, view))
    }

    /// The block around an attention of the normed stream.
    pub(crate) fn with_attention(
        &self,
        x: Tensor<3>,
        attention: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let attended = attention(self.input_layernorm.forward(x.clone()));
        let x = x + attended;
        let mlp = self
            .mlp
            .forward(self.post_attention_layernorm.forward(x.clone()));
        x + mlp
    }
}
