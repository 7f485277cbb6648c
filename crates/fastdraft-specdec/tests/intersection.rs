//! Token-level intersection: the exact law of drafting and verification together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockError, MockTarget, Table};
use fastdraft_specdec::{
    Distribution, Draft, DraftModel, Proposal, Rule, Sampler, SessionConfig, TokenId,
    TokenIntersection, Transform, Uniform, generate, generate_plain, verify,
};

const OWN: TokenId = 5;
const TARGET: TokenId = 4;

/// A model of five tokens of its own that checks how it is called.
#[derive(Clone)]
struct Foreign {
    table: Table,
    cached: Vec<TokenId>,
}

impl DraftModel for Foreign {
    type Error = MockError;
    fn logits(&mut self, context: &[TokenId], out: &mut Vec<f32>) -> Result<(), MockError> {
        assert!(context.starts_with(&self.cached));
        self.cached = context.to_vec();
        out.clear();
        out.extend((0..OWN).map(|t| self.table.logit(context, t)));
        Ok(())
    }
    fn truncate(&mut self, len: usize) -> Result<(), MockError> {
        self.cached.truncate(len);
        Ok(())
    }
}

/// Target tokens 3, 0 and 2 are the model's 0, 2 and 4; target token 1 is its 1 and 3 in sequence.
fn draft(seed: u64) -> TokenIntersection<Foreign> {
    let model = Foreign {
        table: Table::new(OWN as usize, 2, seed),
        cached: vec![],
    };
    let translation = vec![vec![2], vec![1, 3], vec![4], vec![0]];
    TokenIntersection::new(model, vec![(0, 3), (2, 0), (4, 2)], translation)
}

struct Script<'a> {
    numbers: &'a [f64],
    filler: f64,
    used: usize,
}

impl Uniform for Script<'_> {
    fn uniform(&mut self) -> f64 {
        let number = self.numbers.get(self.used).copied();
        self.used += 1;
        number.unwrap_or(self.filler)
    }
}

type Outcome = (Vec<TokenId>, Vec<TokenId>, usize);

/// Drafts `gamma` tokens and verifies them: the block, the proposal, random numbers used.
fn step(gamma: usize, t: &Transform, numbers: &[f64], filler: f64) -> Outcome {
    let mut script = Script {
        numbers,
        filler,
        used: 0,
    };
    let mut proposal = Proposal::new();
    let mut sampler = Sampler::new(t, &mut script);
    draft(3)
        .propose(&[1], gamma, &mut sampler, &mut proposal)
        .unwrap();
    let mut history = vec![1];
    let mut rows = vec![p(t, &history)];
    for &token in proposal.tokens() {
        history.push(token);
        rows.push(p(t, &history));
    }
    let verdict = verify(Rule::Rejection, &proposal, &rows, &mut script).unwrap();
    let mut block = proposal.tokens()[..verdict.accepted].to_vec();
    block.push(verdict.next);
    (block, proposal.tokens().to_vec(), script.used)
}

fn p(t: &Transform, history: &[TokenId]) -> Distribution {
    let table = Table::new(TARGET as usize, 2, 9);
    let logits: Vec<f32> = (0..TARGET).map(|x| table.logit(history, x)).collect();
    let mut out = Distribution::new();
    t.apply(&logits, history, &mut out).unwrap();
    out
}

fn explore(
    run: &dyn Fn(&[f64], f64) -> Outcome,
    numbers: &[f64],
    weight: f64,
    law: &mut BTreeMap<Vec<TokenId>, f64>,
) {
    let (block, _, used) = run(numbers, 0.5);
    if used <= numbers.len() {
        *law.entry(block).or_default() += weight;
        return;
    }
    let with = |u: f64| numbers.iter().copied().chain([u]).collect::<Vec<f64>>();
    let kind = |u: f64| [0.003, 0.41, 0.77, 0.996].map(|filler| run(&with(u), filler));
    let mut start = 0.0;
    while start < 1.0 {
        let here = kind(start);
        let mut end = 1.0;
        if kind(1.0 - f64::EPSILON / 2.0) != here {
            let mut low = start;
            while end - low > f64::EPSILON * 0.5 * low.max(1e-4) {
                let middle = low + (end - low) / 2.0;
                if middle <= low || middle >= end {
                    break;
                }
                if kind(middle) == here {
                    low = middle
                } else {
                    end = middle
                }
            }
        }
        explore(run, &with(start), weight * (end - start), law);
        start = end;
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn law_equals_the_target() {
    let transforms = [
        Transform::temperature(0.8),
        Transform {
            top_p: Some(0.8),
            ..Transform::default()
        },
        Transform {
            presence_penalty: 0.7,
            min_p: Some(0.05),
            ..Transform::default()
        },
    ];
    for t in &transforms {
        for gamma in 1..=2 {
            let mut law = BTreeMap::new();
            explore(
                &|numbers, filler| step(gamma, t, numbers, filler),
                &[],
                1.0,
                &mut law,
            );
            let mut stack = vec![(Vec::new(), 1.0, 0.0)];
            while let Some((sequence, wanted, got)) = stack.pop() {
                if sequence.len() == gamma + 1 {
                    assert!(
                        f64::abs(wanted - got) < 1e-12,
                        "{sequence:?}: {wanted} {got}"
                    );
                    continue;
                }
                let history: Vec<_> = [1].into_iter().chain(sequence.iter().copied()).collect();
                let p = p(t, &history);
                for token in 0..TARGET {
                    let mut longer: Vec<TokenId> = sequence.clone();
                    longer.push(token);
                    let ended = law.get(&longer).copied().unwrap_or(0.0);
                    let share = p.probability(token);
                    stack.push((longer, wanted * share, got * share + ended));
                }
            }
        }
    }
}

#[test]
fn greedy_output_is_the_targets() {
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        let table = Table::new(TARGET as usize, 2, seed);
        let config = SessionConfig {
            transform: Transform::greedy(),
            max_new_tokens: if cfg!(miri) { 6 } else { 64 },
            ..SessionConfig::default()
        };
        let mut target = MockTarget::new(table);
        let plain =
            generate_plain(&mut target, &[1], &config, |_| ControlFlow::Continue(())).unwrap();
        let mut draft = draft(seed);
        let got = generate(&mut draft, &mut target, &[1], &config, |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(got.tokens, plain.tokens);
    }
}
