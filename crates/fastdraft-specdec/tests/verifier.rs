//! Verification of logits gives what transforming every row first and then verifying gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastdraft_specdec::{
    Distribution, LogitRows, Proposal, Rule, SeededUniform, TokenId, Transform, Uniform, Verdict,
    Verifier, verify,
};

const RANDOM: usize = if cfg!(miri) { 2 } else { 3_000 };

/// Gives prepared numbers, over and over.
struct Script<'a>(&'a [f64], usize);

impl Uniform for Script<'_> {
    fn uniform(&mut self) -> f64 {
        self.1 += 1;
        self.0[(self.1 - 1) % self.0.len()]
    }
}

/// The verdict on one drafted token by both ways, and how many numbers they drew.
fn both(t: &Transform, q: &Distribution, token: TokenId, row: &[f32], numbers: &[f64]) -> Verdict {
    let mut proposal = Proposal::new();
    proposal.push(token, q);
    let mut rows = LogitRows::new();
    rows.reset(2, row.len()).copy_from_slice(&row.repeat(2));
    let [p, next] = [vec![0], vec![0, token]].map(|history| {
        let mut p = Distribution::new();
        t.apply(row, &history, &mut p).unwrap();
        p
    });
    let (mut a, mut b) = (Script(numbers, 0), Script(numbers, 0));
    let exact = verify(Rule::Rejection, &proposal, &[p, next], &mut a).unwrap();
    let got = Verifier::new().verify(t, &[0], &proposal, &rows, &mut b);
    assert_eq!((got, b.1), (Ok(exact), a.1), "{t:?}, token {token}");
    exact
}

/// Numbers at and around the one where `token` is no longer accepted.
fn around(p: f64, q: f64) -> impl Iterator<Item = f64> {
    let edge = (p / q).min(1.0);
    let near = [0.0, 1e-16, 1e-12, 1e-7, 1e-5, 1e-3, 0.02, 0.2, 0.9];
    let sides = near
        .into_iter()
        .flat_map(move |d| [edge * (1.0 - d), edge * (1.0 + d)]);
    sides.filter(|u| (0.0..1.0).contains(u))
}

/// Every edge of a row of `logits`, for tokens of the draft that `noise` makes of it.
fn compare(t: &Transform, logits: &[f32], noise: f32, tokens: usize, rng: &mut SeededUniform) {
    let other: Vec<f32> = logits
        .iter()
        .map(|v| v + noise * rng.uniform() as f32)
        .collect();
    let (mut p, mut q) = (Distribution::new(), Distribution::new());
    t.apply(logits, &[0], &mut p).unwrap();
    t.apply(&other, &[0], &mut q).unwrap();
    for _ in 0..tokens {
        let Some(token) = q.sample(rng.uniform()) else {
            continue;
        };
        for u in around(p.probability(token), q.probability(token)) {
            both(t, &q, token, logits, &[u, 0.3]);
        }
    }
    // The last token that top-p keeps and the first it does not are the hard ones.
    let lightest = p.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    let limit = logits[lightest as usize];
    let outside = (0..)
        .zip(logits)
        .filter(|e| *e.1 <= limit && p.probability(e.0) == 0.0);
    let next = outside.max_by(|a, b| a.1.total_cmp(b.1)).map(|e| e.0);
    for token in [lightest].into_iter().chain(next) {
        for u in [0.0, 1e-9, 0.5, 0.999] {
            both(t, &Distribution::one_hot(token), token, logits, &[u, 0.6]);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn long_rows_give_the_exact_verdict() {
    for seed in 0..24u64 {
        let mut rng = SeededUniform::new(seed);
        let size = 5_000 + 491 * seed as usize;
        let power = [1, 2, 6][seed as usize % 3];
        let mut row: Vec<f32> = (0..size)
            .map(|_| {
                (20.0 * rng.uniform().powi(power) + [0.0, -70.0, 60.0][seed as usize % 3]) as f32
            })
            .collect();
        row[7] = f32::NEG_INFINITY;
        for top_p in [Some(0.95), Some(0.5), None] {
            let t = Transform {
                top_p,
                ..Transform::temperature(0.6)
            };
            compare(&t, &row, 1.5, 4, &mut rng);
        }
    }
}

#[test]
fn rows_of_any_kind_give_the_exact_verdict() {
    let mut rng = SeededUniform::new(9);
    for index in 0..RANDOM {
        let mut small = |below: usize| (rng.next_u64() % below as u64) as usize;
        let (size, coarse, spread) = (
            1 + small(200),
            small(3) == 0,
            [0.0, 1e-7, 1.0, 9.0, 90.0][small(5)],
        );
        let temperature = [0.05, 0.6, 1.0, 30.0, 1e6, 1e12][small(6)];
        let t = Transform {
            top_p: [None, Some(0.3), Some(0.9), Some(0.999), Some(1.0)][small(5)],
            min_p: [None, None, Some(0.1), Some(1.0)][small(4)],
            top_k: [None, None, None, Some(3)][small(4)],
            presence_penalty: [0.0, 0.0, 0.0, 0.5][small(4)],
            ..Transform::temperature(temperature)
        };
        let mut logit = || {
            let v = (rng.uniform() as f32 - 0.5) * spread;
            // Steps make ties common.
            if coarse { (v * 4.0).round() / 4.0 } else { v }
        };
        let mut row: Vec<f32> = (0..size).map(|_| logit()).collect();
        if index % 7 == 0 {
            row[size / 2] = f32::NEG_INFINITY;
            row[0] = 0.0;
        }
        compare(&t, &row, spread * 0.1, 2, &mut rng);
    }
}

#[test]
fn unusable_rows_are_errors_whatever_the_chance() {
    let t = Transform::temperature(0.6);
    let mut rng = SeededUniform::new(1);
    for bad in [f32::NAN, f32::INFINITY] {
        for place in [1, 700, 1023, 1024, 1999] {
            let mut row = vec![0.5f32; 2_000];
            row[place] = bad;
            row[9] = f32::NEG_INFINITY;
            let mut proposal = Proposal::new();
            // Almost never drafted, so that it would be accepted almost surely.
            let q = Distribution::from_parts(vec![0, 1], vec![1e-9, 1.0 - 1e-9]).unwrap();
            proposal.push(0, &q);
            let mut rows = LogitRows::new();
            rows.reset(2, row.len()).copy_from_slice(&row.repeat(2));
            let got = Verifier::new().verify(&t, &[0], &proposal, &rows, &mut rng);
            assert!(got.is_err(), "{bad} at {place}");
        }
    }
}
