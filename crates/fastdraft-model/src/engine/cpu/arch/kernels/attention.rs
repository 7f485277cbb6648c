//! Queries times keys, and values summed by weight.
// Constant bounds over two arrays at once: the form that keeps sums in registers.
#![allow(clippy::needless_range_loop)]

use crate::engine::cpu::arch::{LANES, POSITIONS, lanes::Eight};

/// Registers of a block of keys.
const HALVES: usize = POSITIONS / LANES;
/// Bytes of values that stay in the L1 cache.
const NEAR: usize = 16 * 1024;

/// # Safety
/// The instructions must be there; `keys` is `[blocks, dim, 16]`, `queries` is `[t, dim]`, `out` is
/// `[t, 16 blocks]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn scores<E: Eight>(
    keys: &[f32],
    queries: &[f32],
    out: &mut [f32],
    dim: usize,
) {
    let t = queries.len() / dim;
    let blocks = keys.len() / (dim * POSITIONS);
    let width = blocks * POSITIONS;
    let mut block = 0;
    // Every token meets some keys while they are in the L1 cache.
    while block < blocks {
        let some = if t == 1 && blocks - block >= 4 { 4 } else { 1 };
        let mut token = 0;
        while token < t {
            // SAFETY: `token + T <= t` and `block + B <= blocks`.
            unsafe {
                let keys = keys.as_ptr().add(block * dim * POSITIONS);
                let queries = queries.as_ptr().add(token * dim);
                let out = out.as_mut_ptr().add(token * width + block * POSITIONS);
                token += match (t - token, some) {
                    (4.., _) => score_tile::<E, 4, 1>(keys, queries, out, dim, width),
                    (3, _) => score_tile::<E, 3, 1>(keys, queries, out, dim, width),
                    (2, _) => score_tile::<E, 2, 1>(keys, queries, out, dim, width),
                    (_, 4) => score_tile::<E, 1, 4>(keys, queries, out, dim, width),
                    _ => score_tile::<E, 1, 1>(keys, queries, out, dim, width),
                };
            }
        }
        block += some;
    }
}

/// `T`, the tokens done.
///
/// # Safety
/// `keys` is `[B, dim, 16]`, `queries` is `[T, dim]`, `out` has `T` rows of `16 B` with stride `width`.
#[inline(always)]
unsafe fn score_tile<E: Eight, const T: usize, const B: usize>(
    keys: *const f32,
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
                    let key = E::load(keys.add(at));
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
pub(in crate::engine::cpu::arch) unsafe fn weigh<E: Eight>(
    weights: &[f32],
    width: usize,
    values: &[f32],
    out: &mut [f32],
    dim: usize,
) {
    out.fill(0.0);
    let t = out.len() / dim;
    let vectors = dim / LANES * LANES;
    // Every token meets some values while they are in the L1 cache.
    let some = (NEAR / (dim * size_of::<f32>())).max(1);
    for (index, values) in values.chunks(some * dim).enumerate() {
        let start = index * some;
        let mut token = 0;
        while token < t {
            let tokens = (t - token).min(4);
            let mut d = 0;
            while d < vectors {
                // SAFETY: `token + T <= t` and `d + 8 R <= dim`.
                unsafe {
                    let rows = Rows {
                        weights: weights.as_ptr().add(token * width + start),
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
                        *sum = weights[i * width + start + j].mul_add(row[d], *sum);
                    }
                }
            }
            token += tokens;
        }
    }
}

struct Rows {
    weights: *const f32,
    width: usize,
    values: *const f32,
    n: usize,
    dim: usize,
}

impl Rows {
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
                    let value = E::load(self.values.add(j * self.dim + r * LANES));
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
