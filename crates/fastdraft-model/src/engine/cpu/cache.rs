//! Keys and values of the tokens already seen by one sequence.

use super::arch::POSITIONS;
use crate::{
    config::{DecoderConfig, Rotary},
    error::ModelError,
};

/// A preallocated KV cache of one sequence: per layer and key-value head, values `[capacity, head_dim]`
/// and keys `[capacity / 16, head_dim, 16]`, so that a query meets sixteen of them at a time.
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
        let row = config.layers * config.kv_heads * config.head_dim;
        Self {
            keys: vec![0.0; row * capacity.next_multiple_of(POSITIONS)],
            values: vec![0.0; row * capacity],
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

    /// Where the values of a position of a head lie.
    fn value(&self, layer: usize, head: usize, position: usize) -> usize {
        ((layer * self.kv_heads + head) * self.capacity + position) * self.head_dim
    }

    /// Where the block of keys lies that a position of a head is in.
    fn block(&self, layer: usize, head: usize, position: usize) -> usize {
        let blocks = self.capacity.div_ceil(POSITIONS);
        ((layer * self.kv_heads + head) * blocks + position / POSITIONS) * self.head_dim * POSITIONS
    }

    /// Stores one token's keys and values `[kv_heads, head_dim]` at `position`.
    pub(super) fn write(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let dim = self.head_dim;
        for (head, (key, value)) in key.chunks(dim).zip(value.chunks(dim)).enumerate() {
            let start = self.value(layer, head, position);
            self.values[start..start + dim].copy_from_slice(value);
            let start = self.block(layer, head, position) + position % POSITIONS;
            let slots = self.keys[start..].iter_mut().step_by(POSITIONS);
            for (slot, key) in slots.zip(key) {
                *slot = *key;
            }
        }
    }

    /// Keys of the blocks that positions `from..to` are in, and values of `from..to`: `from` is the
    /// first of its block.
    pub(super) fn read(
        &self,
        layer: usize,
        head: usize,
        from: usize,
        to: usize,
    ) -> (&[f32], &[f32]) {
        let keys = self.block(layer, head, from);
        let len = (to - from).next_multiple_of(POSITIONS) * self.head_dim;
        let values = self.value(layer, head, from)..self.value(layer, head, to);
        (&self.keys[keys..keys + len], &self.values[values])
    }
}

#[cfg(feature = "specdec")]
impl crate::engine::held::Cache for KvCache {
    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }
}
