//! Many sequences over one model, one stream over the weights a step.

use std::sync::Arc;

use fastdraft_specdec::{
    LogitRows, Vocabulary,
    batch::{BatchItem, BatchTarget},
};

use super::{CpuModel, KvCache, Segment, Workspace};
use crate::{
    engine::batch::{Part, Passes, Slots},
    error::ModelError,
};

/// A batched target: every pass scores all its sequences, whatever their lengths.
///
/// The logits of a token do not depend on what shares its pass, bit for bit, so a sequence gets
/// the text that it would get alone.
///
/// ```
/// use std::{ops::ControlFlow, sync::Arc};
/// use fastdraft_model::{
///     DecoderConfig, draft::init,
///     engine::cpu::{CpuBatch, CpuModel, WeightFormat},
/// };
/// use fastdraft_specdec::{
///     NoDraft, SessionConfig,
///     batch::{BatchRequest, generate_batch},
/// };
/// let mut config = DecoderConfig::llama(100, 32, 1);
/// (config.heads, config.kv_heads, config.head_dim) = (2, 2, 16);
/// let model = CpuModel::new(&init::random(config, None, 1)?, WeightFormat::F32)?;
/// let mut target = CpuBatch::new(Arc::new(model), 64, 0);
/// let settings = SessionConfig { max_new_tokens: 8, ..SessionConfig::default() };
/// let prompts: [&[u32]; 2] = [&[1, 2, 3], &[4]];
/// let mut requests = prompts.map(|p| BatchRequest::new(NoDraft, p, settings.clone()));
/// let texts = generate_batch(&mut requests, &mut target, |_, _| ControlFlow::Continue(()))?;
/// for text in texts {
///     assert_eq!(text?.tokens.len(), 8);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CpuBatch {
    runner: Runner,
    slots: Slots<KvCache>,
    vocabulary: Vocabulary,
}

/// A model with what its passes need.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) model: Arc<CpuModel>,
    work: Workspace,
    logits: Vec<f32>,
}

impl Runner {
    pub(super) fn new(model: Arc<CpuModel>) -> Self {
        Self {
            model,
            work: Workspace::new(),
            logits: Vec::new(),
        }
    }
}

impl Passes for Runner {
    type Cache = KvCache;
    const PREFILL: usize = 64;

    fn empty(&mut self, _slot: usize, capacity: usize) -> KvCache {
        self.model.cache(capacity)
    }

    fn prefill(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<(), ModelError> {
        let outputs = 0;
        self.pass(vec![Part {
            cache,
            tokens,
            outputs,
        }])
    }

    fn pass(&mut self, parts: Vec<Part<'_, KvCache>>) -> Result<(), ModelError> {
        let mut segments: Vec<Segment<'_>> = (parts.into_iter())
            .map(|part| Segment {
                cache: part.cache,
                tokens: part.tokens,
                outputs: part.outputs,
            })
            .collect();
        (self.model).forward(&mut segments, &mut self.work, &mut self.logits)
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn head_size(&self) -> usize {
        self.model.config().head_size
    }
}

impl CpuBatch {
    /// A target whose sequences have room for `capacity` tokens each; memory is taken when a
    /// sequence first appears and kept for the next one in its slot. `fingerprint` identifies the
    /// tokenizer.
    #[must_use]
    pub fn new(model: Arc<CpuModel>, capacity: usize, fingerprint: u64) -> Self {
        Self {
            slots: Slots::new(capacity),
            vocabulary: Vocabulary::new(model.config().vocabulary_size, fingerprint),
            runner: Runner::new(model),
        }
    }
}

impl BatchTarget for CpuBatch {
    type Error = ModelError;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn score(&mut self, items: &[BatchItem<'_>], out: &mut [LogitRows]) -> Result<(), ModelError> {
        self.slots.score(&mut self.runner, items, out)
    }

    fn truncate(&mut self, slot: usize, len: usize) -> Result<(), ModelError> {
        self.slots.truncate(slot, len);
        Ok(())
    }
}
