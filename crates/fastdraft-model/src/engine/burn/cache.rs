//! Keys and values of the tokens already seen by one sequence.

use burn::tensor::{Device, Tensor};

use crate::{
    config::{DecoderConfig, Rotary},
    error::ModelError,
};

/// A preallocated KV cache of one sequence: per layer, keys and values
/// `[1, kv_heads, capacity, head_dim]`.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    rotary: Rotary,
    capacity: usize,
    len: usize,
}

impl KvCache {
    /// A cache of `capacity` tokens for a model of this configuration.
    #[must_use]
    pub fn new(config: &DecoderConfig, capacity: usize, device: &Device) -> Self {
        let shape = [1, config.kv_heads, capacity, config.head_dim];
        let empty = || Tensor::zeros(shape, device);
        Self {
            layers: (0..config.layers).map(|_| (empty(), empty())).collect(),
            rotary: config.rotary(capacity),
            capacity,
            len: 0,
        }
    }

    /// Tokens held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens from `len` on, in O(1); no effect when fewer are held.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn rotary(&self) -> &Rotary {
        &self.rotary
    }

    pub(super) fn reserve(&self, tokens: usize) -> Result<(), ModelError> {
        let tokens = self.len + tokens;
        if tokens > self.capacity {
            return Err(ModelError::ContextOverflow {
                tokens,
                capacity: self.capacity,
            });
        }
        Ok(())
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Stores the new keys and values `[1, kv_heads, seq, head_dim]` of a layer behind the held
    /// tokens; returns those from position `first` on, `[1, kv_heads, span, head_dim]` each.
    pub(super) fn extend(
        &mut self,
        layer: usize,
        first: usize,
        new_keys: Tensor<4>,
        new_values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let end = self.len + new_keys.dims()[2];
        let (keys, values) = &mut self.layers[layer];
        // Written where it lies: the tensor is the buffer's only owner.
        let store = |held: &mut Tensor<4>, new: Tensor<4>| {
            let [batch, heads, _, dim] = held.dims();
            held.inplace(|all| all.slice_assign([0..batch, 0..heads, self.len..end, 0..dim], new));
            held.clone().narrow(2, first, end - first)
        };
        (store(keys, new_keys), store(values, new_values))
    }
}

#[cfg(feature = "specdec")]
impl crate::engine::held::Cache for KvCache {
    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }
}
