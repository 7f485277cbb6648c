//! Kernels, one file for each instruction set, chosen at run time.
//!
//! Every kernel adds in the same order: eight lanes over `k` with fused multiply-add, then the
//! lanes pairwise, then the tail. All of them therefore agree bit for bit with [`scalar`].

use half::bf16;

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(super) mod scalar;

/// Lanes of the accumulation order.
pub(super) const LANES: usize = 8;

/// Weight elements a kernel can stream.
pub(super) trait Weight: Copy + Send + Sync + 'static {
    fn to_f32(self) -> f32;
    /// `y[r * t + i] = Σ_j w[r * k + j] · x[i * k + j]` for every row and token.
    fn multiply(w: &[Self], x: &[f32], y: &mut [f32], k: usize, t: usize);
}

fn check(w: usize, x: usize, y: usize, k: usize, t: usize) {
    assert!(
        k > 0 && t > 0 && w.is_multiple_of(k) && x == t * k && y == (w / k) * t,
        "kernel shapes: w {w}, x {x}, y {y}, k {k}, t {t}"
    );
}

macro_rules! weight {
    ($type:ty, $to:expr, $avx2:ident) => {
        impl Weight for $type {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                $to(self)
            }
            fn multiply(w: &[Self], x: &[f32], y: &mut [f32], k: usize, t: usize) {
                check(w.len(), x.len(), y.len(), k, t);
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features are there and `check` proved the slice lengths.
                    unsafe { avx2::$avx2(w, x, y, k, t) };
                    return;
                }
                scalar::multiply(w, x, y, k, t);
            }
        }
    };
}

weight!(f32, std::convert::identity, multiply_f32);
weight!(bf16, bf16::to_f32, multiply_bf16);

/// `out[d] = Σ_j p[j] · v[j * n + d]`, added in the order of `j`: `[n]`.
pub(super) fn weighted_sum(p: &[f32], v: &[f32], out: &mut [f32]) {
    assert!(
        v.len() == p.len() * out.len(),
        "weighted sum: {} {}",
        v.len(),
        p.len()
    );
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features are there and the lengths were just checked.
        unsafe { avx2::weighted_sum(p, v, out) };
        return;
    }
    scalar::weighted_sum(p, v, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..n)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 40) as f32 / 8_388_608.0) - 1.0
            })
            .collect()
    }

    proptest! {
        #[test]
        fn f32_kernel_equals_the_oracle_bitwise(
            n in 1usize..23, k in 1usize..150, t in 1usize..12, seed in any::<u64>()
        ) {
            let (w, x) = (values(n * k, seed), values(t * k, !seed));
            let (mut y, mut oracle) = (vec![0.0; n * t], vec![0.0; n * t]);
            f32::multiply(&w, &x, &mut y, k, t);
            scalar::multiply(&w, &x, &mut oracle, k, t);
            prop_assert_eq!(y, oracle);
        }

        #[test]
        fn bf16_kernel_equals_the_oracle_bitwise(
            n in 1usize..23, k in 1usize..150, t in 1usize..12, seed in any::<u64>()
        ) {
            let w: Vec<bf16> = values(n * k, seed).into_iter().map(bf16::from_f32).collect();
            let x = values(t * k, !seed);
            let (mut y, mut oracle) = (vec![0.0; n * t], vec![0.0; n * t]);
            bf16::multiply(&w, &x, &mut y, k, t);
            scalar::multiply(&w, &x, &mut oracle, k, t);
            prop_assert_eq!(y, oracle);
        }

        #[test]
        fn a_product_does_not_depend_on_its_neighbours(
            n in 1usize..9, k in 1usize..100, t in 2usize..12, seed in any::<u64>()
        ) {
            let (w, x) = (values(n * k, seed), values(t * k, !seed));
            let mut together = vec![0.0; n * t];
            f32::multiply(&w, &x, &mut together, k, t);
            for i in 0..t {
                let mut alone = vec![0.0; n];
                f32::multiply(&w, &x[i * k..(i + 1) * k], &mut alone, k, 1);
                for r in 0..n {
                    prop_assert_eq!(alone[r].to_bits(), together[r * t + i].to_bits());
                }
            }
        }

        #[test]
        fn products_are_near_the_float64_ones(
            k in 1usize..600, seed in any::<u64>()
        ) {
            let (w, x) = (values(k, seed), values(k, !seed));
            let mut y = [0.0];
            f32::multiply(&w, &x, &mut y, k, 1);
            let exact: f64 = w.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            prop_assert!((f64::from(y[0]) - exact).abs() < 1e-4);
        }

        #[test]
        fn weighted_sum_equals_the_oracle_bitwise(
            len in 1usize..40, n in 1usize..100, seed in any::<u64>()
        ) {
            let (p, v) = (values(len, seed), values(len * n, !seed));
            let (mut out, mut oracle) = (vec![0.0; n], vec![0.0; n]);
            weighted_sum(&p, &v, &mut out);
            scalar::weighted_sum(&p, &v, &mut oracle);
            prop_assert_eq!(out, oracle);
        }
    }
}
