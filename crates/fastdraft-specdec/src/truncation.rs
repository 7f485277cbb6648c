//! Top-k, top-p and min-p over unnormalised weights, by selection rather than a sort.
//!
//! Each finds the lightest weight that stays and how many of that weight do, then keeps the rest of
//! the list in its order: ties go to the lower token id.

use alloc::vec::Vec;

use crate::candidates::Candidates;

const BUCKETS: usize = 1024;
const SORT_BELOW: usize = 32;

/// Keeps everything heavier than `weight` and the first `ties` candidates of exactly that weight.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    weight: f64,
    ties: usize,
}

impl Cut {
    pub(crate) fn keep(mut self, candidates: &mut Candidates) {
        candidates.retain(|weight| {
            let tie = weight == self.weight && self.ties > 0;
            self.ties -= usize::from(tie);
            tie || weight > self.weight
        });
    }
}

/// Keeps the `k` heaviest candidates.
pub(crate) fn top_k(candidates: &mut Candidates, k: usize, weights: &mut Vec<f64>) {
    if k == 0 || k >= candidates.weights.len() {
        return;
    }
    weights.clear();
    weights.extend_from_slice(&candidates.weights);
    let (heavier, &mut weight, _) = weights.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let ties = 1 + heavier.iter().filter(|&&w| w == weight).count();
    Cut { weight, ties }.keep(candidates);
}

/// Which candidates have heavier ones of a mass below `p` of `total`.
///
/// `total` is the sum of all weights; `None` when `candidates` are all of them.
pub(crate) fn top_p(
    candidates: &Candidates,
    p: f64,
    total: Option<f64>,
    weights: &mut Vec<f64>,
) -> Option<Cut> {
    let mut mass = [0.0f64; BUCKETS];
    for &weight in &candidates.weights {
        if let Some(slot) = mass.get_mut(bucket(weight)) {
            *slot += weight;
        }
    }
    let wanted = p * total.unwrap_or_else(|| mass.iter().rev().sum());
    let mut above = 0.0;
    let mut boundary = 0;
    for (index, &bucket_mass) in mass.iter().enumerate() {
        boundary = index;
        if above + bucket_mass >= wanted {
            break;
        }
        above += bucket_mass;
    }
    weights.clear();
    let at_boundary = candidates.weights.iter().copied();
    weights.extend(at_boundary.filter(|&w| bucket(w) == boundary));
    reach(weights, wanted - above)
}

/// Keeps candidates of at least `min_p` times the heaviest weight, which is 1.
pub(crate) fn min_p(candidates: &mut Candidates, min_p: f64) {
    candidates.retain(|weight| weight >= min_p);
}

/// Weights in (0, 1], heaviest first, in 32 buckets to each factor of 2; the last takes the rest.
fn bucket(weight: f64) -> usize {
    let below_one = 1.0f64.to_bits().saturating_sub(weight.to_bits());
    ((below_one >> 47) as usize).min(BUCKETS - 1)
}

/// The cut that keeps the fewest of `weights`, at least one, whose sum reaches `wanted`.
fn reach(weights: &mut [f64], wanted: f64) -> Option<Cut> {
    let (mut low, mut high, mut before) = (0, weights.len(), 0.0);
    while high - low > SORT_BELOW {
        let middle = (high - low) / 2;
        let window = weights.get_mut(low..high)?;
        let (heavy, _, _) = window.select_nth_unstable_by(middle, |a, b| b.total_cmp(a));
        let heavy_mass: f64 = heavy.iter().sum();
        if before + heavy_mass >= wanted {
            high = low + middle;
        } else {
            before += heavy_mass;
            low += middle;
        }
    }
    let window = weights.get_mut(low..high)?;
    window.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut kept = low;
    for weight in window.iter() {
        if before >= wanted && kept > 0 {
            break;
        }
        before += weight;
        kept += 1;
    }
    let kept = weights.get(..kept)?;
    let weight = *kept.last()?;
    let ties = kept.iter().filter(|&&w| w == weight).count();
    Some(Cut { weight, ties })
}
