//! Queries times keys, and values summed by weight.
// Constant bounds over two arrays at once: the form that keeps sums in registers.
#![allow(clippy::needless_range_loop)]

use std::mem::MaybeUninit;

use crate::engine::cpu::arch::{
    POSITIONS,
    lanes::{Load, Rows},
};

/// Registers of a block of keys at most.
const HALVES: usize = 2;
/// Values that stay in the L1 cache.
const L1_VALUES: usize = 4 * 1024;
/// Tokens from which keys or values are widened once, instead of for every four.
const WIDEN_FROM: usize = 5;

/// Room for values in single precision, from the start of a cache line.
#[repr(align(64))]
struct Wide(MaybeUninit<[f32; L1_VALUES]>);

/// Values of a register.
const fn lanes<R: Rows>() -> usize {
    POSITIONS / R::PARTS
}

/// Widens `n` values at `from` to single precision.
///
/// # Safety
/// The instructions must be there, `n` be a multiple of a register's values up to `L1_VALUES`, and `n`
/// values at `from`.
#[inline(always)]
unsafe fn widen<R: Rows, S: Load>(from: *const S, n: usize, wide: &mut Wide) -> *const f32 {
    let to = wide.0.as_mut_ptr().cast::<f32>();
    for i in (0..n).step_by(lanes::<R>()) {
        // SAFETY: the values of a register behind `i` are among the `n`, and `n <= L1_VALUES`.
        unsafe { R::store(S::load::<R>(from.add(i)), to.add(i)) };
    }
    to
}

/// # Safety
/// The instructions must be there; `keys` is `[blocks, dim, 16]`, `queries` is `[t, dim]`, `out` is
/// `[t, 16 blocks]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn scores<R: Rows, S: Load>(
    keys: &[S],
    queries: &[f32],
    out: &mut [f32],
    dim: usize,
) {
    let t = queries.len() / dim;
    let blocks = keys.len() / (dim * POSITIONS);
    let width = blocks * POSITIONS;
    let mut wide = Wide(MaybeUninit::uninit());
    let widened =
        size_of::<S>() < size_of::<f32>() && t >= WIDEN_FROM && dim * POSITIONS <= L1_VALUES;
    // Few tokens have sums of four blocks in registers at a time.
    let many = if R::PARTS == 1 { 3 } else { 1 };
    let mut block = 0;
    // Every token meets some keys while they are in the L1 cache.
    while block < blocks {
        let some = if t <= many && blocks - block >= 4 {
            4
        } else {
            1
        };
        // SAFETY: `block + some <= blocks`.
        unsafe {
            let keys = keys.as_ptr().add(block * dim * POSITIONS);
            let out = out.as_mut_ptr().add(block * POSITIONS);
            if widened {
                let keys = widen::<R, S>(keys, dim * POSITIONS, &mut wide);
                score_tokens::<R, f32>(keys, queries, out, dim, width, some);
            } else {
                score_tokens::<R, S>(keys, queries, out, dim, width, some);
            }
        }
        block += some;
    }
}

/// # Safety
/// `keys` is `[blocks, dim, 16]`, `queries` is `[t, dim]`, `out` has `t` rows with stride `width`.
#[inline(always)]
unsafe fn score_tokens<R: Rows, S: Load>(
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
                (8.., _) if R::PARTS == 1 => {
                    score_tile::<R, S, 8, 1>(keys, queries, out, dim, width)
                }
                (4.., _) => score_tile::<R, S, 4, 1>(keys, queries, out, dim, width),
                (3, 4) if R::PARTS == 1 => score_tile::<R, S, 3, 4>(keys, queries, out, dim, width),
                (3, _) => score_tile::<R, S, 3, 1>(keys, queries, out, dim, width),
                (2, 4) if R::PARTS == 1 => score_tile::<R, S, 2, 4>(keys, queries, out, dim, width),
                (2, _) => score_tile::<R, S, 2, 1>(keys, queries, out, dim, width),
                (_, 4) => score_tile::<R, S, 1, 4>(keys, queries, out, dim, width),
                _ => score_tile::<R, S, 1, 1>(keys, queries, out, dim, width),
            };
        }
    }
}

/// `T`, the tokens done.
///
/// # Safety
/// `keys` is `[B, dim, 16]`, `queries` is `[T, dim]`, `out` has `T` rows of `16 B` with stride `width`.
#[inline(always)]
unsafe fn score_tile<R: Rows, S: Load, const T: usize, const B: usize>(
    keys: *const S,
    queries: *const f32,
    out: *mut f32,
    dim: usize,
    width: usize,
) -> usize {
    // SAFETY: every offset stays below the extents the caller promised.
    unsafe {
        let mut sums = [[[R::zero(); HALVES]; B]; T];
        for d in 0..dim {
            for b in 0..B {
                for half in 0..R::PARTS {
                    let at = (b * dim + d) * POSITIONS + half * lanes::<R>();
                    let key = S::load::<R>(keys.add(at));
                    for i in 0..T {
                        let query = R::splat(queries.add(i * dim + d));
                        sums[i][b][half] = R::fma(query, key, sums[i][b][half]);
                    }
                }
            }
        }
        for i in 0..T {
            for b in 0..B {
                for half in 0..R::PARTS {
                    let at = i * width + b * POSITIONS + half * lanes::<R>();
                    R::store(sums[i][b][half], out.add(at));
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
pub(in crate::engine::cpu::arch) unsafe fn weigh<R: Rows, S: Load>(
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
    let mut wide = Wide(MaybeUninit::uninit());
    let widened = size_of::<S>() < size_of::<f32>()
        && t >= WIDEN_FROM
        && dim.is_multiple_of(lanes::<R>())
        && dim <= L1_VALUES;
    // Every token meets some values while they are in the L1 cache.
    let some = (L1_VALUES / dim).max(1);
    for (index, values) in values.chunks(some * dim).enumerate() {
        let weights = &weights[index * some..];
        // SAFETY: the caller's promise; `widened` says that all values of a chunk fit.
        unsafe {
            if widened {
                let wide = widen::<R, S>(values.as_ptr(), values.len(), &mut wide);
                let values = std::slice::from_raw_parts(wide, values.len());
                weigh_some::<R, f32>(weights, width, values, out, dim);
            } else {
                weigh_some::<R, S>(weights, width, values, out, dim);
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
unsafe fn weigh_some<R: Rows, S: Load>(
    weights: &[f32],
    width: usize,
    values: &[S],
    out: &mut [f32],
    dim: usize,
) {
    let t = out.len() / dim;
    let lanes = lanes::<R>();
    let vectors = dim / lanes * lanes;
    let mut token = 0;
    while token < t {
        let tokens = (t - token).min(4);
        let mut d = 0;
        while d < vectors {
            // SAFETY: `token + T <= t` and `d` and the registers behind it are in `dim`.
            unsafe {
                let rows = Weighed {
                    weights: weights.as_ptr().add(token * width),
                    width,
                    values: values.as_ptr().add(d),
                    n: values.len() / dim,
                    dim,
                };
                let out = out.as_mut_ptr().add(token * dim + d);
                let left = (vectors - d) / lanes;
                d += lanes
                    * match (tokens, left) {
                        (4, 4..) if R::PARTS == 1 => rows.tile::<R, 4, 4>(out),
                        (3, 4..) if R::PARTS == 1 => rows.tile::<R, 3, 4>(out),
                        (4, 2..) => rows.tile::<R, 4, 2>(out),
                        (3, 2..) => rows.tile::<R, 3, 2>(out),
                        (2, 4..) => rows.tile::<R, 2, 4>(out),
                        (1, 8..) => rows.tile::<R, 1, 8>(out),
                        (1, 4..) => rows.tile::<R, 1, 4>(out),
                        (4, _) => rows.tile::<R, 4, 1>(out),
                        (3, _) => rows.tile::<R, 3, 1>(out),
                        (2, _) => rows.tile::<R, 2, 1>(out),
                        _ => rows.tile::<R, 1, 1>(out),
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

/// Values of some numbers of a head, and their weights.
struct Weighed<S> {
    weights: *const f32,
    width: usize,
    values: *const S,
    n: usize,
    dim: usize,
}

impl<S: Load> Weighed<S> {
    /// Adds to `out`, and gives `N`, the registers done.
    ///
    /// # Safety
    /// `weights` has `T` rows of `n`, `values` has `n` rows of `N` registers, `out` has `T` of those.
    #[inline(always)]
    unsafe fn tile<R: Rows, const T: usize, const N: usize>(&self, out: *mut f32) -> usize {
        // SAFETY: every offset stays below the extents the caller promised.
        unsafe {
            let at = |i: usize, r: usize| out.add(i * self.dim + r * lanes::<R>());
            let mut sums = [[R::zero(); N]; T];
            for i in 0..T {
                for r in 0..N {
                    sums[i][r] = R::load(at(i, r));
                }
            }
            for j in 0..self.n {
                let weights: [R::F; T] =
                    std::array::from_fn(|i| R::splat(self.weights.add(i * self.width + j)));
                for r in 0..N {
                    let value = S::load::<R>(self.values.add(j * self.dim + r * lanes::<R>()));
                    for i in 0..T {
                        sums[i][r] = R::fma(weights[i], value, sums[i][r]);
                    }
                }
            }
            for i in 0..T {
                for r in 0..N {
                    R::store(sums[i][r], at(i, r));
                }
            }
        }
        N
    }
}
