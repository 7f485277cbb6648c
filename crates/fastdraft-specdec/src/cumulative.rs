//! Sums of weights and the token at a quantile.

/// Weights are added up in blocks of this many, so that a search skips whole blocks.
const BLOCK: usize = 64;
const LANES: usize = 8;

/// Sum of `weights`, in a fixed order that a compiler can vectorise.
pub(crate) fn sum(weights: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = weights.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, weight) in lanes.iter_mut().zip(chunk) {
            *lane += weight;
        }
    }
    fold(lanes) + rest.iter().sum::<f64>()
}

/// Sum of a few lanes, pairwise.
pub(crate) fn fold(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Index of the first weight whose cumulative sum exceeds `threshold`, else of the last positive one.
pub(crate) fn pick(threshold: f64, weights: &[f64]) -> Option<usize> {
    let mut before = 0.0;
    let mut last = None;
    for (block, start) in weights.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        // The first block alone gains nothing from skipping.
        if weights.len() > BLOCK {
            let mass = sum(block);
            if threshold >= before + mass {
                before += mass;
                if mass > 0.0 {
                    last = block.iter().rposition(|&w| w > 0.0).map(|i| start + i);
                }
                continue;
            }
        }
        for (index, &weight) in block.iter().enumerate() {
            if weight > 0.0 {
                before += weight;
                last = Some(start + index);
                if threshold < before {
                    return last;
                }
            }
        }
        if weights.len() > BLOCK {
            return last;
        }
    }
    last
}
