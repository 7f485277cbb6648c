//! NEON, in pairs of 128-bit registers.

use std::{
    arch::aarch64::{
        float32x4_t, int8x16_t, int16x8_t, int32x4_t, vandq_u8, vandq_u32, vcvtq_f32_s32,
        vdupq_n_f32, vdupq_n_s16, vdupq_n_s32, vdupq_n_u8, vdupq_n_u32, vfmaq_f32, vget_high_u16,
        vget_low_s8, vget_low_s16, vget_low_u16, vld1q_f32, vld1q_s8, vld1q_u8, vld1q_u16,
        vld1q_u32, vmlal_high_s8, vmlal_high_s16, vmlal_s8, vmlal_s16, vmovl_high_s8, vmovl_s8,
        vmovl_u16, vmulq_f32, vorrq_u32, vpaddlq_s16, vpaddq_s32, vreinterpretq_f32_u32,
        vreinterpretq_s8_s32, vreinterpretq_s8_u8, vreinterpretq_s16_s32, vreinterpretq_u32_f32,
        vshlq_n_u32, vshrq_n_u8, vst1q_f32,
    },
    array,
    ops::Range,
};

use half::{bf16, f16};

pub(super) use super::elementwise::{
    gated_silu, rms_scale, round_to_8_bits, round_to_16_bits, softmax,
};
use super::{
    LANES,
    four_bit::{PackedFourBit, Runs},
    int8::{Activations, PackedInt8},
    kernels,
    lanes::{self, Eight, Quads, Words, attention_entry_points, entry_points},
    packed::Packed,
};

pub(super) struct Neon;

impl Eight for Neon {
    type F = [float32x4_t; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(0.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { [vdupq_n_f32(value); 2] }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { [vld1q_f32(at), vld1q_f32(at.add(4))] }
    }

    #[inline(always)]
    unsafe fn bf16<const COLUMN: usize>(at: *const bf16) -> Self::F {
        // SAFETY: the caller's promise; bfloat16 is the upper half of a float32.
        unsafe {
            let pairs = [vld1q_u32(at.cast()), vld1q_u32(at.add(8).cast())];
            pairs.map(|pairs| {
                vreinterpretq_f32_u32(if COLUMN == 0 {
                    vshlq_n_u32::<16>(pairs)
                } else {
                    vandq_u32(pairs, vdupq_n_u32(0xFFFF_0000))
                })
            })
        }
    }

    #[inline(always)]
    unsafe fn halves(at: *const f16) -> Self::F {
        // SAFETY: the caller's promise. The bits of a finite half, moved to where a float32 has
        // them, are the value times 2⁻¹¹².
        unsafe {
            let bits = vld1q_u16(at.cast());
            let wide = [
                vmovl_u16(vget_low_u16(bits)),
                vmovl_u16(vget_high_u16(bits)),
            ];
            wide.map(|wide| {
                let magnitude = vshlq_n_u32::<13>(vandq_u32(wide, vdupq_n_u32(0x7FFF)));
                let sign = vshlq_n_u32::<16>(vandq_u32(wide, vdupq_n_u32(0x8000)));
                let scaled = vmulq_f32(
                    vreinterpretq_f32_u32(magnitude),
                    vdupq_n_f32(f32::from_bits((127 + 112) << 23)),
                );
                vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), sign))
            })
        }
    }

    #[inline(always)]
    unsafe fn multiply(a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, sum: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { [vfmaq_f32(sum[0], a[0], b[0]), vfmaq_f32(sum[1], a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn store(value: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the caller's promise.
        unsafe {
            vst1q_f32(to.as_mut_ptr(), value[0]);
            vst1q_f32(to.as_mut_ptr().add(4), value[1]);
        }
    }
}

impl Words for Neon {
    const TOKENS: usize = 4;
    type Weights = [int16x8_t; 4];
    /// Two for each row.
    type Sums = [int32x4_t; 8];
    type F = [[float32x4_t; 2]; 2];

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> Self::Weights {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, b) = (vld1q_s8(at), vld1q_s8(at.add(16)));
            [
                vmovl_s8(vget_low_s8(a)),
                vmovl_high_s8(a),
                vmovl_s8(vget_low_s8(b)),
                vmovl_high_s8(b),
            ]
        }
    }

    #[inline(always)]
    unsafe fn sums() -> Self::Sums {
        // SAFETY: the caller's promise.
        unsafe { [vdupq_n_s32(0); 8] }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, w: Self::Weights, x: *const i16) -> Self::Sums {
        // SAFETY: the caller's promise.
        let x = unsafe { vreinterpretq_s16_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned())) };
        // SAFETY: the caller's promise.
        array::from_fn(|i| unsafe {
            if i % 2 == 0 {
                vmlal_s16(sums[i], vget_low_s16(w[i / 2]), vget_low_s16(x))
            } else {
                vmlal_high_s16(sums[i], w[i / 2], x)
            }
        })
    }

    #[inline(always)]
    unsafe fn totals() -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { [<Self as Eight>::zero(); 2] }
    }

    #[inline(always)]
    unsafe fn scaled(s: Self::Sums, scales: *const f32, totals: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe {
            let four = |i: usize| vcvtq_f32_s32(vpaddq_s32(s[i], s[i + 1]));
            let sums = [[four(0), four(2)], [four(4), four(6)]];
            lanes::scaled::<Self>(sums, scales, totals)
        }
    }

    #[inline(always)]
    unsafe fn store(totals: Self::F, scale: f32, to: &mut [f32; 2 * LANES]) {
        // SAFETY: the caller's promise.
        unsafe { lanes::store::<Self>(totals, scale, to) }
    }
}

impl Quads for Neon {
    type E = Self;
    type Weights = [int8x16_t; 2];
    /// Two rows of four columns each: eight products of at most 15 · 127 stay below 2¹⁵.
    type Sums = [int16x8_t; 4];

    #[inline(always)]
    unsafe fn nibbles(at: *const u8) -> [Self::Weights; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, b, low) = (vld1q_u8(at), vld1q_u8(at.add(16)), vdupq_n_u8(15));
            [
                [vandq_u8(a, low), vandq_u8(b, low)].map(|v| vreinterpretq_s8_u8(v)),
                [vshrq_n_u8::<4>(a), vshrq_n_u8::<4>(b)].map(|v| vreinterpretq_s8_u8(v)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Sums {
        // SAFETY: the caller's promise.
        unsafe { [vdupq_n_s16(0); 4] }
    }

    #[inline(always)]
    unsafe fn add(s: Self::Sums, w: Self::Weights, x: *const i8) -> Self::Sums {
        // SAFETY: the caller's promise.
        unsafe {
            let four = vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()));
            [
                vmlal_s8(s[0], vget_low_s8(w[0]), vget_low_s8(four)),
                vmlal_high_s8(s[1], w[0], four),
                vmlal_s8(s[2], vget_low_s8(w[1]), vget_low_s8(four)),
                vmlal_high_s8(s[3], w[1], four),
            ]
        }
    }

    #[inline(always)]
    unsafe fn floats(s: Self::Sums) -> [float32x4_t; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            [
                vcvtq_f32_s32(vpaddq_s32(vpaddlq_s16(s[0]), vpaddlq_s16(s[1]))),
                vcvtq_f32_s32(vpaddq_s32(vpaddlq_s16(s[2]), vpaddlq_s16(s[3]))),
            ]
        }
    }
}

entry_points!("neon", Neon, Neon);
attention_entry_points!("neon", Neon);
