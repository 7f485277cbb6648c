//! Eight-bit weights: a step of sixteen rows is widened once and meets the tokens of a tile.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::{array, ops::Range};

use super::{Fetch, schedule};
use crate::engine::cpu::arch::{
    LANES,
    int8::{Activations, GROUP, PAIR, PAIR_BYTES, PackedInt8, STEP, STEP_BYTES},
    lanes::{Eight, Integers},
};

/// Tokens whose sums stay in registers.
const TILE_TOKENS: usize = 4;
/// Bytes fetched at a time.
const LINE: usize = 64;
/// Pairs of columns of those.
const PAIRS: usize = LINE / PAIR_BYTES;
/// Registers of sums of a token.
const HALVES: usize = GROUP / LANES;

/// # Safety
/// The instructions must be there and the extents be those `PackedInt8::multiply` checks.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn multiply<I: Integers>(
    w: &PackedInt8,
    groups: Range<usize>,
    x: &Activations,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match w.runs_of_a_step() {
            1 => all::<I, 1>(w, groups, x, y),
            _ => all::<I, 2>(w, groups, x, y),
        }
    }
}

/// # Safety
/// Those of [`multiply`], and `RUNS` runs a step.
#[inline(always)]
unsafe fn all<I: Integers, const RUNS: usize>(
    w: &PackedInt8,
    groups: Range<usize>,
    x: &Activations,
    y: &mut [f32],
) {
    let t = x.scales.len();
    let steps = w.steps();
    let first_row = groups.start * GROUP;
    let height = y.len() / t;
    let bytes = steps * STEP_BYTES;
    let (block, tiles) = schedule(bytes, t, TILE_TOKENS);
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        for token in (0..t).step_by(TILE_TOKENS) {
            for group in start..end {
                let row = group * GROUP;
                let (values, scales) = w.group(group);
                // SAFETY: the tokens of a tile are among the `t`, and rows past the last are not
                // written.
                unsafe {
                    let tile = Tile {
                        values,
                        scales,
                        x: x.values.as_ptr().add(token * steps * STEP),
                        x_scales: x.scales.as_ptr().add(token),
                        y: y.as_mut_ptr().add(token * height + row - first_row),
                        steps,
                        height,
                        rows: GROUP.min(w.rows() - row),
                        fetch: Fetch::new(values.cast(), bytes, LINE, token / TILE_TOKENS, tiles),
                    };
                    match TILE_TOKENS.min(t - token) {
                        4 => tile.run::<I, RUNS, 4>(),
                        3 => tile.run::<I, RUNS, 3>(),
                        2 => tile.run::<I, RUNS, 2>(),
                        _ => tile.run::<I, RUNS, 1>(),
                    }
                }
            }
        }
        start = end;
    }
}

struct Tile {
    values: *const i8,
    scales: *const f32,
    x: *const i16,
    x_scales: *const f32,
    y: *mut f32,
    steps: usize,
    height: usize,
    rows: usize,
    fetch: Fetch,
}

impl Tile {
    /// # Safety
    /// The pointers reach a packed group with `RUNS` runs a step, `T` tokens of `steps` steps, and
    /// `T` times `rows` sums with stride `height`.
    #[inline(always)]
    unsafe fn run<I: Integers, const RUNS: usize, const T: usize>(&self) {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let mut totals = [[I::E::zero(); HALVES]; T];
            let columns = STEP / RUNS;
            let lines = columns * GROUP / LINE;
            for run in 0..self.steps * RUNS {
                let mut sums = [[I::word_zero(); HALVES]; T];
                for line in run * lines..(run + 1) * lines {
                    self.fetch.ask(line);
                    for pair in line * PAIRS..(line + 1) * PAIRS {
                        let at = self.values.add(pair * PAIR_BYTES);
                        let w: [I::Words; HALVES] =
                            array::from_fn(|half| I::words(at.add(half * PAIR * LANES)));
                        for i in 0..T {
                            let x = I::pair(self.x.add(i * self.steps * STEP + pair * PAIR));
                            for half in 0..HALVES {
                                sums[i][half] = I::word_add(sums[i][half], w[half], x);
                            }
                        }
                    }
                }
                for half in 0..HALVES {
                    let scale = I::E::load(self.scales.add(run * GROUP + half * LANES));
                    for i in 0..T {
                        let sum = I::word_floats(sums[i][half]);
                        totals[i][half] = I::E::fma(sum, scale, totals[i][half]);
                    }
                }
            }
            for i in 0..T {
                let x_scale = I::E::splat(*self.x_scales.add(i));
                let mut rows = [[0.0f32; LANES]; HALVES];
                for half in 0..HALVES {
                    I::E::store(I::E::multiply(totals[i][half], x_scale), &mut rows[half]);
                }
                let out = self.y.add(i * self.height);
                for (r, value) in rows.as_flattened().iter().take(self.rows).enumerate() {
                    *out.add(r) = *value;
                }
            }
        }
    }
}
