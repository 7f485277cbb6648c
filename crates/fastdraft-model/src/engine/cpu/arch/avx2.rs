//! AVX2 and FMA.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::{
    __m256, _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

use half::bf16;

use super::{LANES, Weight, scalar};

/// Rows a tile holds, and the most tokens: 12 accumulators leave registers for four weights.
const ROWS: usize = 4;
const TOKENS: usize = 3;

trait Load: Weight {
    /// # Safety
    /// AVX2 must be there and eight elements readable at `at`.
    unsafe fn load(at: *const Self) -> __m256;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(at) }
    }
}

impl Load for bf16 {
    #[inline(always)]
    unsafe fn load(at: *const Self) -> __m256 {
        // SAFETY: the caller's promise; bfloat16 is the upper half of a float32.
        unsafe {
            let halves = _mm_loadu_si128(at.cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
        }
    }
}

/// # Safety
/// AVX2 and FMA must be there; `w` is `[n, k]`, `x` is `[t, k]`, `y` is `[n, t]`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply_f32(w: &[f32], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    // SAFETY: the caller's promise.
    unsafe { multiply(w, x, y, k, t) }
}

/// # Safety
/// AVX2 and FMA must be there; `w` is `[n, k]`, `x` is `[t, k]`, `y` is `[n, t]`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply_bf16(w: &[bf16], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    // SAFETY: the caller's promise.
    unsafe { multiply(w, x, y, k, t) }
}

#[inline(always)]
unsafe fn multiply<W: Load>(w: &[W], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    let n = w.len() / k;
    let mut row = 0;
    while row < n {
        let rows = ROWS.min(n - row);
        let mut token = 0;
        while token < t {
            let tokens = TOKENS.min(t - token);
            // SAFETY: `row + rows <= n` and `token + tokens <= t` keep every access inside.
            unsafe {
                let (a, b) = (w.as_ptr().add(row * k), x.as_ptr().add(token * k));
                let c = y.as_mut_ptr().add(row * t + token);
                match (rows, tokens) {
                    (4, 3) => tile::<W, 4, 3>(a, b, c, k, t),
                    (4, 2) => tile::<W, 4, 2>(a, b, c, k, t),
                    (4, _) => tile::<W, 4, 1>(a, b, c, k, t),
                    _ => {
                        for r in 0..rows {
                            for i in 0..tokens {
                                tile::<W, 1, 1>(a.add(r * k), b.add(i * k), c.add(r * t + i), k, t);
                            }
                        }
                    }
                }
            }
            token += tokens;
        }
        row += rows;
    }
}

/// # Safety
/// `w` is `[R, k]`, `x` is `[T, k]`, `y` has row stride `t` with `R` rows of `T`.
#[inline(always)]
unsafe fn tile<W: Load, const R: usize, const T: usize>(
    w: *const W,
    x: *const f32,
    y: *mut f32,
    k: usize,
    t: usize,
) {
    // SAFETY: every offset stays below the extents the caller promised.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); T]; R];
        let vectors = k / LANES;
        for step in 0..vectors {
            let at = step * LANES;
            let mut tokens = [_mm256_setzero_ps(); T];
            for i in 0..T {
                tokens[i] = _mm256_loadu_ps(x.add(i * k + at));
            }
            for r in 0..R {
                let weight = W::load(w.add(r * k + at));
                for i in 0..T {
                    sums[r][i] = _mm256_fmadd_ps(weight, tokens[i], sums[r][i]);
                }
            }
        }
        for r in 0..R {
            for i in 0..T {
                let mut lanes = [0.0f32; LANES];
                _mm256_storeu_ps(lanes.as_mut_ptr(), sums[r][i]);
                let mut sum = scalar::sum_lanes(lanes);
                for j in vectors * LANES..k {
                    sum = (*w.add(r * k + j)).to_f32().mul_add(*x.add(i * k + j), sum);
                }
                *y.add(r * t + i) = sum;
            }
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
