//! Grouped-query causal attention.

use burn::{
    module::Module,
    nn::{Linear, RmsNorm},
    tensor::{Tensor, activation::softmax},
};

use super::rope::{Angles, Positions, View};

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
    pub(super) fn forward(&self, x: Tensor<3>, positions: &Positions, view: &View) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let (q, k, v) = self.project(x, &positions.angles);
        let (k, v) = (self.repeat(k), self.repeat(v));
        let scores = q.matmul(k.swap_dims(2, 3)).mul_scalar(self.scale()) + view.mask.clone();
        let out = softmax(scores, 3).matmul(v);
        let out = out
            .swap_dims(1, 2)
            .reshape([batch, seq, self.heads * self.head_dim]);
        self.o_proj.forward(out)
    }

    /// Rotated queries and keys, and values.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, hidden]`
    /// - queries: `[batch, heads, seq, head_dim]`
    /// - keys and values: `[batch, kv_heads, seq, head_dim]`
    pub(crate) fn project(
        &self,
        x: Tensor<3>,
        angles: &Angles,
    ) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
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
        (angles.rotate(q), angles.rotate(k), v)
    }

    /// Attention of new tokens over keys and values that may hold earlier ones. The query heads
    /// of a group share one product, so nothing is repeated.
    ///
    /// # Shapes
    /// - `q`: `[batch, heads, seq, head_dim]`
    /// - `k`, `v`: `[batch, kv_heads, span, head_dim]`
    /// - `mask`: `[batch, 1, seq, span]`
    /// - output: `[batch, seq, heads · head_dim]`
    pub(crate) fn attend(
        &self,
        q: Tensor<4>,
        k: Tensor<4>,
        v: Tensor<4>,
        mask: Tensor<4>,
    ) -> Tensor<3> {
        let [batch, heads, seq, dim] = q.dims();
        let span = k.dims()[2];
        let grouped = [batch, self.kv_heads, heads / self.kv_heads * seq, dim];
        let scores = q
            .reshape(grouped)
            .matmul(k.swap_dims(2, 3))
            .mul_scalar(self.scale())
            .reshape([batch, heads, seq, span])
            + mask;
        let weights = softmax(scores, 3).reshape([batch, self.kv_heads, grouped[2], span]);
        weights
            .matmul(v)
            .reshape([batch, heads, seq, dim])
            .swap_dims(1, 2)
            .reshape([batch, seq, heads * dim])
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
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
