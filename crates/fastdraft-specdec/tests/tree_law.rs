//! Trees: the law of the output by exhaustive enumeration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Enumerations take hours there.
#![cfg(not(miri))]

mod enumeration;
mod trees;

use std::ops::RangeInclusive;

use enumeration::{Law, Models, Script, outcomes, transforms};
use fastdraft_specdec::tree::{TreeProposal, verify_tree};
use fastdraft_specdec::{Distribution, TokenId, Transform};
use trees::{history, vocabularies, without};

/// Which of a node's two children get children themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Both: a full tree.
    Both,
    /// The first alone: a chain with an alternative at each token.
    First,
    /// The second alone.
    Second,
}

impl Shape {
    fn grows(self, child: usize) -> bool {
        match self {
            Self::Both => true,
            Self::First => child == 0,
            Self::Second => child == 1,
        }
    }
}

struct Trees<'a> {
    models: &'a Models,
    depth: usize,
    shape: Shape,
}

impl Trees<'_> {
    /// Visits every tree of two children without replacement below each of `open`.
    fn visit(
        &self,
        tree: &TreeProposal,
        mut open: Vec<(Option<usize>, usize)>,
        weight: f64,
        found: &mut dyn FnMut(&TreeProposal, f64),
    ) {
        let Some((parent, depth)) = open.pop() else {
            return found(tree, weight);
        };
        let Some(q) = self.models.q(&history(&self.models.prompt, tree, parent)) else {
            return self.visit(tree, open, weight, found);
        };
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
                let mut add = |child, token, q: &Distribution| {
                    let node = grown.push(parent, token, q).unwrap();
                    if depth + 1 < self.depth && self.shape.grows(child) {
                        open.push((Some(node), depth + 1));
                    }
                };
                add(0, first, &q);
                if let (Some((token, p)), Some(rest)) = (second, &rest) {
                    add(1, token, rest);
                    weight *= p;
                }
                self.visit(&grown, open, weight, found);
            }
        }
    }
}

/// Adds the blocks that `tree` can give to `law`.
fn add(models: &Models, tree: &TreeProposal, weight: f64, law: &mut Law) {
    let nodes = [None].into_iter().chain((0..tree.len()).map(Some));
    let rows: Vec<_> = nodes
        .map(|n| models.p(&history(&models.prompt, tree, n)))
        .collect();
    let judge = |script: &mut Script<'_>| {
        let verdict = verify_tree(models.rule, tree, &rows, script).unwrap();
        let mut block: Vec<TokenId> = verdict.path.iter().map(|&n| tree.tokens()[n]).collect();
        block.push(verdict.next);
        block
    };
    outcomes(&judge, &mut Vec::new(), weight, &mut |block, w, _| {
        *law.entry(block).or_default() += w;
    });
}

/// Every transform over trees of `depth` and `size` tokens, of which the draft knows `kept`.
fn check(size: TokenId, kept: &[TokenId], depth: usize, shape: Shape) {
    for (seed, transform) in (60..).zip(transforms()) {
        let mut models = Models::new(size, seed, transform);
        models.kept = kept.to_vec();
        for models in models.under_each_rule() {
            let mut law = Law::new();
            let trees = Trees {
                models: &models,
                depth,
                shape,
            };
            let open = vec![(None, 0)];
            trees.visit(&TreeProposal::new(), open, 1.0, &mut |tree, weight| {
                add(&models, tree, weight, &mut law);
            });
            let off = models.deviation(&law, depth + 1);
            assert!(off < 1e-12, "{shape:?}, depth {depth}, {models:?}: {off:e}");
        }
    }
}

fn check_all(sizes: RangeInclusive<TokenId>, depth: usize, shape: Shape) {
    for size in sizes {
        vocabularies(size).for_each(|kept| check(size, &kept, depth, shape));
    }
}

#[test]
fn law_equals_the_target_for_one_level() {
    check_all(2..=4, 1, Shape::Both);
}

#[test]
fn law_equals_the_target_for_two_levels() {
    check_all(2..=4, 2, Shape::Both);
}

#[test]
fn law_equals_the_target_for_three_levels_of_two_tokens() {
    check_all(2..=2, 3, Shape::Both);
}

#[test]
fn law_equals_the_target_for_four_levels_behind_the_first_child() {
    check_all(2..=3, 4, Shape::First);
}

#[test]
fn law_equals_the_target_for_four_levels_behind_the_second_child() {
    check_all(2..=3, 4, Shape::Second);
}

#[test]
fn law_equals_the_target_for_merged_drafts() {
    let models = Models::new(3, 80, Transform::temperature(0.9));
    let other = Models {
        draft: models.target.clone().with_noise(5, 2.0),
        ..models.clone()
    };
    let mut law = Law::new();
    for index in 0..81u32 {
        let [a, b, c, d] = [index / 27, index / 9 % 3, index / 3 % 3, index % 3];
        let mut tree = TreeProposal::new();
        let mut weight = 1.0;
        for (models, [x, y]) in [(&models, [a, b]), (&other, [c, d])] {
            let q = models.q(&[1]).unwrap();
            let node = tree.push(None, x, &q);
            let r = models.q(&[1, x]).unwrap();
            tree.push(node, y, &r);
            weight *= q.probability(x) * r.probability(y);
        }
        add(&models, &tree, weight, &mut law);
    }
    let off = models.deviation(&law, 3);
    assert!(off < 1e-12, "{off:e}");
}
