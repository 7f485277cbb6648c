//! Eight-bit weights: a line of a row meets the tokens of a tile.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use super::{BLOCK_BYTES, Fetch};
use crate::engine::cpu::arch::{
    LANES,
    int8::{Activations, PackedInt8, STEP},
    lanes::{Eight, Integers},
    scalar,
};

const TILE_TOKENS: usize = 8;

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
        match w.scales_of_a_line() {
            1 => all::<I, 1>(w, groups, x, y),
            _ => all::<I, 2>(w, groups, x, y),
        }
    }
}

/// # Safety
/// Those of [`multiply`], and `SCALES` scales a line.
#[inline(always)]
unsafe fn all<I: Integers, const SCALES: usize>(
    w: &PackedInt8,
    groups: Range<usize>,
    x: &Activations,
    y: &mut [f32],
) {
    let t = x.scales.len();
    let steps = w.steps();
    let height = groups.len();
    let block = (BLOCK_BYTES / (steps * STEP)).max(1);
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        for token in (0..t).step_by(TILE_TOKENS) {
            for row in start..end {
                let (lines, scales) = w.row(row);
                // SAFETY: the tokens of a tile are among the `t` and the row is one of the groups.
                unsafe {
                    let tile = Tile {
                        lines,
                        scales,
                        x: x.values.as_ptr().add(token * steps * STEP),
                        x_scales: x.scales.as_ptr().add(token),
                        y: y.as_mut_ptr().add(token * height + row - groups.start),
                        steps,
                        height,
                        fetch: Fetch::new(lines.cast(), steps * STEP, STEP, 0, 1),
                    };
                    match TILE_TOKENS.min(t - token) {
                        8 => tile.run::<I, SCALES, 8>(),
                        7 => tile.run::<I, SCALES, 7>(),
                        6 => tile.run::<I, SCALES, 6>(),
                        5 => tile.run::<I, SCALES, 5>(),
                        4 => tile.run::<I, SCALES, 4>(),
                        3 => tile.run::<I, SCALES, 3>(),
                        2 => tile.run::<I, SCALES, 2>(),
                        _ => tile.run::<I, SCALES, 1>(),
                    }
                }
            }
        }
        start = end;
    }
}

struct Tile {
    lines: *const i8,
    scales: *const f32,
    x: *const i16,
    x_scales: *const f32,
    y: *mut f32,
    steps: usize,
    height: usize,
    fetch: Fetch,
}

impl Tile {
    /// # Safety
    /// `lines` and `scales` are a row of `steps` lines and `SCALES` scales for each, `x` is
    /// `[T, 64 · steps]`, `x_scales` is `[T]`, `y` has `T` values with stride `height`.
    #[inline(always)]
    unsafe fn run<I: Integers, const SCALES: usize, const T: usize>(&self) {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let mut sums = [I::E::zero(); T];
            for step in 0..self.steps {
                let line = self.lines.add(step * STEP);
                self.fetch.ask(step);
                let w = [
                    I::words(line),
                    I::words(line.add(16)),
                    I::words(line.add(32)),
                    I::words(line.add(48)),
                ];
                let scale = I::E::splat(*self.scales.add(step * SCALES));
                let second = I::E::splat(*self.scales.add(step * SCALES + SCALES - 1));
                for i in 0..T {
                    let token = self.x.add((i * self.steps + step) * STEP);
                    let low = I::word_add(I::word_zero(), w[0], token);
                    let low = I::word_add(low, w[1], token.add(16));
                    let start = if SCALES == 1 { low } else { I::word_zero() };
                    let high = I::word_add(start, w[2], token.add(32));
                    let high = I::word_add(high, w[3], token.add(48));
                    if SCALES > 1 {
                        sums[i] = I::E::fma(I::word_floats(low), scale, sums[i]);
                    }
                    sums[i] = I::E::fma(I::word_floats(high), second, sums[i]);
                }
            }
            for i in 0..T {
                let mut lanes = [0.0f32; LANES];
                I::E::store(sums[i], &mut lanes);
                *self.y.add(i * self.height) = scalar::sum_lanes(lanes) * *self.x_scales.add(i);
            }
        }
    }
}
