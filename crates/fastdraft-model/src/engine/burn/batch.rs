//! Many sequences over one decoder.

use fastdraft_specdec::{
    LogitRows, Vocabulary,
    batch::{BatchItem, BatchTarget},
};

use super::{
    pool::{Lane, Pool, Row},
    runner::to_host,
};
use crate::{
    decoder::Decoder,
    engine::batch::{Part, Passes, Slots},
    error::ModelError,
};

/// A batched target on a Burn device: every pass scores all its sequences, whatever their lengths.
///
/// Products with weights see the tokens of all sequences side by side, without padding. Attention
/// takes the sequences with few new tokens together, each as if it had as many tokens as the
/// longest, because hundreds of small operations would cost a GPU more than the padding does.
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
    slots: Slots<Lane>,
    vocabulary: Vocabulary,
}

/// A decoder with the keys and values of all slots, and the logits of its last pass.
#[derive(Debug)]
struct Runner {
    decoder: Decoder,
    pool: Pool,
    logits: Vec<f32>,
}

impl Runner {
    fn ragged(parts: &[Part<'_, Lane>]) -> Vec<Row> {
        (parts.iter())
            .map(|part| Row {
                slot: part.cache.slot(),
                past: part.cache.len(),
                seq: part.tokens.len(),
                outputs: part.outputs,
            })
            .collect()
    }
}

impl Passes for Runner {
    type Cache = Lane;
    const PREFILL: usize = 1024;

    fn empty(&mut self, slot: usize, _capacity: usize) -> Lane {
        self.pool.reserve(slot);
        Lane::new(slot)
    }

    fn prefill(&mut self, cache: &mut Lane, tokens: &[u32]) -> Result<(), ModelError> {
        let outputs = 0;
        let parts = vec![Part {
            cache,
            tokens,
            outputs,
        }];
        self.pass(parts)
    }

    fn pass(&mut self, parts: Vec<Part<'_, Lane>>) -> Result<(), ModelError> {
        let tokens: Vec<&[u32]> = parts.iter().map(|part| part.tokens).collect();
        let logits = (self.pool).forward(&self.decoder, &Self::ragged(&parts), &tokens)?;
        self.logits = logits.map(to_host).transpose()?.unwrap_or_default();
        for part in parts {
            part.cache.advance(part.tokens.len());
        }
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn head_size(&self) -> usize {
        self.decoder.config().head_size
    }
}

impl BurnBatch {
    /// A target whose sequences have room for `capacity` tokens each; memory for twice as many
    /// slots is taken when a slot first appears that has none. `fingerprint` identifies the
    /// tokenizer.
    #[must_use]
    pub fn new(decoder: Decoder, capacity: usize, fingerprint: u64) -> Self {
        Self {
            slots: Slots::new(capacity),
            vocabulary: Vocabulary::new(decoder.config().vocabulary_size, fingerprint),
            runner: Runner {
                pool: Pool::new(&decoder, capacity),
                decoder,
                logits: Vec::new(),
            },
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
