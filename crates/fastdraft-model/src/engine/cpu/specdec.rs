//! The engine as `Draft` and `Target`.

use std::sync::Arc;

use fastdraft_specdec::{Draft, LogitRows, Proposal, Sampler, Target, TokenId, Vocabulary};

use super::{CpuModel, KvCache, Segment, Workspace};
use crate::{
    checkpoint::DraftVocabulary,
    engine::sequence::{self, Sequence},
    error::ModelError,
};

/// Tokens of one prefill pass; bounds the buffers, not the result.
const PREFILL: usize = 64;

/// One sequence over a shared model: a target, or a draft.
///
/// The longest common prefix of the context and what the cache holds is never computed twice.
#[derive(Debug)]
pub struct CpuEngine {
    model: Arc<CpuModel>,
    cache: KvCache,
    cached: Vec<u32>,
    work: Workspace,
    logits: Vec<f32>,
    vocabulary: Vocabulary,
}

impl CpuEngine {
    /// An engine with room for `capacity` tokens. `fingerprint` identifies the tokenizer.
    #[must_use]
    pub fn new(model: Arc<CpuModel>, capacity: usize, fingerprint: u64) -> Self {
        Self {
            cache: model.cache(capacity),
            cached: Vec::with_capacity(capacity),
            work: Workspace::new(),
            logits: Vec::new(),
            vocabulary: Vocabulary::new(model.config().vocabulary_size, fingerprint),
            model,
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<CpuModel> {
        &self.model
    }

    fn forget(&mut self, len: usize) {
        self.cache.truncate(len);
        self.cached.truncate(len);
    }
}

impl Sequence for CpuEngine {
    fn feed(&mut self, context: &[u32], extra: &[u32], outputs: usize) -> Result<(), ModelError> {
        let (shared, pending) = sequence::pending(&self.cached, context, extra, outputs)?;
        self.forget(shared);
        let mut at = 0;
        while at < pending.len() {
            // The rows asked for come from one pass.
            let left = pending.len() - at;
            let count = if left <= PREFILL.max(outputs) {
                left
            } else {
                PREFILL.min(left - outputs)
            };
            let tokens = &pending[at..at + count];
            let last = at + count == pending.len();
            let segment = Segment {
                cache: &mut self.cache,
                tokens,
                outputs: if last { outputs } else { 0 },
            };
            self.model
                .forward(&mut [segment], &mut self.work, &mut self.logits)?;
            self.cached.extend_from_slice(tokens);
            at += count;
        }
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn head_size(&self) -> usize {
        self.model.config().head_size
    }

    fn draft_vocabulary(&self) -> Option<&DraftVocabulary> {
        self.model.draft_vocabulary()
    }
}

impl Target for CpuEngine {
    type Error = ModelError;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), ModelError> {
        sequence::score(self, context, proposal, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        self.forget(len);
        Ok(())
    }
}

impl Draft for CpuEngine {
    type Error = ModelError;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), ModelError> {
        sequence::propose(self, context, gamma, sampler, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        self.forget(len);
        Ok(())
    }
}
