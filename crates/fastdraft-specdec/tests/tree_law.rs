//! Trees: the law of the output by exhaustive enumeration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use fastdraft_specdec::mock::Table;
use fastdraft_specdec::tree::{TreeProposal, verify_tree};
use fastdraft_specdec::{Distribution, Rule, TokenId, Transform, TransformError, Uniform};

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

type Outcome = (Vec<TokenId>, usize);

fn judge(
    rule: Rule,
    tree: &TreeProposal,
    rows: &[Distribution],
    numbers: &[f64],
    filler: f64,
) -> Outcome {
    let mut script = Script {
        numbers,
        filler,
        used: 0,
    };
    let verdict = verify_tree(rule, tree, rows, &mut script).unwrap();
    let mut tokens: Vec<TokenId> = verdict.path.iter().map(|&n| tree.tokens()[n]).collect();
    tokens.push(verdict.next);
    (tokens, script.used)
}

/// Every outcome with its probability: splits each random number where what follows it changes.
fn outcomes(
    rule: Rule,
    tree: &TreeProposal,
    rows: &[Distribution],
    numbers: &[f64],
    weight: f64,
    found: &mut impl FnMut(&[TokenId], f64),
) {
    let (tokens, used) = judge(rule, tree, rows, numbers, 0.5);
    if used <= numbers.len() {
        return found(&tokens, weight);
    }
    let kind = |u: f64| {
        let mut tried = numbers.to_vec();
        tried.push(u);
        [0.003, 0.41, 0.77, 0.996].map(|filler| judge(rule, tree, rows, &tried, filler))
    };
    let last = 1.0 - f64::EPSILON / 2.0;
    let mut start = 0.0;
    while start < 1.0 {
        let here = kind(start);
        let mut end = 1.0;
        if kind(last) != here {
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
        let longer: Vec<f64> = numbers.iter().copied().chain([start]).collect();
        outcomes(rule, tree, rows, &longer, weight * (end - start), found);
        start = end;
    }
}

fn distribution(table: &Table, size: TokenId, t: &Transform, history: &[TokenId]) -> Distribution {
    let logits: Vec<f32> = (0..size).map(|token| table.logit(history, token)).collect();
    let mut out = Distribution::new();
    t.apply(&logits, history, &mut out).unwrap();
    out
}

fn without(q: &Distribution, token: TokenId) -> Option<Distribution> {
    let kept: Vec<_> = q.iter().filter(|e| e.0 != token).collect();
    let total: f64 = kept.iter().map(|e| e.1).sum();
    let (tokens, weights) = kept.into_iter().map(|(t, p)| (t, p / total)).unzip();
    (total > 0.0).then(|| Distribution::from_parts(tokens, weights).unwrap())
}

struct Case {
    rule: Rule,
    /// The tokens that the draft knows.
    kept: Vec<TokenId>,
    size: TokenId,
    target: Table,
    draft: Table,
    transform: Transform,
    prompt: Vec<TokenId>,
    depth: usize,
}

impl Case {
    fn history(&self, tree: &TreeProposal, node: Option<usize>) -> Vec<TokenId> {
        let mut path: Vec<_> = node.into_iter().flat_map(|n| tree.ancestry(n)).collect();
        path.reverse();
        let drafted = path.iter().map(|&n| tree.tokens()[n]);
        self.prompt.iter().copied().chain(drafted).collect()
    }

    /// Visits every tree of two children without replacement below each of `open`.
    fn trees(
        &self,
        tree: &TreeProposal,
        mut open: Vec<(Option<usize>, usize)>,
        weight: f64,
        visit: &mut dyn FnMut(&TreeProposal, f64),
    ) {
        let Some((parent, depth)) = open.pop() else {
            return visit(tree, weight);
        };
        let history = self.history(tree, parent);
        let logits = self.kept.iter().map(|&t| self.draft.logit(&history, t));
        let logits: Vec<f32> = logits.collect();
        let mut q = Distribution::new();
        let applied = self
            .transform
            .apply_subset(&logits, &self.kept, &history, &mut q);
        if applied == Err(TransformError::NoSupport) {
            return self.trees(tree, open, weight, visit);
        }
        applied.unwrap();
        for (first, p) in q.iter() {
            let rest = without(&q, first);
            let seconds: Vec<Option<(TokenId, f64)>> = match &rest {
                Some(rest) => rest.iter().map(Some).collect(),
                None => vec![None],
            };
            for second in seconds {
                let mut grown = tree.clone();
                let mut open = open.clone();
                let mut weight = weight * p;
                let mut add = |token, q: &Distribution| {
                    let node = grown.push(parent, token, q).unwrap();
                    if depth + 1 < self.depth {
                        open.push((Some(node), depth + 1));
                    }
                };
                add(first, &q);
                if let (Some((token, p)), Some(rest)) = (second, &rest) {
                    add(token, rest);
                    weight *= p;
                }
                self.trees(&grown, open, weight, visit);
            }
        }
    }

    fn add(&self, tree: &TreeProposal, weight: f64, law: &mut BTreeMap<Vec<TokenId>, f64>) {
        let nodes = [None].into_iter().chain((0..tree.len()).map(Some));
        let rows: Vec<_> = nodes
            .map(|n| {
                distribution(
                    &self.target,
                    self.size,
                    &self.transform,
                    &self.history(tree, n),
                )
            })
            .collect();
        outcomes(self.rule, tree, &rows, &[], weight, &mut |tokens, w| {
            *law.entry(tokens.to_vec()).or_default() += w;
        });
    }

    /// Largest deviation of blocks completed by the target from the target's own law.
    fn deviation(&self, law: &BTreeMap<Vec<TokenId>, f64>) -> f64 {
        let mut worst = (law.values().sum::<f64>() - 1.0).abs();
        let mut stack = vec![(Vec::new(), 1.0, 0.0)];
        while let Some((sequence, wanted, got)) = stack.pop() {
            if sequence.len() == self.depth + 1 {
                worst = worst.max(f64::abs(wanted - got));
                continue;
            }
            let history: Vec<_> = self.prompt.iter().chain(&sequence).copied().collect();
            let p = distribution(&self.target, self.size, &self.transform, &history);
            for token in 0..self.size {
                let mut longer = sequence.clone();
                longer.push(token);
                let ended = law.get(&longer).copied().unwrap_or(0.0);
                let share = p.probability(token);
                stack.push((longer, wanted * share, got * share + ended));
            }
        }
        worst
    }
}

fn case(size: TokenId, depth: usize, seed: u64, transform: Transform) -> Case {
    let target = Table::new(size as usize, 2, seed);
    Case {
        rule: Rule::Rejection,
        kept: (0..size).collect(),
        size,
        draft: target.clone().with_noise(seed + 1, 3.0),
        target,
        transform,
        prompt: vec![1],
        depth,
    }
}

/// Every tree of two different children per node that the draft can propose.
fn check(case: &Case) {
    let mut law = BTreeMap::new();
    let open = vec![(None, 0)];
    case.trees(&TreeProposal::new(), open, 1.0, &mut |tree, weight| {
        case.add(tree, weight, &mut law);
    });
    let off = case.deviation(&law);
    assert!(
        off < 1e-12,
        "V = {}, depth {}, kept {:?}, {:?}, {:?}: {off:e}",
        case.size,
        case.depth,
        case.kept,
        case.rule,
        case.transform
    );
}

fn transforms() -> Vec<Transform> {
    let base = Transform::temperature(0.8);
    vec![
        Transform::default(),
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
            ..base
        },
        Transform {
            frequency_penalty: 0.9,
            ..Transform::greedy()
        },
    ]
}

#[test]
fn law_equals_the_target_for_every_transform_and_trimmed_draft() {
    for (seed, transform) in (0..).zip(transforms()) {
        for (size, depth) in [(2, 1), (2, 2), (3, 1), (4, 1)] {
            let all: Vec<TokenId> = (0..size).collect();
            let trimmed = [&all[..], &all[..1], &all[1..]];
            for kept in trimmed {
                let mut case = case(size, depth, 60 + seed, transform.clone());
                case.kept = kept.to_vec();
                check(&case);
                if transform.is_greedy() {
                    case.rule = Rule::Greedy;
                    check(&case);
                }
            }
        }
    }
}

#[test]
fn law_equals_the_target_for_two_levels_of_four_tokens() {
    check(&case(4, 2, 60, Transform::default()));
}

#[test]
fn law_equals_the_target_for_two_levels_and_a_nucleus() {
    let transform = Transform {
        top_p: Some(0.9),
        ..Transform::temperature(1.3)
    };
    check(&case(4, 2, 61, transform));
}

#[test]
fn law_equals_the_target_for_two_levels_of_a_trimmed_draft() {
    let mut case = case(4, 2, 62, Transform::temperature(0.7));
    case.kept = vec![0, 2, 3];
    check(&case);
}

#[test]
fn law_equals_the_target_for_merged_drafts() {
    let case = case(3, 2, 80, Transform::temperature(0.9));
    let other = case.target.clone().with_noise(5, 2.0);
    let mut law = BTreeMap::new();
    let step = |table: &Table, h: &[TokenId]| distribution(table, 3, &case.transform, h);
    for index in 0..81u32 {
        let [a, b, c, d] = [index / 27, index / 9 % 3, index / 3 % 3, index % 3];
        let mut tree = TreeProposal::new();
        let mut weight = 1.0;
        for (table, [x, y]) in [(&case.draft, [a, b]), (&other, [c, d])] {
            let q = step(table, &[1]);
            let node = tree.push(None, x, &q);
            let r = step(table, &[1, x]);
            tree.push(node, y, &r);
            weight *= q.probability(x) * r.probability(y);
        }
        case.add(&tree, weight, &mut law);
    }
    let off = case.deviation(&law);
    assert!(off < 1e-12, "{off:e}");
}
