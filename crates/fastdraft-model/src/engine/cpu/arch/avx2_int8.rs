//! AVX2 for eight-bit weights.
// Constant bounds over two arrays at once: the form that keeps tiles in registers.
#![allow(clippy::needless_range_loop)]

use std::{
    arch::x86_64::{
        __m256i, _MM_HINT_T0, _mm_load_si128, _mm_prefetch, _mm256_add_epi32, _mm256_cvtepi8_epi16,
        _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_storeu_ps,
    },
    ops::Range,
};

use super::{
    LANES,
    int8::{Activations, PackedInt8, STEP},
    scalar,
};

/// Bytes between a load and the line fetched for later.
const AHEAD: usize = 4096;
/// Packed bytes whose second reading, by the next tokens, still comes from the L2 cache.
const BLOCK_BYTES: usize = 128 * 1024;
const TILE_TOKENS: usize = 8;

/// # Safety
/// AVX2 and FMA must be there and the extents be those `PackedInt8::multiply` checks.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply(
    w: &PackedInt8,
    groups: Range<usize>,
    x: &Activations,
    y: &mut [f32],
) {
    let t = x.scales.len();
    let steps = w.steps();
    let first = groups.start;
    let block = (BLOCK_BYTES / (steps * STEP)).max(1);
    let mut start = groups.start;
    while start < groups.end {
        let end = (start + block).min(groups.end);
        let mut token = 0;
        while token < t {
            let tokens = TILE_TOKENS.min(t - token);
            for row in start..end {
                let (lines, scales) = w.row(row);
                // SAFETY: `token + tokens <= t` and the row is one of the groups.
                unsafe {
                    let b = x.values.as_ptr().add(token * steps * STEP);
                    let s = x.scales.as_ptr().add(token);
                    let c = y.as_mut_ptr().add((row - first) * t + token);
                    match tokens {
                        8 => tile::<8>(lines, scales, b, s, c, steps),
                        7 => tile::<7>(lines, scales, b, s, c, steps),
                        6 => tile::<6>(lines, scales, b, s, c, steps),
                        5 => tile::<5>(lines, scales, b, s, c, steps),
                        4 => tile::<4>(lines, scales, b, s, c, steps),
                        3 => tile::<3>(lines, scales, b, s, c, steps),
                        2 => tile::<2>(lines, scales, b, s, c, steps),
                        _ => tile::<1>(lines, scales, b, s, c, steps),
                    }
                }
            }
            token += tokens;
        }
        start = end;
    }
}

/// # Safety
/// `lines` and `scales` are a row of `steps` steps, `x` is `[T, 64 · steps]`, `x_scales` and `y`
/// are `[T]`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const T: usize>(
    lines: *const i8,
    scales: *const f32,
    x: *const i16,
    x_scales: *const f32,
    y: *mut f32,
    steps: usize,
) {
    // SAFETY: every offset stays below the extents the caller promised; prefetching never faults.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); T];
        for step in 0..steps {
            let line = lines.add(step * STEP);
            _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD));
            let w = [
                widen(line),
                widen(line.add(16)),
                widen(line.add(32)),
                widen(line.add(48)),
            ];
            let scale = _mm256_set1_ps(*scales.add(step));
            for i in 0..T {
                let token = x.add((i * steps + step) * STEP);
                let part = |v: usize| {
                    _mm256_madd_epi16(w[v], _mm256_loadu_si256(token.add(16 * v).cast()))
                };
                let sum = _mm256_add_epi32(
                    _mm256_add_epi32(part(0), part(1)),
                    _mm256_add_epi32(part(2), part(3)),
                );
                sums[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, sums[i]);
            }
        }
        for i in 0..T {
            let mut lanes = [0.0f32; LANES];
            _mm256_storeu_ps(lanes.as_mut_ptr(), sums[i]);
            *y.add(i) = scalar::sum_lanes(lanes) * *x_scales.add(i);
        }
    }
}

/// # Safety
/// AVX2 must be there and sixteen bytes readable at `at`, which is 16-byte aligned.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn widen(at: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtepi8_epi16(_mm_load_si128(at.cast())) }
}
