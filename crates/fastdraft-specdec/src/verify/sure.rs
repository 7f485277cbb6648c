//! Acceptance that rough sums already decide, without the row's distribution.

use crate::math::{LINEAR_EXCESS, LINEAR_ZERO, exp_nonpositive, linear_exp2};
use crate::softmax::{BLOCK, larger, largest_of, padded};
use crate::{TokenId, Transform, adjust};

const LANES: usize = 8;
/// Logits whose weights are added up in single precision before the sum moves to double.
const RUN: usize = 1024;
/// Powers of two that a weight may be away from the token's.
const RANGE: f32 = 60.0;
/// Covers single precision, what weighs less than the range allows, and how well top-p knows its cut.
const SLACK: f64 = 2e-4;

/// Whether `transform` surely gives `token` a probability above `bound`.
///
/// Reads the row once, and a part of it again where top-p might leave the token out, with straight
/// lines for exponentials. `false` says nothing: the row's distribution has to tell.
pub(super) fn exceeds(transform: &Transform, logits: &[f32], token: TokenId, bound: f64) -> bool {
    let top_k = transform.top_k.is_some_and(|k| k < logits.len());
    let undecided = top_k || transform.is_greedy() || adjust::is_needed(transform);
    if undecided || transform.validate().is_err() {
        return false;
    }
    let Some(&logit) = logits.get(token as usize) else {
        return false;
    };
    let scale = (core::f64::consts::LOG2_E / transform.temperature) as f32;
    // Elsewhere rounding moves the straight lines by more than their bounds allow for.
    let in_bounds = (1e-30..1e30).contains(&scale) && (logit * scale).abs() < 256.0;
    if !in_bounds {
        return false;
    }
    let weights = Weights::of(logit, scale);
    let Some((total, largest)) = weights.total(logits) else {
        return false;
    };
    let total = total * (1.0 + SLACK);
    let top_p = transform.top_p.filter(|&p| p < 1.0);
    // The token weighs 1, and so at most does the last one that top-p keeps.
    let kept = top_p.map_or(total, |p| total.min(p * total + 1.0));
    if bound * kept >= 1.0 - SLACK {
        return false;
    }
    if let Some(p) = transform.min_p {
        let exponent = (f64::from(logit) - f64::from(largest)) / transform.temperature;
        if exp_nonpositive(exponent) < p * (1.0 + SLACK) {
            return false;
        }
    }
    // Top-p keeps it when more than it leaves out is no heavier.
    let left_out = top_p.map_or(0.0, |p| (1.0 - p + SLACK) * total);
    let others = (left_out - 1.0) * (1.0 + SLACK) * LINEAR_EXCESS;
    others < 0.0 || weights.lighter_exceed(logits, others)
}

/// Weights of a row relative to one token's, each up to 6 % too large.
struct Weights {
    /// Logits below this weigh less in double precision too.
    below: f32,
    /// Logits below this count as this.
    least: f32,
    /// Logits above this are out of range.
    most: f32,
    scale: f32,
    zero: f32,
}

impl Weights {
    fn of(logit: f32, scale: f32) -> Self {
        Self {
            below: logit - 1e-6 / scale,
            least: logit - RANGE / scale,
            most: logit + RANGE / scale,
            scale,
            zero: LINEAR_ZERO - logit * scale,
        }
    }

    #[inline(always)]
    fn weight(&self, v: f32) -> f32 {
        linear_exp2(larger(v, self.least) * self.scale + self.zero)
    }

    /// The sum of all weights and the largest logit, `None` when one is NaN, +∞ or out of range.
    fn total(&self, logits: &[f32]) -> Option<(f64, f32)> {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let mut sums = [0.0f32; LANES];
        let mut total = 0.0;
        for run in logits.chunks(RUN) {
            let (blocks, rest) = run.as_chunks::<BLOCK>();
            let mut weights = [0.0f32; LANES];
            for block in blocks.iter().chain(&[padded(rest)]) {
                for chunk in block.as_chunks::<LANES>().0 {
                    for ((largest, sum), &v) in largest.iter_mut().zip(&mut sums).zip(chunk) {
                        *largest = larger(v, *largest);
                        *sum += v;
                    }
                }
                add(block.map(|v| self.weight(v)), &mut weights);
            }
            total += weights.into_iter().map(f64::from).sum::<f64>();
        }
        // A NaN stays in its sum and +∞ leaves it or becomes NaN.
        let sum: f32 = sums.into_iter().sum();
        let largest = largest_of(largest);
        (sum < f32::INFINITY && largest <= self.most).then_some((total, largest))
    }

    /// Whether the tokens lighter than this one weigh more than `bound` together.
    fn lighter_exceed(&self, logits: &[f32], bound: f64) -> bool {
        let lighter = |v| if v < self.below { self.weight(v) } else { 0.0 };
        let mut total = 0.0;
        logits.chunks(RUN).any(|run| {
            let (blocks, rest) = run.as_chunks::<BLOCK>();
            let mut weights = [0.0f32; LANES];
            for block in blocks.iter().chain(&[padded(rest)]) {
                add(block.map(lighter), &mut weights);
            }
            total += weights.into_iter().map(f64::from).sum::<f64>();
            total > bound
        })
    }
}

#[inline(always)]
fn add(weights: [f32; BLOCK], sums: &mut [f32; LANES]) {
    for chunk in weights.as_chunks::<LANES>().0 {
        for (sum, weight) in sums.iter_mut().zip(chunk) {
            *sum += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{Distribution, SeededUniform, Uniform};

    /// Were it never sure, nothing but the time would tell.
    #[test]
    fn most_acceptances_are_sure() {
        let mut rng = SeededUniform::new(2);
        let (size, count) = if cfg!(miri) { (100, 40) } else { (5_000, 200) };
        let row: Vec<f32> = (0..size)
            .map(|_| 18.0 * rng.uniform().powi(2) as f32)
            .collect();
        let transform = Transform {
            top_p: Some(0.95),
            ..Transform::temperature(0.6)
        };
        let mut p = Distribution::new();
        assert_eq!(transform.apply(&row, &[], &mut p), Ok(()));
        let mut sure = 0;
        for _ in 0..count {
            let token = p.sample(rng.uniform()).unwrap_or_default();
            let bound = rng.uniform() * p.probability(token);
            sure += usize::from(exceeds(&transform, &row, token, bound));
        }
        assert!(sure * 10 > count * 9, "{sure} of {count}");
    }
}
