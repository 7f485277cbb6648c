//! Greedy speculative decoding against transformers' assisted generation.

use std::{ops::ControlFlow, sync::Arc};

use fastdraft_model::{
    engine::cpu::{CpuEngine, CpuModel, WeightFormat},
    import,
};
use fastdraft_specdec::{SessionConfig, Transform, generate, generate_plain};
use fastdraft_tests::fixture;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

fn engine(name: &str) -> CpuEngine {
    let checkpoint = import::load(&fixture("specdec").join(name)).unwrap();
    let model = CpuModel::new(&checkpoint, WeightFormat::F32).unwrap();
    CpuEngine::new(Arc::new(model), 128, 0)
}

#[test]
fn ids_and_counts_equal_transformers() {
    let text = std::fs::read(fixture("specdec").join("transformers_assisted.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (mut draft, mut target) = (engine(case["draft"].as_str().unwrap()), engine("target"));
        let prompt = numbers(&case["prompt_ids"]);
        let session = SessionConfig {
            gamma: 5,
            max_new_tokens: 32,
            transform: Transform::greedy(),
            ..SessionConfig::default()
        };
        let mut accepted = Vec::new();
        let out = generate(&mut draft, &mut target, &prompt, &session, |emitted| {
            accepted.push(emitted.accepted as u32);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(out.tokens, numbers(&case["output_ids"]));
        assert_eq!(accepted, numbers(&case["accepted_per_round"]));
        let drafted: u32 = numbers(&case["drafted_per_round"]).iter().sum();
        assert_eq!(out.metrics.drafted, u64::from(drafted));

        let plain = generate_plain(&mut engine("target"), &prompt, &session, |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(plain.tokens, out.tokens);
    }
}
