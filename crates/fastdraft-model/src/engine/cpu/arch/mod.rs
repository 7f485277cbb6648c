//! Kernels, one file for each instruction set, chosen at run time.
//!
//! Every kernel adds in the same order: eight lanes over `k` with fused multiply-add, then the
//! lanes pairwise, then the tail. All of them therefore agree bit for bit with [`scalar`].

use half::bf16;

pub(super) mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_int8;
mod elementwise;
pub(super) mod int8;
pub(super) mod packed;
pub(super) mod scalar;

use packed::{Element, Packed};

/// Lanes of the accumulation order.
pub(super) const LANES: usize = 8;

/// Weight elements a kernel can stream.
pub(super) trait Weight: Element {
    /// For the groups `groups` of `w` and every token: `y[r * t + i] = Σ_j w[r, j] · x[i, j]`,
    /// with `r` counted from the first row of the first group. `x` is `[t, padded columns]`.
    fn multiply(
        w: &Packed<Self>,
        groups: std::ops::Range<usize>,
        x: &[f32],
        y: &mut [f32],
        t: usize,
    );
}

fn check<E: Element>(
    w: &Packed<E>,
    groups: &std::ops::Range<usize>,
    x: &[f32],
    y: &[f32],
    t: usize,
) {
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

fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

macro_rules! weight {
    ($type:ty, $avx2:ident) => {
        impl Weight for $type {
            fn multiply(
                w: &Packed<Self>,
                groups: std::ops::Range<usize>,
                x: &[f32],
                y: &mut [f32],
                t: usize,
            ) {
                check(w, &groups, x, y, t);
                #[cfg(target_arch = "x86_64")]
                if has_avx2() {
                    // SAFETY: the features are there and `check` proved the extents.
                    unsafe { avx2::$avx2(w, groups, x, y, t) };
                    return;
                }
                scalar::multiply_packed(w, groups, x, y, t);
            }
        }
    };
}

weight!(f32, multiply_f32);
weight!(bf16, multiply_bf16);

/// `y[r * t + i] = Σ_j w[r * k + j] · x[i * k + j]`: keys times queries.
pub(super) fn dot_rows(w: &[f32], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    assert!(
        k > 0 && w.len().is_multiple_of(k) && x.len() == t * k && y.len() == (w.len() / k) * t,
        "kernel shapes: w {}, x {}, y {}, k {k}, t {t}",
        w.len(),
        x.len(),
        y.len()
    );
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features are there and the lengths were just checked.
        unsafe { avx2::dot_rows(w, x, y, k, t) };
        return;
    }
    scalar::dot_rows(w, x, y, k, t);
}

/// `out[d] = Σ_j p[j] · v[j * n + d]`, added in the order of `j`: `[n]`.
pub(super) fn weighted_sum(p: &[f32], v: &[f32], out: &mut [f32]) {
    assert!(
        v.len() == p.len() * out.len(),
        "weighted sum: {} {}",
        v.len(),
        p.len()
    );
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features are there and the lengths were just checked.
        unsafe { avx2::weighted_sum(p, v, out) };
        return;
    }
    scalar::weighted_sum(p, v, out);
}

/// `silu(gate) · up`: `[n]` each.
pub(super) fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features are there.
        unsafe { avx2::gated_silu(gate, up, out) };
        return;
    }
    elementwise::gated_silu(gate, up, out);
}

/// Replaces every value by `e^(value - max)`.
pub(super) fn exp_minus(x: &mut [f32], max: f32) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features are there.
        unsafe { avx2::exp_minus(x, max) };
        return;
    }
    elementwise::exp_minus(x, max);
}

fn round_to_16_bits(x: &[f32], out: &mut [i16]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the features are there.
        return unsafe { avx2::round_to_16_bits(x, out) };
    }
    elementwise::round_to_16_bits(x, out)
}

#[cfg(test)]
mod tests;
