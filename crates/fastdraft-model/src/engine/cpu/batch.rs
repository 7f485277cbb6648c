//! Many sequences over one model, one stream over the weights a step.

use std::sync::Arc;

use fastdraft_specdec::{
    LogitRows, Vocabulary,
    batch::{BatchItem, BatchTarget},
};

use super::{CpuModel, Segment, Workspace, held::Held};
use crate::error::ModelError;

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
    slots: Vec<Option<Held>>,
    work: Workspace,
    logits: Vec<f32>,
    vocabulary: Vocabulary,
}

/// A sequence's share of a pass.
struct Share {
    index: usize,
    held: Held,
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
        let mut held = held.unwrap_or_else(|| Held::new(&self.model, self.capacity));
        match held.begin(item.context, item.proposal, outputs) {
            Ok(pending) => Ok(Share {
                index: item.slot,
                held,
                pending,
                outputs,
            }),
            Err(error) => {
                self.slots[item.slot] = Some(held);
                Err(error)
            }
        }
    }

    /// Feeds long contexts alone, in pieces, then the rest of all in one pass.
    fn pass(&mut self, shares: &mut [Share]) -> Result<(), ModelError> {
        let (work, logits) = (&mut self.work, &mut self.logits);
        for share in shares.iter_mut() {
            let (pending, outputs) = (&mut share.pending, share.outputs);
            share
                .held
                .feed_early(&self.model, pending, outputs, work, logits)?;
        }
        let mut segments: Vec<Segment<'_>> = shares
            .iter_mut()
            .map(|share| Segment {
                cache: &mut share.held.cache,
                tokens: &share.pending,
                outputs: share.outputs,
            })
            .collect();
        self.model.forward(&mut segments, work, logits)?;
        for share in shares {
            share.held.tokens.extend_from_slice(&share.pending);
        }
        Ok(())
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
        for (i, item) in items.iter().enumerate() {
            if items[..i].iter().any(|other| other.slot == item.slot) {
                return Err(invalid(format!("slot {} twice in a pass", item.slot)));
            }
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
            self.slots[share.index] = Some(share.held);
        }
        outcome
    }

    fn truncate(&mut self, slot: usize, len: usize) -> Result<(), ModelError> {
        if let Some(Some(held)) = self.slots.get_mut(slot) {
            held.forget(len);
        }
        Ok(())
    }
}
