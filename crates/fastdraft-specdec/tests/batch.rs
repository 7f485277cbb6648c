//! A batch gives what its sequences give alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::batch::{BatchRequest, Separate, generate_batch, generate_batch_timed};
use fastdraft_specdec::gamma::{ConfidenceThreshold, CostAware, Fixed, GammaPolicy, Heuristic};
use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    GenerateError, Session, SessionConfig, Stop, TokenId, Transform, generate,
};
use proptest::prelude::*;

fn targets(table: &Table, count: usize) -> Separate<MockTarget> {
    let more = (1..count).map(|_| MockTarget::new(table.clone())).collect();
    Separate::new(MockTarget::new(table.clone()), more)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 200 }) })]

    #[test]
    fn batch_equals_sequential(
        seed in any::<u64>(),
        requests in prop::collection::vec((
            prop::collection::vec(0u32..9, 1..6),
            0usize..6,
            0usize..20,
            prop_oneof![Just(0.0), 0.2f64..2.0],
            0u32..12,
            0.0f32..4.0,
        ), 1..5),
    ) {
        let table = Table::new(9, 2, seed);
        let config = |index: usize| {
            let (_, gamma, max_new_tokens, temperature, stop, _) = requests[index];
            SessionConfig {
                gamma,
                max_new_tokens,
                transform: Transform::temperature(temperature),
                stop: Stop::token(stop),
                seed: seed ^ index as u64,
            }
        };
        let draft = |index: usize| {
            MockDraft::new(table.clone().with_noise(index as u64, requests[index].5))
        };
        let mut batch: Vec<_> = requests.iter().enumerate().map(|(index, request)| {
            BatchRequest::new(draft(index), &request.0, config(index))
        }).collect();
        let mut streamed: Vec<Vec<TokenId>> = vec![Vec::new(); requests.len()];
        let mut target = targets(&table, requests.len());
        let got = generate_batch(&mut batch, &mut target, |index, step| {
            streamed[index].extend_from_slice(step.tokens);
            ControlFlow::Continue(())
        }).unwrap();
        for (index, (generation, request)) in got.into_iter().zip(&requests).enumerate() {
            let alone = generate(
                &mut draft(index),
                &mut MockTarget::new(table.clone()),
                &request.0,
                &config(index),
                |_| ControlFlow::Continue(()),
            ).unwrap();
            let generation = generation.unwrap();
            prop_assert_eq!(&streamed[index], &generation.tokens);
            prop_assert_eq!(generation, alone);
        }
    }
}

#[test]
fn a_failing_sequence_leaves_the_others_alone() {
    let table = Table::new(9, 2, 4);
    let max_new_tokens = if cfg!(miri) { 8 } else { 64 };
    let config = || SessionConfig {
        max_new_tokens,
        ..SessionConfig::default()
    };
    let request = |draft| BatchRequest::new(draft, &[1, 2], config());
    let good = MockDraft::new(table.clone());
    let mut batch = [request(good.clone().fail_at(3)), request(good)];
    let mut target = targets(&table, 2);
    let got = generate_batch(&mut batch, &mut target, |_, _| ControlFlow::Continue(())).unwrap();
    assert!(matches!(got[0], Err(GenerateError::Draft(_))));
    assert_eq!(got[1].as_ref().unwrap().tokens.len(), max_new_tokens);
}

fn policy(kind: usize) -> Box<dyn GammaPolicy> {
    match kind {
        0 => Box::new(Fixed(3)),
        1 => Box::new(Heuristic::new(2, 9)),
        2 => Box::new(ConfidenceThreshold {
            max: 6,
            threshold: 0.3,
        }),
        _ => Box::new(CostAware::new(2, 5)),
    }
}

/// Each sequence drafts as its own policy says, exactly as it would alone.
#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn every_sequence_has_its_own_policy() {
    let table = Table::new(9, 2, 11);
    let config = |index: usize| SessionConfig {
        max_new_tokens: 40,
        transform: Transform::temperature([0.0, 0.7][index % 2]),
        seed: index as u64,
        ..SessionConfig::default()
    };
    let draft = || MockDraft::new(table.clone().with_noise(3, 1.0));
    let mut batch: Vec<_> = (0..8)
        .map(|i| BatchRequest::new(draft(), &[1, 2], config(i)).with_policy(policy(i % 4)))
        .collect();
    let mut target = targets(&table, batch.len());
    let go = |_: usize, _: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
    let together = generate_batch(&mut batch, &mut target, go).unwrap();
    let mut depths = std::collections::BTreeSet::new();
    for (index, together) in together.into_iter().enumerate() {
        let target = MockTarget::new(table.clone());
        let session = Session::new(draft(), target, &[1, 2], &config(index)).unwrap();
        let mut session = session.with_policy(policy(index % 4));
        while session.advance().unwrap().is_some() {}
        let together = together.unwrap();
        depths.insert(together.metrics.draft_position.len());
        assert_eq!(together, session.finish(), "sequence {index}");
    }
    assert!(depths.len() > 2, "{depths:?}");
}

/// A draft that is slower than the target is switched off, one that is fast is not.
#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn a_policy_in_a_batch_learns_from_the_clock() {
    let table = Table::new(9, 2, 11);
    for (slow, expected) in [(true, false), (false, true)] {
        let config = SessionConfig {
            max_new_tokens: 200,
            ..SessionConfig::default()
        };
        let draft = MockDraft::new(table.clone());
        let mut batch =
            [BatchRequest::new(draft, &[1, 2], config).with_policy(CostAware::new(3, 4))];
        let mut calls = 0u32;
        let mut now = 0.0;
        // Calls come in pairs around the draft, then around the target.
        let mut clock = || {
            calls += 1;
            now += match calls % 4 {
                2 if slow => 5.0,
                2 => 0.01,
                0 => 1.0,
                _ => 0.0,
            };
            now
        };
        let mut target = targets(&table, 1);
        let go = |_: usize, _: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
        generate_batch_timed(&mut batch, &mut target, &mut clock, go).unwrap();
        assert_eq!(batch[0].policy.is_drafting(), expected);
    }
}
