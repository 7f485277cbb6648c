//! Many sequences over one model, one stream over the weights a step.

use std::sync::Arc;

use fastdraft_specdec::{
    LogitRows, Vocabulary,
    batch::{BatchItem, BatchTarget},
};

use super::{CpuModel, KvCache, Segment, Workspace};
use crate::{engine::sequence, error::ModelError};

/// Tokens of one prefill pass; bounds the buffers, not the result.
const PREFILL: usize = 64;

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
    model: Arc<CpuModel>,
    capacity: usize,
    slots: Vec<Option<Slot>>,
    work: Workspace,
    logits: Vec<f32>,
    vocabulary: Vocabulary,
}

/// One sequence.
#[derive(Debug)]
struct Slot {
    cache: KvCache,
    cached: Vec<u32>,
}

/// A sequence's share of a pass.
struct Share {
    index: usize,
    slot: Slot,
    pending: Vec<u32>,
    outputs: usize,
}

impl CpuBatch {
    /// A target whose sequences have room for `capacity` tokens each; memory is taken when a
    /// sequence first appears and kept for the next one in its slot. `fingerprint` identifies the
    /// tokenizer.
    #[must_use]
    pub fn new(model: Arc<CpuModel>, capacity: usize, fingerprint: u64) -> Self {
        Self {
            capacity,
            slots: Vec::new(),
            work: Workspace::new(),
            logits: Vec::new(),
            vocabulary: Vocabulary::new(model.config().vocabulary_size, fingerprint),
            model,
        }
    }

    /// Takes the slot of an item out, so that a pass can borrow many at once.
    fn take(&mut self, item: &BatchItem<'_>) -> Result<Share, ModelError> {
        if self.slots.len() <= item.slot {
            self.slots.resize_with(item.slot + 1, || None);
        }
        let outputs = item.proposal.len() + 1;
        let held = self.slots[item.slot].take();
        let mut slot = held.unwrap_or_else(|| Slot {
            cache: self.model.cache(self.capacity),
            cached: Vec::with_capacity(self.capacity),
        });
        match sequence::pending(&slot.cached, item.context, item.proposal, outputs) {
            Ok((shared, pending)) => {
                slot.forget(shared);
                Ok(Share {
                    index: item.slot,
                    slot,
                    pending,
                    outputs,
                })
            }
            Err(error) => {
                self.slots[item.slot] = Some(slot);
                Err(error)
            }
        }
    }

    /// Feeds long contexts alone, in pieces, then the rest of all in one pass.
    fn pass(&mut self, shares: &mut [Share]) -> Result<(), ModelError> {
        for share in shares.iter_mut() {
            let early = (share.pending.len() - share.outputs) / PREFILL * PREFILL;
            for tokens in share.pending[..early].chunks_exact(PREFILL) {
                let cache = &mut share.slot.cache;
                let segment = Segment {
                    cache,
                    tokens,
                    outputs: 0,
                };
                self.model
                    .forward(&mut [segment], &mut self.work, &mut self.logits)?;
                share.slot.cached.extend_from_slice(tokens);
            }
            share.pending.drain(..early);
        }
        let mut segments: Vec<Segment<'_>> = shares
            .iter_mut()
            .map(|share| Segment {
                cache: &mut share.slot.cache,
                tokens: &share.pending,
                outputs: share.outputs,
            })
            .collect();
        self.model
            .forward(&mut segments, &mut self.work, &mut self.logits)?;
        for share in shares {
            share.slot.cached.extend_from_slice(&share.pending);
        }
        Ok(())
    }
}

impl Slot {
    fn forget(&mut self, len: usize) {
        self.cache.truncate(len);
        self.cached.truncate(len);
    }
}

impl BatchTarget for CpuBatch {
    type Error = ModelError;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn score(&mut self, items: &[BatchItem<'_>], out: &mut [LogitRows]) -> Result<(), ModelError> {
        let invalid = |reason: String| ModelError::InvalidPass { reason };
        if items.is_empty() || items.len() != out.len() {
            return Err(invalid(format!(
                "{} sequences, {} outputs",
                items.len(),
                out.len()
            )));
        }
        let slots = items.iter().map(|item| item.slot);
        if let Some(i) =
            (1..items.len()).find(|i| slots.clone().take(*i).any(|s| s == items[*i].slot))
        {
            return Err(invalid(format!("slot {} twice in a pass", items[i].slot)));
        }
        let mut shares = Vec::with_capacity(items.len());
        let mut outcome = Ok(());
        for item in items {
            match self.take(item) {
                Ok(share) => shares.push(share),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() {
            outcome = self.pass(&mut shares);
        }
        if outcome.is_ok() {
            let size = self.model.config().head_size;
            let mut rows = self.logits.as_slice();
            for (share, out) in shares.iter().zip(out) {
                let (own, rest) = rows.split_at(share.outputs * size);
                out.reset(share.outputs, size).copy_from_slice(own);
                rows = rest;
            }
        }
        for share in shares {
            self.slots[share.index] = Some(share.slot);
        }
        outcome
    }

    fn truncate(&mut self, slot: usize, len: usize) -> Result<(), ModelError> {
        if let Some(Some(slot)) = self.slots.get_mut(slot) {
            slot.forget(len);
        }
        Ok(())
    }
}
