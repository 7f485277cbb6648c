//! Keys and values of the tokens already seen by one sequence.

use half::f16;

use super::arch::{LANES, POSITIONS, Stored, aligned::Aligned};
use crate::{
    config::{DecoderConfig, Rotary},
    error::ModelError,
};

/// How a cache keeps keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvFormat {
    /// 4 bytes a number; the numerics of the reference.
    F32,
    /// 2 bytes a number, IEEE half precision rounded to nearest; magnitudes above 65,504 become that.
    F16,
}

/// A preallocated KV cache of one sequence: per layer and key-value head, values `[capacity, head_dim]`
/// and keys `[capacity / 16, head_dim, 16]`, so that a query meets sixteen of them at a time.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(super) numbers: Numbers,
    capacity: usize,
    len: usize,
    /// Long-context variants turn by other angles once the capacity passes their first context.
    pub(super) rotary: Rotary,
}

/// Keys and values in the format of the cache.
#[derive(Debug, Clone)]
pub(super) enum Numbers {
    F32(Kv<f32>),
    F16(Kv<f16>),
}

#[derive(Debug)]
pub(super) struct Kv<S> {
    place: Place,
    keys: Aligned<S>,
    values: Aligned<S>,
}

impl<S: Stored> Clone for Kv<S> {
    fn clone(&self) -> Self {
        Self {
            place: self.place,
            keys: self.keys.clone(),
            values: self.values.clone(),
        }
    }
}

/// Where keys and values lie.
#[derive(Debug, Clone, Copy)]
struct Place {
    capacity: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Place {
    /// Where the values of a position of a head lie.
    fn value(self, layer: usize, head: usize, position: usize) -> usize {
        ((layer * self.kv_heads + head) * self.capacity + position) * self.head_dim
    }

    /// Where the block of keys lies that a position of a head is in.
    fn block(self, layer: usize, head: usize, position: usize) -> usize {
        let blocks = self.capacity.div_ceil(POSITIONS);
        ((layer * self.kv_heads + head) * blocks + position / POSITIONS) * self.head_dim * POSITIONS
    }
}

impl<S: Stored> Kv<S> {
    fn new(place: Place, layers: usize) -> Self {
        let row = layers * place.kv_heads * place.head_dim;
        Self {
            place,
            keys: Aligned::zeros(row * place.capacity.next_multiple_of(POSITIONS)),
            values: Aligned::zeros(row * place.capacity),
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.keys) + size_of_val(&*self.values)
    }

    fn write(&mut self, layer: usize, position: usize, rows: &[f32], stride: usize) {
        let Place {
            kv_heads,
            head_dim: dim,
            ..
        } = self.place;
        for (i, row) in rows.chunks(stride).enumerate() {
            let (keys, values) = row[..2 * kv_heads * dim].split_at(kv_heads * dim);
            for head in 0..kv_heads {
                self.write_key(layer, head, position + i, &keys[head * dim..][..dim]);
                let start = self.place.value(layer, head, position + i);
                let slots = self.values[start..start + dim].chunks_mut(LANES);
                for (slots, some) in slots.zip(values[head * dim..][..dim].chunks(LANES)) {
                    slots.copy_from_slice(&rounded(some)[..some.len()]);
                }
            }
        }
    }

    fn write_key(&mut self, layer: usize, head: usize, position: usize, key: &[f32]) {
        let start = self.place.block(layer, head, position) + position % POSITIONS;
        let mut slots = self.keys[start..].iter_mut().step_by(POSITIONS);
        for some in key.chunks(LANES) {
            let slots = slots.by_ref().take(some.len());
            slots.zip(rounded(some)).for_each(|(slot, key)| *slot = key);
        }
    }

    /// Keys of the blocks that positions `from..to` are in, and values of `from..to`: `from` is the
    /// first of its block.
    pub(super) fn read(&self, layer: usize, head: usize, from: usize, to: usize) -> (&[S], &[S]) {
        let place = self.place;
        let keys = place.block(layer, head, from);
        let len = (to - from).next_multiple_of(POSITIONS) * place.head_dim;
        let values = place.value(layer, head, from)..place.value(layer, head, to);
        (&self.keys[keys..keys + len], &self.values[values])
    }
}

/// At most eight values as they are stored, and zeros.
fn rounded<S: Stored>(values: &[f32]) -> [S; LANES] {
    let mut eight = [0.0; LANES];
    eight[..values.len()].copy_from_slice(values);
    S::from_f32s(&eight)
}

impl KvCache {
    /// A cache of `capacity` tokens for a model of this configuration.
    #[must_use]
    pub fn new(config: &DecoderConfig, capacity: usize, format: KvFormat) -> Self {
        let place = Place {
            capacity,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        };
        Self {
            numbers: match format {
                KvFormat::F32 => Numbers::F32(Kv::new(place, config.layers)),
                KvFormat::F16 => Numbers::F16(Kv::new(place, config.layers)),
            },
            capacity,
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

    /// Bytes of keys and values at full capacity.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F32(kv) => kv.bytes(),
            Numbers::F16(kv) => kv.bytes(),
        }
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

    /// Stores keys and values of tokens from `position` on: rows `[kv_heads, head_dim]` of keys with
    /// the same of values behind, `stride` values apart.
    pub(super) fn write(&mut self, layer: usize, position: usize, rows: &[f32], stride: usize) {
        match &mut self.numbers {
            Numbers::F32(kv) => kv.write(layer, position, rows, stride),
            Numbers::F16(kv) => kv.write(layer, position, rows, stride),
        }
    }
}

#[cfg(feature = "specdec")]
impl crate::engine::held::Cache for KvCache {
    fn truncate(&mut self, len: usize) {
        Self::truncate(self, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Head dimensions that no vector divides, and more positions than a block of keys has.
    #[test]
    fn what_is_written_is_read_in_the_format_of_the_cache() {
        let mut config = DecoderConfig::llama(10, 20, 2);
        (config.heads, config.kv_heads, config.head_dim) = (2, 2, 10);
        for (format, size) in [(KvFormat::F32, 4), (KvFormat::F16, 2)] {
            let mut cache = KvCache::new(&config, 20, format);
            // Keys have room for whole blocks of 16 positions.
            assert_eq!(cache.bytes(), 2 * 20 * (32 + 20) * size);
            let number = |layer: usize, position: usize, i: usize| {
                0.1 * (layer * 1000 + position * 20 + i) as f32
            };
            for layer in 0..2 {
                for position in 0..20 {
                    let key: Vec<f32> = (0..20).map(|i| number(layer, position, i)).collect();
                    let value: Vec<f32> = key.iter().map(|key| -key).collect();
                    cache.write(layer, position, &[key, value].concat(), 40);
                }
            }
            let stored = |layer: usize, head: usize| -> (Vec<f32>, Vec<f32>) {
                match &cache.numbers {
                    Numbers::F32(kv) => single(kv.read(layer, head, 16, 20)),
                    Numbers::F16(kv) => single(kv.read(layer, head, 16, 20)),
                }
            };
            for (layer, head) in [(0, 0), (0, 1), (1, 1)] {
                let (keys, values) = stored(layer, head);
                assert_eq!((keys.len(), values.len()), (10 * POSITIONS, 40));
                for (position, d) in [(16, 0), (16, 9), (19, 3)] {
                    let wanted = number(layer, position, head * 10 + d);
                    let wanted = match format {
                        KvFormat::F32 => wanted,
                        KvFormat::F16 => f16::from_f32(wanted).to_f32(),
                    };
                    assert_eq!(keys[d * POSITIONS + position - 16], wanted);
                    assert_eq!(values[(position - 16) * 10 + d], -wanted);
                }
            }
        }
    }

    fn single<S: Stored>((keys, values): (&[S], &[S])) -> (Vec<f32>, Vec<f32>) {
        let single = |some: &[S]| some.iter().map(|value| value.to_f32()).collect();
        (single(keys), single(values))
    }
}
