//! The engine as `Draft` and `Target`.

use std::sync::Arc;

use fastdraft_specdec::{Draft, LogitRows, Proposal, Sampler, Target, TokenId, Vocabulary};

use super::{CpuModel, KvCache, batch::Runner};
use crate::{
    checkpoint::DraftVocabulary,
    engine::{
        batch::Passes,
        held::Held,
        sequence::{self, Sequence},
    },
    error::ModelError,
};

/// One sequence over a shared model: a target, or a draft.
///
/// The longest common prefix of the context and what the cache holds is never computed twice.
#[derive(Debug)]
pub struct CpuEngine {
    runner: Runner,
    held: Held<KvCache>,
    vocabulary: Vocabulary,
}

impl CpuEngine {
    /// An engine with room for `capacity` tokens. `fingerprint` identifies the tokenizer.
    #[must_use]
    pub fn new(model: Arc<CpuModel>, capacity: usize, fingerprint: u64) -> Self {
        Self {
            held: Held::new(model.cache(capacity), capacity),
            vocabulary: Vocabulary::new(model.config().vocabulary_size, fingerprint),
            runner: Runner::new(model),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<CpuModel> {
        &self.runner.model
    }
}

impl Sequence for CpuEngine {
    fn feed(&mut self, context: &[u32], extra: &[u32], outputs: usize) -> Result<(), ModelError> {
        sequence::feed(&mut self.runner, &mut self.held, context, extra, outputs)
    }

    fn logits(&self) -> &[f32] {
        self.runner.logits()
    }

    fn head_size(&self) -> usize {
        self.runner.head_size()
    }

    fn draft_vocabulary(&self) -> Option<&DraftVocabulary> {
        self.runner.model.draft_vocabulary()
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
        self.held.forget(len);
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
        self.held.forget(len);
        Ok(())
    }
}
