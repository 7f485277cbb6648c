//! AVX2 and FMA.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::{
    arch::{
        asm,
        x86_64::{
            __m256, _MM_HINT_T0, _mm_prefetch, _mm256_and_si256, _mm256_castsi256_ps,
            _mm256_fmadd_ps, _mm256_load_ps, _mm256_load_si256, _mm256_loadu_ps, _mm256_set1_epi32,
            _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
        },
    },
    ops::Range,
};

use half::bf16;

use super::{
    LANES, elementwise,
    packed::{Element, GROUP, Packed, STEP, TILE_TOKENS},
    scalar,
};

/// Bytes between a load and the line fetched for later.
const AHEAD: usize = 4096;
/// Packed bytes whose second reading, by the next tokens, still comes from the L2 cache.
const BLOCK_BYTES: usize = 128 * 1024;
/// Most tokens for which the next tile finds the weights of a group in the L1 cache.
const NARROW: usize = 16;

trait Load: Element {
    /// Columns `8 · HALF` to `8 · HALF + 8` of one row and step, in order.
    ///
    /// # Safety
    /// AVX2 must be there and sixteen elements readable at `at`, which is 32-byte aligned.
    unsafe fn load<const HALF: usize>(at: *const Self) -> __m256;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<const HALF: usize>(at: *const Self) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_load_ps(at.add(HALF * LANES)) }
    }
}

impl Load for bf16 {
    #[inline(always)]
    unsafe fn load<const HALF: usize>(at: *const Self) -> __m256 {
        // SAFETY: the caller's promise; bfloat16 is the upper half of a float32.
        unsafe {
            let pairs = _mm256_load_si256(at.cast());
            _mm256_castsi256_ps(if HALF == 0 {
                _mm256_slli_epi32::<16>(pairs)
            } else {
                _mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF_0000_u32 as i32))
            })
        }
    }
}

/// # Safety
/// AVX2 and FMA must be there and the extents be those `check` asks for.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply_f32(
    w: &Packed<f32>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply(w, groups, x, y, t) }
}

/// # Safety
/// AVX2 and FMA must be there and the extents be those `check` asks for.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply_bf16(
    w: &Packed<bf16>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply(w, groups, x, y, t) }
}

#[inline(always)]
unsafe fn multiply<W: Load>(
    w: &Packed<W>,
    groups: Range<usize>,
    x: &[f32],
    y: &mut [f32],
    t: usize,
) {
    let k = w.padded_columns();
    let first_row = groups.start * GROUP;
    let group_bytes = w.group_len() * size_of::<W>();
    let block = if t <= NARROW {
        1
    } else {
        (BLOCK_BYTES / group_bytes).max(1)
    };
    // The tiles of a group share the fetching of a later one, so that memory never waits for them.
    let tiles = if block == 1 {
        t.div_ceil(TILE_TOKENS)
    } else {
        1
    };
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        let mut token = 0;
        while token < t {
            let tokens = TILE_TOKENS.min(t - token);
            for group in start..end {
                let row = group * GROUP;
                let rows = GROUP.min(w.rows() - row);
                let a = w.group(group);
                let share = token / TILE_TOKENS % tiles;
                let fetch = Fetch {
                    at: a
                        .cast::<i8>()
                        .wrapping_add(AHEAD + share * group_bytes / tiles),
                    stride: GROUP * STEP * size_of::<W>() / tiles,
                };
                // SAFETY: `token + tokens <= t`, and rows past the last are not written.
                unsafe {
                    let b = x.as_ptr().add(token * k);
                    let c = y.as_mut_ptr().add((row - first_row) * t + token);
                    match tokens {
                        4 => tile::<W, 4>(a, b, c, k, t, rows, fetch),
                        3 => tile::<W, 3>(a, b, c, k, t, rows, fetch),
                        2 => tile::<W, 2>(a, b, c, k, t, rows, fetch),
                        _ => tile::<W, 1>(a, b, c, k, t, rows, fetch),
                    }
                }
            }
            token += tokens;
        }
        start = end;
    }
}

/// The lines a tile asks memory for, long before they are read.
#[derive(Clone, Copy)]
struct Fetch {
    at: *const i8,
    /// Bytes a step.
    stride: usize,
}

/// # Safety
/// `w` is a packed group of `k` columns, `x` is `[T, k]`, `y` has row stride `t` and `rows` rows
/// of at least `T`.
#[inline(always)]
unsafe fn tile<W: Load, const T: usize>(
    w: *const W,
    x: *const f32,
    y: *mut f32,
    k: usize,
    t: usize,
    rows: usize,
    fetch: Fetch,
) {
    // SAFETY: every offset stays below the extents the caller promised; prefetching never faults.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); T]; GROUP];
        for step in 0..k / STEP {
            let at = w.add(step * GROUP * STEP);
            let ahead = fetch.at.wrapping_add(step * fetch.stride);
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            if fetch.stride > 64 {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
            }
            if fetch.stride > 128 {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(128));
            }
            let token = x.add(step * STEP);
            half::<W, T, 0>(at, token, k, &mut sums);
            half::<W, T, 1>(unrelated(at), token, k, &mut sums);
        }
        for r in 0..rows {
            for i in 0..T {
                let mut lanes = [0.0f32; LANES];
                _mm256_storeu_ps(lanes.as_mut_ptr(), sums[r][i]);
                *y.add(r * t + i) = scalar::sum_lanes(lanes);
            }
        }
    }
}

/// # Safety
/// Sixteen weights of each row are readable at `at`, and sixteen columns of `T` tokens at `x`.
#[inline(always)]
unsafe fn half<W: Load, const T: usize, const HALF: usize>(
    at: *const W,
    x: *const f32,
    k: usize,
    sums: &mut [[__m256; T]; GROUP],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights: [__m256; GROUP] = [
            W::load::<HALF>(at),
            W::load::<HALF>(at.add(STEP)),
            W::load::<HALF>(at.add(2 * STEP)),
        ];
        for i in 0..T {
            let token = _mm256_loadu_ps(x.add(i * k + HALF * LANES));
            for r in 0..GROUP {
                sums[r][i] = _mm256_fmadd_ps(weights[r], token, sums[r][i]);
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

/// # Safety
/// AVX2 and FMA must be there; `w` is `[n, k]`, `x` is `[t, k]`, `y` is `[n, t]`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot_rows(w: &[f32], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    let n = w.len() / k;
    let mut row = 0;
    while row < n {
        // SAFETY: `row + R <= n` and `token < t`, so every access is inside.
        unsafe {
            let a = w.as_ptr().add(row * k);
            let rows = if n - row >= 4 { 4 } else { 1 };
            for token in 0..t {
                let b = x.as_ptr().add(token * k);
                let c = y.as_mut_ptr().add(row * t + token);
                if rows == 4 {
                    dots::<4>(a, b, c, k, t);
                } else {
                    dots::<1>(a, b, c, k, t);
                }
            }
            row += rows;
        }
    }
}

/// # Safety
/// `w` is `[R, k]`, `x` is `[k]`, `y` has stride `t` and `R` values.
#[inline(always)]
unsafe fn dots<const R: usize>(w: *const f32, x: *const f32, y: *mut f32, k: usize, t: usize) {
    // SAFETY: every offset stays below the extents the caller promised.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); R];
        let vectors = k / LANES;
        for step in 0..vectors {
            let token = _mm256_loadu_ps(x.add(step * LANES));
            for r in 0..R {
                let weight = _mm256_loadu_ps(w.add(r * k + step * LANES));
                sums[r] = _mm256_fmadd_ps(weight, token, sums[r]);
            }
        }
        for r in 0..R {
            let mut lanes = [0.0f32; LANES];
            _mm256_storeu_ps(lanes.as_mut_ptr(), sums[r]);
            let mut sum = scalar::sum_lanes(lanes);
            for j in vectors * LANES..k {
                sum = (*w.add(r * k + j)).mul_add(*x.add(j), sum);
            }
            *y.add(r * t) = sum;
        }
    }
}

/// # Safety
/// AVX2 and FMA must be there and `v` must hold `p.len() * out.len()` values.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn weighted_sum(p: &[f32], v: &[f32], out: &mut [f32]) {
    const BLOCK: usize = 8;
    let n = out.len();
    let mut d = 0;
    // SAFETY: `d + width <= n` and rows run to `p.len()`, so every access is inside.
    unsafe {
        while d + BLOCK * LANES <= n {
            let mut sums = [_mm256_setzero_ps(); BLOCK];
            for (j, weight) in p.iter().enumerate() {
                let weight = _mm256_set1_ps(*weight);
                let row = v.as_ptr().add(j * n + d);
                for (b, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_fmadd_ps(weight, _mm256_loadu_ps(row.add(b * LANES)), *sum);
                }
            }
            for (b, sum) in sums.iter().enumerate() {
                _mm256_storeu_ps(out.as_mut_ptr().add(d + b * LANES), *sum);
            }
            d += BLOCK * LANES;
        }
    }
    for (offset, slot) in out.iter_mut().enumerate().skip(d) {
        let mut sum = 0.0f32;
        for (j, weight) in p.iter().enumerate() {
            sum = weight.mul_add(v[j * n + offset], sum);
        }
        *slot = sum;
    }
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated_silu(gate, up, out);
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn exp_minus(x: &mut [f32], max: f32) {
    elementwise::exp_minus(x, max);
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn round_to_16_bits(x: &[f32], out: &mut [i16]) -> f32 {
    elementwise::round_to_16_bits(x, out)
}
