//! The engine as `Draft` and `Target`.

use std::sync::Arc;

use fastdraft_specdec::{
    Distribution, Draft, LogitRows, Proposal, Sampler, Target, TokenId, Vocabulary,
};

use super::{CpuModel, KvCache, Segment, Workspace};
use crate::error::ModelError;

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

    /// Feeds `context` then `extra`, leaving the logits of the last `outputs` tokens.
    fn feed(&mut self, context: &[u32], extra: &[u32], outputs: usize) -> Result<(), ModelError> {
        let total = context.len() + extra.len();
        if outputs == 0 || total < outputs {
            return Err(ModelError::InvalidPass {
                reason: format!("{total} tokens for {outputs} rows of logits"),
            });
        }
        let wanted = context.iter().chain(extra);
        let shared = self
            .cached
            .iter()
            .zip(wanted)
            .take_while(|(a, b)| a == b)
            .count();
        let shared = shared.min(total - outputs);
        self.forget(shared);
        let pending: Vec<u32> = context.iter().chain(extra).skip(shared).copied().collect();
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

    fn forget(&mut self, len: usize) {
        self.cache.truncate(len);
        self.cached.truncate(len);
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
        let rows = proposal.len() + 1;
        self.feed(context, proposal, rows)?;
        out.reset(rows, self.model.config().head_size)
            .copy_from_slice(&self.logits);
        Ok(())
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
        let model = Arc::clone(&self.model);
        let mut history = context.to_vec();
        let mut distribution = Distribution::default();
        for _ in 0..gamma {
            self.feed(&history, &[], 1)?;
            let token = match model.draft_vocabulary() {
                Some(trimmed) => sampler.sample_subset(
                    &self.logits,
                    trimmed.token_ids(),
                    &history,
                    &mut distribution,
                ),
                None => sampler.sample(&self.logits, &history, &mut distribution),
            }
            .map_err(|error| ModelError::Sampling {
                reason: error.to_string(),
            })?;
            out.push(token, &distribution);
            history.push(token);
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        self.forget(len);
        Ok(())
    }
}
