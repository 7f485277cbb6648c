//! Rotary positions on rows of heads, in place.

use super::vector::vectorized;
use fastdraft_model::DecoderConfig;

/// Cosines and sines of a sequence.
pub(super) struct Rotary {
    /// `[seq, half]`
    cos: Vec<f32>,
    /// `[seq, half]`
    sin: Vec<f32>,
    half: usize,
    seq: usize,
}

impl Rotary {
    pub(super) fn new(config: &DecoderConfig, seq: usize) -> Self {
        let rotary = config.rotary(seq);
        let angles = |f: fn(f32) -> f32| -> Vec<f32> {
            (0..seq)
                .flat_map(|p| rotary.frequencies.iter().map(move |w| f(p as f32 * w)))
                .map(|value| rotary.attention_factor * value)
                .collect()
        };
        Self {
            cos: angles(f32::cos),
            sin: angles(f32::sin),
            half: rotary.frequencies.len(),
            seq,
        }
    }

    /// Turns every head of the positions from `first`, pairing element `i` with `i + half`.
    ///
    /// # Shapes
    /// - `x`: `[positions, heads · 2 · half]`, `width` the last
    pub(super) fn turn(&self, x: &mut [f32], width: usize, first: usize) {
        self.each(x, width, first, 1.0);
    }

    /// The gradient before the turn from that after it: the turn transposed.
    pub(super) fn turn_back(&self, x: &mut [f32], width: usize, first: usize) {
        self.each(x, width, first, -1.0);
    }

    fn each(&self, x: &mut [f32], width: usize, first: usize, sign: f32) {
        for (position, x) in (first..).zip(x.chunks_exact_mut(width)) {
            let at = position % self.seq * self.half;
            let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
            turn_heads(x, cos, sin, sign);
        }
    }
}

vectorized! {
    fn turn_heads(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        for head in x.chunks_exact_mut(2 * cos.len()) {
            let (low, high) = head.split_at_mut(cos.len());
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let (a, b, sin) = (*low, *high, sign * sin);
                *low = a * cos - b * sin;
                *high = b * cos + a * sin;
            }
        }
    }
}
