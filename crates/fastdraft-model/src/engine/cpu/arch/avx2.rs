//! AVX2, FMA and F16C.

use std::{
    arch::x86_64::{
        __m256, __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
        _mm256_castsi256_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
        _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
        _mm256_slli_epi32, _mm256_srli_epi16, _mm256_storeu_ps,
    },
    ops::Range,
};

use half::{bf16, f16};

use super::{
    LANES, elementwise,
    four_bit::{PackedFourBit, Runs},
    int8::{Activations, PackedInt8},
    kernels,
    lanes::{self, Eight, Quads, Words, attention_entry_points, entry_points},
    packed::Packed,
};

pub(super) struct Avx2;

impl Eight for Avx2 {
    type F = __m256;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn bf16<const COLUMN: usize>(at: *const bf16) -> __m256 {
        // SAFETY: the caller's promise; bfloat16 is the upper half of a float32.
        unsafe {
            let pairs = _mm256_loadu_si256(at.cast());
            _mm256_castsi256_ps(if COLUMN == 0 {
                _mm256_slli_epi32::<16>(pairs)
            } else {
                _mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF_0000_u32 as i32))
            })
        }
    }

    #[inline(always)]
    unsafe fn halves(at: *const f16) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, sum: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn store(value: __m256, to: &mut [f32; LANES]) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
    }
}

impl Words for Avx2 {
    const TOKENS: usize = 4;
    type Weights = [__m256i; 2];
    type Sums = [__m256i; 2];
    type F = [__m256; 2];

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe { [at, at.add(16)].map(|at| _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast()))) }
    }

    #[inline(always)]
    unsafe fn sums() -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    unsafe fn add(sums: [__m256i; 2], w: [__m256i; 2], x: *const i16) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(w[0], x)),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(w[1], x)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn totals() -> [__m256; 2] {
        // SAFETY: the caller's promise.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    unsafe fn scaled(sums: [__m256i; 2], scales: *const f32, totals: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the caller's promise.
        unsafe { lanes::scaled::<Self>(sums.map(|s| _mm256_cvtepi32_ps(s)), scales, totals) }
    }

    #[inline(always)]
    unsafe fn store(totals: [__m256; 2], scale: f32, to: &mut [f32; 2 * LANES]) {
        // SAFETY: the caller's promise.
        unsafe { lanes::store::<Self>(totals, scale, to) }
    }
}

impl Quads for Avx2 {
    type E = Self;
    type Weights = __m256i;
    /// Sixteen 16-bit sums: eight products of at most 15 · 127 each stay below 2¹⁵.
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn nibbles(at: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (pair, low) = (_mm256_loadu_si256(at.cast()), _mm256_set1_epi8(15));
            [
                _mm256_and_si256(pair, low),
                _mm256_and_si256(_mm256_srli_epi16::<4>(pair), low),
            ]
        }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn add(sums: __m256i, w: __m256i, x: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let four = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
            _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, four))
        }
    }

    #[inline(always)]
    unsafe fn floats(sums: __m256i) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1))) }
    }
}

entry_points!("avx2,fma,f16c", Avx2, Avx2);
attention_entry_points!("avx2,fma,f16c", Avx2);

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    elementwise::gated_silu(gate, up, out);
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn softmax(x: &mut [f32], scale: f32) {
    elementwise::softmax(x, scale);
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn rms_scale(x: &[f32], epsilon: f64) -> f32 {
    elementwise::rms_scale(x, epsilon)
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn round_to_16_bits(x: &[f32], out: &mut [i16]) -> f32 {
    elementwise::round_to_16_bits(x, out)
}

/// # Safety
/// AVX2 and FMA must be there.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn round_to_8_bits(
    x: &[f32],
    out: &mut [i8],
    scales: &mut [f32],
    sums: &mut [f32],
) {
    elementwise::round_to_8_bits(x, out, scales, sums);
}
