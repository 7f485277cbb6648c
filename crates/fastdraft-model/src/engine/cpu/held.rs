//! A sequence's cache and the tokens in it.

use super::{CpuModel, KvCache, Segment, Workspace};
use crate::{engine::sequence, error::ModelError};

/// Tokens of one prefill pass; bounds the buffers, not the result.
const PREFILL: usize = 64;

/// What one sequence keeps between passes.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) cache: KvCache,
    pub(super) tokens: Vec<u32>,
}

impl Held {
    pub(super) fn new(model: &CpuModel, capacity: usize) -> Self {
        Self {
            cache: model.cache(capacity),
            tokens: Vec::with_capacity(capacity),
        }
    }

    pub(super) fn forget(&mut self, len: usize) {
        self.cache.truncate(len);
        self.tokens.truncate(len);
    }

    /// Keeps what `context` then `extra` begins with; returns the tokens still to feed, at least
    /// the last `outputs`.
    pub(super) fn begin(
        &mut self,
        context: &[u32],
        extra: &[u32],
        outputs: usize,
    ) -> Result<Vec<u32>, ModelError> {
        let (shared, pending) = sequence::pending(&self.tokens, context, extra, outputs)?;
        self.forget(shared);
        Ok(pending)
    }

    /// Feeds whole prefill passes of `pending`, leaving in it what one pass then feeds.
    pub(super) fn feed_early(
        &mut self,
        model: &CpuModel,
        pending: &mut Vec<u32>,
        outputs: usize,
        work: &mut Workspace,
        logits: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        // The rows asked for come from one pass, the last.
        let early = (pending.len() - outputs) / PREFILL * PREFILL;
        for tokens in pending[..early].chunks_exact(PREFILL) {
            let segment = Segment {
                cache: &mut self.cache,
                tokens,
                outputs: 0,
            };
            model.forward(&mut [segment], work, logits)?;
            self.tokens.extend_from_slice(tokens);
        }
        pending.drain(..early);
        Ok(())
    }
}
