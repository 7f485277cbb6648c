//! Kernels, written once over what an instruction set offers and chosen at run time.
//!
//! Every kernel adds in the same order: float weights one lane a row with fused multiply-add, even
//! and odd columns apart; eight- and four-bit weights one lane a row, run by run; attention one lane a
//! position, then one lane a dimension. All of them therefore agree bit for bit with [`scalar`].
//!
//! | file | asks for |
//! |---|---|
//! | `avx2` | AVX2, FMA, F16C |
//! | `avx512` | those and AVX-512 F, BW, DQ, VL, VNNI |
//! | `neon` | aarch64 |
//! | `scalar` | nothing: the oracle |

use std::ops::Range;

use half::bf16;

pub(super) mod aligned;
pub(super) mod arena;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod elementwise;
pub(super) mod four_bit;
pub(super) mod int8;
mod isa;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code)
)]
mod kernels;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(dead_code, unused_macros, unused_imports)
)]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(super) mod packed;
pub(super) mod scalar;
mod stored;

pub(super) use stored::Stored;

use isa::{Isa, on};
use packed::{Element, Packed};

/// Positions of a block of keys, which lie beside each other for every dimension.
pub(super) const POSITIONS: usize = 16;

/// Lanes of the accumulation order.
pub(super) const LANES: usize = 8;

/// Weight elements a kernel can stream.
pub(super) trait Weight: Element {
    /// For the groups `groups` of `w` and every token: `y[i * rows + r] = Σ_j w[r, j] · x[i, j]`,
    /// with `r` counted from the first row of the first group and `rows` those of the groups. `x`
    /// is `[t, padded columns]`.
    fn multiply(w: &Packed<Self>, groups: Range<usize>, x: &[f32], y: &mut [f32], t: usize) {
        Self::multiply_on(Isa::best(), w, groups, x, y, t);
    }

    fn multiply_on(
        isa: Isa,
        w: &Packed<Self>,
        groups: Range<usize>,
        x: &[f32],
        y: &mut [f32],
        t: usize,
    );
}

fn check<E: Element>(w: &Packed<E>, groups: &Range<usize>, x: &[f32], y: &[f32], t: usize) {
    let first = groups.start * packed::GROUP;
    let end = (groups.end * packed::GROUP).min(w.rows());
    assert!(
        groups.end <= w.groups()
            && x.len() == t * w.padded_columns()
            && y.len() == end.saturating_sub(first) * t,
        "kernel shapes: groups {groups:?} of {}, x {}, y {}, t {t}",
        w.groups(),
        x.len(),
        y.len()
    );
}

macro_rules! weight {
    ($type:ty, $multiply:ident) => {
        impl Weight for $type {
            fn multiply_on(
                isa: Isa,
                w: &Packed<Self>,
                groups: Range<usize>,
                x: &[f32],
                y: &mut [f32],
                t: usize,
            ) {
                check(w, &groups, x, y, t);
                on!(isa, $multiply(w, groups, x, y, t));
            }
        }
    };
}

weight!(f32, multiply_f32);
weight!(bf16, multiply_bf16);

/// `silu(gate) · up`: `[n]` each.
pub(super) fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    on!(Isa::best(), gated_silu(gate, up, out));
}

/// Softmax of `scale · x`, in place, for a positive scale.
pub(super) fn softmax(x: &mut [f32], scale: f32) {
    on!(Isa::best(), softmax(x, scale));
}

/// `1 / sqrt(mean(x²) + ε)`.
pub(super) fn rms_scale(x: &[f32], epsilon: f64) -> f32 {
    on!(Isa::best(), rms_scale(x, epsilon))
}

fn round_to_16_bits(x: &[f32], out: &mut [i16]) -> f32 {
    on!(Isa::best(), round_to_16_bits(x, out))
}

fn round_to_8_bits(x: &[f32], out: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    on!(Isa::best(), round_to_8_bits(x, out, scales, sums));
}

#[cfg(test)]
mod tests;
