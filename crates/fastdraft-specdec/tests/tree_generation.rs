//! Generation over trees: greedy equality, the sampled law, policies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::gamma::{Fixed, GammaPolicy, Heuristic};
use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::tree::{
    ByPath, Merge, TreeDraft, TreeProposal, TreeTarget, generate_tree, generate_tree_with,
};
use fastdraft_specdec::{
    Distribution, NoClock, NoDraft, PromptLookup, Sampler, SessionConfig, Stop, SuffixLookup,
    TokenId, Transform, TransformError, generate_plain,
};

fn distribution(table: &Table, size: TokenId, t: &Transform, history: &[TokenId]) -> Distribution {
    let logits: Vec<f32> = (0..size).map(|token| table.logit(history, token)).collect();
    let mut out = Distribution::new();
    t.apply(&logits, history, &mut out).unwrap();
    out
}

/// Two different tokens at every node, from the model's own distribution.
struct Wide(Table, TokenId);

impl TreeDraft for Wide {
    type Error = TransformError;
    fn propose_tree(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut TreeProposal,
    ) -> Result<(), TransformError> {
        let mut open = vec![(None, context.to_vec())];
        for _ in 0..gamma.min(2) {
            for (parent, history) in std::mem::take(&mut open) {
                let t = Transform::temperature(0.8);
                let q = distribution(&self.0, self.1, &t, &history);
                let before = out.len();
                out.push_children(parent, &q, 2, sampler)?;
                open.extend((before..out.len()).map(|n| {
                    let longer = history.iter().copied().chain([out.tokens()[n]]);
                    (Some(n), longer.collect::<Vec<_>>())
                }));
            }
        }
        Ok(())
    }
    fn truncate(&mut self, _: usize) -> Result<(), TransformError> {
        Ok(())
    }
}

#[test]
fn greedy_trees_equal_plain_decoding() {
    for seed in 0..if cfg!(miri) { 1 } else { 60 } {
        let table = Table::new(8, 1, seed);
        let config = SessionConfig {
            gamma: 4,
            max_new_tokens: if cfg!(miri) { 6 } else { 25 },
            transform: Transform::greedy(),
            stop: Stop::token((seed % 8) as TokenId),
            seed,
        };
        let mut plain = MockTarget::new(table.clone());
        let expected = generate_plain(&mut plain, &[1, 2], &config, |_| ControlFlow::Continue(()));
        let expected = expected.unwrap();
        let mut target = ByPath::new(MockTarget::new(table.clone()));
        let noisy = MockDraft::new(table.clone().with_noise(1, 1.0));
        let inner = MockDraft::new(table.clone().with_noise(2, 1.0));
        let mut merged = Merge::new(noisy, inner);
        let mut lookups = Merge::new(SuffixLookup::new(1), PromptLookup::default());
        let mut nothing = Merge::new(NoDraft, NoDraft);
        let mut streamed = Vec::new();
        let got = generate_tree(&mut merged, &mut target, &[1, 2], &config, |step| {
            streamed.extend_from_slice(step.tokens);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(
            (&got.tokens, got.stop_reason),
            (&expected.tokens, expected.stop_reason)
        );
        assert_eq!(streamed, got.tokens);
        let got = generate_tree(&mut lookups, &mut target, &[1, 2], &config, |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(got.unwrap().tokens, expected.tokens);
        let mut nothing: Box<dyn TreeDraft<Error = _>> = Box::new(&mut nothing);
        let mut target: Box<dyn TreeTarget<Error = _>> = Box::new(&mut target);
        let got = generate_tree(&mut nothing, &mut target, &[1, 2], &config, |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(got.unwrap().tokens, expected.tokens);
    }
}

/// What decides the depth of a tree changes the passes, never the greedy output.
#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn a_policy_sets_the_depth_of_each_tree() {
    let table = Table::new(8, 1, 5);
    let config = SessionConfig {
        max_new_tokens: 60,
        transform: Transform::greedy(),
        ..SessionConfig::default()
    };
    let go = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
    let plain = generate_plain(&mut MockTarget::new(table.clone()), &[1], &config, go).unwrap();
    let mut target = ByPath::new(MockTarget::new(table.clone()));
    let mut draft = Merge::new(MockDraft::new(table), NoDraft);
    let mut policy = Heuristic::new(2, 6);
    let mut run = |policy: &mut dyn GammaPolicy| {
        let mut policy = policy;
        let got = generate_tree_with(
            &mut draft,
            &mut target,
            &[1],
            &config,
            &mut policy,
            &mut NoClock,
            go,
        );
        got.unwrap()
    };
    let grown = run(&mut policy);
    let none = run(&mut Fixed(0));
    assert_eq!(
        (&grown.tokens, &none.tokens),
        (&plain.tokens, &plain.tokens)
    );
    assert_eq!(none.metrics.drafted, 0);
    // A draft that is always right lets the heuristic grow: 2, 4, 6, 6, …
    assert_eq!(grown.metrics.draft_position.len(), 6);
    assert!(grown.metrics.target_passes < 12, "{:?}", grown.metrics);
}

#[test]
#[cfg_attr(miri, ignore = "takes hours")]
fn sampled_trees_follow_the_target() {
    let table = Table::new(3, 1, 8);
    let transform = Transform::temperature(0.8);
    let mut counts = [0u32; 9];
    let runs = 30_000;
    let mut target = ByPath::new(MockTarget::new(table.clone()));
    let mut draft = Wide(table.clone().with_noise(3, 2.0), 3);
    for seed in 0..runs {
        let config = SessionConfig {
            max_new_tokens: 2,
            transform: transform.clone(),
            seed,
            ..SessionConfig::default()
        };
        let got = generate_tree(&mut draft, &mut target, &[0], &config, |_| {
            ControlFlow::Continue(())
        });
        let tokens = got.unwrap().tokens;
        counts[(tokens[0] * 3 + tokens[1]) as usize] += 1;
    }
    let mut statistic = 0.0;
    for (index, &count) in (0..).zip(&counts) {
        let (a, b): (TokenId, TokenId) = (index / 3, index % 3);
        let p = distribution(&table, 3, &transform, &[0]).probability(a)
            * distribution(&table, 3, &transform, &[0, a]).probability(b);
        let expected = p * runs as f64;
        statistic += (f64::from(count) - expected).powi(2) / expected;
    }
    // The 99.9 % quantile of chi-square with 8 degrees.
    assert!(statistic < 26.1, "{statistic}");
}
