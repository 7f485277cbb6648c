//! A forward pass over new tokens of one or more sequences.

use burn::tensor::{Int, Tensor, TensorData};

use super::cache::KvCache;
use crate::{
    decoder::{Angles, Decoder, Positions},
    error::ModelError,
};

/// The part of a pass that belongs to one sequence.
#[derive(Debug)]
pub struct Segment<'a> {
    /// The sequence's cache; the new tokens follow what it holds.
    pub cache: &'a mut KvCache,
    /// New tokens, at least one.
    pub tokens: &'a [u32],
    /// Logits are computed for this many of the last new tokens.
    pub outputs: usize,
}

impl Decoder {
    /// Runs new tokens through the model and appends them to `cache`.
    ///
    /// # Shapes
    /// - output: `[outputs, head_size]`, logits of the token after each of the last `outputs`
    ///   new tokens
    ///
    /// # Errors
    /// [`ModelError::InvalidPass`] without tokens, with more outputs than tokens, without
    /// outputs, or with a cache of another model; [`ModelError::TokenOutOfRange`] and
    /// [`ModelError::ContextOverflow`]. The cache is untouched on error.
    pub fn forward_cached(
        &self,
        tokens: &[u32],
        outputs: usize,
        cache: &mut KvCache,
    ) -> Result<Tensor<2>, ModelError> {
        self.forward_segments(&mut [Segment {
            cache,
            tokens,
            outputs,
        }])
    }

    /// Runs the new tokens of several sequences, of any lengths, through the model in one pass
    /// and appends them to their caches. Nothing is padded: only attention sees the sequences
    /// apart.
    ///
    /// # Shapes
    /// - output: `[Σ outputs, head_size]`, the rows of one sequence after those of the one before
    ///
    /// # Errors
    /// As [`forward_cached`](Self::forward_cached), but outputs may be 0 for some sequences. The
    /// caches are untouched on error.
    pub fn forward_segments(&self, segments: &mut [Segment<'_>]) -> Result<Tensor<2>, ModelError> {
        if segments.iter().all(|segment| segment.outputs == 0) {
            return Err(ModelError::InvalidPass {
                reason: "no outputs".into(),
            });
        }
        let x = self.extend(segments)?;
        let mut start = 0;
        let mut last = Vec::with_capacity(segments.len());
        for segment in segments.iter() {
            start += segment.tokens.len();
            if segment.outputs > 0 {
                last.push((x.clone()).narrow(1, start - segment.outputs, segment.outputs));
            }
        }
        let outputs: usize = segments.iter().map(|segment| segment.outputs).sum();
        let logits = self.head(self.norm.forward(joined(last)));
        Ok(logits.reshape([outputs, self.config().head_size]))
    }

    /// The same without the last norm and the head: fills the caches and leaves the residual
    /// stream, `[1, Σ tokens, hidden]`.
    pub(super) fn extend(&self, segments: &mut [Segment<'_>]) -> Result<Tensor<3>, ModelError> {
        self.check(segments)?;
        let device = self.norm.gamma.val().device();
        let ids = (segments.iter()).flat_map(|segment| segment.tokens);
        let ids = ids.copied().collect();
        let positions: Vec<Positions> = (segments.iter())
            .map(|segment| {
                let (cache, seq) = (&segment.cache, segment.tokens.len());
                Positions::after(self.config(), cache.rotary(), cache.len(), seq, &device)
            })
            .collect();
        let angles = Positions::angles(&positions);
        let x = self.through(ids, &angles, |layer, q, k, v| {
            let attention = &self.layers[layer].self_attn;
            let mut start = 0;
            let mut attended = Vec::with_capacity(segments.len());
            for (segment, positions) in segments.iter_mut().zip(&positions) {
                let seq = segment.tokens.len();
                let own = |all: &Tensor<4>| all.clone().narrow(2, start, seq);
                let view = positions.view(self.config(), layer);
                let (k, v) = segment.cache.extend(layer, view.first, own(&k), own(&v));
                attended.push(attention.attend(own(&q), k, v, view.mask.clone()));
                start += seq;
            }
            joined(attended)
        });
        for segment in segments {
            segment.cache.advance(segment.tokens.len());
        }
        Ok(x)
    }

    /// The residual stream of tokens after all blocks. `attend` gets a block's number with its
    /// rotated queries, its keys and its values, and returns what the queries see,
    /// `[1, tokens, heads · head_dim]`.
    ///
    /// # Shapes
    /// - queries: `[1, heads, tokens, head_dim]`
    /// - keys, values: `[1, kv_heads, tokens, head_dim]`
    /// - output: `[1, tokens, hidden]`
    pub(super) fn through(
        &self,
        ids: Vec<u32>,
        angles: &Angles,
        mut attend: impl FnMut(usize, Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<3>,
    ) -> Tensor<3> {
        let device = self.norm.gamma.val().device();
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let total = ids.len();
        let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, total]), &device);
        let x = self.embed_tokens.forward(ids);
        (self.layers.iter().enumerate()).fold(x, |x, (layer, block)| {
            block.with_attention(x, |x| {
                let (q, k, v) = block.self_attn.project(x, angles);
                block.self_attn.o_proj.forward(attend(layer, q, k, v))
            })
        })
    }

    fn check(&self, segments: &[Segment<'_>]) -> Result<(), ModelError> {
        if segments.is_empty() {
            return Err(ModelError::InvalidPass {
                reason: "no sequence".into(),
            });
        }
        for segment in segments {
            let (seq, outputs, cache) = (segment.tokens.len(), segment.outputs, &segment.cache);
            if seq == 0 || outputs > seq || cache.layers() != self.layers.len() {
                return Err(ModelError::InvalidPass {
                    reason: format!(
                        "{seq} tokens, {outputs} outputs, a cache of {} layers for {}",
                        cache.layers(),
                        self.layers.len()
                    ),
                });
            }
            cache.reserve(seq)?;
            let vocabulary_size = self.config().vocabulary_size;
            let mut ids = segment.tokens.iter();
            if let Some(&id) = ids.find(|id| **id as usize >= vocabulary_size) {
                return Err(ModelError::TokenOutOfRange {
                    id,
                    vocabulary_size,
                });
            }
        }
        Ok(())
    }
}

/// Tokens of several sequences, one after the other.
pub(super) fn joined(mut parts: Vec<Tensor<3>>) -> Tensor<3> {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => Tensor::cat(parts, 1),
    }
}
