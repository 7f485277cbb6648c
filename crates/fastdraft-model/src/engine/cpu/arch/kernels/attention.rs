//! Queries times keys, and values summed by weight.
// Constant bounds over two arrays at once: the form that keeps sums in registers.
#![allow(clippy::needless_range_loop)]

use std::mem::MaybeUninit;

use crate::engine::cpu::arch::{
    LANES, POSITIONS,
    lanes::{Eight, Load},
};

/// Registers of a block of keys.
const HALVES: usize = POSITIONS / LANES;
/// Values that stay in the L1 cache.
const NEAR: usize = 4 * 1024;
/// Tokens from which keys or values are widened once, instead of for every four.
const WIDEN_FROM: usize = 5;

/// Room for values in single precision.
type Wide = MaybeUninit<[f32; NEAR]>;

/// Widens `n` values at `from` to single precision.
///
/// # Safety
/// The instructions must be there, `n` be a multiple of eight up to `NEAR`, and `n` values at `from`.
#[inline(always)]
unsafe fn widen<E: Eight, S: Load>(from: *const S, n: usize, wide: &mut Wide) -> *const f32 {
    let to = wide.as_mut_ptr().cast::<f32>();
    let mut i = 0;
    while i < n {
        let mut eight = [0.0; LANES];
        // SAFETY: `i + 8 <= n`, of which there are as many at `from`, and `n <= NEAR`.
        unsafe {
            E::store(S::load::<E>(from.add(i)), &mut eight);
            to.add(i).cast::<[f32; LANES]>().write_unaligned(eight);
        }
        i += LANES;
    }
    to
}

/// # Safety
/// The instructions must be there; `keys` is `[blocks, dim, 16]`, `queries` is `[t, dim]`, `out` is
/// `[t, 16 blocks]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn scores<E: Eight, S: Load>(
    keys: &[S],
    queries: &[f32],
    out: &mut [f32],
    dim: usize,
) {
    let t = queries.len() / dim;
    let blocks = keys.len() / (dim * POSITIONS);
    let width = blocks * POSITIONS;
    let mut wide = Wide::uninit();
    let widened = size_of::<S>() < size_of::<f32>() && t >= WIDEN_FROM && dim * POSITIONS <= NEAR;
    let mut block = 0;
    // Every token meets some keys while they are in the L1 cache.
    while block < blocks {
        let some = if t == 1 && blocks - block >= 4 { 4 } else { 1 };
        // SAFETY: `block + some <= blocks`.
        unsafe {
            let keys = keys.as_ptr().add(block * dim * POSITIONS);
            let out = out.as_mut_ptr().add(block * POSITIONS);
            if widened {
                let keys = widen::<E, S>(keys, dim * POSITIONS, &mut wide);
                score_tokens::<E, f32>(keys, queries, out, dim, width, some);
            } else {
                score_tokens::<E, S>(keys, queries, out, dim, width, some);
            }
        }
        block += some;
    }
}

/// # Safety
/// `keys` is `[blocks, dim, 16]`, `queries` is `[t, dim]`, `out` has `t` rows with stride `width`.
#[inline(always)]
unsafe fn score_tokens<E: Eight, S: Load>(
    keys: *const S,
    queries: &[f32],
    out: *mut f32,
    dim: usize,
    width: usize,
    blocks: usize,
) {
    let t = queries.len() / dim;
    let mut token = 0;
    while token < t {
        // SAFETY: `token + T <= t`.
        unsafe {
            let queries = queries.as_ptr().add(token * dim);
            let out = out.add(token * width);
            token += match (t - token, blocks) {
                (4.., _) => score_tile::<E, S, 4, 1>(keys, queries, out, dim, width),
                (3, _) => score_tile::<E, S, 3, 1>(keys, queries, out, dim, width),
                (2, _) => score_tile::<E, S, 2, 1>(keys, queries, out, dim, width),
                (_, 4) => score_tile::<E, S, 1, 4>(keys, queries, out, dim, width),
                _ => score_tile::<E, S, 1, 1>(keys, queries, out, dim, width),
            };
        }
    }
}

/// `T`, the tokens done.
///
/// # Safety
/// `keys` is `[B, dim, 16]`, `queries` is `[T, dim]`, `out` has `T` rows of `16 B` with stride `width`.
#[inline(always)]
unsafe fn score_tile<E: Eight, S: Load, const T: usize, const B: usize>(
    keys: *const S,
    queries: *const f32,
    out: *mut f32,
    dim: usize,
    width: usize,
) -> usize {
    // SAFETY: every offset stays below the extents the caller promised.
    unsafe {
        let mut sums = [[[E::zero(); HALVES]; B]; T];
        for d in 0..dim {
            let queries: [E::F; T] = std::array::from_fn(|i| E::splat(*queries.add(i * dim + d)));
            for b in 0..B {
                for half in 0..HALVES {
                    let at = (b * dim + d) * POSITIONS + half * LANES;
                    let key = S::load::<E>(keys.add(at));
                    for i in 0..T {
                        sums[i][b][half] = E::fma(queries[i], key, sums[i][b][half]);
                    }
                }
            }
        }
        for i in 0..T {
            for b in 0..B {
                for half in 0..HALVES {
                    let at = i * width + b * POSITIONS + half * LANES;
                    E::store(sums[i][b][half], &mut *out.add(at).cast());
                }
            }
        }
    }
    T
}

/// # Safety
/// The instructions must be there; `weights` has `t` rows of `n` with stride `width`, `values` is
/// `[n, dim]`, `out` is `[t, dim]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn weigh<E: Eight, S: Load>(
    weights: &[f32],
    width: usize,
    values: &[S],
    out: &mut [f32],
    dim: usize,
) {
    out.fill(0.0);
    let t = out.len() / dim;
    if t == 0 {
        return;
    }
    let mut wide = Wide::uninit();
    let widened = size_of::<S>() < size_of::<f32>()
        && t >= WIDEN_FROM
        && dim.is_multiple_of(LANES)
        && dim <= NEAR;
    // Every token meets some values while they are in the L1 cache.
    let some = (NEAR / dim).max(1);
    for (index, values) in values.chunks(some * dim).enumerate() {
        let weights = &weights[index * some..];
        // SAFETY: the caller's promise; `widened` says that all values of a chunk fit.
        unsafe {
            if widened {
                let wide = widen::<E, S>(values.as_ptr(), values.len(), &mut wide);
                let values = std::slice::from_raw_parts(wide, values.len());
                weigh_some::<E, f32>(weights, width, values, out, dim);
            } else {
                weigh_some::<E, S>(weights, width, values, out, dim);
            }
        }
    }
}

/// Adds to `out`.
///
/// # Safety
/// The instructions must be there; `weights` has `t` rows with stride `width`, of which the first `n`
/// count, `values` is `[n, dim]`, `out` is `[t, dim]`.
#[inline(always)]
unsafe fn weigh_some<E: Eight, S: Load>(
    weights: &[f32],
    width: usize,
    values: &[S],
    out: &mut [f32],
    dim: usize,
) {
    let t = out.len() / dim;
    let vectors = dim / LANES * LANES;
    let mut token = 0;
    while token < t {
        let tokens = (t - token).min(4);
        let mut d = 0;
        while d < vectors {
            // SAFETY: `token + T <= t` and `d + 8 R <= dim`.
            unsafe {
                let rows = Rows {
                    weights: weights.as_ptr().add(token * width),
                    width,
                    values: values.as_ptr().add(d),
                    n: values.len() / dim,
                    dim,
                };
                let out = out.as_mut_ptr().add(token * dim + d);
                let left = (vectors - d) / LANES;
                d += LANES
                    * match (tokens, left) {
                        (4, 2..) => rows.tile::<E, 4, 2>(out),
                        (3, 2..) => rows.tile::<E, 3, 2>(out),
                        (2, 4..) => rows.tile::<E, 2, 4>(out),
                        (1, 8..) => rows.tile::<E, 1, 8>(out),
                        (4, _) => rows.tile::<E, 4, 1>(out),
                        (3, _) => rows.tile::<E, 3, 1>(out),
                        (2, _) => rows.tile::<E, 2, 1>(out),
                        _ => rows.tile::<E, 1, 1>(out),
                    };
            }
        }
        for i in token..token + tokens {
            for d in vectors..dim {
                for (j, row) in values.chunks_exact(dim).enumerate() {
                    let sum = &mut out[i * dim + d];
                    *sum = weights[i * width + j].mul_add(row[d].to_f32(), *sum);
                }
            }
        }
        token += tokens;
    }
}

struct Rows<S> {
    weights: *const f32,
    width: usize,
    values: *const S,
    n: usize,
    dim: usize,
}

impl<S: Load> Rows<S> {
    /// Adds to `out`, and gives `R`, the registers done.
    ///
    /// # Safety
    /// `weights` has `T` rows of `n`, `values` has `n` rows of `8 R`, `out` has `T` of those.
    #[inline(always)]
    unsafe fn tile<E: Eight, const T: usize, const R: usize>(&self, out: *mut f32) -> usize {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let mut sums = [[E::zero(); R]; T];
            for i in 0..T {
                for r in 0..R {
                    sums[i][r] = E::load(out.add(i * self.dim + r * LANES));
                }
            }
            for j in 0..self.n {
                let weights: [E::F; T] =
                    std::array::from_fn(|i| E::splat(*self.weights.add(i * self.width + j)));
                for r in 0..R {
                    let value = S::load::<E>(self.values.add(j * self.dim + r * LANES));
                    for i in 0..T {
                        sums[i][r] = E::fma(weights[i], value, sums[i][r]);
                    }
                }
            }
            for i in 0..T {
                for r in 0..R {
                    E::store(sums[i][r], &mut *out.add(i * self.dim + r * LANES).cast());
                }
            }
        }
        R
    }
}
