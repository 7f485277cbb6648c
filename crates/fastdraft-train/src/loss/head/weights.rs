//! The gradient of the head's weights.

use rayon::prelude::*;

use super::{
    Cut,
    part::Block,
    position::{Position, add_scaled},
};
use crate::host::{
    matrix::{Put, View, ViewMut, multiply_packed, with_memory},
    product::Packed,
    vector::exp,
};

/// A token of a position that less is added to.
struct Less {
    id: usize,
    position: usize,
    factor: f32,
}

/// Puts or adds the gradient, `[size, width]`.
pub(super) fn add(
    sum: &mut [f32],
    put: Put,
    width: usize,
    cut: &Cut,
    blocks: &[Block<'_>],
    positions: &[Position],
) {
    let rows = cut.panel_rows(width);
    let less = sorted(positions);
    let packed: Vec<Packed> = (blocks.par_iter().zip(positions.par_chunks(cut.block)))
        .map(|(block, positions)| {
            let mut packed = Packed::default();
            packed.pack_scaled(block.x, width, &scales(positions, &block.start));
            packed
        })
        .collect();
    (sum.par_chunks_mut(rows * width).enumerate()).for_each(|(index, sum)| {
        let mut put = put;
        let all = blocks.iter().zip(&packed);
        for (block, positions) in all.zip(positions.chunks(cut.block)) {
            add_block(sum, put, cut, block, positions, index);
            put = Put::Onto;
        }
        let ids = index * rows..(index + 1) * rows;
        let start = less.partition_point(|less| less.id < ids.start);
        let less = less[start..].iter().take_while(|less| less.id < ids.end);
        for Less {
            id,
            position,
            factor,
        } in less
        {
            let x = &blocks[position / cut.block].x[position % cut.block * width..][..width];
            add_scaled(&mut sum[(id - ids.start) * width..][..width], x, -factor);
        }
    });
}

/// What all positions are lessened by, by their tokens.
fn sorted(positions: &[Position]) -> Vec<Less> {
    let less = positions.iter().enumerate().flat_map(|(position, all)| {
        all.less.iter().map(move |(id, factor)| Less {
            id: *id as usize,
            position,
            factor: *factor,
        })
    });
    let mut less: Vec<Less> = less.collect();
    less.sort_by_key(|less| (less.id, less.position));
    less
}

/// What positions are multiplied with, for exponentials under `peaks`.
fn scales(positions: &[Position], peaks: &[f32]) -> Vec<f32> {
    (positions.iter().zip(peaks))
        .map(|(position, peak)| position.factor * exp(peak - position.peak))
        .collect()
}

/// The part of one block in panel `index`; `packed` are its positions under the peaks that the
/// block began with.
fn add_block(
    sum: &mut [f32],
    put: Put,
    cut: &Cut,
    (block, packed): (&Block<'_>, &Packed),
    positions: &[Position],
    index: usize,
) {
    let width = block.x.len() / positions.len();
    let (rows, stride) = (sum.len() / width, cut.stride());
    let part = &block.parts[index / cut.chunk];
    let peaks = &part.peaks[index % cut.chunk * stride..][..positions.len()];
    let values = &block.exponentials[index * cut.panel_rows(width) * stride..];
    let values = View::strided(values, rows, positions.len(), stride);
    let out = ViewMut::new(sum, rows, width);
    if *peaks == block.start[..positions.len()] {
        return multiply_packed(out, put, values, &packed.view());
    }
    with_memory(|packed| {
        packed.pack_scaled(block.x, width, &scales(positions, peaks));
        multiply_packed(out, put, values, &packed.view());
    });
}
