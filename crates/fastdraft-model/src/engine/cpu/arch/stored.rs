//! Keys and values in the format that a cache keeps them in.

use half::{f16, slice::HalfFloatSliceExt};

use super::{
    LANES, POSITIONS,
    isa::{Isa, on},
};

/// What keys and values are stored as.
pub(in crate::engine::cpu) trait Stored:
    Copy + Default + Send + Sync
{
    fn to_f32(self) -> f32;
    /// Rounds to nearest; what is too large becomes the largest.
    fn from_f32s(values: &[f32; LANES]) -> [Self; LANES];

    fn scores_on(isa: Isa, keys: &[Self], queries: &[f32], out: &mut [f32], dim: usize);

    fn weigh_on(
        isa: Isa,
        weights: &[f32],
        width: usize,
        values: &[Self],
        out: &mut [f32],
        dim: usize,
    );

    /// Queries `[t, dim]` times keys `[blocks, dim, 16]`, added in the order of the dimensions:
    /// `[t, 16 · blocks]`.
    fn scores(keys: &[Self], queries: &[f32], out: &mut [f32], dim: usize) {
        Self::scores_on(Isa::best(), keys, queries, out, dim);
    }

    /// `out[i, d] = Σ_j weights[i, j] · values[j, d]`, added in the order of `j`: weights `[t, width]`,
    /// of which the first count, values `[≤ width, dim]`, out `[t, dim]`.
    fn weigh(weights: &[f32], width: usize, values: &[Self], out: &mut [f32], dim: usize) {
        Self::weigh_on(Isa::best(), weights, width, values, out, dim);
    }
}

macro_rules! attention_on {
    ($scores:ident, $weigh:ident) => {
        fn scores_on(isa: Isa, keys: &[Self], queries: &[f32], out: &mut [f32], dim: usize) {
            check_scores(keys.len(), queries, out, dim);
            on!(isa, $scores(keys, queries, out, dim));
        }

        fn weigh_on(
            isa: Isa,
            weights: &[f32],
            width: usize,
            values: &[Self],
            out: &mut [f32],
            dim: usize,
        ) {
            check_weights(weights, width, values.len(), out, dim);
            on!(isa, $weigh(weights, width, values, out, dim));
        }
    };
}

impl Stored for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32s(values: &[f32; LANES]) -> [Self; LANES] {
        *values
    }

    attention_on!(scores_f32, weigh_f32);
}

impl Stored for f16 {
    fn to_f32(self) -> f32 {
        Self::to_f32(self)
    }

    fn from_f32s(values: &[f32; LANES]) -> [Self; LANES] {
        let largest = Self::MAX.to_f32();
        let values = values.map(|value| value.clamp(-largest, largest));
        let mut halves = [Self::ZERO; LANES];
        halves.convert_from_f32_slice(&values);
        halves
    }

    attention_on!(scores_f16, weigh_f16);
}

fn check_scores(keys: usize, queries: &[f32], out: &[f32], dim: usize) {
    assert!(
        dim > 0
            && keys.is_multiple_of(dim * POSITIONS)
            && queries.len().is_multiple_of(dim)
            && out.len() == queries.len() / dim * (keys / dim),
        "scores: keys {keys}, queries {}, out {}, dim {dim}",
        queries.len(),
        out.len()
    );
}

fn check_weights(weights: &[f32], width: usize, values: usize, out: &[f32], dim: usize) {
    assert!(
        dim > 0
            && values.is_multiple_of(dim)
            && values / dim <= width
            && out.len().is_multiple_of(dim)
            && weights.len() == out.len() / dim * width,
        "weighted sums: weights {}, width {width}, values {values}, out {}, dim {dim}",
        weights.len(),
        out.len()
    );
}
