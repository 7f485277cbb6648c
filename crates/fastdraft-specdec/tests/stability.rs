//! Seeded results are pinned, and verification reports misuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    Distribution, DistributionError, Proposal, Rule, SeededUniform, SessionConfig, Transform,
    Uniform, VerifyError, Vocabulary, VocabularyVerdict, generate, preflight, verify,
};

fn half(a: u32, b: u32) -> Distribution {
    Distribution::from_parts(vec![a, b], vec![0.5, 0.5]).unwrap()
}

#[test]
fn seeded_numbers_are_pinned() {
    let mut rng = SeededUniform::new(0);
    let numbers: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
    assert_eq!(numbers, PINNED_NUMBERS);
}

#[test]
fn seeded_verdicts_are_pinned() {
    let mut proposal = Proposal::new();
    proposal.push(0, &half(0, 1));
    proposal.push(1, &half(1, 2));
    let target = [
        Distribution::from_parts(vec![0, 2], vec![0.25, 0.75]).unwrap(),
        Distribution::from_parts(vec![1, 3], vec![0.4, 0.6]).unwrap(),
        half(5, 6),
    ];
    let mut rng = SeededUniform::new(42);
    let verdicts: Vec<_> = (0..16)
        .map(|_| verify(Rule::Rejection, &proposal, &target, &mut rng).unwrap())
        .map(|v| (v.accepted, v.next))
        .collect();
    assert_eq!(verdicts, PINNED_VERDICTS);
}

#[test]
fn seeded_generations_are_pinned() {
    let table = Table::new(40, 2, 9);
    let config = SessionConfig {
        max_new_tokens: 16,
        transform: Transform {
            top_p: Some(0.95),
            ..Transform::temperature(0.6)
        },
        seed: 3,
        ..SessionConfig::default()
    };
    let mut draft = MockDraft::new(table.clone().with_noise(4, 0.8));
    let mut target = MockTarget::new(table);
    let got = generate(&mut draft, &mut target, &[1, 2], &config, |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(got.tokens, PINNED_TOKENS);
}

#[test]
fn misuse_of_verify_is_reported() {
    let mut rng = SeededUniform::new(0);
    let mut proposal = Proposal::new();
    proposal.push(7, &half(0, 1));
    let rows = [half(0, 1), half(0, 1)];
    assert_eq!(
        verify(Rule::Rejection, &proposal, &rows[..1], &mut rng),
        Err(VerifyError::LengthMismatch {
            proposed: 1,
            rows: 1
        })
    );
    assert_eq!(
        verify(Rule::Rejection, &proposal, &rows, &mut rng),
        Err(VerifyError::ZeroDraftProbability {
            position: 0,
            token: 7
        })
    );
    proposal.clear();
    for rule in [Rule::Rejection, Rule::Greedy] {
        assert_eq!(
            verify(rule, &proposal, &[Distribution::new()], &mut rng),
            Err(VerifyError::EmptyDistribution { row: 0 })
        );
    }
    struct One;
    impl Uniform for One {
        fn uniform(&mut self) -> f64 {
            1.0
        }
    }
    let boxed: &mut dyn Uniform = &mut One;
    assert_eq!(
        verify(Rule::Rejection, &proposal, &rows[..1], boxed),
        Err(VerifyError::UniformOutOfRange { value: 1.0 })
    );
}

#[test]
fn distributions_check_their_parts() {
    let build =
        |t: &[u32], p: &[f64]| Distribution::from_parts(t.to_vec(), p.to_vec()).unwrap_err();
    assert_eq!(
        build(&[1], &[]),
        DistributionError::LengthMismatch {
            tokens: 1,
            probabilities: 0
        }
    );
    assert_eq!(
        build(&[1, 1], &[0.5, 0.5]),
        DistributionError::NotAscending { token: 1 }
    );
    let negative = DistributionError::InvalidProbability {
        token: 1,
        probability: -0.5,
    };
    assert_eq!(build(&[0, 1], &[1.5, -0.5]), negative);
    assert_eq!(
        build(&[0], &[0.5]),
        DistributionError::NotNormalised { sum: 0.5 }
    );
    assert_eq!(half(1, 2).sample(1.0), None);
    assert_eq!(half(1, 2).sample(f64::NAN), None);
    assert_eq!(Distribution::new().sample(0.0), None);
    assert_eq!(
        Distribution::dense(vec![0.0, 1.0]).unwrap().sample(0.0),
        Some(1)
    );
}

#[test]
fn preflight_tells_vocabularies_apart() {
    let v = Vocabulary::new;
    assert_eq!(preflight(&v(8, 1), &v(8, 1)), VocabularyVerdict::Identical);
    let fewer = preflight(&v(8, 1), &v(5, 1));
    assert_eq!(
        fewer,
        VocabularyVerdict::DraftHasFewerRows {
            target: 8,
            draft: 5
        }
    );
    let more = preflight(&v(8, 1), &v(9, 1));
    assert_eq!(
        more,
        VocabularyVerdict::DraftHasMoreRows {
            target: 8,
            draft: 9
        }
    );
    let different = preflight(&v(8, 1), &v(8, 2));
    assert_eq!(
        different,
        VocabularyVerdict::DifferentTokens {
            shared: None,
            rows: 8
        }
    );
    assert!(fewer.is_compatible() && more.is_compatible() && !different.is_compatible());
    assert!(!preflight(&v(8, 1), &v(9, 2)).is_compatible());
    assert_ne!(
        Vocabulary::from_tokens(2, ["ab", "c"]),
        Vocabulary::from_tokens(2, ["a", "bc"])
    );
}

// The published reference values of xoshiro256++ seeded with 0 through SplitMix64.
const PINNED_NUMBERS: [u64; 3] = [
    5987356902031041503,
    7051070477665621255,
    6633766593972829180,
];
const PINNED_VERDICTS: [(usize, u32); 16] = [
    (0, 2),
    (0, 2),
    (0, 2),
    (2, 5),
    (0, 2),
    (0, 2),
    (2, 6),
    (2, 6),
    (2, 6),
    (0, 2),
    (0, 2),
    (1, 3),
    (0, 2),
    (0, 2),
    (1, 3),
    (0, 2),
];
const PINNED_TOKENS: [u32; 16] = [22, 4, 1, 32, 3, 5, 24, 27, 12, 29, 15, 31, 39, 15, 31, 34];

#[cfg(feature = "serde")]
#[test]
fn settings_and_results_can_be_serialised() {
    fn both<T: serde::Serialize + for<'a> serde::Deserialize<'a>>() {}
    both::<SessionConfig>();
    both::<Transform>();
    both::<Vocabulary>();
    both::<Rule>();
    both::<fastdraft_specdec::Metrics>();
    both::<fastdraft_specdec::Generation>();
}
