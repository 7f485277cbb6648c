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
    fn int8_kernel_equals_the_oracle(
        n in 1usize..13, k in 1usize..300, t in 1usize..12, seed in any::<u64>()
    ) {
        let w = values(n * k, seed);
        let packed = int8::PackedInt8::new(&w, k);
        let x = values(t * k, !seed);
        let mut tokens = int8::Activations::default();
        tokens.quantize(&x, k);
        let (mut y, mut oracle) = (vec![0.0; n * t], vec![0.0; n * t]);
        packed.multiply(0..packed.groups(), &tokens, &mut y);
        packed.multiply_scalar(0..packed.groups(), &tokens, &mut oracle);
        prop_assert_eq!(&y, &oracle);
        let half = packed.groups() / 2;
        let rows = half * int8::GROUP;
        let mut tail = vec![0.0; (n - rows) * t];
        packed.multiply(half..packed.groups(), &tokens, &mut tail);
        prop_assert_eq!(&tail, &oracle[rows * t..]);
        for i in 0..t {
            let mut token = int8::Activations::default();
            token.quantize(&x[i * k..(i + 1) * k], k);
            let mut alone = vec![0.0; n];
            packed.multiply(0..packed.groups(), &token, &mut alone);
            for r in 0..n {
                prop_assert_eq!(alone[r].to_bits(), y[r * t + i].to_bits());
            }
        }
        // Half a step of a weight is 1/254 of the largest in its run.
        for r in 0..n {
            let exact: f64 = (0..k).map(|j| f64::from(w[r * k + j]) * f64::from(x[j])).sum();
            let bound = k as f64 / 254.0 + 1e-3;
            prop_assert!((f64::from(y[r * t]) - exact).abs() < bound);
        }
    }

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

    #[test]
    fn elementwise_kernels_equal_the_baseline(n in 1usize..100, seed in any::<u64>()) {
        let (gate, up) = (values(n, seed), values(n, !seed));
        let gate: Vec<f32> = gate.iter().map(|v| v * 30.0).collect();
        let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
        gated_silu(&gate, &up, &mut a);
        elementwise::gated_silu(&gate, &up, &mut b);
        prop_assert_eq!(&a, &b);
        exp_minus(&mut a, 2.0);
        elementwise::exp_minus(&mut b, 2.0);
        prop_assert_eq!(&a, &b);
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        let step = round_to_16_bits(&gate, &mut a);
        prop_assert_eq!(step, elementwise::round_to_16_bits(&gate, &mut b));
        prop_assert_eq!(a, b);
    }
}
