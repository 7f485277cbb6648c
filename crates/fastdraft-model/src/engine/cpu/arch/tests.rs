//! Every kernel against the oracle, bit for bit, on odd shapes.

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

/// `[t, k]` with zeros up to the packed width.
fn padded(x: &[f32], k: usize, width: usize) -> Vec<f32> {
    x.chunks_exact(k)
        .flat_map(|row| {
            row.iter()
                .copied()
                .chain(std::iter::repeat_n(0.0, width - k))
        })
        .collect()
}

fn against_oracle<W: Weight>(n: usize, k: usize, t: usize, seed: u64) {
    let packed = Packed::<W>::new(&values(n * k, seed), k);
    let x = padded(&values(t * k, !seed), k, packed.padded_columns());
    let (mut y, mut oracle) = (vec![0.0; n * t], vec![0.0; n * t]);
    W::multiply(&packed, 0..packed.groups(), &x, &mut y, t);
    scalar::multiply_packed(&packed, 0..packed.groups(), &x, &mut oracle, t);
    assert_eq!(y, oracle);
    // A part of the groups gives that part of the product.
    let half = packed.groups() / 2;
    let rows = (half * packed::GROUP).min(n);
    let mut tail = vec![0.0; (n - rows) * t];
    W::multiply(&packed, half..packed.groups(), &x, &mut tail, t);
    assert_eq!(tail, oracle[rows * t..]);
    // A token alone gives the same bits as among others.
    let width = packed.padded_columns();
    for i in 0..t {
        let mut alone = vec![0.0; n];
        W::multiply(
            &packed,
            0..packed.groups(),
            &x[i * width..(i + 1) * width],
            &mut alone,
            1,
        );
        for r in 0..n {
            assert_eq!(alone[r].to_bits(), y[r * t + i].to_bits());
        }
    }
}

proptest! {
    #[test]
    fn f32_kernel_equals_the_oracle(
        n in 1usize..23, k in 1usize..150, t in 1usize..12, seed in any::<u64>()
    ) {
        against_oracle::<f32>(n, k, t, seed);
    }

    #[test]
    fn bf16_kernel_equals_the_oracle(
        n in 1usize..23, k in 1usize..150, t in 1usize..12, seed in any::<u64>()
    ) {
        against_oracle::<bf16>(n, k, t, seed);
    }

    #[test]
    fn keys_times_queries_equal_the_oracle(
        n in 1usize..23, k in 1usize..150, t in 1usize..12, seed in any::<u64>()
    ) {
        let (w, x) = (values(n * k, seed), values(t * k, !seed));
        let (mut y, mut oracle) = (vec![0.0; n * t], vec![0.0; n * t]);
        dot_rows(&w, &x, &mut y, k, t);
        scalar::dot_rows(&w, &x, &mut oracle, k, t);
        prop_assert_eq!(y, oracle);
    }

    #[test]
    fn products_are_near_the_float64_ones(k in 1usize..600, seed in any::<u64>()) {
        let (w, x) = (values(k, seed), values(k, !seed));
        let packed = Packed::<f32>::new(&w, k);
        let mut y = [0.0];
        f32::multiply(&packed, 0..1, &padded(&x, k, packed.padded_columns()), &mut y, 1);
        let exact: f64 = w.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        prop_assert!((f64::from(y[0]) - exact).abs() < 1e-4);
    }

    #[test]
    fn weighted_sum_equals_the_oracle(
        len in 1usize..40, n in 1usize..100, seed in any::<u64>()
    ) {
        let (p, v) = (values(len, seed), values(len * n, !seed));
        let (mut out, mut oracle) = (vec![0.0; n], vec![0.0; n]);
        weighted_sum(&p, &v, &mut out);
        scalar::weighted_sum(&p, &v, &mut oracle);
        prop_assert_eq!(out, oracle);
    }
}
