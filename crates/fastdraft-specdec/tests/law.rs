//! The law of the output of rejection sampling equals the target's, by exhaustive enumeration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Enumerations take hours there.
#![cfg(not(miri))]

mod enumeration;

use std::ops::ControlFlow;

use enumeration::{Law, Models, Script, outcomes, transforms};
use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    Distribution, Draft, Interpolated, Proposal, SessionConfig, TokenId, Transform, generate,
    verify,
};

/// Visits every proposal of up to `left` more tokens with its probability.
fn proposals(
    models: &Models,
    history: &mut Vec<TokenId>,
    drafted: &mut Proposal,
    left: usize,
    weight: f64,
    visit: &mut dyn FnMut(&Proposal, f64),
) {
    let q = if left == 0 { None } else { models.q(history) };
    let Some(q) = q else {
        return visit(drafted, weight);
    };
    for (token, probability) in q.iter() {
        let mut longer = drafted.clone();
        longer.push(token, &q);
        history.push(token);
        let weight = weight * probability;
        proposals(models, history, &mut longer, left - 1, weight, visit);
        history.pop();
    }
}

/// The law of the block that a step of up to `gamma` drafted tokens gives.
fn law(models: &Models, gamma: usize) -> Law {
    let mut law = Law::new();
    let mut visit = |proposal: &Proposal, weight: f64| {
        let mut seen = models.prompt.clone();
        let mut rows = vec![models.p(&seen)];
        for &token in proposal.tokens() {
            seen.push(token);
            rows.push(models.p(&seen));
        }
        let judge = |script: &mut Script<'_>| {
            let verdict = verify(models.rule, proposal, &rows, script).unwrap();
            let mut block = proposal.tokens()[..verdict.accepted].to_vec();
            block.push(verdict.next);
            block
        };
        outcomes(&judge, &mut Vec::new(), weight, &mut |block, w, _| {
            *law.entry(block).or_default() += w;
        });
    };
    let mut history = models.prompt.clone();
    let mut drafted = Proposal::new();
    proposals(models, &mut history, &mut drafted, gamma, 1.0, &mut visit);
    law
}

/// Every transform and γ up to 4 over `size` tokens, of which the draft knows `kept`.
fn check(size: TokenId, kept: &[TokenId]) {
    for (seed, transform) in (0..).zip(transforms()) {
        let mut models = Models::new(size, seed, transform);
        models.kept = kept.to_vec();
        for gamma in 1..=4 {
            for models in models.under_each_rule() {
                let deviation = models.deviation(&law(&models, gamma), gamma + 1);
                assert!(
                    deviation < 1e-12,
                    "γ = {gamma}, {models:?}: off by {deviation:e}"
                );
            }
        }
    }
}

#[test]
fn law_equals_the_target_for_every_draft_vocabulary() {
    for size in 2..=4 {
        for set in 1..1u32 << size {
            let kept: Vec<TokenId> = (0..size).filter(|t| set >> t & 1 == 1).collect();
            check(size, &kept);
        }
    }
}

#[test]
fn law_equals_the_target_for_draft_vocabularies_in_any_order() {
    check(4, &[3, 1]);
    check(4, &[2, 0, 1]);
}

#[test]
fn another_law_is_told_apart() {
    let models = Models::new(3, 5, Transform::default());
    let other = Models {
        target: models.target.clone().with_noise(1, 0.01),
        ..models.clone()
    };
    let law = law(&models, 2);
    assert!(models.deviation(&law, 3) < 1e-12);
    assert!(other.deviation(&law, 3) > 1e-5);
}

#[test]
fn sampled_generations_follow_the_target() {
    let mut draft = MockDraft::trimmed(drafting(), vec![0, 2, 3]);
    assert_follows_the_target(&[1], &mut draft);
}

#[test]
fn sampled_generations_with_repetitions_follow_the_target() {
    let draft = MockDraft::trimmed(drafting(), vec![0, 2, 3]);
    // Endings of one token weigh half already, and 3 → 1 → 2 → 3 is known: all of the prompt counts.
    let mut draft = Interpolated::with_weights(draft, &[0.0, 0.5, 0.6, 0.95]);
    assert_follows_the_target(&[3, 1, 2, 3, 1], &mut draft);
}

fn drafting() -> Table {
    Table::new(4, 2, 5).with_noise(6, 2.0)
}

/// A generation's law through the whole loop, against plain sampling of the same target.
fn assert_follows_the_target(prompt: &[TokenId], drafted: &mut impl Draft) {
    let (size, runs) = (4usize, 20_000u64);
    let table = Table::new(size, 2, 5);
    let mut scored = MockTarget::new(table.clone());
    let mut counts = vec![0u64; size.pow(3)];
    for seed in 0..runs {
        let config = SessionConfig {
            max_new_tokens: 3,
            seed,
            ..SessionConfig::default()
        };
        let got = generate(&mut *drafted, &mut scored, prompt, &config, |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let index = got.tokens.iter().fold(0, |i, &t| i * size + t as usize);
        counts[index] += 1;
    }
    let mut statistic = 0.0;
    for (index, &count) in counts.iter().enumerate() {
        let tokens = [index / 16 % 4, index / 4 % 4, index % 4].map(|t| t as TokenId);
        let mut context = prompt.to_vec();
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
