//! Logits to weights: one pass for the largest, then exponentials of what can matter.

use alloc::vec::Vec;

use crate::distribution::Entry;
use crate::math::{UNDERFLOW, exp_nonpositive, exp2_nonpositive_f32, log2_below};
use crate::{TokenId, TransformError, cumulative};

/// Logits are looked at in blocks of this many.
pub(crate) const BLOCK: usize = 64;
const LANES: usize = 8;

/// A row of logits: of tokens 0, 1, 2, …, or of `ids`, which ascend.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) ids: Option<&'a [TokenId]>,
}

impl Row<'_> {
    pub(crate) fn token(&self, index: usize) -> TokenId {
        match self.ids {
            Some(ids) => ids.get(index).copied().unwrap_or(TokenId::MAX),
            None => TokenId::try_from(index).unwrap_or(TokenId::MAX),
        }
    }

    /// The largest logit; `blocks` receives the largest of each block.
    ///
    /// # Errors
    /// The first logit that is NaN or +∞.
    pub(crate) fn scan(&self, blocks: &mut Vec<f32>) -> Result<f32, TransformError> {
        blocks.clear();
        let mut largest = f32::NEG_INFINITY;
        let mut invalid = 0u32;
        for block in self.logits.chunks(BLOCK) {
            let mut best = [f32::NEG_INFINITY; LANES];
            let mut bad = [0u32; LANES];
            let (chunks, rest) = block.as_chunks::<LANES>();
            for chunk in chunks {
                for ((best, bad), &v) in best.iter_mut().zip(&mut bad).zip(chunk) {
                    *best = if v > *best { v } else { *best };
                    *bad |= u32::from(is_invalid(v));
                }
            }
            for &v in rest {
                best[0] = if v > best[0] { v } else { best[0] };
                bad[0] |= u32::from(is_invalid(v));
            }
            let top = best.into_iter().fold(f32::NEG_INFINITY, f32::max);
            invalid |= bad.into_iter().fold(0, |a, b| a | b);
            largest = largest.max(top);
            blocks.push(top);
        }
        if invalid == 0 {
            return Ok(largest);
        }
        let found = self
            .logits
            .iter()
            .enumerate()
            .find(|&(_, &v)| is_invalid(v));
        found.map_or(Ok(largest), |(index, &value)| {
            Err(TransformError::InvalidLogit {
                token: self.token(index),
                value,
            })
        })
    }
}

fn is_invalid(v: f32) -> bool {
    v.is_nan() | (v == f32::INFINITY)
}

/// How a logit becomes a weight: e^((v − max) / temperature).
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    max: f32,
    temperature: f64,
    inverse: f64,
}

impl Scale {
    pub(crate) fn new(max: f32, temperature: f64) -> Self {
        Self {
            max,
            temperature,
            // The reciprocal of a subnormal temperature would be infinite and 0 · ∞ no number.
            inverse: (1.0 / temperature).min(f64::MAX),
        }
    }

    #[inline(always)]
    fn weight(&self, logit: f64) -> f64 {
        exp_nonpositive((logit - f64::from(self.max)) * self.inverse)
    }

    /// The exponent of a logit's weight.
    pub(crate) fn exponent(&self, logit: f32) -> f64 {
        (f64::from(logit) - f64::from(self.max)) * self.inverse
    }

    /// Writes the weight of every logit; returns their sum and the smallest.
    pub(crate) fn weigh_all(&self, logits: &[f32], weights: &mut [f64]) -> (f64, f64) {
        let mut sums = [0.0; LANES];
        let mut least = [1.0f64; LANES];
        let (sources, source_rest) = logits.as_chunks::<LANES>();
        let (chunks, rest) = weights.as_chunks_mut::<LANES>();
        for (source, chunk) in sources.iter().zip(chunks) {
            for (to, &from) in chunk.iter_mut().zip(source) {
                *to = self.weight(f64::from(from));
            }
            for ((sum, least), &weight) in sums.iter_mut().zip(&mut least).zip(chunk.iter()) {
                *sum += weight;
                *least = if weight < *least { weight } else { *least };
            }
        }
        for (to, &from) in rest.iter_mut().zip(source_rest) {
            *to = self.weight(f64::from(from));
            sums[0] += *to;
            least[0] = least[0].min(*to);
        }
        (
            cumulative::fold(sums),
            least.into_iter().fold(1.0, f64::min),
        )
    }

    /// The sum of all weights within about 1e-6 of itself, in single precision.
    ///
    /// It only places the cut of top-p, which moves as if p had been given to one digit fewer;
    /// the weights that are kept come from [`Scale::gather`].
    pub(crate) fn mass(&self, logits: &[f32], blocks: &[f32]) -> f64 {
        let scale = (self.inverse * core::f64::consts::LOG2_E).min(f64::from(f32::MAX)) as f32;
        let mut total = 0.0;
        for (block, &top) in logits.chunks(BLOCK).zip(blocks) {
            if (top - self.max) * scale < -64.0 {
                continue;
            }
            // A plain loop into an array becomes vector code, exponentials in a reduction do not.
            let mut weights = [0.0f32; BLOCK];
            for (weight, &v) in weights.iter_mut().zip(block) {
                *weight = exp2_nonpositive_f32((v - self.max) * scale);
            }
            let mut sums = [0.0f32; LANES];
            for chunk in weights.as_chunks::<LANES>().0 {
                for (sum, weight) in sums.iter_mut().zip(chunk) {
                    *sum += weight;
                }
            }
            total += cumulative::fold(sums.map(f64::from));
        }
        total
    }

    /// Collects, in token order, every token whose exponent is at least `floor`, with its weight.
    ///
    /// A few below `floor` may come along; weights of 0 do not.
    pub(crate) fn gather(&self, row: Row<'_>, blocks: &[f32], floor: f64, out: &mut Vec<Entry>) {
        let least = self.logit_floor(floor);
        out.clear();
        let mut start = 0;
        for (block, &top) in row.logits.chunks(BLOCK).zip(blocks) {
            if top >= least {
                let mut indices = [0u8; BLOCK];
                let mut weights = [0.0f64; BLOCK];
                let mut count = 0;
                for (index, &v) in (0u8..).zip(block) {
                    // Writing always and advancing sometimes avoids a branch per token.
                    indices[count % BLOCK] = index;
                    weights[count % BLOCK] = f64::from(v);
                    count += usize::from(v >= least);
                }
                for weight in weights.iter_mut().take(count) {
                    *weight = self.weight(*weight);
                }
                let found = indices.iter().zip(&weights).take(count);
                out.extend(found.map(|(&index, &value)| Entry {
                    token: row.token(start + usize::from(index)),
                    value,
                }));
            }
            start += block.len();
        }
        if floor <= UNDERFLOW {
            out.retain(|e| e.value > 0.0);
        }
    }

    fn logit_floor(&self, floor: f64) -> f32 {
        if floor <= UNDERFLOW {
            return f32::NEG_INFINITY;
        }
        let depth = floor * self.temperature;
        let exact = f64::from(self.max) + depth;
        (exact - 1e-6 * (f64::from(self.max).abs() + depth.abs())) as f32
    }
}

/// The exponent below which no token is in the nucleus of mass `p`, when `size` weights sum to `mass`.
///
/// All tokens of weight below w have at most the mass size · w; once that is (1 − p) · mass, the
/// heavier ones reach p.
pub(crate) fn nucleus_floor(p: f64, mass: f64, size: usize) -> f64 {
    let weight = (1.0 - p) * mass * (1.0 - 1e-5) / size as f64;
    exponent_below(weight)
}

/// An exponent of at most the logarithm of `weight`, close to it.
pub(crate) fn exponent_below(weight: f64) -> f64 {
    if weight > 1e-300 {
        log2_below(weight) * core::f64::consts::LN_2 - 1e-9
    } else {
        UNDERFLOW
    }
}
