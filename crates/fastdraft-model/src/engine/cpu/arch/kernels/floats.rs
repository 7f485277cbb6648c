//! Float weights: a pair of columns of sixteen rows is widened once and meets the tokens of a tile.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use half::bf16;

use super::Fetch;
use crate::engine::cpu::arch::{
    lanes::Rows,
    packed::{Element, GROUP, PAIR, PAIR_LEN, Packed},
};

/// Tokens whose sums are in memory at a time.
const MOST: usize = 64;
/// Pairs of columns that all tiles meet before the next ones: they stay in the L1 cache, and so do
/// these columns of the tokens.
const CHUNK: usize = 64;

/// Sums of a token over even and odd columns.
type Sums = [[f32; GROUP]; PAIR];

pub(in crate::engine::cpu::arch) trait Load: Element {
    /// The columns of a pair, of the rows of part `part`.
    ///
    /// # Safety
    /// The instructions must be there and [`PAIR_LEN`] elements readable at `at`.
    unsafe fn load<R: Rows>(at: *const Self, part: usize) -> [R::F; PAIR];
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<R: Rows>(at: *const Self, part: usize) -> [R::F; PAIR] {
        // SAFETY: the caller's promise.
        unsafe {
            let at = at.add(part * GROUP / R::PARTS);
            [R::load(at), R::load(at.add(GROUP))]
        }
    }
}

impl Load for bf16 {
    #[inline(always)]
    unsafe fn load<R: Rows>(at: *const Self, part: usize) -> [R::F; PAIR] {
        // SAFETY: the caller's promise.
        unsafe {
            let at = at.add(part * PAIR_LEN / R::PARTS);
            [R::bf16::<0>(at), R::bf16::<1>(at)]
        }
    }
}

/// # Safety
/// The instructions must be there; `x` is `[t, padded columns]`, `y` is `[t, rows of the groups]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn multiply<R: Rows, W: Load>(
    w: &Packed<W>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    let k = w.padded_columns();
    let height = y.len() / t;
    let mut sums = [[[0.0f32; GROUP]; PAIR]; MOST];
    for (index, group) in groups.enumerate() {
        let rows = GROUP.min(w.rows() - group * GROUP);
        let tokens = x.chunks(MOST * k).zip(y.chunks_mut(MOST * height));
        for (x, y) in tokens {
            let sums = &mut sums[..x.len() / k];
            sums.fill([[0.0; GROUP]; PAIR]);
            // SAFETY: the caller's promise.
            unsafe { add::<R, W>(w.group(group), k, x, sums) };
            for (out, [even, odd]) in y.chunks_exact_mut(height).zip(&*sums) {
                let out = &mut out[index * GROUP..][..rows];
                for ((out, even), odd) in out.iter_mut().zip(even).zip(odd) {
                    *out = even + odd;
                }
            }
        }
    }
}

/// Adds the products of a group of `k` columns.
///
/// # Safety
/// The instructions must be there; `x` is `[tokens, k]`.
#[inline(always)]
unsafe fn add<R: Rows, W: Load>(w: *const W, k: usize, x: &[f32], sums: &mut [Sums]) {
    let tile = sums.len().div_ceil(sums.len().div_ceil(R::TOKENS));
    let tiles = sums.len().div_ceil(tile);
    let pairs = k / PAIR;
    // Alone, a tile has its sums in registers from the first column to the last.
    let chunk = if tiles * R::PARTS == 1 { pairs } else { CHUNK };
    for start in (0..pairs).step_by(chunk) {
        for (index, sums) in sums.chunks_mut(tile).enumerate() {
            let tile = Tile {
                w: w.wrapping_add(start * PAIR_LEN),
                x: x.as_ptr().wrapping_add(index * tile * k + start * PAIR),
                k,
                pairs: chunk.min(pairs - start),
                index,
                tiles,
            };
            // SAFETY: the columns are among the `k`, the tokens among those of `x`.
            unsafe {
                match sums.len() {
                    12 if R::TOKENS >= 12 => tile.run::<R, 12>(sums),
                    11 if R::TOKENS >= 11 => tile.run::<R, 11>(sums),
                    10 if R::TOKENS >= 10 => tile.run::<R, 10>(sums),
                    9 if R::TOKENS >= 9 => tile.run::<R, 9>(sums),
                    8 if R::TOKENS >= 8 => tile.run::<R, 8>(sums),
                    7 if R::TOKENS >= 7 => tile.run::<R, 7>(sums),
                    6 => tile.run::<R, 6>(sums),
                    5 => tile.run::<R, 5>(sums),
                    4 => tile.run::<R, 4>(sums),
                    3 => tile.run::<R, 3>(sums),
                    2 => tile.run::<R, 2>(sums),
                    _ => tile.run::<R, 1>(sums),
                }
            }
        }
    }
}

/// Some pairs of columns of a group and of some tokens.
struct Tile<W> {
    w: *const W,
    x: *const f32,
    /// Values between tokens.
    k: usize,
    pairs: usize,
    /// Of the tiles of this chunk, which share the fetching of what comes later.
    index: usize,
    tiles: usize,
}

impl<W: Load> Tile<W> {
    /// # Safety
    /// `w` has `pairs` pairs of columns, and so has each of `T` tokens at `x`; `sums` has `T`.
    #[inline(always)]
    unsafe fn run<R: Rows, const T: usize>(&self, sums: &mut [Sums]) {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let sums = sums.as_mut_ptr();
            let step = PAIR_LEN * size_of::<W>();
            for part in 0..R::PARTS {
                let at = |i: usize, column: usize| {
                    (sums.add(i).cast::<f32>()).add(column * GROUP + part * GROUP / R::PARTS)
                };
                let (index, reads) = (self.index * R::PARTS + part, self.tiles * R::PARTS);
                let fetch = Fetch::new(self.w.cast(), self.pairs * step, step, index, reads);
                let (mut even, mut odd) = ([R::zero(); T], [R::zero(); T]);
                for i in 0..T {
                    (even[i], odd[i]) = (R::load(at(i, 0)), R::load(at(i, 1)));
                }
                let mut tokens = [self.x; T];
                for i in 0..T {
                    tokens[i] = self.x.add(i * self.k);
                }
                for pair in 0..self.pairs {
                    fetch.ask(pair);
                    let [a, b] = W::load::<R>(self.w.add(pair * PAIR_LEN), part);
                    for i in 0..T {
                        let x = tokens[i];
                        even[i] = R::fma(a, R::splat(x), even[i]);
                        odd[i] = R::fma(b, R::splat(x.add(1)), odd[i]);
                        tokens[i] = x.add(PAIR);
                    }
                }
                for i in 0..T {
                    R::store(even[i], at(i, 0));
                    R::store(odd[i], at(i, 1));
                }
            }
        }
    }
}
