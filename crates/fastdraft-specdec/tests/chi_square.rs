//! A chi-square test of the rejection rule over a million samples, and wrong rules that fail it.
// A million samples would take hours there.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastdraft_specdec::{Distribution, Proposal, Rule, SeededUniform, TokenId, Uniform, verify};

const SIZE: usize = 50;
const SAMPLES: usize = 1_000_000;
const GRID: f64 = 16.0;

/// Every other number lies on a grid of sixteenths, so that 0 occurs and ties p = u q are common.
struct Alternating {
    inner: SeededUniform,
    coarse: bool,
}

impl Uniform for Alternating {
    fn uniform(&mut self) -> f64 {
        self.coarse = !self.coarse;
        let u = self.inner.uniform();
        if self.coarse {
            (u * GRID).floor() / GRID
        } else {
            u
        }
    }
}

/// Uniform q, and p in sixteenths of it, so that the grid gives min(1, p/q) exactly.
fn pair() -> (Distribution, Distribution) {
    let q = 1.0 / SIZE as f64;
    let levels: Vec<usize> = (0..SIZE).map(|i| [0, 4, 8, 12, 56][i % 5]).collect();
    assert_eq!(levels.iter().sum::<usize>(), 16 * SIZE);
    let p = levels.iter().map(|&k| k as f64 * q / GRID).collect();
    (
        Distribution::dense(p).unwrap(),
        Distribution::dense(vec![q; SIZE]).unwrap(),
    )
}

/// Tail probability of the chi-square statistic of 10^6 first tokens; 0 for an impossible token.
fn p_value(
    mut step: impl FnMut(TokenId, &Distribution, &Distribution, &mut Alternating) -> TokenId,
) -> f64 {
    let (p, q) = pair();
    let mut drafting = SeededUniform::new(11);
    let mut rng = Alternating {
        inner: SeededUniform::new(12),
        coarse: false,
    };
    let mut counts = [0u64; SIZE];
    for _ in 0..SAMPLES {
        let token = (drafting.uniform() * SIZE as f64) as TokenId;
        counts[step(token, &p, &q, &mut rng) as usize] += 1;
    }
    let mut statistic = 0.0;
    let mut cells = 0;
    for (token, &count) in (0..).zip(&counts) {
        let expected = p.probability(token) * SAMPLES as f64;
        if expected > 0.0 {
            statistic += (count as f64 - expected).powi(2) / expected;
            cells += 1;
        } else if count > 0 {
            return 0.0;
        }
    }
    // Wilson and Hilferty: the cube root of chi-square over its degrees is close to normal.
    let degrees = (cells - 1) as f64;
    let spread = 2.0 / (9.0 * degrees);
    normal_tail(((statistic / degrees).cbrt() - (1.0 - spread)) / spread.sqrt())
}

fn normal_tail(z: f64) -> f64 {
    // Abramowitz and Stegun 26.2.17.
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * poly;
    if z >= 0.0 { tail } else { 1.0 - tail }
}

/// The rule written out again, to be broken in one place at a time.
fn rule(
    token: TokenId,
    p: &Distribution,
    q: &Distribution,
    rng: &mut Alternating,
    accept: impl Fn(f64, f64, f64) -> bool,
    residual: impl Fn(f64, f64) -> f64,
) -> TokenId {
    let u = rng.uniform();
    let v = rng.uniform();
    if accept(u, p.probability(token), q.probability(token)) {
        return token;
    }
    let weights: Vec<f64> = (0..SIZE as TokenId)
        .map(|t| residual(p.probability(t), q.probability(t)))
        .collect();
    let mut left = v * weights.iter().sum::<f64>();
    for (t, weight) in (0..).zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return t;
        }
    }
    SIZE as TokenId - 1
}

fn excess(p: f64, q: f64) -> f64 {
    (p - q).max(0.0)
}

#[test]
fn a_million_samples_follow_the_target() {
    let mut proposal = Proposal::new();
    let spare = Distribution::one_hot(0);
    let mut rows = [Distribution::new(), spare];
    let tail = p_value(|token, p, q, rng| {
        if rows[0].is_empty() {
            rows[0].clone_from(p);
        }
        proposal.clear();
        proposal.push(token, q);
        let verdict = verify(Rule::Rejection, &proposal, &rows, rng).unwrap();
        if verdict.accepted == 1 {
            token
        } else {
            verdict.next
        }
    });
    println!("p-value {tail}");
    assert!(tail > 1e-3, "p-value {tail}");
}

#[test]
fn the_rule_written_out_again_passes() {
    let tail = p_value(|t, p, q, rng| rule(t, p, q, rng, |u, p, q| u * q < p, excess));
    println!("p-value {tail}");
    assert!(tail > 1e-3, "p-value {tail}");
}

#[test]
fn accepting_by_the_inverse_ratio_fails() {
    let tail = p_value(|t, p, q, rng| rule(t, p, q, rng, |u, p, q| u * p < q, excess));
    println!("p-value {tail}");
    assert!(tail < 1e-9, "p-value {tail}");
}

#[test]
fn a_residual_without_the_draft_elsewhere_fails() {
    // The rejected token alone is ruled out, instead of max(p − q, 0).
    let tail = p_value(|t, p, q, rng| {
        let mut index = 0;
        let residual = std::cell::RefCell::new(&mut index);
        rule(
            t,
            p,
            q,
            rng,
            |u, p, q| u * q < p,
            |p, _| {
                let mut at = residual.borrow_mut();
                **at += 1;
                if **at - 1 == t { 0.0 } else { p }
            },
        )
    });
    println!("p-value {tail}");
    assert!(tail < 1e-9, "p-value {tail}");
}

#[test]
fn accepting_at_equality_fails() {
    let tail = p_value(|t, p, q, rng| rule(t, p, q, rng, |u, p, q| u * q <= p, excess));
    println!("p-value {tail}");
    assert!(tail < 1e-9, "p-value {tail}");
}

#[test]
fn accepting_by_another_distribution_fails() {
    let tail = p_value(|t, p, q, rng| rule(t, p, q, rng, |u, p, q| u * 0.8 * q < p, excess));
    println!("p-value {tail}");
    assert!(tail < 1e-9, "p-value {tail}");
}

#[test]
fn leaving_out_the_residual_fails() {
    let tail = p_value(|t, p, q, rng| rule(t, p, q, rng, |u, p, q| u * q < p, |p, _| p));
    println!("p-value {tail}");
    assert!(tail < 1e-9, "p-value {tail}");
}
