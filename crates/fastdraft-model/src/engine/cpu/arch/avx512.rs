//! AVX-512: sixteen rows in a register; VNNI for integers.

use std::{
    arch::{
        asm,
        x86_64::{
            __m256, __m256i, __m512, __m512i, _mm256_cvtepi32_ps, _mm256_dpbusd_epi32,
            _mm256_loadu_si256, _mm256_set1_epi32, _mm256_setzero_si256, _mm512_and_si512,
            _mm512_castsi512_ps, _mm512_cvtepi8_epi16, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
            _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32,
            _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32,
            _mm512_storeu_ps,
        },
    },
    ops::Range,
};

use half::{bf16, f16};

pub(super) use super::avx2::{gated_silu, rms_scale, round_to_8_bits, round_to_16_bits, softmax};
use super::{
    LANES,
    avx2::Avx2,
    four_bit::{PackedFourBit, Runs},
    int8::{Activations, PackedInt8},
    kernels,
    lanes::{Quads, Rows, Words, attention_entry_points, entry_points},
    packed::Packed,
};

/// `_mm512_dpwssd_epi32` with the two values at `x` for every lane. LLVM makes a product and a sum of
/// every other one of those, which is slower where products bound the time.
///
/// # Safety
/// There are two values at `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn add_products(mut sums: __m512i, w: __m512i, x: *const i16) -> __m512i {
    // SAFETY: the caller's promise; the instruction reads four bytes and writes a register.
    unsafe {
        asm!(
            "vpdpwssd {sums}, {w}, dword ptr [{x}]{{1to16}}",
            sums = inout(zmm_reg) sums,
            w = in(zmm_reg) w,
            x = in(reg) x,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}

pub(super) struct Avx512;

impl Rows for Avx512 {
    const TOKENS: usize = 12;
    const PARTS: usize = 1;
    type F = __m512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(at: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_ps(*at) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn bf16<const COLUMN: usize>(at: *const bf16) -> __m512 {
        // SAFETY: the caller's promise; bfloat16 is the upper half of a float32.
        unsafe {
            let pairs = _mm512_loadu_si512(at.cast());
            _mm512_castsi512_ps(if COLUMN == 0 {
                _mm512_slli_epi32::<16>(pairs)
            } else {
                _mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF_0000_u32 as i32))
            })
        }
    }

    #[inline(always)]
    unsafe fn halves(at: *const f16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn store(value: __m512, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, value) }
    }
}

impl Words for Avx512 {
    const TOKENS: usize = 12;
    type Weights = __m512i;
    type Sums = __m512i;
    type F = __m512;

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn sums() -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn add(sums: __m512i, w: __m512i, x: *const i16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { add_products(sums, w, x) }
    }

    #[inline(always)]
    unsafe fn totals() -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn scaled(sums: __m512i, scales: *const f32, totals: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales), totals) }
    }

    #[inline(always)]
    unsafe fn store(totals: __m512, scale: f32, to: &mut [f32; 2 * LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            _mm512_storeu_ps(
                to.as_mut_ptr(),
                _mm512_mul_ps(totals, _mm512_set1_ps(scale)),
            )
        }
    }
}

impl Quads for Avx512 {
    type E = Avx2;
    type Weights = __m256i;
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn nibbles(at: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller's promise.
        unsafe { Avx2::nibbles(at) }
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
            _mm256_dpbusd_epi32(sums, w, four)
        }
    }

    #[inline(always)]
    unsafe fn floats(sums: __m256i) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtepi32_ps(sums) }
    }
}

entry_points!(
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    Avx512,
    Avx512
);
attention_entry_points!(
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    Avx512
);
