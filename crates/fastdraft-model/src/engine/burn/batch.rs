//! Many sequences over one decoder.

use burn::tensor::Tensor;
use fastdraft_specdec::{
    LogitRows, Vocabulary,
    batch::{BatchItem, BatchTarget},
};

use super::{cache::KvCache, pass::Segment};
use crate::{
    decoder::Decoder,
    engine::batch::{Part, Passes, Slots},
    error::ModelError,
};

/// A batched target on a Burn device: every pass scores all its sequences, whatever their lengths,
/// without padding.
///
/// ```
/// use std::ops::ControlFlow;
/// use burn::tensor::Device;
/// use fastdraft_model::{DecoderConfig, decoder::Decoder, draft::init, engine::burn::BurnBatch};
/// use fastdraft_specdec::{
///     NoDraft, SessionConfig,
///     batch::{BatchRequest, generate_batch},
/// };
/// let mut config = DecoderConfig::llama(100, 32, 1);
/// (config.heads, config.kv_heads, config.head_dim) = (2, 2, 16);
/// let checkpoint = init::random(config, None, 1)?;
/// let decoder = Decoder::from_checkpoint(&checkpoint, &Device::flex())?;
/// let mut target = BurnBatch::new(decoder, 64, 0);
/// let settings = SessionConfig { max_new_tokens: 8, ..SessionConfig::default() };
/// let prompts: [&[u32]; 2] = [&[1, 2, 3], &[4]];
/// let mut requests = prompts.map(|p| BatchRequest::new(NoDraft, p, settings.clone()));
/// for text in generate_batch(&mut requests, &mut target, |_, _| ControlFlow::Continue(()))? {
///     assert_eq!(text?.tokens.len(), 8);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BurnBatch {
    runner: Runner,
    slots: Slots<KvCache>,
    vocabulary: Vocabulary,
}

/// A decoder with the logits of its last pass.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) decoder: Decoder,
    logits: Vec<f32>,
}

impl Runner {
    pub(super) fn new(decoder: Decoder) -> Self {
        Self {
            decoder,
            logits: Vec::new(),
        }
    }
}

impl Passes for Runner {
    type Cache = KvCache;
    const PREFILL: usize = 256;

    fn empty(&self, capacity: usize) -> KvCache {
        let device = self.decoder.norm.gamma.val().device();
        KvCache::new(self.decoder.config(), capacity, &device)
    }

    fn prefill(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<(), ModelError> {
        let outputs = 0;
        let segment = Segment {
            cache,
            tokens,
            outputs,
        };
        self.decoder.extend(&mut [segment]).map(drop)
    }

    fn pass(&mut self, parts: Vec<Part<'_, KvCache>>) -> Result<(), ModelError> {
        let mut segments: Vec<Segment<'_>> = (parts.into_iter())
            .map(|part| Segment {
                cache: part.cache,
                tokens: part.tokens,
                outputs: part.outputs,
            })
            .collect();
        self.logits = to_host(self.decoder.forward_segments(&mut segments)?)?;
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn head_size(&self) -> usize {
        self.decoder.config().head_size
    }
}

fn to_host(logits: Tensor<2>) -> Result<Vec<f32>, ModelError> {
    (logits.into_data().convert::<f32>())
        .try_into_vec()
        .map_err(|error| ModelError::InvalidPass {
            reason: format!("logits: {error:?}"),
        })
}

impl BurnBatch {
    /// A target whose sequences have room for `capacity` tokens each; memory is taken when a
    /// sequence first appears and kept for the next one in its slot. `fingerprint` identifies the
    /// tokenizer.
    #[must_use]
    pub fn new(decoder: Decoder, capacity: usize, fingerprint: u64) -> Self {
        Self {
            slots: Slots::new(capacity),
            vocabulary: Vocabulary::new(decoder.config().vocabulary_size, fingerprint),
            runner: Runner::new(decoder),
        }
    }
}

impl BatchTarget for BurnBatch {
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
