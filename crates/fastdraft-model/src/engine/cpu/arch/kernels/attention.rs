//! Keys times queries, and values summed by weight.
// Constant bounds over two arrays at once: the form that keeps sums in registers.
#![allow(clippy::needless_range_loop)]

use crate::engine::cpu::arch::{LANES, lanes::Eight, scalar};

/// # Safety
/// The instructions must be there; `w` is `[n, k]`, `x` is `[t, k]`, `y` is `[n, t]`.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn dot_rows<E: Eight>(
    w: &[f32],
    x: &[f32],
    y: &mut [f32],
    k: usize,
    t: usize,
) {
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
                    dots::<E, 4>(a, b, c, k, t);
                } else {
                    dots::<E, 1>(a, b, c, k, t);
                }
            }
            row += rows;
        }
    }
}

/// # Safety
/// `w` is `[R, k]`, `x` is `[k]`, `y` has stride `t` and `R` values.
#[inline(always)]
unsafe fn dots<E: Eight, const R: usize>(
    w: *const f32,
    x: *const f32,
    y: *mut f32,
    k: usize,
    t: usize,
) {
    // SAFETY: every offset stays below the extents the caller promised.
    unsafe {
        let mut sums = [E::zero(); R];
        let vectors = k / LANES;
        for step in 0..vectors {
            let token = E::load(x.add(step * LANES));
            for r in 0..R {
                let weight = E::load(w.add(r * k + step * LANES));
                sums[r] = E::fma(weight, token, sums[r]);
            }
        }
        for r in 0..R {
            let mut lanes = [0.0f32; LANES];
            E::store(sums[r], &mut lanes);
            let mut sum = scalar::sum_lanes(lanes);
            for j in vectors * LANES..k {
                sum = (*w.add(r * k + j)).mul_add(*x.add(j), sum);
            }
            *y.add(r * t) = sum;
        }
    }
}

/// # Safety
/// The instructions must be there and `v` must hold `p.len() * out.len()` values.
#[inline(always)]
pub(in crate::engine::cpu::arch) unsafe fn weighted_sum<E: Eight>(
    p: &[f32],
    v: &[f32],
    out: &mut [f32],
) {
    const BLOCK: usize = 8;
    let n = out.len();
    let mut d = 0;
    // SAFETY: `d + width <= n` and rows run to `p.len()`, so every access is inside.
    unsafe {
        while d + BLOCK * LANES <= n {
            let mut sums = [E::zero(); BLOCK];
            for (j, weight) in p.iter().enumerate() {
                let weight = E::splat(*weight);
                let row = v.as_ptr().add(j * n + d);
                for (b, sum) in sums.iter_mut().enumerate() {
                    *sum = E::fma(weight, E::load(row.add(b * LANES)), *sum);
                }
            }
            for (b, sum) in sums.iter().enumerate() {
                E::store(*sum, &mut *out.as_mut_ptr().add(d + b * LANES).cast());
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
