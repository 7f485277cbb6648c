//! A forward pass over new tokens of a sequence.

use burn::tensor::{Int, Tensor, TensorData};

use super::cache::KvCache;
use crate::{
    decoder::{Decoder, Positions},
    error::ModelError,
};

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
        if outputs == 0 {
            return Err(ModelError::InvalidPass {
                reason: "no outputs".into(),
            });
        }
        let x = self.extend(tokens, outputs, cache)?;
        let seq = tokens.len();
        let last = x.narrow(1, seq - outputs, outputs);
        let logits = self.head(self.norm.forward(last));
        Ok(logits.reshape([outputs, self.config().head_size]))
    }

    /// The same without the last norm and the head: fills the cache and leaves the residual
    /// stream, `[1, seq, hidden]`.
    pub(super) fn extend(
        &self,
        tokens: &[u32],
        outputs: usize,
        cache: &mut KvCache,
    ) -> Result<Tensor<3>, ModelError> {
        self.check(tokens, outputs, cache)?;
        let device = self.norm.gamma.val().device();
        let seq = tokens.len();
        let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
        let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [1, seq]), &device);
        let positions = Positions::after(self.config(), cache.rotary(), cache.len(), seq, &device);
        let mut x = self.embed_tokens.forward(ids);
        for (index, block) in self.layers.iter().enumerate() {
            x = block.with_attention(x, |x| {
                let (q, k, v) = block.self_attn.project(x, &positions);
                let (k, v) = cache.extend(index, positions.first, k, v);
                block.self_attn.attend(q, k, v, positions.mask.clone())
            });
        }
        cache.advance(seq);
        Ok(x)
    }

    fn check(&self, tokens: &[u32], outputs: usize, cache: &KvCache) -> Result<(), ModelError> {
        let seq = tokens.len();
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
        match tokens.iter().find(|id| **id as usize >= vocabulary_size) {
            Some(&id) => Err(ModelError::TokenOutOfRange {
                id,
                vocabulary_size,
            }),
            None => Ok(()),
        }
    }
}
