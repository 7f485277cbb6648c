//! Keys and values of the tokens already seen by one sequence.

use crate::{
    config::{DecoderConfig, Rotary},
    error::ModelError,
};

/// A preallocated KV cache of one sequence: per layer and key-value head, `[capacity, head_dim]`.
#[derive(Debug, Clone)]
pub struct KvCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    capacity: usize,
    kv_heads: usize,
    head_dim: usize,
    len: usize,
    /// Long-context variants turn by other angles once the capacity passes their first context.
    pub(super) rotary: Rotary,
}

impl KvCache {
    /// A cache of `capacity` tokens for a model of this configuration.
    #[must_use]
    pub fn new(config: &DecoderConfig, capacity: usize) -> Self {
        let elements = config.layers * config.kv_heads * capacity * config.head_dim;
        Self {
            keys: vec![0.0; elements],
            values: vec![0.0; elements],
            capacity,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            len: 0,
            rotary: config.rotary(capacity),
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

    pub(super) fn reserve(&self, tokens: usize) -> Result<(), ModelError> {
        if self.len + tokens > self.capacity {
            return Err(ModelError::ContextOverflow {
                tokens: self.len + tokens,
                capacity: self.capacity,
            });
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    fn start(&self, layer: usize, head: usize, position: usize) -> usize {
        ((layer * self.kv_heads + head) * self.capacity + position) * self.head_dim
    }

    /// Stores one token's keys and values `[kv_heads, head_dim]` at `position`.
    pub(super) fn write(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        for head in 0..self.kv_heads {
            let from = head * self.head_dim..(head + 1) * self.head_dim;
            let start = self.start(layer, head, position);
            let to = start..start + self.head_dim;
            self.keys[to.clone()].copy_from_slice(&key[from.clone()]);
            self.values[to].copy_from_slice(&value[from]);
        }
    }

    /// Keys and values of positions `from..to`: `[to - from, head_dim]` each.
    pub(super) fn read(
        &self,
        layer: usize,
        head: usize,
        from: usize,
        to: usize,
    ) -> (&[f32], &[f32]) {
        let range = self.start(layer, head, from)..self.start(layer, head, to);
        (&self.keys[range.clone()], &self.values[range])
    }
}

#[cfg(feature = "specdec")]
impl crate::engine::held::Cache for KvCache {
    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }
}
