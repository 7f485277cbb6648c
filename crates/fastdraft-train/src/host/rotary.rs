//! Rotary positions on rows of heads, in place.

use fastdraft_model::DecoderConfig;
use rayon::prelude::*;

use super::vector::vectorized;

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

    /// Turns every head, pairing element `i` with `i + half`.
    ///
    /// # Shapes
    /// - `x`: `[rows · seq, heads · 2 · half]`, `width` the last
    pub(super) fn turn(&self, x: &mut [f32], width: usize) {
        self.each(x, width, 1.0);
    }

    /// The gradient before the turn from that after it: the turn transposed.
    pub(super) fn turn_back(&self, x: &mut [f32], width: usize) {
        self.each(x, width, -1.0);
    }

    fn each(&self, x: &mut [f32], width: usize, sign: f32) {
        x.par_chunks_mut(width).enumerate().for_each(|(row, x)| {
            let at = row % self.seq * self.half;
            let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
            turn_heads(x, cos, sin, sign);
        });
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
