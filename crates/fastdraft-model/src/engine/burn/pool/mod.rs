//! Keys and values of many sequences in one place, so that one operation serves all of them.

mod plan;

use burn::tensor::{Device, IndexingUpdateOp, Tensor};

use super::pass::joined;
use crate::{
    config::{DecoderConfig, Rotary},
    decoder::Decoder,
    engine::held::Cache,
    error::ModelError,
};
use plan::Plan;

/// What one sequence holds of a pool.
#[derive(Debug)]
pub(super) struct Lane {
    slot: usize,
    len: usize,
}

impl Lane {
    pub(super) fn new(slot: usize) -> Self {
        Self { slot, len: 0 }
    }

    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

impl Cache for Lane {
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// The part of a pass that belongs to one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) slot: usize,
    /// Tokens that its slot holds.
    pub(super) past: usize,
    /// New tokens.
    pub(super) seq: usize,
    /// Logits are computed for this many of the last new tokens.
    pub(super) outputs: usize,
}

/// Per layer, keys and values `[slots, kv_heads, capacity, head_dim]`.
#[derive(Debug)]
pub(super) struct Pool {
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    slots: usize,
    capacity: usize,
    rotary: Rotary,
    device: Device,
    /// Whether the device scatters into a tensor where it lies.
    scatters: bool,
}

impl Pool {
    pub(super) fn new(decoder: &Decoder, capacity: usize) -> Self {
        let config = decoder.config();
        let device = decoder.norm.gamma.val().device();
        let empty = || Tensor::empty([0, config.kv_heads, capacity, config.head_dim], &device);
        Self {
            layers: (0..config.layers).map(|_| (empty(), empty())).collect(),
            slots: 0,
            capacity,
            rotary: config.rotary(capacity),
            // Backends with kernels report their memory; the others copy the tensor to scatter.
            scatters: device.memory_pool_usage().is_some(),
            device,
        }
    }

    /// Makes room for a slot.
    pub(super) fn reserve(&mut self, slot: usize) {
        if slot < self.slots {
            return;
        }
        let slots = (slot + 1).max(2 * self.slots);
        for (keys, values) in &mut self.layers {
            for held in [keys, values] {
                let [old, heads, capacity, dim] = held.dims();
                let more = Tensor::zeros([slots - old, heads, capacity, dim], &self.device);
                held.inplace(|held| match old {
                    0 => more,
                    _ => Tensor::cat(vec![held, more], 0),
                });
            }
        }
        self.slots = slots;
    }

    /// Runs new tokens of several sequences, `tokens[i]` those of `rows[i]`, and keeps their keys
    /// and values.
    ///
    /// # Shapes
    /// - output: `[Σ outputs, head_size]`, the rows of one sequence after those of the one before
    ///
    /// # Errors
    /// [`ModelError::InvalidPass`], [`ModelError::TokenOutOfRange`] and
    /// [`ModelError::ContextOverflow`]; what the pool holds is untouched then.
    pub(super) fn forward(
        &mut self,
        decoder: &Decoder,
        rows: &[Row],
        tokens: &[&[u32]],
    ) -> Result<Option<Tensor<2>>, ModelError> {
        self.check(decoder.config(), rows, tokens)?;
        let plan = Plan::new(decoder.config(), self, rows);
        let ids = (plan.order.iter()).flat_map(|row| tokens[*row]);
        let x = decoder.through(ids.copied().collect(), &plan.angles, |layer, q, k, v| {
            self.store(layer, &plan, rows, &k, &v);
            self.attend(decoder, layer, &plan, &q)
        });
        let Some(outputs) = plan.outputs else {
            return Ok(None);
        };
        let [count] = outputs.dims();
        let logits = decoder.head(decoder.norm.forward(x.select(1, outputs)));
        Ok(Some(logits.reshape([count, decoder.config().head_size])))
    }

    /// Stores new keys and values `[1, kv_heads, tokens, head_dim]` of a layer.
    fn store(&mut self, layer: usize, plan: &Plan, rows: &[Row], k: &Tensor<4>, v: &Tensor<4>) {
        let [_, heads, count, dim] = k.dims();
        let (keys, values) = &mut self.layers[layer];
        for (held, new) in [(keys, k), (values, v)] {
            match &plan.places {
                Some(places) => {
                    let new: Tensor<2> = new.clone().reshape([heads * count, dim]);
                    held.inplace(|held| {
                        held.scatter_nd(places.clone(), new, IndexingUpdateOp::Assign)
                    });
                }
                None => {
                    for (&row, &start) in plan.order.iter().zip(&plan.starts) {
                        let Row {
                            slot, past, seq, ..
                        } = rows[row];
                        let place = [slot..slot + 1, 0..heads, past..past + seq, 0..dim];
                        let own = new.clone().narrow(2, start, seq);
                        held.inplace(|held| held.slice_assign(place, own));
                    }
                }
            }
        }
    }

    /// What queries `[1, heads, tokens, head_dim]` see: `[1, tokens, heads · head_dim]`.
    fn attend(&self, decoder: &Decoder, layer: usize, plan: &Plan, q: &Tensor<4>) -> Tensor<3> {
        let [_, heads, _, dim] = q.dims();
        let attention = &decoder.layers[layer].self_attn;
        let config = decoder.config();
        let (keys, values) = &self.layers[layer];
        let mut attended = Vec::with_capacity(plan.long.len() + 1);
        if let Some(group) = &plan.group {
            let [slots, width, span] = [group.slots, group.width, group.span];
            let held = |all: &Tensor<4>| all.clone().narrow(0, 0, slots).narrow(2, 0, span);
            let own = q.clone().narrow(2, 0, group.tokens).swap_dims(1, 2);
            let spread = match &group.spread {
                Some(spread) => own.select(1, spread.clone()),
                None => own,
            };
            let q = spread.reshape([slots, width, heads, dim]).swap_dims(1, 2);
            let mask = group.mask(config, layer).clone();
            let seen = attention.attend(q, held(keys), held(values), mask);
            let seen = seen.reshape([1, slots * width, heads * dim]);
            attended.push(match &group.collect {
                Some(collect) => seen.select(1, collect.clone()),
                None => seen,
            });
        }
        for long in &plan.long {
            let view = long.views.of(config, layer);
            let held = |all: &Tensor<4>| {
                let own = all.clone().narrow(0, long.slot, 1);
                own.narrow(2, view.first, long.end - view.first)
            };
            let q = q.clone().narrow(2, long.start, long.seq);
            attended.push(attention.attend(q, held(keys), held(values), view.mask.clone()));
        }
        joined(attended)
    }

    fn check(
        &self,
        config: &DecoderConfig,
        rows: &[Row],
        tokens: &[&[u32]],
    ) -> Result<(), ModelError> {
        let invalid = |reason: String| Err(ModelError::InvalidPass { reason });
        if rows.is_empty() {
            return invalid("no sequence".into());
        }
        let vocabulary_size = config.vocabulary_size;
        for (row, tokens) in rows.iter().zip(tokens) {
            if row.seq == 0 || row.outputs > row.seq || row.slot >= self.slots {
                return invalid(format!("{row:?} in a pool of {} slots", self.slots));
            }
            let (total, capacity) = (row.past + row.seq, self.capacity);
            if total > capacity {
                return Err(ModelError::ContextOverflow {
                    tokens: total,
                    capacity,
                });
            }
            if let Some(&id) = tokens.iter().find(|id| **id as usize >= vocabulary_size) {
                return Err(ModelError::TokenOutOfRange {
                    id,
                    vocabulary_size,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
