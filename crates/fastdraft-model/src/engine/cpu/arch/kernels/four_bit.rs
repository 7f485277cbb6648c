//! Four-bit weights: a run of eight rows is unpacked once and meets the tokens of a tile.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use half::f16;

use super::{Fetch, schedule};
use crate::engine::cpu::arch::{
    LANES,
    four_bit::{GROUP, Minimum, PackedFourBit, RUN, RUN_BYTES, Runs},
    lanes::{Eight, Quads},
};

const TILE_TOKENS: usize = 8;

/// # Safety
/// The instructions must be there and the extents be those `PackedFourBit::multiply` checks.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn multiply<Q: Quads>(
    w: &PackedFourBit,
    groups: Range<usize>,
    x: &Runs,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match w.minimum() {
            Minimum::Stored => all::<Q, true>(w, groups, x, y),
            Minimum::Symmetric => all::<Q, false>(w, groups, x, y),
        }
    }
}

/// # Safety
/// Those of [`multiply`], and minima are stored if `STORED`.
#[inline(always)]
unsafe fn all<Q: Quads, const STORED: bool>(
    w: &PackedFourBit,
    groups: Range<usize>,
    x: &Runs,
    y: &mut [f32],
) {
    let runs = w.runs();
    let t = x.scales.len() / runs;
    let first_row = groups.start * GROUP;
    let height = y.len() / t;
    let bytes = runs * RUN_BYTES;
    let (block, tiles) = schedule(bytes, t, TILE_TOKENS);
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        let mut token = 0;
        while token < t {
            let tokens = match t - token {
                TILE_TOKENS.. => TILE_TOKENS,
                left => left.min(4),
            };
            for group in start..end {
                let row = group * GROUP;
                let (lines, scales) = w.group(group);
                // SAFETY: `token + tokens <= t`, and rows past the last are not written.
                unsafe {
                    let tile = Tile {
                        lines,
                        scales,
                        x: x.values.as_ptr().add(token * runs * RUN),
                        x_scales: x.scales.as_ptr().add(token * runs),
                        x_sums: x.sums.as_ptr().add(token * runs),
                        y: y.as_mut_ptr().add(token * height + row - first_row),
                        runs,
                        height,
                        rows: GROUP.min(w.rows() - row),
                        fetch: Fetch::new(lines, bytes, RUN_BYTES, token / TILE_TOKENS, tiles),
                    };
                    match tokens {
                        8 => tile.run::<Q, STORED, 8>(),
                        4 => tile.run::<Q, STORED, 4>(),
                        3 => tile.run::<Q, STORED, 3>(),
                        2 => tile.run::<Q, STORED, 2>(),
                        _ => tile.run::<Q, STORED, 1>(),
                    }
                }
            }
            token += tokens;
        }
        start = end;
    }
}

struct Tile {
    lines: *const u8,
    scales: *const f16,
    x: *const i8,
    x_scales: *const f32,
    x_sums: *const f32,
    y: *mut f32,
    runs: usize,
    height: usize,
    rows: usize,
    fetch: Fetch,
}

impl Tile {
    /// # Safety
    /// The pointers reach a packed group, `T` tokens of `runs` runs, and `T` times `rows` sums with
    /// stride `height`.
    #[inline(always)]
    unsafe fn run<Q: Quads, const STORED: bool, const T: usize>(&self) {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let mut totals = [Q::E::zero(); T];
            for run in 0..self.runs {
                self.fetch.ask(run);
                let at = self.lines.add(run * RUN_BYTES);
                let mut sums = [Q::zero(); T];
                for quad in 0..4 {
                    let [low, high] = Q::nibbles(at.add(32 * quad));
                    for i in 0..T {
                        let token = self.x.add((i * self.runs + run) * RUN + 4 * quad);
                        sums[i] = Q::add(sums[i], low, token);
                        sums[i] = Q::add(sums[i], high, token.add(RUN / 2));
                    }
                }
                let at = self
                    .scales
                    .add(run * if STORED { 2 * GROUP } else { GROUP });
                let scale = Q::E::halves(at);
                let minimum = if STORED {
                    Q::E::halves(at.add(GROUP))
                } else {
                    Q::E::multiply(scale, Q::E::splat(-8.0))
                };
                for i in 0..T {
                    let at = i * self.runs + run;
                    let both = Q::E::multiply(scale, Q::E::splat(*self.x_scales.add(at)));
                    totals[i] = Q::E::fma(Q::floats(sums[i]), both, totals[i]);
                    let x_sum = Q::E::splat(*self.x_sums.add(at));
                    totals[i] = Q::E::fma(minimum, x_sum, totals[i]);
                }
            }
            for i in 0..T {
                let mut lanes = [0.0f32; LANES];
                Q::E::store(totals[i], &mut lanes);
                for r in 0..self.rows {
                    *self.y.add(i * self.height + r) = lanes[r];
                }
            }
        }
    }
}
