//! Element-wise work in an order that vectorises, the same on every machine.
//!
//! Plain Rust without branches or library calls: compiled once for AVX2 and once for the
//! baseline, both give the same bits.

use super::LANES;

/// `e^x` by `2^n · e^r` with `|r| ≤ ln 2 / 2` and a polynomial of degree 6; relative error below
/// 3e-7 for `-87 ≤ x ≤ 88`, clamped outside.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 1.5 · 2²³: adding it rounds to an integer that the low mantissa bits then hold.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4f32;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p.mul_add(r, c);
    }
    let y = (p * r).mul_add(r, r) + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[inline(always)]
pub(super) fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((slot, g), u) in out.iter_mut().zip(gate).zip(up) {
        *slot = g / (1.0 + exp(-g)) * u;
    }
}

/// Softmax of `scale · x`, in place, for a positive scale; sums run over eight lanes.
#[inline(always)]
pub(super) fn softmax(x: &mut [f32], scale: f32) {
    let mut most = [f32::NEG_INFINITY; LANES];
    for values in x.chunks(LANES) {
        for (most, value) in most.iter_mut().zip(values) {
            *most = if *value > *most { *value } else { *most };
        }
    }
    let most = most.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let mut sums = [0.0f32; LANES];
    for values in x.chunks_mut(LANES) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *value = exp((*value - most) * scale);
            *sum += *value;
        }
    }
    let inverse = 1.0 / sum_lanes(sums);
    for value in x.iter_mut() {
        *value *= inverse;
    }
}

/// `1 / sqrt(mean(x²) + ε)`; the sum runs in float64 over eight lanes.
#[inline(always)]
pub(super) fn rms_scale(x: &[f32], epsilon: f64) -> f32 {
    let mut sums = [0.0f64; LANES];
    for values in x.chunks(LANES) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    let squares: f64 = sums.iter().sum();
    (1.0 / (squares / x.len() as f64 + epsilon).sqrt()) as f32
}

/// Rounds to 32,767 steps of the largest magnitude and returns the step.
#[inline(always)]
pub(super) fn round_to_16_bits(x: &[f32], out: &mut [i16]) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let inverse = if largest > 0.0 {
        32_767.0 / largest
    } else {
        0.0
    };
    for (slot, value) in out.iter_mut().zip(x) {
        *slot = (value.mul_add(inverse, ROUND).to_bits() & 0xFFFF) as u16 as i16;
    }
    largest / 32_767.0
}

/// Rounds every run of 32 values to 127 steps of its largest magnitude. `scales` receives the
/// steps, `sums` the sum of a run's rounded values times its step.
#[inline(always)]
pub(super) fn round_to_8_bits(x: &[f32], out: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    const ROUND: f32 = 12_582_912.0;
    let (runs, out) = (x.as_chunks::<32>().0, out.as_chunks_mut::<32>().0);
    for (((run, out), scale), sum) in runs.iter().zip(out).zip(scales).zip(sums) {
        let mut largest = [0.0f32; 8];
        for eight in run.as_chunks::<8>().0 {
            for (most, value) in largest.iter_mut().zip(eight) {
                *most = most.max(value.abs());
            }
        }
        let largest = largest.iter().fold(0.0f32, |most, value| most.max(*value));
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut total = 0i32;
        for (slot, value) in out.iter_mut().zip(run) {
            let bits = value.mul_add(inverse, ROUND).to_bits();
            *slot = (bits & 0xFF) as u8 as i8;
            total += i32::from(*slot);
        }
        *scale = largest / 127.0;
        *sum = total as f32 * *scale;
    }
}

/// Pairwise.
fn sum_lanes(l: [f32; LANES]) -> f32 {
    let h = [l[0] + l[4], l[1] + l[5], l[2] + l[6], l[3] + l[7]];
    (h[0] + h[2]) + (h[1] + h[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_near_the_library() {
        let mut x = -87.0f32;
        while x < 87.0 {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "{x}: {error}");
            x += 0.0137;
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn softmax_of_large_values_is_finite() {
        let mut x = [2000.0, 2000.0, f32::NEG_INFINITY];
        softmax(&mut x, 0.5);
        assert_eq!(x[..2], [0.5, 0.5]);
        assert!(x[2] < 1e-37);
    }

    #[test]
    fn softmax_is_near_the_float64_one() {
        let mut x: Vec<f32> = (0..77).map(|i| (i as f32 * 0.7).sin() * 9.0).collect();
        let weights: Vec<f64> = x.iter().map(|v| (f64::from(*v) * 0.125).exp()).collect();
        softmax(&mut x, 0.125);
        for (found, weight) in x.iter().zip(&weights) {
            let exact = weight / weights.iter().sum::<f64>();
            assert!((f64::from(*found) - exact).abs() < 1e-8, "{found} {exact}");
        }
    }

    #[test]
    fn the_scale_of_a_norm_counts_every_value() {
        assert_eq!(rms_scale(&[3.0, -4.0], 3.5), 0.25);
        let x: Vec<f32> = (0..21).map(|i| i as f32 - 7.5).collect();
        let mean = x.iter().map(|v| v * v).sum::<f32>() / 21.0;
        assert!((rms_scale(&x, 0.0) * mean.sqrt() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn rounding_keeps_sign_and_size() {
        let x = [0.0, 1.0, -1.0, 0.5, -0.25, 1e-9];
        let mut out = [0i16; 6];
        let step = round_to_16_bits(&x, &mut out);
        assert_eq!(out, [0, 32_767, -32_767, 16_384, -8_192, 0]);
        assert!((step - 1.0 / 32_767.0).abs() < 1e-10);
        assert_eq!(round_to_16_bits(&[0.0; 6], &mut out), 0.0);
        assert_eq!(out, [0; 6]);
    }

    #[test]
    fn runs_are_rounded_apart() {
        let mut x = [0.0f32; 64];
        (x[0], x[1], x[31], x[40]) = (2.0, -1.0, 0.3, -1e-20);
        let (mut out, mut scales, mut sums) = ([1i8; 64], [0.0; 2], [0.0; 2]);
        round_to_8_bits(&x, &mut out, &mut scales, &mut sums);
        assert_eq!((out[0], out[1], out[31], out[40]), (127, -64, 19, -127));
        assert_eq!(scales, [2.0 / 127.0, 1e-20 / 127.0]);
        assert_eq!(sums, [82.0 * scales[0], -127.0 * scales[1]]);
        round_to_8_bits(&[0.0; 64], &mut out, &mut scales, &mut sums);
        assert_eq!((out, scales, sums), ([0; 64], [0.0; 2], [0.0; 2]));
    }
}
