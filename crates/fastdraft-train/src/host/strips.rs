//! Positions that go through a part of a block together.

use rayon::prelude::*;

/// Positions of a strip: what a block makes of them stays in a core's cache, and its weights are
/// fetched once for all of them. Sums over positions are taken strip by strip, so that they do not
/// depend on threads.
const POSITIONS: usize = 96;

/// The strips of `[positions, width]`.
pub(super) fn strips(values: &[f32], width: usize) -> impl IndexedParallelIterator<Item = &[f32]> {
    values.par_chunks(POSITIONS * width)
}

/// As [`strips`], to be written.
pub(super) fn strips_mut(
    values: &mut [f32],
    width: usize,
) -> impl IndexedParallelIterator<Item = &mut [f32]> {
    values.par_chunks_mut(POSITIONS * width)
}

/// As [`strips_mut`], of values that may not be wanted.
pub(super) fn strips_if(
    values: Option<&mut [f32]>,
    width: usize,
    positions: usize,
) -> impl IndexedParallelIterator<Item = Option<&mut [f32]>> {
    let strips: Vec<_> = match values {
        Some(values) => values.chunks_mut(POSITIONS * width).map(Some).collect(),
        None => (0..positions.div_ceil(POSITIONS)).map(|_| None).collect(),
    };
    strips.into_par_iter()
}

/// The first position of a strip.
pub(super) fn first(strip: usize) -> usize {
    strip * POSITIONS
}

/// Sums of `width` values that the strips came to, added up in their order.
pub(super) fn total(width: usize, parts: impl IntoIterator<Item = impl AsRef<[f32]>>) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in parts {
        for (total, value) in total.iter_mut().zip(part.as_ref()) {
            *total += value;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_of_all_kinds_go_together() {
        let positions = 2 * POSITIONS + 5;
        let mut wide: Vec<f32> = (0..3 * positions).map(|i| i as f32).collect();
        let mut narrow = vec![0.0; positions];
        let lengths: Vec<_> = (
            strips_mut(&mut wide, 3),
            strips_if(Some(&mut narrow), 1, positions),
            strips_if(None, 7, positions),
        )
            .into_par_iter()
            .enumerate()
            .map(|(strip, (wide, narrow, none))| {
                assert_eq!(wide[0], 3.0 * first(strip) as f32);
                assert!(none.is_none());
                (wide.len(), narrow.map(|narrow| narrow.len()))
            })
            .collect();
        let whole = (3 * POSITIONS, Some(POSITIONS));
        assert_eq!(lengths, [whole, whole, (15, Some(5))]);
        assert_eq!(total(2, [[1.0, 2.0], [0.5, 0.25]]), [1.5, 2.25]);
        assert_eq!(total(2, Vec::<Vec<f32>>::new()), [0.0; 2]);
    }
}
