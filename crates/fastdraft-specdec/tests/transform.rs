//! Transforms: adjusted logits, subsets, ties, and errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastdraft_specdec::{Distribution, Transform, TransformError};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 1500 }) })]

    #[test]
    fn a_subset_equals_a_mask(
        raw in prop::collection::vec(-5.0f32..5.0, 8),
        ids in Just((0u32..8).collect::<Vec<_>>()).prop_shuffle(),
        keep in 1usize..8,
        history in prop::collection::vec(0u32..8, 0..6),
        penalty in 0.5f64..2.0,
        temperature in prop_oneof![Just(0.0), 0.2f64..2.0],
    ) {
        let ids = &ids[..keep];
        let t = Transform {
            repetition_penalty: penalty,
            presence_penalty: 0.3,
            frequency_penalty: 0.1,
            logit_bias: vec![(3, 1.0), (3, 0.5)],
            top_k: Some(5),
            ..Transform::temperature(temperature)
        };
        let masked = Transform { allowed: Some(ids.to_vec()), ..t.clone() };
        let subset: Vec<f32> = ids.iter().map(|&i| raw[i as usize]).collect();
        let (mut a, mut b) = (Distribution::new(), Distribution::new());
        t.apply_subset(&subset, ids, &history, &mut a).unwrap();
        masked.apply(&raw, &history, &mut b).unwrap();
        prop_assert_eq!(a.tokens(), b.tokens());
        for (x, y) in a.probabilities().iter().zip(b.probabilities()) {
            prop_assert!((x - y).abs() < 1e-15);
        }
    }

    #[test]
    fn outside_data_never_panics(
        raw in prop::collection::vec(any::<f32>(), 0..40),
        ids in prop::collection::vec(any::<u32>(), 0..40),
        history in prop::collection::vec(any::<u32>(), 0..8),
        numbers in prop::array::uniform6(any::<f64>()),
        top_k in any::<Option<usize>>(),
        logit_bias in prop::collection::vec((any::<u32>(), any::<f32>()), 0..3),
        allowed in prop::option::of(prop::collection::vec(0u32..50, 0..9)),
    ) {
        let [temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty] = numbers;
        let t = Transform {
            temperature, top_k, top_p: Some(top_p), min_p: Some(min_p), repetition_penalty,
            presence_penalty, frequency_penalty, logit_bias, allowed,
        };
        let mut out = Distribution::new();
        let _ = t.apply(&raw, &history, &mut out);
        let _ = t.apply_subset(&raw, &ids, &history, &mut out);
        let mild = Transform { temperature: 1e-300, repetition_penalty: 1e-300, ..Transform::default() };
        if mild.apply(&raw, &[0, 1, 2], &mut out).is_ok() {
            prop_assert!(out.validate().is_ok());
        }
    }
}

#[test]
fn penalties_match_hand_calculation() {
    let t = Transform {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        ..Transform::default()
    };
    let mut out = Distribution::new();
    t.apply(&[2.0, -1.0, 0.5], &[0, 1, 0, 9], &mut out).unwrap();
    // Token 0 twice: 2 / 2 - 0.5 - 0.5; token 1 once: -1 * 2 - 0.5 - 0.25; token 2 as it is.
    let weights = [0.0f64.exp(), (-2.75f64).exp(), 0.5f64.exp()];
    let total: f64 = weights.iter().sum();
    for (got, weight) in out.probabilities().iter().zip(weights) {
        assert!((got - weight / total).abs() < 1e-15);
    }
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    let mut out = Distribution::new();
    Transform::greedy()
        .apply(&[1.0, 3.0, 3.0], &[], &mut out)
        .unwrap();
    assert_eq!(out, Distribution::one_hot(1));
    Transform::greedy()
        .apply_subset(&[3.0, 3.0, 1.0], &[9, 4, 2], &[], &mut out)
        .unwrap();
    assert_eq!(out, Distribution::one_hot(4));
}

#[test]
fn ties_at_a_cut_go_to_the_lower_id() {
    let mut out = Distribution::new();
    for t in [
        Transform {
            top_k: Some(2),
            ..Transform::default()
        },
        Transform {
            top_p: Some(0.4),
            ..Transform::default()
        },
    ] {
        t.apply(&[0.0; 4], &[], &mut out).unwrap();
        assert_eq!(out.tokens(), &[0, 1]);
    }
}

#[test]
fn bad_parameters_are_errors() {
    let base = Transform::default();
    let bad = [
        ("temperature", Transform::temperature(f64::NAN)),
        ("temperature", Transform::temperature(-0.1)),
        ("temperature", Transform::temperature(f64::INFINITY)),
        (
            "top_k",
            Transform {
                top_k: Some(0),
                ..base.clone()
            },
        ),
        (
            "top_p",
            Transform {
                top_p: Some(0.0),
                ..base.clone()
            },
        ),
        (
            "top_p",
            Transform {
                top_p: Some(1.1),
                ..base.clone()
            },
        ),
        (
            "top_p",
            Transform {
                top_p: Some(f64::NAN),
                ..base.clone()
            },
        ),
        (
            "min_p",
            Transform {
                min_p: Some(-0.1),
                ..base.clone()
            },
        ),
        (
            "min_p",
            Transform {
                min_p: Some(1.5),
                ..base.clone()
            },
        ),
        (
            "repetition_penalty",
            Transform {
                repetition_penalty: 0.0,
                ..base.clone()
            },
        ),
        (
            "presence_penalty",
            Transform {
                presence_penalty: f64::NAN,
                ..base.clone()
            },
        ),
        (
            "frequency_penalty",
            Transform {
                frequency_penalty: f64::INFINITY,
                ..base.clone()
            },
        ),
    ];
    for (field, t) in bad {
        let got = t.apply(&[0.0, 1.0], &[], &mut Distribution::new());
        assert!(
            matches!(got, Err(TransformError::InvalidParameter { name, .. }) if name == field),
            "{field}: {got:?}"
        );
    }
    let t = Transform {
        logit_bias: vec![(1, f32::NAN)],
        ..base
    };
    assert!(matches!(
        t.validate(),
        Err(TransformError::InvalidBias { token: 1, .. })
    ));
}

#[test]
fn bad_rows_are_errors() {
    let t = Transform::default();
    let mut out = Distribution::one_hot(3);
    let inf = f32::INFINITY;
    assert!(matches!(
        t.apply(&[0.0, f32::NAN], &[], &mut out),
        Err(TransformError::InvalidLogit { token: 1, .. })
    ));
    assert!(out.is_empty());
    let infinite = TransformError::InvalidLogit {
        token: 0,
        value: inf,
    };
    assert_eq!(t.apply(&[inf], &[], &mut out), Err(infinite));
    assert_eq!(
        t.apply(&[-inf, -inf], &[], &mut out),
        Err(TransformError::NoSupport)
    );
    assert_eq!(t.apply(&[], &[], &mut out), Err(TransformError::NoSupport));
    let none = Transform {
        allowed: Some(vec![7]),
        ..Transform::default()
    };
    assert_eq!(
        none.apply(&[0.0], &[], &mut out),
        Err(TransformError::NoSupport)
    );
    let twice = TransformError::DuplicateToken { token: 4 };
    assert_eq!(
        t.apply_subset(&[0.0; 3], &[4, 2, 4], &[], &mut out),
        Err(twice)
    );
    let lengths = TransformError::LengthMismatch {
        logits: 1,
        token_ids: 2,
    };
    assert_eq!(t.apply_subset(&[0.0], &[1, 2], &[], &mut out), Err(lengths));
}
