//! A batch gives what its sequences give alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::batch::{BatchRequest, Separate, generate_batch};
use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{GenerateError, SessionConfig, Stop, TokenId, Transform, generate};
use proptest::prelude::*;

fn targets(table: &Table, count: usize) -> Separate<MockTarget> {
    let more = (1..count).map(|_| MockTarget::new(table.clone())).collect();
    Separate::new(MockTarget::new(table.clone()), more)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

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
        let mut batch: Vec<_> = requests.iter().enumerate().map(|(index, request)| BatchRequest {
            draft: draft(index),
            prompt: &request.0,
            config: config(index),
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
    let request = |draft| BatchRequest {
        draft,
        prompt: &[1, 2],
        config: SessionConfig::default(),
    };
    let good = MockDraft::new(table.clone());
    let mut batch = [request(good.clone().fail_at(3)), request(good)];
    let mut target = targets(&table, 2);
    let got = generate_batch(&mut batch, &mut target, |_, _| ControlFlow::Continue(())).unwrap();
    assert!(matches!(got[0], Err(GenerateError::Draft(_))));
    assert_eq!(got[1].as_ref().unwrap().tokens.len(), 64);
}
