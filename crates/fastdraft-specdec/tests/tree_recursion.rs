//! Full trees of two children at every node, three and four levels deep: the law of the output.
//!
//! Over four tokens there are 12^15 of them with four levels. What is decided at a node, though,
//! depends only on the draws below it. So the law at each node comes from the verifier over a tree of
//! one level, for all draws and all random numbers, and these laws are put together. That the
//! verifier decides in the same way inside a full tree is checked where it matters: at every edge
//! between two decisions, from both sides, with all other draws and the way to the node at random.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(not(miri))]

mod enumeration;
#[path = "trees/recursion.rs"]
mod recursion;
mod trees;

use enumeration::{Models, transforms};
use fastdraft_specdec::{TokenId, Transform};
use recursion::FullTrees;
use trees::vocabularies;

/// Every transform and draft vocabulary over `size` tokens.
fn check(size: TokenId, depth: usize) {
    let (mut compared, mut behind_second) = (0, 0);
    for kept in vocabularies(size) {
        for (seed, transform) in (60..).zip(transforms()) {
            let mut models = Models::new(size, seed, transform);
            models.kept.clone_from(&kept);
            for models in models.under_each_rule() {
                let mut trees = FullTrees::new(&models, depth);
                let off = models.deviation(&trees.law(), depth + 1);
                assert!(off < 1e-12, "depth {depth}, {models:?}: {off:e}");
                compared += trees.compared;
                behind_second += trees.behind_second;
            }
        }
    }
    println!(
        "{size} tokens, {depth} levels: {compared} decisions, {behind_second} behind a second"
    );
    assert!(
        behind_second * 5 > compared,
        "{behind_second} of {compared}"
    );
}

#[test]
fn law_equals_the_target_for_three_levels() {
    (2..=3).for_each(|size| check(size, 3));
}

#[test]
fn law_equals_the_target_for_four_levels_of_two_tokens() {
    check(2, 4);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn law_equals_the_target_for_three_levels_of_four_tokens() {
    check(4, 3);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn law_equals_the_target_for_four_levels_of_three_tokens() {
    check(3, 4);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn law_equals_the_target_for_four_levels_of_four_tokens() {
    check(4, 4);
}

#[test]
fn another_law_is_told_apart() {
    let models = Models::new(3, 5, Transform::default());
    let other = Models {
        target: models.target.clone().with_noise(1, 0.01),
        ..models.clone()
    };
    let law = FullTrees::new(&models, 3).law();
    assert!(models.deviation(&law, 4) < 1e-12);
    assert!(other.deviation(&law, 4) > 1e-6);
}
