//! Eight-bit weights: a step of sixteen rows is widened once and meets the tokens of a tile.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::{Fetch, schedule};
use crate::engine::cpu::arch::{
    int8::{Activations, GROUP, PAIR, PAIR_BYTES, PackedInt8, STEP, STEP_BYTES},
    lanes::Words,
};

/// Bytes fetched at a time.
const LINE: usize = 64;
/// Pairs of columns of those.
const PAIRS: usize = LINE / PAIR_BYTES;

/// # Safety
/// The instructions must be there and the extents be those `PackedInt8::multiply` checks.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn multiply<W: Words>(
    w: &PackedInt8,
    groups: Range<usize>,
    x: &Activations,
    y: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match w.runs_of_a_step() {
            1 => all::<W, 1>(w, groups, x, y),
            _ => all::<W, 2>(w, groups, x, y),
        }
    }
}

/// # Safety
/// Those of [`multiply`], and `RUNS` runs a step.
#[inline(always)]
unsafe fn all<W: Words, const RUNS: usize>(
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
    let (block, tiles) = schedule(bytes, t, W::TOKENS);
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        let mut token = 0;
        while token < t {
            let tokens = match t - token {
                left if left >= W::TOKENS => W::TOKENS,
                left if left >= 8 && W::TOKENS >= 8 => 8,
                left => left.min(4),
            };
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
                        fetch: Fetch::new(values.cast(), bytes, LINE, token / W::TOKENS, tiles),
                    };
                    match tokens {
                        12 if W::TOKENS >= 12 => tile.run::<W, RUNS, 12>(),
                        8 if W::TOKENS >= 8 => tile.run::<W, RUNS, 8>(),
                        4 => tile.run::<W, RUNS, 4>(),
                        3 => tile.run::<W, RUNS, 3>(),
                        2 => tile.run::<W, RUNS, 2>(),
                        _ => tile.run::<W, RUNS, 1>(),
                    }
                }
            }
            token += tokens;
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
    unsafe fn run<W: Words, const RUNS: usize, const T: usize>(&self) {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let mut totals = [W::totals(); T];
            let columns = STEP / RUNS;
            let lines = columns * GROUP / LINE;
            for run in 0..self.steps * RUNS {
                let mut sums = [W::sums(); T];
                for line in run * lines..(run + 1) * lines {
                    self.fetch.ask(line);
                    for pair in line * PAIRS..(line + 1) * PAIRS {
                        let w = W::weights(self.values.add(pair * PAIR_BYTES));
                        for i in 0..T {
                            let x = self.x.add(i * self.steps * STEP + pair * PAIR);
                            sums[i] = W::add(sums[i], w, x);
                        }
                    }
                }
                let scales = self.scales.add(run * GROUP);
                for i in 0..T {
                    totals[i] = W::scaled(sums[i], scales, totals[i]);
                }
            }
            for i in 0..T {
                let mut rows = [0.0f32; GROUP];
                W::store(totals[i], *self.x_scales.add(i), &mut rows);
                let out = self.y.add(i * self.height);
                for (r, value) in rows.iter().take(self.rows).enumerate() {
                    *out.add(r) = *value;
                }
            }
        }
    }
}
