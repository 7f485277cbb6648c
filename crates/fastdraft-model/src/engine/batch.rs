//! What every engine's batch does the same way as a `BatchTarget`.

use fastdraft_specdec::{LogitRows, batch::BatchItem};
use rayon::prelude::*;

use super::held::{Cache, Held};
use crate::error::ModelError;

/// A model that can take several sequences in one pass.
pub(super) trait Passes {
    type Cache: Cache;
    /// Tokens of one prefill pass; bounds the buffers, not the result.
    const PREFILL: usize;
    /// A cache for the sequences of a slot.
    fn empty(&mut self, slot: usize, capacity: usize) -> Self::Cache;
    /// Runs tokens of one sequence for its cache alone.
    fn prefill(&mut self, cache: &mut Self::Cache, tokens: &[u32]) -> Result<(), ModelError>;
    /// Runs the tokens of every sequence, each at least one, and keeps the logits of the last
    /// `outputs` of each.
    fn pass(&mut self, parts: Vec<Part<'_, Self::Cache>>) -> Result<(), ModelError>;
    /// `[Σ outputs, head_size]` of the last [`pass`](Self::pass).
    fn logits(&self) -> &[f32];
    fn head_size(&self) -> usize;
}

/// One sequence of a pass.
pub(super) struct Part<'a, C> {
    pub(super) cache: &'a mut C,
    pub(super) tokens: &'a [u32],
    pub(super) outputs: usize,
}

/// The sequences of a batch, whose memory is kept for the next one in its slot.
#[derive(Debug)]
pub(super) struct Slots<C> {
    capacity: usize,
    slots: Vec<Option<Held<C>>>,
}

/// A sequence's share of a pass.
struct Share<C> {
    index: usize,
    held: Held<C>,
    pending: Vec<u32>,
    outputs: usize,
}

impl<C: Cache> Slots<C> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            slots: Vec::new(),
        }
    }

    pub(super) fn truncate(&mut self, slot: usize, len: usize) {
        if let Some(Some(held)) = self.slots.get_mut(slot) {
            held.forget(len);
        }
    }

    pub(super) fn score(
        &mut self,
        model: &mut impl Passes<Cache = C>,
        items: &[BatchItem<'_>],
        out: &mut [LogitRows],
    ) -> Result<(), ModelError> {
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
            match self.take(model, item) {
                Ok(share) => shares.push(share),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() {
            outcome = pass(model, &mut shares);
        }
        if outcome.is_ok() {
            let size = model.head_size();
            let mut rows = model.logits();
            let mut copies = Vec::with_capacity(shares.len());
            for (share, out) in shares.iter().zip(out) {
                let (own, rest) = rows.split_at(share.outputs * size);
                copies.push((out, share.outputs, own));
                rows = rest;
            }
            copies.into_par_iter().for_each(|(out, outputs, own)| {
                out.reset(outputs, size).copy_from_slice(own);
            });
        }
        for share in shares {
            self.slots[share.index] = Some(share.held);
        }
        outcome
    }

    /// Takes the slot of an item out, so that a pass can borrow many at once.
    fn take(
        &mut self,
        model: &mut impl Passes<Cache = C>,
        item: &BatchItem<'_>,
    ) -> Result<Share<C>, ModelError> {
        if self.slots.len() <= item.slot {
            self.slots.resize_with(item.slot + 1, || None);
        }
        let outputs = item.proposal.len() + 1;
        let held = self.slots[item.slot].take();
        let mut held =
            held.unwrap_or_else(|| Held::new(model.empty(item.slot, self.capacity), self.capacity));
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
}

/// Feeds long contexts alone, in pieces, then the rest of all in one pass.
fn pass<P: Passes>(model: &mut P, shares: &mut [Share<P::Cache>]) -> Result<(), ModelError> {
    for share in shares.iter_mut() {
        let (pending, outputs) = (&mut share.pending, share.outputs);
        let feed = |cache: &mut P::Cache, tokens: &[u32]| model.prefill(cache, tokens);
        (share.held).feed_early(pending, outputs, P::PREFILL, feed)?;
    }
    let parts = (shares.iter_mut())
        .map(|share| Part {
            cache: &mut share.held.cache,
            tokens: &share.pending,
            outputs: share.outputs,
        })
        .collect();
    model.pass(parts)?;
    for share in shares {
        share.held.tokens.extend_from_slice(&share.pending);
    }
    Ok(())
}
