//! What the kernels ask of an instruction set.
//!
//! Everything here is unsafe for one reason: the instructions must be there, and the memory that a
//! pointer names must be readable or writable over the extent that the method states.

use half::{bf16, f16};

use super::{LANES, Stored};

/// Eight float32.
pub(super) trait Eight {
    type F: Copy;
    unsafe fn zero() -> Self::F;
    unsafe fn splat(value: f32) -> Self::F;
    /// Eight values at `at`.
    unsafe fn load(at: *const f32) -> Self::F;
    /// Column `COLUMN` of eight rows whose pairs are at `at`.
    unsafe fn bf16<const COLUMN: usize>(at: *const bf16) -> Self::F;
    /// Eight half-precision values at `at`.
    unsafe fn halves(at: *const f16) -> Self::F;
    unsafe fn multiply(a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + sum`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, sum: Self::F) -> Self::F;
    unsafe fn store(value: Self::F, to: &mut [f32; LANES]);
}

/// Keys and values that come as float32. What is no finite number may come as another on NEON.
pub(super) trait Load: Stored {
    /// As many values at `at` as a register has.
    unsafe fn load<R: Rows>(at: *const Self) -> R::F;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load<R: Rows>(at: *const Self) -> R::F {
        // SAFETY: the caller's promise.
        unsafe { R::load(at) }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load<R: Rows>(at: *const Self) -> R::F {
        // SAFETY: the caller's promise.
        unsafe { R::halves(at) }
    }
}

/// Sixteen rows, or positions or numbers of attention, a lane each.
pub(super) trait Rows {
    /// Tokens whose sums stay in registers.
    const TOKENS: usize;
    /// Registers that the rows take, 1 or 2.
    const PARTS: usize;
    type F: Copy;
    unsafe fn zero() -> Self::F;
    /// The value at `at`, for every row.
    unsafe fn splat(at: *const f32) -> Self::F;
    /// A value of each row of a part.
    unsafe fn load(at: *const f32) -> Self::F;
    /// Column `COLUMN` of the rows of a part, whose pairs are at `at`.
    unsafe fn bf16<const COLUMN: usize>(at: *const bf16) -> Self::F;
    /// As many half-precision values at `at`.
    unsafe fn halves(at: *const f16) -> Self::F;
    unsafe fn fma(a: Self::F, b: Self::F, sum: Self::F) -> Self::F;
    /// Writes a value of each row of a part.
    unsafe fn store(value: Self::F, to: *mut f32);
}

impl<E: Eight> Rows for E {
    const TOKENS: usize = 6;
    const PARTS: usize = 2;
    type F = E::F;

    #[inline(always)]
    unsafe fn zero() -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { E::zero() }
    }

    #[inline(always)]
    unsafe fn splat(at: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { E::splat(*at) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { E::load(at) }
    }

    #[inline(always)]
    unsafe fn bf16<const COLUMN: usize>(at: *const bf16) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { E::bf16::<COLUMN>(at) }
    }

    #[inline(always)]
    unsafe fn halves(at: *const f16) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { E::halves(at) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, sum: Self::F) -> Self::F {
        // SAFETY: the caller's promise.
        unsafe { E::fma(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn store(value: Self::F, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { E::store(value, &mut *to.cast()) }
    }
}

/// Sums of 16-bit products for sixteen rows. They are exact, so the order inside a sum is free.
pub(super) trait Words {
    /// Tokens whose sums stay in registers, 4, 8 or 12.
    const TOKENS: usize;
    /// Two weights of each row.
    type Weights: Copy;
    type Sums: Copy;
    type F: Copy;
    /// 32 signed bytes at `at`.
    unsafe fn weights(at: *const i8) -> Self::Weights;
    unsafe fn sums() -> Self::Sums;
    /// Adds the products of every row with the two values at `x`.
    unsafe fn add(sums: Self::Sums, w: Self::Weights, x: *const i16) -> Self::Sums;
    unsafe fn totals() -> Self::F;
    /// Adds every row's sum times its scale, of sixteen at `scales`.
    unsafe fn scaled(sums: Self::Sums, scales: *const f32, totals: Self::F) -> Self::F;
    /// The totals times the scale of a token.
    unsafe fn store(totals: Self::F, scale: f32, to: &mut [f32; 2 * LANES]);
}

/// Two registers of eight sums each, scaled and added as [`Words`] has it.
#[inline(always)]
pub(super) unsafe fn scaled<E: Eight>(
    sums: [E::F; 2],
    scales: *const f32,
    totals: [E::F; 2],
) -> [E::F; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            E::fma(sums[0], E::load(scales), totals[0]),
            E::fma(sums[1], E::load(scales.add(LANES)), totals[1]),
        ]
    }
}

/// Two registers of totals, stored as [`Words`] has it.
#[inline(always)]
pub(super) unsafe fn store<E: Eight>(totals: [E::F; 2], scale: f32, to: &mut [f32; 2 * LANES]) {
    let (halves, _) = to.as_chunks_mut::<LANES>();
    for (total, half) in totals.into_iter().zip(halves) {
        // SAFETY: the caller's promise.
        unsafe { E::store(E::multiply(total, E::splat(scale)), half) };
    }
}

/// Sums of byte products, exact too.
pub(super) trait Quads {
    type E: Eight;

    /// Four bytes below 16 of each of eight rows.
    type Weights: Copy;
    /// Eight sums, one for each row, of at most 32 products.
    type Sums: Copy;
    /// Low and high halves of the 32 bytes at `at`.
    unsafe fn nibbles(at: *const u8) -> [Self::Weights; 2];
    unsafe fn zero() -> Self::Sums;
    /// Adds the products of every row with the four values at `x`.
    unsafe fn add(sums: Self::Sums, w: Self::Weights, x: *const i8) -> Self::Sums;
    unsafe fn floats(sums: Self::Sums) -> <Self::E as Eight>::F;
}

/// A kernel of every kind for one instruction set; the features named must be there, and the
/// extents be those that the callers in `arch` check.
macro_rules! entry_points {
    ($features:literal, $rows:ty, $integers:ty) => {
        /// # Safety
        /// The features must be there and the extents be those `multiply_f32` of `arch` checks.
        #[target_feature(enable = $features)]
        pub(in crate::engine::cpu::arch) unsafe fn multiply_f32(
            w: &Packed<f32>,
            groups: Range<usize>,
            x: &[f32],
            y: &mut [f32],
            t: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { kernels::floats::multiply::<$rows, f32>(w, groups, x, y, t) }
        }

        /// # Safety
        /// The features must be there and the extents be those `multiply_bf16` of `arch` checks.
        #[target_feature(enable = $features)]
        pub(in crate::engine::cpu::arch) unsafe fn multiply_bf16(
            w: &Packed<bf16>,
            groups: Range<usize>,
            x: &[f32],
            y: &mut [f32],
            t: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { kernels::floats::multiply::<$rows, bf16>(w, groups, x, y, t) }
        }

        /// # Safety
        /// The features must be there and the extents be those `PackedInt8::multiply` checks.
        #[target_feature(enable = $features)]
        pub(in crate::engine::cpu::arch) unsafe fn multiply_int8(
            w: &PackedInt8,
            groups: Range<usize>,
            x: &Activations,
            y: &mut [f32],
        ) {
            // SAFETY: the caller's promise.
            unsafe { kernels::int8::multiply::<$integers>(w, groups, x, y) }
        }

        /// # Safety
        /// The features must be there and the extents be those `PackedFourBit::multiply` checks.
        #[target_feature(enable = $features)]
        pub(in crate::engine::cpu::arch) unsafe fn multiply_four_bit(
            w: &PackedFourBit,
            groups: Range<usize>,
            x: &Runs,
            y: &mut [f32],
        ) {
            // SAFETY: the caller's promise.
            unsafe { kernels::four_bit::multiply::<$integers>(w, groups, x, y) }
        }
    };
}

/// The kernels of attention for one instruction set.
macro_rules! attention_entry_points {
    ($features:literal, $rows:ty) => {
        attention_entry_points!($features, $rows, f32, scores_f32, weigh_f32);
        attention_entry_points!($features, $rows, half::f16, scores_f16, weigh_f16);
    };
    ($features:literal, $rows:ty, $stored:ty, $scores:ident, $weigh:ident) => {
        /// # Safety
        /// The features must be there and the extents be those `scores_on` of `arch` checks.
        #[target_feature(enable = $features)]
        pub(in crate::engine::cpu::arch) unsafe fn $scores(
            keys: &[$stored],
            queries: &[f32],
            out: &mut [f32],
            dim: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { kernels::attention::scores::<$rows, $stored>(keys, queries, out, dim) }
        }

        /// # Safety
        /// The features must be there and the extents be those `weigh_on` of `arch` checks.
        #[target_feature(enable = $features)]
        pub(in crate::engine::cpu::arch) unsafe fn $weigh(
            weights: &[f32],
            width: usize,
            values: &[$stored],
            out: &mut [f32],
            dim: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { kernels::attention::weigh::<$rows, $stored>(weights, width, values, out, dim) }
        }
    };
}

pub(super) use attention_entry_points;
pub(super) use entry_points;
