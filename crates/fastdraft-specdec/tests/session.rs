//! The loop: greedy equality, stops, limits, contracts, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::mock::{Call, MockDraft, MockError, MockTarget, Table};
use fastdraft_specdec::{
    Draft, GenerateError, Generation, LogitRows, PromptLookup, Proposal, Sampler, SessionConfig,
    Stop, StopReason, Target, TokenId, Transform, TransformError, Vocabulary, generate,
    generate_plain,
};
use proptest::prelude::*;

const SIZE: usize = 12;

fn target(seed: u64) -> MockTarget {
    MockTarget::new(Table::new(SIZE, 2, seed))
}

fn draft(seed: u64, noise: f32) -> MockDraft {
    MockDraft::new(Table::new(SIZE, 2, seed).with_noise(seed + 99, noise))
}

fn greedy(gamma: usize, max_new_tokens: usize, stop: Stop) -> SessionConfig {
    SessionConfig {
        gamma,
        max_new_tokens,
        transform: Transform::greedy(),
        stop,
        seed: 0,
    }
}

fn run(
    draft: &mut impl Draft,
    seed: u64,
    prompt: &[TokenId],
    config: &SessionConfig,
) -> Generation {
    let mut streamed = Vec::new();
    let generation = generate(draft, &mut target(seed), prompt, config, |step| {
        assert!(!step.tokens.is_empty() && step.accepted <= step.tokens.len());
        streamed.extend_from_slice(step.tokens);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(streamed, generation.tokens);
    assert_eq!(generation.metrics.emitted as usize, streamed.len());
    generation
}

fn plain(seed: u64, prompt: &[TokenId], config: &SessionConfig) -> Generation {
    generate_plain(&mut target(seed), prompt, config, |step| {
        assert_eq!((step.tokens.len(), step.accepted), (1, 0));
        ControlFlow::Continue(())
    })
    .unwrap()
}

#[test]
fn greedy_equals_plain_over_seeds_and_stops() {
    let (mut inside, mut fewer_passes) = (0, 0);
    for seed in 0..if cfg!(miri) { 1 } else { 300 } {
        let stop = match seed % 3 {
            0 => Stop::default(),
            1 => Stop::token((seed % SIZE as u64) as TokenId),
            _ => {
                let free = plain(seed, &[1, 2], &greedy(0, 20, Stop::default()));
                Stop {
                    tokens: vec![],
                    sequences: vec![free.tokens[6..9].to_vec()],
                }
            }
        };
        let config = greedy(1 + (seed % 6) as usize, 20, stop);
        let expected = plain(seed, &[1, 2], &config);
        for noise in [0.0, 0.5, 4.0] {
            let got = run(&mut draft(seed, noise), seed, &[1, 2], &config);
            assert_eq!(got.tokens, expected.tokens, "seed {seed}, noise {noise}");
            assert_eq!(got.stop_reason, expected.stop_reason);
            inside += u64::from(got.metrics.discarded > 0);
            fewer_passes += u64::from(got.metrics.target_passes < expected.metrics.target_passes);
        }
        let got = run(&mut PromptLookup::default(), seed, &[1, 2], &config);
        assert_eq!(got.tokens, expected.tokens);
    }
    let enough = inside > 20 && fewer_passes > 300;
    assert!(cfg!(miri) || enough, "{inside} {fewer_passes}");
}

#[test]
fn penalties_use_the_drafted_history() {
    let config = SessionConfig {
        transform: Transform {
            repetition_penalty: 1.5,
            frequency_penalty: 0.3,
            ..Transform::greedy()
        },
        ..greedy(5, 30, Stop::default())
    };
    for seed in 0..if cfg!(miri) { 1 } else { 50 } {
        let got = run(&mut draft(seed, 0.0), seed, &[3], &config);
        assert_eq!(got.tokens, plain(seed, &[3], &config).tokens);
        assert_eq!(got.metrics.acceptance_rate(), Some(1.0));
    }
}

#[test]
fn the_last_steps_draft_no_more_than_can_be_used() {
    let mut target = target(1);
    let mut draft = draft(1, 0.0);
    let config = greedy(5, 13, Stop::default());
    let got = generate(&mut draft, &mut target, &[1], &config, |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((got.tokens.len(), got.metrics.target_passes), (13, 3));
    assert_eq!(got.metrics.draft_position, vec![(2, 2); 5]);
    let scores: Vec<_> = target
        .calls()
        .iter()
        .filter(|c| matches!(c, Call::Score { .. }))
        .collect();
    assert_eq!(
        scores.last(),
        Some(&&Call::Score {
            context: 13,
            proposal: 0
        })
    );
    assert_eq!(
        draft
            .calls()
            .iter()
            .filter(|c| matches!(c, Call::Propose { .. }))
            .count(),
        2
    );
    assert_eq!(draft.calls().last(), Some(&Call::Truncate { len: 13 }));
}

#[test]
fn a_stop_inside_a_block_ends_the_counts_too() {
    let free = plain(4, &[1], &greedy(0, 6, Stop::default()));
    let token = free.tokens[2];
    let position = free.tokens.iter().position(|&t| t == token).unwrap();
    let got = run(
        &mut draft(4, 0.0),
        4,
        &[1],
        &greedy(5, 6, Stop::token(token)),
    );
    assert_eq!(got.tokens, free.tokens[..=position]);
    assert_eq!(got.stop_reason, StopReason::Stop);
    let kept = position as u64 + 1;
    assert_eq!((got.metrics.drafted, got.metrics.accepted), (kept, kept));
    assert_eq!(got.metrics.discarded, 5 - kept);
}

#[test]
fn cancelling_keeps_what_was_emitted() {
    let config = greedy(3, 40, Stop::default());
    let got = generate(&mut draft(2, 0.0), &mut target(2), &[1], &config, |_| {
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(
        (got.tokens.len(), got.stop_reason),
        (4, StopReason::Cancelled)
    );
}

#[test]
fn wanting_nothing_runs_nothing() {
    let got = run(&mut draft(2, 0.0), 2, &[1], &greedy(3, 0, Stop::default()));
    assert_eq!((got.tokens.len(), got.metrics.target_passes), (0, 0));
    assert_eq!(got.metrics.block_efficiency(), None);
}

fn failure(
    draft: &mut impl Draft<Error = MockError>,
    target: &mut impl Target<Error = MockError>,
    prompt: &[TokenId],
    config: &SessionConfig,
) -> GenerateError<MockError, MockError> {
    generate(draft, target, prompt, config, |_| ControlFlow::Continue(())).unwrap_err()
}

/// Proposes whatever it is told to, asked or not.
struct Rogue(Vec<TokenId>);

impl Draft for Rogue {
    type Error = MockError;
    fn propose(
        &mut self,
        _: &[TokenId],
        _: usize,
        _: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), MockError> {
        self.0.iter().for_each(|&t| out.push_certain(t));
        Ok(())
    }
    fn truncate(&mut self, _: usize) -> Result<(), MockError> {
        Ok(())
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let config = SessionConfig::default();
    let mut d = draft(1, 1.0);
    assert_eq!(
        failure(&mut d, &mut target(1), &[], &config),
        GenerateError::EmptyPrompt
    );
    let wrong = GenerateError::PromptToken {
        position: 1,
        token: 12,
        vocabulary: 12,
    };
    assert_eq!(failure(&mut d, &mut target(1), &[1, 12], &config), wrong);
    let empty = SessionConfig {
        stop: Stop {
            tokens: vec![],
            sequences: vec![vec![1], vec![]],
        },
        ..config.clone()
    };
    let wrong = GenerateError::EmptyStopSequence { index: 1 };
    assert_eq!(failure(&mut d, &mut target(1), &[1], &empty), wrong);
    let hot = SessionConfig {
        transform: Transform::temperature(-1.0),
        ..config.clone()
    };
    let wrong = TransformError::InvalidParameter {
        name: "temperature",
        value: -1.0,
    };
    assert_eq!(failure(&mut d, &mut target(1), &[1], &hot), wrong.into());
    let wrong = GenerateError::ProposalTooLong {
        asked: 3,
        proposed: 4,
    };
    assert_eq!(
        failure(&mut Rogue(vec![1; 4]), &mut target(1), &[1], &config),
        wrong
    );
    let wrong = GenerateError::ProposedToken {
        position: 1,
        token: 40,
        vocabulary: 12,
    };
    assert_eq!(
        failure(&mut Rogue(vec![1, 40]), &mut target(1), &[1], &config),
        wrong
    );
    let mut nan = MockTarget::new(Table::new(2, 0, 0).with_row(&[], &[0.0, f32::NAN]));
    assert!(matches!(
        failure(&mut Rogue(vec![]), &mut nan, &[1], &config),
        GenerateError::Transform(TransformError::InvalidLogit { token: 1, .. })
    ));
}

/// Returns one row whatever it is asked.
struct Short(MockTarget);

impl Target for Short {
    type Error = MockError;
    fn vocabulary(&self) -> &Vocabulary {
        self.0.vocabulary()
    }
    fn score(
        &mut self,
        _: &[TokenId],
        _: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), MockError> {
        out.reset(1, 5).fill(0.0);
        Ok(())
    }
    fn truncate(&mut self, _: usize) -> Result<(), MockError> {
        Ok(())
    }
}

#[test]
fn rows_of_the_wrong_shape_are_an_error() {
    let wrong = GenerateError::RowShape {
        expected: (4, 12),
        actual: (1, 5),
    };
    let got = failure(
        &mut draft(1, 1.0),
        &mut Short(target(1)),
        &[1],
        &SessionConfig::default(),
    );
    assert_eq!(got, wrong);
}

#[test]
fn faults_of_either_model_end_the_generation() {
    let config = SessionConfig::default();
    for call in 0..8 {
        let fault = MockError::Injected { call };
        assert_eq!(
            failure(
                &mut draft(1, 1.0).fail_at(call),
                &mut target(1),
                &[1],
                &config
            ),
            GenerateError::Draft(fault.clone())
        );
        assert_eq!(
            failure(
                &mut draft(1, 1.0),
                &mut target(1).fail_at(call),
                &[1],
                &config
            ),
            GenerateError::Target(fault)
        );
    }
}

#[test]
fn boxed_models_work() {
    let mut d: Box<dyn Draft<Error = MockError>> = Box::new(draft(3, 0.5));
    let mut t: Box<dyn Target<Error = MockError>> = Box::new(target(3));
    let config = greedy(2, 9, Stop::default());
    let got = generate(&mut d, &mut t, &[1], &config, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(got.tokens, plain(3, &[1], &config).tokens);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }) })]

    #[test]
    fn never_panics_nor_emits_too_much(
        seed in any::<u64>(),
        prompt in prop::collection::vec(0u32..12, 1..6),
        gamma in 0usize..9,
        max_new_tokens in 0usize..24,
        temperature in prop_oneof![Just(0.0), 0.05f64..3.0],
        top_k in prop::option::of(1usize..20),
        top_p in prop::option::of(0.01f64..=1.0),
        min_p in prop::option::of(0.0f64..=1.0),
        repetition_penalty in 0.5f64..2.0,
        kept in prop::collection::btree_set(0u32..12, 1..12),
        stop in prop::collection::vec(0u32..12, 0..2),
        sequence in prop::collection::vec(0u32..12, 1..3),
    ) {
        let transform = Transform { temperature, top_k, top_p, min_p, repetition_penalty, ..Transform::default() };
        let stop = Stop { tokens: stop, sequences: vec![sequence] };
        let config = SessionConfig { gamma, max_new_tokens, transform, stop, seed };
        let table = Table::new(SIZE, 1, seed).with_noise(1, 2.0);
        let mut d = MockDraft::trimmed(table, kept.into_iter().collect());
        let got = run(&mut d, seed, &prompt, &config);
        prop_assert!(got.tokens.len() <= max_new_tokens);
        prop_assert_eq!(got.stop_reason == StopReason::MaxTokens && got.tokens.len() < max_new_tokens, false);
        for end in 1..got.tokens.len() {
            prop_assert!(!config.stop.ends(&got.tokens[..end]));
        }
        let m = &got.metrics;
        prop_assert!(m.accepted <= m.drafted && m.accepted <= m.emitted);
        prop_assert_eq!(m.draft_position.iter().map(|c| c.0).sum::<u64>(), m.drafted);
        prop_assert_eq!(m.draft_position.iter().map(|c| c.1).sum::<u64>(), m.accepted);
    }
}
