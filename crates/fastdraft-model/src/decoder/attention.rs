//! Grouped-query causal attention.

use burn::{
    module::Module,
    nn::{Linear, RmsNorm},
    tensor::{Tensor, activation::softmax},
};

use super::rope::Positions;

/// Grouped-query causal attention with rotary positions.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query projection, `[hidden, heads · head_dim]`.
    pub q_proj: Linear,
    /// Key projection, `[hidden, kv_heads · head_dim]`.
    pub k_proj: Linear,
    /// Value projection, `[hidden, kv_heads · head_dim]`.
    pub v_proj: Linear,
    /// Output projection, `[heads · head_dim, hidden]`.
    pub o_proj: Linear,
    /// Norm of every query head (Qwen3).
    pub q_norm: Option<RmsNorm>,
    /// Norm of every key head (Qwen3).
    pub k_norm: Option<RmsNorm>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl Attention {
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - output: `[batch, seq, hidden]`
    pub(super) fn forward(&self, x: Tensor<3>, positions: &Positions) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let split = |x: Tensor<3>, heads: usize, norm: &Option<RmsNorm>| {
            let x = x.reshape([batch, seq, heads, self.head_dim]);
            let x = match norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            x.swap_dims(1, 2)
        };
        let q = split(self.q_proj.forward(x.clone()), self.heads, &self.q_norm);
        let k = split(self.k_proj.forward(x.clone()), self.kv_heads, &self.k_norm);
        let v = split(self.v_proj.forward(x), self.kv_heads, &None);
        let q = positions.rotate(q);
        let k = self.repeat(positions.rotate(k));
        let v = self.repeat(v);

        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(scale) + positions.mask.clone();
        let out = softmax(scores, 3).matmul(v);
        let out = out
            .swap_dims(1, 2)
            .reshape([batch, seq, self.heads * self.head_dim]);
        self.o_proj.forward(out)
    }

    /// Each key-value head once for every query head of its group.
    fn repeat(&self, x: Tensor<4>) -> Tensor<4> {
        let group = self.heads / self.kv_heads;
        if group == 1 {
            return x;
        }
        let [batch, kv_heads, seq, dim] = x.dims();
        x.reshape([batch, kv_heads, 1, seq, dim])
            .repeat_dim(2, group)
            .reshape([batch, kv_heads * group, seq, dim])
    }
}
