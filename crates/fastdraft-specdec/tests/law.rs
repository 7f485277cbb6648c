//! The law of the output of rejection sampling equals the target's, by exhaustive enumeration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    Distribution, Proposal, Rule, SessionConfig, TokenId, Transform, Uniform, Verdict, generate,
    verify,
};

struct Script<'a> {
    numbers: &'a [f64],
    used: usize,
}

impl Uniform for Script<'_> {
    fn uniform(&mut self) -> f64 {
        let number = self.numbers.get(self.used).copied().unwrap_or(0.5);
        self.used += 1;
        number
    }
}

fn judge(
    rule: Rule,
    proposal: &Proposal,
    rows: &[Distribution],
    numbers: &[f64],
) -> (Verdict, usize) {
    let mut script = Script { numbers, used: 0 };
    let verdict = verify(rule, proposal, rows, &mut script).unwrap();
    (verdict, script.used)
}

/// Splits `[0, 1)` where `kind` changes, by bisection, into (a number inside, length).
fn pieces(kind: &impl Fn(f64) -> (usize, usize, TokenId)) -> Vec<(f64, f64)> {
    let last = 1.0 - f64::EPSILON / 2.0;
    let mut result = Vec::new();
    let mut start = 0.0;
    while start < 1.0 {
        let here = kind(start);
        let (mut low, mut high) = (start, 1.0);
        if kind(last) != here {
            // Verdicts are ordered along u, so the first change is where `here` ends.
            while high - low > f64::EPSILON * 0.5 * low.max(1e-4) {
                let middle = low + (high - low) / 2.0;
                if middle <= low || middle >= high {
                    break;
                }
                if kind(middle) == here {
                    low = middle;
                } else {
                    high = middle;
                }
            }
        }
        result.push((start, high - start));
        start = high;
    }
    result
}

/// Every verdict of `verify` with its probability, found by driving its random numbers.
fn outcomes(
    rule: Rule,
    proposal: &Proposal,
    rows: &[Distribution],
    numbers: &mut Vec<f64>,
    weight: f64,
    found: &mut impl FnMut(Verdict, f64),
) {
    let (verdict, used) = judge(rule, proposal, rows, numbers);
    if used <= numbers.len() {
        return found(verdict, weight);
    }
    let depth = numbers.len();
    let kind = |u: f64| {
        let mut tried = numbers.clone();
        tried.push(u);
        let (verdict, used) = judge(rule, proposal, rows, &tried);
        // While more numbers follow, only whether this one accepted matters.
        if used > depth + 1 {
            (
                verdict.accepted.min(depth),
                verdict.accepted.min(depth + 1),
                0,
            )
        } else {
            (verdict.accepted, usize::MAX, verdict.next)
        }
    };
    for (u, length) in pieces(&kind) {
        numbers.push(u);
        outcomes(rule, proposal, rows, numbers, weight * length, found);
        numbers.pop();
    }
}

struct Pair<'a> {
    rule: Rule,
    target: &'a Table,
    draft: &'a Table,
    kept: &'a [TokenId],
    size: TokenId,
    transform: &'a Transform,
}

impl Pair<'_> {
    fn p(&self, history: &[TokenId]) -> Distribution {
        let logits: Vec<f32> = (0..self.size)
            .map(|t| self.target.logit(history, t))
            .collect();
        let mut out = Distribution::new();
        self.transform.apply(&logits, history, &mut out).unwrap();
        out
    }

    fn q(&self, history: &[TokenId]) -> Option<Distribution> {
        let logits: Vec<f32> = self
            .kept
            .iter()
            .map(|&t| self.draft.logit(history, t))
            .collect();
        let mut out = Distribution::new();
        self.transform
            .apply_subset(&logits, self.kept, history, &mut out)
            .ok()?;
        Some(out)
    }

    /// Visits every proposal of up to `left` more tokens with its probability.
    fn proposals(
        &self,
        history: &mut Vec<TokenId>,
        drafted: &mut Proposal,
        left: usize,
        weight: f64,
        visit: &mut dyn FnMut(&Proposal, f64),
    ) {
        let q = if left == 0 { None } else { self.q(history) };
        let Some(q) = q else {
            return visit(drafted, weight);
        };
        for (token, probability) in q.iter() {
            let mut longer = drafted.clone();
            longer.push(token, &q);
            history.push(token);
            self.proposals(history, &mut longer, left - 1, weight * probability, visit);
            history.pop();
        }
    }

    /// Largest deviation of the law of the first `gamma + 1` tokens from the target's.
    fn deviation(&self, prompt: &[TokenId], gamma: usize) -> f64 {
        let mut law: BTreeMap<Vec<TokenId>, f64> = BTreeMap::new();
        let mut history = prompt.to_vec();
        self.proposals(
            &mut history,
            &mut Proposal::new(),
            gamma,
            1.0,
            &mut |proposal, weight| {
                let mut seen = prompt.to_vec();
                let mut rows = vec![self.p(&seen)];
                for &token in proposal.tokens() {
                    seen.push(token);
                    rows.push(self.p(&seen));
                }
                outcomes(
                    self.rule,
                    proposal,
                    &rows,
                    &mut Vec::new(),
                    weight,
                    &mut |verdict, w| {
                        let mut tokens = proposal.tokens()[..verdict.accepted].to_vec();
                        tokens.push(verdict.next);
                        *law.entry(tokens).or_default() += w;
                    },
                );
            },
        );
        let mut worst = (law.values().sum::<f64>() - 1.0).abs();
        let mut sequence = Vec::new();
        self.compare(prompt, &mut sequence, gamma + 1, 1.0, 0.0, &law, &mut worst);
        worst
    }

    /// Extends `sequence`, whose mass under the target is `wanted` and from blocks that ended is `got`.
    #[allow(clippy::too_many_arguments)]
    fn compare(
        &self,
        prompt: &[TokenId],
        sequence: &mut Vec<TokenId>,
        left: usize,
        wanted: f64,
        got: f64,
        law: &BTreeMap<Vec<TokenId>, f64>,
        worst: &mut f64,
    ) {
        if left == 0 {
            *worst = worst.max((wanted - got).abs());
            return;
        }
        let mut history = prompt.to_vec();
        history.extend_from_slice(sequence);
        let p = self.p(&history);
        for token in 0..self.size {
            let probability = p.probability(token);
            sequence.push(token);
            let ended = law.get(sequence).copied().unwrap_or(0.0);
            self.compare(
                prompt,
                sequence,
                left - 1,
                wanted * probability,
                got * probability + ended,
                law,
                worst,
            );
            sequence.pop();
        }
    }
}

fn transforms() -> Vec<Transform> {
    let base = Transform::temperature(0.8);
    vec![
        Transform {
            repetition_penalty: 1.3,
            frequency_penalty: 0.9,
            logit_bias: vec![(2, 1.0)],
            ..Transform::greedy()
        },
        Transform {
            allowed: Some(vec![1, 0]),
            top_p: Some(0.5),
            ..Transform::greedy()
        },
        Transform::default(),
        Transform::greedy(),
        Transform::temperature(0.3),
        Transform {
            top_k: Some(2),
            ..base.clone()
        },
        Transform {
            top_p: Some(0.8),
            ..base.clone()
        },
        Transform {
            min_p: Some(0.2),
            ..base.clone()
        },
        Transform {
            repetition_penalty: 1.3,
            presence_penalty: 0.4,
            frequency_penalty: 0.2,
            ..base.clone()
        },
        Transform {
            logit_bias: vec![(1, 1.5), (0, f32::NEG_INFINITY)],
            ..base.clone()
        },
        Transform {
            allowed: Some(vec![2, 1]),
            ..base.clone()
        },
        Transform {
            top_k: Some(3),
            top_p: Some(0.95),
            min_p: Some(0.05),
            presence_penalty: 0.5,
            ..base
        },
    ]
}

fn check(size: TokenId, gamma: usize, kept: &[TokenId], seed: u64, transform: &Transform) {
    let target = Table::new(size as usize, 2, seed);
    let draft = target.clone().with_noise(seed + 1, 3.0);
    // At temperature 0 both rules are lossless, else rejection alone.
    let rules = [Rule::Rejection, Rule::Greedy];
    for rule in rules
        .into_iter()
        .take(1 + usize::from(transform.is_greedy()))
    {
        let pair = Pair {
            rule,
            target: &target,
            draft: &draft,
            kept,
            size,
            transform,
        };
        let deviation = pair.deviation(&[1], gamma);
        assert!(
            deviation < 1e-12,
            "V = {size}, gamma = {gamma}, kept {kept:?}, {rule:?}, {transform:?}: off by {deviation:e}"
        );
    }
}

#[test]
fn law_equals_the_target_for_every_transform() {
    for (seed, transform) in transforms().iter().enumerate() {
        for size in 2..=4 {
            let all: Vec<TokenId> = (0..size).collect();
            for gamma in 1..=2 {
                check(size, gamma, &all, seed as u64, transform);
            }
        }
        check(3, 3, &[0, 1, 2], seed as u64, transform);
    }
}

#[test]
fn law_equals_the_target_at_the_largest_size() {
    check(4, 4, &[0, 1, 2, 3], 5, &Transform::temperature(0.7));
    check(
        4,
        4,
        &[3, 1],
        6,
        &Transform {
            top_p: Some(0.9),
            ..Transform::default()
        },
    );
}

#[test]
fn law_equals_the_target_for_trimmed_drafts() {
    for (seed, transform) in transforms().iter().enumerate() {
        for kept in [&[0][..], &[3, 1], &[1, 2, 3]] {
            for gamma in 1..=3 {
                check(4, gamma, kept, 40 + seed as u64, transform);
            }
        }
    }
}

/// A generation's law through the whole loop, against plain sampling of the same target.
#[test]
fn sampled_generations_follow_the_target() {
    let (size, runs) = (4usize, 20_000u64);
    let table = Table::new(size, 2, 5);
    let mut drafted = MockDraft::trimmed(table.clone().with_noise(6, 2.0), vec![0, 2, 3]);
    let mut scored = MockTarget::new(table.clone());
    let mut counts = vec![0u64; size.pow(3)];
    for seed in 0..runs {
        let config = SessionConfig {
            max_new_tokens: 3,
            seed,
            ..SessionConfig::default()
        };
        let got = generate(&mut drafted, &mut scored, &[1], &config, |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let index = got.tokens.iter().fold(0, |i, &t| i * size + t as usize);
        counts[index] += 1;
    }
    let mut statistic = 0.0;
    for (index, &count) in counts.iter().enumerate() {
        let tokens = [index / 16 % 4, index / 4 % 4, index % 4].map(|t| t as TokenId);
        let mut context = vec![1];
        let mut probability = 1.0;
        for token in tokens {
            let logits: Vec<f32> = (0..4).map(|t| table.logit(&context, t)).collect();
            let mut p = Distribution::new();
            Transform::default()
                .apply(&logits, &context, &mut p)
                .unwrap();
            probability *= p.probability(token);
            context.push(token);
        }
        let expected = probability * runs as f64;
        statistic += (count as f64 - expected).powi(2) / expected.max(1.0);
    }
    // The 99.9 % quantile of chi-square with 63 degrees is 103.4; rare cells only lower it.
    assert!(statistic < 103.4, "{statistic}");
}
