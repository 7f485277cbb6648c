//! Heads of queries or keys, which some families norm.

use rayon::prelude::*;

use super::super::{
    linear::Norm,
    memory::{Buffer, Memory},
    norm,
    strips::strips_if,
};

/// Heads before their norm.
pub(super) struct Normed {
    pub(super) raw: Buffer,
    pub(super) inverse: Vec<f32>,
}

/// [`Normed`] of a strip.
pub(super) type NormedStrip<'a> = (&'a mut [f32], &'a mut [f32]);

impl Normed {
    /// Room for `[positions, width]` heads, where the family norms them.
    pub(super) fn room(
        own: Option<&Norm<'_>>,
        positions: usize,
        width: usize,
        memory: &Memory,
    ) -> Option<Self> {
        own.map(|own| Self {
            raw: memory.take(positions * width),
            inverse: vec![0.0; positions * width / own.gamma.len()],
        })
    }

    /// Strips of what is there.
    pub(super) fn strips<'a>(
        normed: &'a mut Option<Self>,
        positions: usize,
    ) -> impl IndexedParallelIterator<Item = Option<NormedStrip<'a>>> {
        let (raw, inverse) = match normed {
            Some(Self { raw, inverse }) => (Some(&mut **raw), Some(&mut inverse[..])),
            None => (None, None),
        };
        let strips = |values: Option<&'a mut [f32]>| {
            let width = values.as_ref().map_or(0, |values| values.len() / positions);
            strips_if(values, width, positions)
        };
        (strips(raw).zip(strips(inverse))).map(|(raw, inverse)| raw.zip(inverse))
    }
}

/// The gradient before the norm of heads, in place; returns that of the norm's weight.
pub(super) fn backward(
    d_heads: &mut [f32],
    own: Option<&Norm<'_>>,
    normed: Option<NormedStrip<'_>>,
    memory: &Memory,
) -> Vec<f32> {
    let (Some(own), Some((raw, inverse))) = (own, normed) else {
        return Vec::new();
    };
    let mut below = memory.zeros(d_heads.len());
    let mut gamma = vec![0.0; own.gamma.len()];
    norm::backward(raw, &own.gamma, inverse, d_heads, &mut below, &mut gamma);
    d_heads.copy_from_slice(&below);
    gamma
}
