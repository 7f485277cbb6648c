//! Float weights: three rows meet the tokens of a tile, eight columns at a time.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::{arch::asm, ops::Range};

use half::bf16;

use super::{Fetch, schedule};
use crate::engine::cpu::arch::{
    LANES,
    lanes::Columns,
    packed::{Element, GROUP, Packed, STEP},
    scalar,
};

/// Registers of tokens of a tile.
const TILE: usize = 4;

pub(in crate::engine::cpu::arch) trait Load: Element {
    /// Columns `8 · HALF..` of one row and step, in order.
    ///
    /// # Safety
    /// The instructions must be there and sixteen elements readable at `at`.
    unsafe fn load<C: Columns, const HALF: usize>(at: *const Self) -> C::F;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<C: Columns, const HALF: usize>(at: *const Self) -> C::F {
        // SAFETY: the caller's promise.
        unsafe { C::weights(at.add(HALF * LANES)) }
    }
}

impl Load for bf16 {
    #[inline(always)]
    unsafe fn load<C: Columns, const HALF: usize>(at: *const Self) -> C::F {
        // SAFETY: the caller's promise.
        unsafe { C::bf16::<HALF>(at) }
    }
}

/// # Safety
/// The instructions must be there; `x` is `[t, padded columns]`, `y` is `[t, rows of the groups]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn multiply<C: Columns, W: Load>(
    w: &Packed<W>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    let k = w.padded_columns();
    let first_row = groups.start * GROUP;
    let height = y.len() / t;
    let bytes = w.group_len() * size_of::<W>();
    let tile = TILE * C::TOKENS;
    let (block, tiles) = schedule(bytes, t, tile);
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        for token in (0..t).step_by(tile) {
            let tokens = tile.min(t - token);
            for group in start..end {
                let row = group * GROUP;
                let at = w.group(group);
                let step = GROUP * STEP * size_of::<W>();
                // SAFETY: `token + tokens <= t`, and rows past the last are not written.
                unsafe {
                    let tile = Tile {
                        w: at,
                        x: x.as_ptr().add(token * k),
                        y: y.as_mut_ptr().add(token * height + row - first_row),
                        k,
                        height,
                        rows: GROUP.min(w.rows() - row),
                        tokens,
                        fetch: Fetch::new(at.cast(), bytes, step, token / tile, tiles),
                    };
                    match tokens.div_ceil(C::TOKENS) {
                        4 => tile.run::<C, 4>(),
                        3 => tile.run::<C, 3>(),
                        2 => tile.run::<C, 2>(),
                        _ => tile.run::<C, 1>(),
                    }
                }
            }
        }
        start = end;
    }
}

struct Tile<W> {
    w: *const W,
    x: *const f32,
    y: *mut f32,
    k: usize,
    height: usize,
    rows: usize,
    tokens: usize,
    fetch: Fetch,
}

impl<W: Load> Tile<W> {
    /// # Safety
    /// `w` is a packed group of `k` columns, `x` is `[tokens, k]` for `T` registers of tokens, `y`
    /// has `tokens` times `rows` values with stride `height`.
    #[inline(always)]
    unsafe fn run<C: Columns, const T: usize>(&self) {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            // A last register without a second token has the first one twice.
            let last = if self.tokens == T * C::TOKENS {
                self.k
            } else {
                0
            };
            let mut sums = [[C::zero(); T]; GROUP];
            for step in 0..self.k / STEP {
                let at = self.w.add(step * GROUP * STEP);
                self.fetch.ask(step);
                let token = self.x.add(step * STEP);
                self.half::<C, T, 0>(at, token, last, &mut sums);
                self.half::<C, T, 1>(unrelated(at), token, last, &mut sums);
            }
            for r in 0..self.rows {
                for i in 0..T {
                    let mut lanes = [[0.0f32; LANES]; 2];
                    C::store(sums[r][i], &mut lanes);
                    let token = i * C::TOKENS;
                    *self.y.add(token * self.height + r) = scalar::sum_lanes(lanes[0]);
                    if token + 1 < self.tokens && C::TOKENS > 1 {
                        *self.y.add((token + 1) * self.height + r) = scalar::sum_lanes(lanes[1]);
                    }
                }
            }
        }
    }

    /// # Safety
    /// Sixteen weights of each row are readable at `at`, and sixteen columns of the tokens at `x`.
    #[inline(always)]
    unsafe fn half<C: Columns, const T: usize, const HALF: usize>(
        &self,
        at: *const W,
        x: *const f32,
        last: usize,
        sums: &mut [[C::F; T]; GROUP],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let weights: [C::F; GROUP] = [
                W::load::<C, HALF>(at),
                W::load::<C, HALF>(at.add(STEP)),
                W::load::<C, HALF>(at.add(2 * STEP)),
            ];
            for i in 0..T {
                let next = if i + 1 == T { last } else { self.k };
                let token = C::tokens(x.add(i * C::TOKENS * self.k + HALF * LANES), next);
                for r in 0..GROUP {
                    sums[r][i] = C::fma(weights[r], token, sums[r][i]);
                }
            }
        }
    }
}

/// The same address, which the compiler cannot tell from another: it would keep the first half's
/// loads in registers for the second half and spill the sums.
#[inline(always)]
#[allow(
    clippy::pointers_in_nomem_asm_block,
    reason = "the address is not followed"
)]
fn unrelated<W>(mut at: *const W) -> *const W {
    // SAFETY: no instruction.
    unsafe {
        asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
    }
    at
}
