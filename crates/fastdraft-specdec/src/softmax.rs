//! Logits to weights: one pass for the largest, then exponentials of what can matter.

use alloc::vec::Vec;

use crate::candidates::Candidates;
use crate::math::{
    LINEAR_EXCESS, LINEAR_ZERO, UNDERFLOW, exp_nonpositive, exp2_nonpositive_f32, linear_exp2,
    log2_below,
};
use crate::{TokenId, TransformError, cumulative};

/// Logits are looked at in blocks of this many.
pub(crate) const BLOCK: usize = 64;
const LANES: usize = 8;
/// Blocks are told apart by how many factors of 2 their largest weight is below the row's.
const LEVELS: usize = 40;
/// One block in this many is looked at to tell a flat row.
const SAMPLE: usize = 8;
/// The share of the total that makes a block worth exact exponentials.
const HEAVY: f32 = 1.0 / 65_536.0;

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
        blocks.resize(self.logits.len().div_ceil(BLOCK), f32::NEG_INFINITY);
        let mut largest = [f32::NEG_INFINITY; LANES];
        let mut sums = [0.0; LANES];
        let (whole, rest) = self.logits.as_chunks::<BLOCK>();
        let rest = [padded(rest)];
        for (block, top) in whole.iter().chain(&rest).zip(blocks) {
            let mut best = [f32::NEG_INFINITY; LANES];
            for chunk in block.as_chunks::<LANES>().0 {
                for ((best, sum), &v) in best.iter_mut().zip(&mut sums).zip(chunk) {
                    *best = larger(v, *best);
                    *sum += v;
                }
            }
            for (largest, &best) in largest.iter_mut().zip(&best) {
                *largest = larger(best, *largest);
            }
            *top = largest_of(best);
        }
        // A NaN stays in its sum and +∞ leaves it or becomes NaN; only then is it worth looking again.
        let sum: f32 = sums.into_iter().sum();
        if sum < f32::INFINITY {
            return Ok(largest_of(largest));
        }
        let mut tokens = self.logits.iter().enumerate();
        match tokens.find(|&(_, &v)| v.is_nan() || v == f32::INFINITY) {
            None => Ok(largest_of(largest)),
            Some((index, &value)) => Err(TransformError::InvalidLogit {
                token: self.token(index),
                value,
            }),
        }
    }

    /// The index of the first logit equal to `max`, the largest.
    pub(crate) fn position(&self, max: f32, blocks: &[f32]) -> Option<usize> {
        let start = blocks.iter().position(|&top| top == max)? * BLOCK;
        let block = self.logits.get(start..)?;
        Some(start + block.iter().position(|&v| v == max)?)
    }
}

/// The larger of two numbers, `b` when `a` is none; one instruction, unlike `f32::max`.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
pub(crate) fn largest_of(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    let (a, b, c, d) = (larger(a, e), larger(b, f), larger(c, g), larger(d, h));
    a.max(b).max(c.max(d))
}

/// The end of a row, filled up with logits that weigh nothing.
pub(crate) fn padded(rest: &[f32]) -> [f32; BLOCK] {
    let mut block = [f32::NEG_INFINITY; BLOCK];
    for (to, &from) in block.iter_mut().zip(rest) {
        *to = from;
    }
    block
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

    /// The sum of all weights: the heaviest blocks within about 1e-6, the others within 6 %.
    ///
    /// It only places the cut of top-p; the weights that are kept come from [`Scale::gather`].
    /// `masses` receives the least that each block weighs.
    pub(crate) fn mass(&self, logits: &[f32], blocks: &[f32], masses: &mut Vec<f32>) -> Mass {
        let scale = self.binary();
        masses.clear();
        masses.resize(blocks.len(), 0.0);
        let zero = LINEAR_ZERO - self.max * scale;
        // Beyond this, rounding moves the straight lines by more than their bounds allow for.
        let in_bounds = scale > 1e-30 && (self.max * scale).abs() < 256.0;
        if !in_bounds || self.is_flat(blocks) {
            return self.refine(logits, -1.0, masses);
        }
        let least = self.max - 60.0 / scale;
        let (whole, rest) = logits.as_chunks::<BLOCK>();
        let rest = [padded(rest)];
        for (block, mass) in whole.iter().chain(&rest).zip(masses.iter_mut()) {
            let mut weights = [0.0f32; BLOCK];
            for (weight, &v) in weights.iter_mut().zip(block) {
                *weight = linear_exp2(larger(v, least) * scale + zero);
            }
            *mass = sum_of(&weights);
        }
        let total: f32 = masses.iter().sum();
        self.refine(logits, total * HEAVY, masses)
    }

    /// Whether so many blocks matter that bounds on the light ones would only come on top.
    fn is_flat(&self, blocks: &[f32]) -> bool {
        let scale = self.binary();
        let weight = |&top: &f32| exp2_nonpositive_f32((top - self.max) * scale);
        // A sample tells as much as all of them; the largest logit weighs 1 wherever it is.
        let sample = || blocks.iter().step_by(SAMPLE);
        let total = sample().map(weight).sum::<f32>() * SAMPLE as f32;
        let matters = total.max(1.0) / (8.0 * blocks.len() as f32);
        let matter = sample().filter(|top| weight(top) >= matters).count();
        matter * SAMPLE * 4 > blocks.len()
    }

    /// The sum of all weights, with those of blocks heavier than `heavy` within about 1e-6.
    pub(crate) fn refine(&self, logits: &[f32], heavy: f32, masses: &mut [f32]) -> Mass {
        let scale = self.binary();
        let (mut known, mut rough) = (0.0, 0.0);
        let (whole, rest) = logits.as_chunks::<BLOCK>();
        let rest = [padded(rest)];
        for (block, mass) in whole.iter().chain(&rest).zip(masses) {
            if *mass > heavy {
                let mut weights = [0.0f32; BLOCK];
                // A plain loop into an array becomes vector code, one with a sum in it does not.
                for (weight, &v) in weights.iter_mut().zip(block) {
                    *weight = exp2_nonpositive_f32((v - self.max) * scale);
                }
                *mass = sum_of(&weights);
                known += f64::from(*mass);
            } else {
                rough += f64::from(*mass);
                *mass *= 1.0 / LINEAR_EXCESS as f32;
            }
        }
        Mass {
            least: known + rough / LINEAR_EXCESS,
            most: known + rough * (1.0 + 1e-4),
        }
    }

    /// An exponent below which no token is in the nucleus of mass `p`, as high as can be told from
    /// the largest logit and the least mass of each block.
    ///
    /// Where all tokens of weight w or more are in n blocks of mass m, they have at least the mass
    /// m − 64 n w; once that is p times the total, no lighter one is needed. That takes all others
    /// to weigh w; a `guess` above 1 takes them to weigh that much less, and has to be checked.
    pub(crate) fn nucleus_floor(
        &self,
        p: f64,
        mass: Mass,
        blocks: &[f32],
        masses: &[f32],
        guess: f64,
    ) -> f64 {
        let scale = self.binary();
        let mut levels = [(0.0f64, 0u32); LEVELS];
        for (&top, &mass) in blocks.iter().zip(masses) {
            let level = ((self.max - top) * scale) as usize;
            if let Some((sum, count)) = levels.get_mut(level) {
                *sum += f64::from(mass);
                *count += 1;
            }
        }
        let wanted = p * (1.0 + 1e-5) * mass.most;
        let (mut sum, mut count, mut weight) = (0.0, 0, 1.0);
        let block = BLOCK as f64 / guess;
        let size = blocks.len() as f64 * block;
        let mut floor = exponent_below((1.0 - p) * mass.least / size);
        for (level_mass, blocks) in levels {
            sum += level_mass;
            count += blocks;
            weight *= 0.5;
            if sum - f64::from(count) * block * weight >= wanted {
                floor = floor.max(exponent_below(weight));
                break;
            }
        }
        // Single precision places a block's level, and the sums, to about six digits.
        floor - 1e-3
    }

    /// What turns a difference of logits into a power of 2.
    fn binary(&self) -> f32 {
        (self.inverse * core::f64::consts::LOG2_E).min(f64::from(f32::MAX)) as f32
    }

    /// Collects, in token order, every token whose exponent is at least `floor`, with its weight.
    ///
    /// A few below `floor` may come along; weights of 0 do not.
    pub(crate) fn gather(&self, row: Row<'_>, blocks: &[f32], floor: f64, out: &mut Candidates) {
        let least = self.logit_floor(floor);
        out.clear();
        let (whole, rest) = row.logits.as_chunks::<BLOCK>();
        let rest_mask = (1u64 << rest.len()) - 1;
        let rest = [padded(rest)];
        let masked = whole.iter().map(|block| (block, !0));
        let masked = masked.chain(rest.iter().map(|block| (block, rest_mask)));
        for (((block, mask), &top), start) in masked.zip(blocks).zip((0..).step_by(BLOCK)) {
            if top < least {
                continue;
            }
            let mut hits = hits(block, least) & mask;
            while hits != 0 {
                let index = hits.trailing_zeros() as usize % BLOCK;
                hits &= hits - 1;
                out.tokens.push(row.token(start + index));
                out.weights.push(f64::from(block[index]));
            }
        }
        for weight in &mut out.weights {
            *weight = self.weight(*weight);
        }
        if floor <= UNDERFLOW {
            out.retain(|weight| weight > 0.0);
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

/// The share of a logit's weight in all of them at temperature 1; `None` without that logit or when
/// the weights have no finite sum.
pub(crate) fn weight_share(logits: &[f32], index: usize) -> Option<f64> {
    let logit = *logits.get(index)?;
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, larger);
    let (whole, rest) = logits.as_chunks::<BLOCK>();
    let weight = |v: f32| exp2_nonpositive_f32((v - max) * core::f32::consts::LOG2_E);
    let mut total = 0.0;
    for block in whole.iter().chain(&[padded(rest)]) {
        total += f64::from(sum_of(&block.map(weight)));
    }
    let share = f64::from(weight(logit)) / total;
    share.is_finite().then_some(share)
}

/// Between which numbers the sum of all weights lies.
#[derive(Clone, Copy)]
pub(crate) struct Mass {
    pub(crate) least: f64,
    pub(crate) most: f64,
}

#[inline(always)]
fn sum_of(weights: &[f32; BLOCK]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for chunk in weights.as_chunks::<LANES>().0 {
        for (sum, weight) in sums.iter_mut().zip(chunk) {
            *sum += weight;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// A bit for each logit that is at least `least`, the first one lowest.
#[inline(always)]
fn hits(block: &[f32; BLOCK], least: f32) -> u64 {
    let mut bytes = [0u8; BLOCK];
    for (byte, &v) in bytes.iter_mut().zip(block) {
        *byte = u8::from(v >= least);
    }
    // The product of eight bytes of 0 or 1 has the i-th of them in the i-th of its highest bits.
    let (eights, _) = bytes.as_chunks::<LANES>();
    let eights = eights.iter().map(|&eight| {
        u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> (u64::BITS - 8)
    });
    eights
        .zip((0..).step_by(LANES))
        .fold(0, |mask, (eight, shift)| mask | (eight << shift))
}

/// An exponent of at most the logarithm of `weight`, close to it.
pub(crate) fn exponent_below(weight: f64) -> f64 {
    if weight > 1e-300 {
        log2_below(weight) * core::f64::consts::LN_2 - 1e-9
    } else {
        UNDERFLOW
    }
}
