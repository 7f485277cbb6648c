//! The engine as `Draft` and `Target`.

use burn::tensor::Device;
use fastdraft_specdec::{Draft, LogitRows, Proposal, Sampler, Target, TokenId, Vocabulary};

use super::{cache::KvCache, runner::Runner};
use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    decoder::Decoder,
    engine::{
        batch::Passes,
        held::Held,
        sequence::{self, Sequence},
    },
    error::ModelError,
};

/// One sequence over a decoder on a Burn device: a target, or a draft.
///
/// The longest common prefix of the context and what the cache holds is never computed twice.
#[derive(Debug)]
pub struct BurnEngine {
    runner: Runner,
    held: Held<KvCache>,
    draft_vocabulary: Option<DraftVocabulary>,
    vocabulary: Vocabulary,
}

impl BurnEngine {
    /// An engine with room for `capacity` tokens. `draft_vocabulary` names the target tokens of
    /// a trimmed head; `fingerprint` identifies the tokenizer.
    ///
    /// Decoders share their weights when cloned, so several engines cost one model. On an
    /// autodiff device every pass would record its graph: give the inner device's decoder.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] when `draft_vocabulary` does not cover the head.
    pub fn new(
        decoder: Decoder,
        draft_vocabulary: Option<DraftVocabulary>,
        capacity: usize,
        fingerprint: u64,
    ) -> Result<Self, ModelError> {
        let config = decoder.config();
        let rows = draft_vocabulary
            .as_ref()
            .map_or(config.vocabulary_size, |kept| kept.token_ids().len());
        if rows != config.head_size {
            return Err(ModelError::InvalidConfig {
                reason: format!("a head of {} rows for {rows} tokens", config.head_size),
            });
        }
        let device = decoder.norm.gamma.val().device();
        Ok(Self {
            held: Held::new(KvCache::new(config, capacity, &device), capacity),
            vocabulary: Vocabulary::new(config.vocabulary_size, fingerprint),
            draft_vocabulary,
            runner: Runner::new(decoder),
        })
    }

    /// An engine over a checkpoint put on `device`.
    ///
    /// # Errors
    /// Those of [`Decoder::from_checkpoint`] and of [`BurnEngine::new`].
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        device: &Device,
        capacity: usize,
        fingerprint: u64,
    ) -> Result<Self, ModelError> {
        let decoder = Decoder::from_checkpoint(checkpoint, device)?;
        let kept = checkpoint.draft_vocabulary.clone();
        Self::new(decoder, kept, capacity, fingerprint)
    }

    /// The model.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.runner.decoder
    }
}

impl Sequence for BurnEngine {
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
        self.draft_vocabulary.as_ref()
    }
}

impl Target for BurnEngine {
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

impl Draft for BurnEngine {
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
