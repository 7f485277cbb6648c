//! Selection by top-k, top-p and min-p against a full sort.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Full sorts take hours there.
#![cfg(not(miri))]

use fastdraft_specdec::{Distribution, SeededUniform, TokenId, Transform, TransformError, Uniform};
use proptest::prelude::*;

/// Full sort, straightforward; `None` when a token lies too close to a threshold to compare.
fn oracle(t: &Transform, logits: &[f32]) -> Option<Vec<(TokenId, f64)>> {
    oracle_within(t, logits, 1e-9)
}

fn oracle_within(t: &Transform, logits: &[f32], near: f64) -> Option<Vec<(TokenId, f64)>> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut kept: Vec<(TokenId, f64)> = (0..)
        .zip(logits)
        .map(|(i, &l)| (i, (f64::from(l) - f64::from(max)) / t.temperature))
        // The crate gives 0 where the result would no longer be a normal number.
        .filter(|&(_, scaled)| scaled > -708.0)
        .map(|(i, scaled)| (i, scaled.exp()))
        .collect();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    kept.truncate(t.top_k.unwrap_or(usize::MAX));
    if let Some(p) = t.top_p.filter(|&p| p < 1.0) {
        let total: f64 = kept.iter().map(|e| e.1).sum();
        let mut before = 0.0;
        let mut count = 0;
        for entry in &kept {
            if (before / total - p).abs() < near {
                return None;
            }
            if before / total >= p {
                break;
            }
            before += entry.1;
            count += 1;
        }
        kept.truncate(count);
    }
    if let Some(p) = t.min_p {
        if kept.iter().any(|e| (e.1 - p).abs() < near && e.1 < 1.0) {
            return None;
        }
        kept.retain(|e| e.1 >= p);
    }
    let total: f64 = kept.iter().map(|e| e.1).sum();
    kept.sort_by_key(|e| e.0);
    Some(kept.into_iter().map(|(i, w)| (i, w / total)).collect())
}

/// Rows long enough for the block-wise and single-precision paths, peaked and flat.
#[test]
fn long_rows_equal_a_full_sort() {
    let mut compared = 0;
    for seed in 0..24u64 {
        let mut rng = SeededUniform::new(seed);
        let size = 5_000 + 997 * seed as usize;
        let spread = [3.0, 12.0, 30.0][seed as usize % 3];
        let mut raw: Vec<f32> = (0..size).map(|_| (rng.uniform() * spread) as f32).collect();
        if seed % 2 == 0 {
            raw[17] = spread as f32 + 4.0;
            raw[size - 1] = spread as f32 + 4.5;
            raw[size / 2] = f32::NEG_INFINITY;
        }
        let base = Transform::temperature(0.6);
        for t in [
            base.clone(),
            Transform {
                top_p: Some(0.95),
                ..base.clone()
            },
            Transform {
                top_p: Some(0.5),
                min_p: Some(0.1),
                ..base.clone()
            },
            Transform {
                top_k: Some(50),
                ..base.clone()
            },
            Transform {
                top_k: Some(400),
                top_p: Some(0.9),
                ..base.clone()
            },
            Transform {
                min_p: Some(0.02),
                ..base
            },
        ] {
            let mut out = Distribution::new();
            t.apply(&raw, &[], &mut out).unwrap();
            out.validate().unwrap();
            let Some(expected) = oracle_within(&t, &raw, 1e-6) else {
                continue;
            };
            compared += 1;
            let tokens: Vec<_> = expected.iter().map(|e| e.0).collect();
            assert_eq!(out.tokens(), &tokens[..], "seed {seed}, {t:?}");
            for (a, b) in out.probabilities().iter().zip(&expected) {
                assert!((a - b.1).abs() < 1e-12);
            }
            for (token, probability) in expected {
                assert!((out.probability(token) - probability).abs() < 1e-12);
            }
        }
    }
    assert!(compared > 70, "{compared}");
}

/// Rows where light tokens have some mass together: bounds on it must not decide the cut.
#[test]
fn unsure_rows_equal_a_full_sort() {
    let mut compared = 0;
    for seed in 0..40u64 {
        let mut rng = SeededUniform::new(seed);
        let noise = |rng: &mut SeededUniform| (0..12).map(|_| rng.uniform()).sum::<f64>() - 6.0;
        let mut raw: Vec<f32> = (0..60_000).map(|_| 2.5 * noise(&mut rng) as f32).collect();
        for rank in 0..300 {
            let token = (rng.uniform() * raw.len() as f64) as usize;
            raw[token] = raw[token].max(13.5 - (1.0 + rank as f32).ln());
        }
        // Far from 0, logits have fewer places left; the result may not care.
        let shift = [0.0, 40.0, -70.0, 900.0][seed as usize % 4];
        raw.iter_mut().for_each(|v| *v += shift);
        let t = Transform {
            top_p: Some([0.95, 0.9, 0.99, 0.5, 0.9999][seed as usize % 5]),
            ..Transform::temperature(0.6)
        };
        let mut out = Distribution::new();
        t.apply(&raw, &[], &mut out).unwrap();
        let Some(expected) = oracle_within(&t, &raw, 2e-6) else {
            continue;
        };
        compared += 1;
        let tokens: Vec<_> = expected.iter().map(|e| e.0).collect();
        assert_eq!(out.tokens(), &tokens[..], "seed {seed}, {t:?}");
        for (a, b) in out.probabilities().iter().zip(&expected) {
            assert!((a - b.1).abs() < 1e-12);
        }
    }
    assert!(compared > 25, "{compared}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn selection_equals_a_full_sort(
        // Quarter steps make ties common.
        raw in prop::collection::vec(prop_oneof![
            (-40i32..40).prop_map(|i| i as f32 * 0.25),
            -3.0f32..3.0,
            Just(f32::NEG_INFINITY),
            -300.0f32..0.0,
        ], 1..300),
        temperature in 0.1f64..3.0,
        top_k in prop::option::of(1usize..200),
        top_p in prop::option::of(0.01f64..=1.0),
        min_p in prop::option::of(0.0f64..=1.0),
    ) {
        let t = Transform { temperature, top_k, top_p, min_p, ..Transform::default() };
        let mut out = Distribution::new();
        match t.apply(&raw, &[], &mut out) {
            Err(error) => {
                prop_assert_eq!(error, TransformError::NoSupport);
                prop_assert!(raw.iter().all(|&l| l == f32::NEG_INFINITY));
            }
            Ok(()) => {
                prop_assert!(out.validate().is_ok());
                if let Some(expected) = oracle(&t, &raw) {
                    let tokens: Vec<_> = expected.iter().map(|e| e.0).collect();
                    prop_assert_eq!(out.tokens(), &tokens[..]);
                    for (a, b) in out.probabilities().iter().zip(&expected) {
                        prop_assert!((a - b.1).abs() < 1e-12);
                    }
                }
            }
        }
    }
}
