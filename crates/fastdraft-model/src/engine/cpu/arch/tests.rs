//! Every kernel against the oracle, bit for bit, on odd shapes.

use half::f16;
use proptest::prelude::*;

use super::{arena::Arena, *};

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

/// Some rows, and the product of every kernel that this machine has: `multiply(isa, groups, tokens,
/// y)` must be the oracle's, for a part of the groups that part of it, and for a token alone what
/// it is among others.
fn against_oracle(
    rows: usize,
    group: usize,
    t: usize,
    multiply: impl Fn(Isa, Range<usize>, Range<usize>, &mut [f32]),
) -> Vec<f32> {
    let groups = rows.div_ceil(group);
    let mut oracle = vec![0.0; rows * t];
    multiply(Isa::Scalar, 0..groups, 0..t, &mut oracle);
    for isa in Isa::all() {
        let mut y = vec![0.0; rows * t];
        multiply(isa, 0..groups, 0..t, &mut y);
        assert_eq!(y, oracle, "{isa:?}");
        let half = groups / 2;
        let first = (half * group).min(rows);
        let mut tail = vec![0.0; (rows - first) * t];
        multiply(isa, half..groups, 0..t, &mut tail);
        for (tail, all) in tail.chunks(rows - first).zip(oracle.chunks(rows)) {
            assert_eq!(*tail, all[first..], "{isa:?}");
        }
        for i in 0..t {
            let mut alone = vec![0.0; rows];
            multiply(isa, 0..groups, i..i + 1, &mut alone);
            for (alone, among) in alone.iter().zip(&y[i * rows..]) {
                assert_eq!(alone.to_bits(), among.to_bits(), "{isa:?} {i}");
            }
        }
    }
    oracle
}

fn float_kernels<W: Weight>(n: usize, k: usize, t: usize, seed: u64) {
    let packed = Packed::<W>::new(&values(n * k, seed), k);
    let width = packed.padded_columns();
    let x = padded(&values(t * k, !seed), k, width);
    against_oracle(n, packed::GROUP, t, |isa, groups, tokens, y| {
        let t = tokens.len();
        let x = &x[tokens.start * width..tokens.end * width];
        W::multiply_on(isa, &packed, groups, x, y, t);
    });
}

/// Blocks of a GGUF file with random bits and scales of ordinary size.
fn blocks(count: usize, constants: usize, values: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, value) in self::values(count * (constants + values), seed)
        .iter()
        .enumerate()
    {
        if i % (constants + values) < constants {
            bytes.extend(f16::from_f32(value / 8.0).to_le_bytes());
        } else {
            bytes.push((value.to_bits() >> 8) as u8);
        }
    }
    bytes
}

fn int8_kernels(packed: &int8::PackedInt8, n: usize, k: usize, t: usize, seed: u64) -> Vec<f32> {
    let x = values(t * k, !seed);
    against_oracle(n, int8::GROUP, t, |isa, groups, tokens, y| {
        let mut part = int8::Activations::default();
        part.quantize(&x[tokens.start * k..tokens.end * k], k);
        packed.multiply_on(isa, groups, &part, y);
    })
}

/// The first token's products against float64 ones of the rows that the packing gives back.
fn near_the_rows(
    y: &[f32],
    n: usize,
    k: usize,
    x: &[f32],
    bound: f64,
    read: impl Fn(usize, &mut [f32]),
) {
    let mut row = vec![0.0; k];
    for (r, value) in y[..n].iter().enumerate() {
        read(r, &mut row);
        let exact: f64 = row
            .iter()
            .zip(x)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        assert!((f64::from(*value) - exact).abs() < bound, "{value} {exact}");
    }
}

fn stored<S: Stored>(n: usize, seed: u64) -> Vec<S> {
    let padded = values(n.next_multiple_of(LANES), seed);
    let eights = padded.as_chunks::<LANES>().0;
    let mut stored: Vec<S> = eights
        .iter()
        .flat_map(|eight| S::from_f32s(eight))
        .collect();
    stored.truncate(n);
    stored
}

fn score_kernels<S: Stored>(blocks: usize, dim: usize, t: usize, seed: u64) {
    let keys = stored::<S>(blocks * dim * POSITIONS, seed);
    let queries = values(t * dim, !seed);
    let mut y = vec![0.0; t * blocks * POSITIONS];
    let mut oracle = y.clone();
    scalar::scores(&keys, &queries, &mut oracle, dim);
    for isa in Isa::all() {
        S::scores_on(isa, &keys, &queries, &mut y, dim);
        assert_eq!(y, oracle, "{isa:?}");
    }
}

fn weighing_kernels<S: Stored>(n: usize, width: usize, dim: usize, t: usize, seed: u64) {
    let (weights, v) = (values(t * width, seed), stored::<S>(n * dim, !seed));
    let (mut out, mut oracle) = (vec![0.0; t * dim], vec![0.0; t * dim]);
    scalar::weigh(&weights, width, &v, &mut oracle, dim);
    for isa in Isa::all() {
        S::weigh_on(isa, &weights, width, &v, &mut out, dim);
        assert_eq!(out, oracle, "{isa:?}");
    }
}

#[test]
fn halves_are_the_nearest_and_never_infinite() {
    let values = [1.0, -0.1, 1e9, -1e9, 65_519.0, 6e-8, 0.0, 2049.0];
    let halves = f16::from_f32s(&values).map(f16::to_f32);
    let expected = [
        1.0,
        -0.099_975_586,
        65_504.0,
        -65_504.0,
        65_504.0,
        5.960_464_5e-8,
        0.0,
        2048.0,
    ];
    assert_eq!(halves, expected);
}

proptest! {
    #[test]
    fn int8_kernels_equal_the_oracle(
        n in 1usize..13, k in 1usize..300, t in 1usize..12, seed in any::<u64>()
    ) {
        let w = values(n * k, seed);
        let mut packed = int8::PackedInt8::zeros(n, k, int8::Run::Step, &Arena::default());
        packed.fill(0, &w);
        let y = int8_kernels(&packed, n, k, t, seed);
        let x = values(t * k, !seed);
        // Half a step of a weight is 1/254 of the largest in its run.
        for r in 0..n {
            let exact: f64 = (0..k).map(|j| f64::from(w[r * k + j]) * f64::from(x[j])).sum();
            let bound = k as f64 / 254.0 + 1e-3;
            prop_assert!((f64::from(y[r]) - exact).abs() < bound);
        }
    }

    #[test]
    fn eight_bit_blocks_equal_the_oracle(
        n in 1usize..13, runs in 1usize..9, t in 1usize..12, seed in any::<u64>()
    ) {
        let k = runs * 32;
        let mut packed = int8::PackedInt8::zeros(n, k, int8::Run::Block, &Arena::default());
        packed.fill_blocks(0, &blocks(n * runs, 1, 32, seed));
        let y = int8_kernels(&packed, n, k, t, seed);
        // A weight is at most 16 and half a step of a token 1/65,534.
        let bound = k as f64 / 4096.0 + 1e-3;
        near_the_rows(&y, n, k, &values(t * k, !seed), bound, |r, out| packed.read_row(r, out));
    }

    #[test]
    fn four_bit_blocks_equal_the_oracle(
        n in 1usize..28, runs in 1usize..9, t in 1usize..20, stored in any::<bool>(),
        seed in any::<u64>()
    ) {
        let k = runs * 32;
        let (minimum, constants) = if stored {
            (four_bit::Minimum::Stored, 2)
        } else {
            (four_bit::Minimum::Symmetric, 1)
        };
        let mut packed = four_bit::PackedFourBit::zeros(n, k, minimum, &Arena::default());
        packed.fill(0, &blocks(n * runs, constants, 16, seed));
        let x = values(t * k, !seed);
        let y = against_oracle(n, four_bit::GROUP, t, |isa, groups, tokens, y| {
            let mut part = four_bit::Runs::default();
            part.quantize(&x[tokens.start * k..tokens.end * k]);
            packed.multiply_on(isa, groups, &part, y);
        });
        // A weight is below 2 and half a step of a token 1/254.
        let bound = k as f64 / 127.0 + 1e-3;
        near_the_rows(&y, n, k, &x, bound, |r, out| packed.read_row(r, out));
    }

    #[test]
    fn f32_kernels_equal_the_oracle(
        n in 1usize..40, k in 1usize..300, t in 1usize..72, seed in any::<u64>()
    ) {
        float_kernels::<f32>(n, k, t, seed);
    }

    #[test]
    fn bf16_kernels_equal_the_oracle(
        n in 1usize..40, k in 1usize..300, t in 1usize..72, seed in any::<u64>()
    ) {
        float_kernels::<bf16>(n, k, t, seed);
    }

    #[test]
    fn scores_equal_the_oracle(
        blocks in 1usize..12, dim in 1usize..70, t in 1usize..12, seed in any::<u64>()
    ) {
        score_kernels::<f32>(blocks, dim, t, seed);
        score_kernels::<f16>(blocks, dim, t, seed);
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
    fn weighted_sums_equal_the_oracle(
        n in 1usize..40, spare in 0usize..16, dim in 1usize..100, t in 1usize..12,
        seed in any::<u64>()
    ) {
        let width = n + spare;
        weighing_kernels::<f32>(n, width, dim, t, seed);
        weighing_kernels::<f16>(n, width, dim, t, seed);
    }

    #[test]
    fn elementwise_kernels_equal_the_baseline(n in 1usize..100, seed in any::<u64>()) {
        let (gate, up) = (values(n, seed), values(n, !seed));
        let gate: Vec<f32> = gate.iter().map(|v| v * 30.0).collect();
        let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
        gated_silu(&gate, &up, &mut a);
        elementwise::gated_silu(&gate, &up, &mut b);
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(rms_scale(&gate, 1e-5), elementwise::rms_scale(&gate, 1e-5));
        softmax(&mut a, 2.0);
        elementwise::softmax(&mut b, 2.0);
        prop_assert_eq!(&a, &b);
        let (mut a, mut b) = (vec![0; n], vec![0; n]);
        let step = round_to_16_bits(&gate, &mut a);
        prop_assert_eq!(step, elementwise::round_to_16_bits(&gate, &mut b));
        prop_assert_eq!(a, b);
        let runs = gate.len() / 32;
        let mut a = (vec![0; runs * 32], vec![0.0; runs], vec![0.0; runs]);
        let mut b = a.clone();
        let gate = &gate[..runs * 32];
        round_to_8_bits(gate, &mut a.0, &mut a.1, &mut a.2);
        elementwise::round_to_8_bits(gate, &mut b.0, &mut b.1, &mut b.2);
        prop_assert_eq!(a, b);
    }
}
