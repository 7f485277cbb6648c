//! Which tokens of a ragged pass go where.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{Pool, Row};
use crate::{
    config::DecoderConfig,
    decoder::{Angles, Views},
};

/// Sequences with at most this many new tokens attend together.
const SHORT: usize = 16;
/// Keys are seen in multiples of this many, so that few shapes occur.
const SPAN: usize = 64;

/// A pass, as indices and masks. Tokens of sequences that attend together come first.
#[derive(Debug)]
pub(super) struct Plan {
    /// The rows in the order of their tokens.
    pub(super) order: Vec<usize>,
    /// Where the tokens of each begin, in that order.
    pub(super) starts: Vec<usize>,
    pub(super) angles: Angles,
    /// Slot, head and position of every new key, `[kv_heads · tokens, 3]`, for devices that
    /// scatter.
    pub(super) places: Option<Tensor<2, Int>>,
    pub(super) group: Option<Group>,
    pub(super) long: Vec<Long>,
    /// Tokens whose logits are wanted, in the order of the rows; `None` without any.
    pub(super) outputs: Option<Tensor<1, Int>>,
}

/// Sequences that attend together: those of all slots up to the last one, as if each had `width`
/// new tokens.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) slots: usize,
    pub(super) width: usize,
    pub(super) span: usize,
    /// Tokens of its sequences.
    pub(super) tokens: usize,
    /// Token of each place, `[slots · width]`; `None` when they are the same.
    pub(super) spread: Option<Tensor<1, Int>>,
    /// Place of each token, `[tokens]`; `None` when they are the same.
    pub(super) collect: Option<Tensor<1, Int>>,
    /// `[slots, 1, width, span]`
    full: Tensor<4>,
    windowed: Option<Tensor<4>>,
}

/// A sequence that attends alone.
#[derive(Debug)]
pub(super) struct Long {
    pub(super) slot: usize,
    pub(super) start: usize,
    pub(super) seq: usize,
    /// Tokens of the sequence after the pass.
    pub(super) end: usize,
    pub(super) views: Views,
}

impl Plan {
    pub(super) fn new(config: &DecoderConfig, pool: &Pool, rows: &[Row]) -> Self {
        let device = &pool.device;
        let is_short = |row: &usize| rows[*row].seq <= SHORT;
        let (mut order, mut alone): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(is_short);
        if order.len() == 1 {
            alone.append(&mut order);
        }
        let together = order.len();
        order.append(&mut alone);
        let mut starts = Vec::with_capacity(rows.len());
        let mut total = 0;
        for &row in &order {
            starts.push(total);
            total += rows[row].seq;
        }
        let positions: Vec<usize> = (order.iter())
            .flat_map(|row| rows[*row].past..rows[*row].past + rows[*row].seq)
            .collect();
        let group = (together > 0).then(|| {
            let members: Vec<(Row, usize)> = (order[..together].iter().zip(&starts))
                .map(|(row, start)| (rows[*row], *start))
                .collect();
            Group::new(config, pool, &members)
        });
        let long = (order[together..].iter().zip(&starts[together..]))
            .map(|(row, start)| {
                let Row {
                    slot, past, seq, ..
                } = rows[*row];
                Long {
                    slot,
                    start: *start,
                    seq,
                    end: past + seq,
                    views: Views::new(config, past, seq, device),
                }
            })
            .collect();
        let mut start_of = vec![0; rows.len()];
        for (row, start) in order.iter().zip(&starts) {
            start_of[*row] = *start;
        }
        let outputs: Vec<i64> = (rows.iter().zip(&start_of))
            .flat_map(|(row, start)| start + row.seq - row.outputs..start + row.seq)
            .map(|token| token as i64)
            .collect();
        Self {
            places: pool
                .scatters
                .then(|| places(config.kv_heads, rows, &order, device)),
            angles: Angles::at(&pool.rotary, positions.iter().copied(), device),
            outputs: (!outputs.is_empty()).then(|| indices(outputs, device)),
            order,
            starts,
            group,
            long,
        }
    }
}

impl Group {
    /// Of sequences, each with the first of its tokens.
    fn new(config: &DecoderConfig, pool: &Pool, members: &[(Row, usize)]) -> Self {
        let most = |of: fn(&Row) -> usize| members.iter().map(|(row, _)| of(row)).max();
        let slots = most(|row| row.slot + 1).unwrap_or(0);
        let width = most(|row| row.seq).unwrap_or(0);
        let span = most(|row| row.past + row.seq).unwrap_or(0);
        let span = span.next_multiple_of(SPAN).min(pool.capacity);
        let mut spread = vec![0; slots * width];
        let mut collect = Vec::new();
        for (row, start) in members {
            for i in 0..width {
                // Places beyond a sequence's tokens repeat its last one; nobody reads them.
                spread[row.slot * width + i] = (start + i.min(row.seq - 1)) as i64;
            }
            collect.extend((0..row.seq).map(|i| (row.slot * width + i) as i64));
        }
        let same = |places: &[i64]| places.iter().zip(0..).all(|(place, i)| *place == i);
        let as_they_are = same(&spread) && same(&collect);
        let tokens = collect.len();
        let given = |places| (!as_they_are).then(|| indices(places, &pool.device));
        let mask = |window: usize| {
            let mut mask = vec![0.0f32; slots * width * span];
            for (row, _) in members {
                let places = mask[row.slot * width * span..][..width * span].chunks_mut(span);
                for (i, seen) in places.enumerate() {
                    let position = row.past + i.min(row.seq - 1);
                    seen[position + 1..].fill(-1e9);
                    seen[..(position + 1).saturating_sub(window)].fill(-1e9);
                }
            }
            let shape = [slots, 1, width, span];
            Tensor::from_data(TensorData::new(mask, shape), &pool.device)
        };
        Self {
            full: mask(usize::MAX),
            windowed: config.sliding_window.map(mask),
            spread: given(spread),
            collect: given(collect),
            slots,
            width,
            span,
            tokens,
        }
    }

    /// `[slots, 1, width, span]`, 0 where visible and very negative elsewhere.
    pub(super) fn mask(&self, config: &DecoderConfig, layer: usize) -> &Tensor<4> {
        match &self.windowed {
            Some(windowed) if config.window(layer).is_some() => windowed,
            _ => &self.full,
        }
    }
}

fn places(kv_heads: usize, rows: &[Row], order: &[usize], device: &Device) -> Tensor<2, Int> {
    let mut places = Vec::new();
    for head in 0..kv_heads as i64 {
        for row in order.iter().map(|row| rows[*row]) {
            for position in row.past..row.past + row.seq {
                places.extend([row.slot as i64, head, position as i64]);
            }
        }
    }
    let shape = [places.len() / 3, 3];
    Tensor::from_data(TensorData::new(places, shape), device)
}

fn indices(places: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let shape = [places.len()];
    Tensor::from_data(TensorData::new(places, shape), device)
}
