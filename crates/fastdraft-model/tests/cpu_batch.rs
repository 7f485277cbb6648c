//! Sequences that share passes get the text that they would get alone.
#![cfg(feature = "specdec")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{ops::ControlFlow, sync::Arc};

use fastdraft_model::{
    DecoderConfig,
    draft::init,
    engine::cpu::{CpuBatch, CpuEngine, CpuModel, WeightFormat},
};
use fastdraft_specdec::{
    LogitRows, PromptLookup, SessionConfig, Transform,
    batch::{BatchItem, BatchRequest, BatchTarget, generate_batch},
    generate,
};

const VOCABULARY: u32 = 40;

fn model(format: WeightFormat) -> Arc<CpuModel> {
    let mut config = DecoderConfig::llama(VOCABULARY as usize, 64, 2);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    let checkpoint = init::random(config, None, 7).unwrap();
    Arc::new(CpuModel::new(&checkpoint, format).unwrap())
}

/// Prompts of very different lengths, one longer than a prefill pass.
fn prompts() -> Vec<Vec<u32>> {
    [1, 3, 17, 200, 64, 5]
        .into_iter()
        .map(|len| (0..len).map(|i| (i * i + len) % VOCABULARY).collect())
        .collect()
}

fn settings(index: usize) -> SessionConfig {
    SessionConfig {
        gamma: 3,
        max_new_tokens: 5 + 9 * index,
        transform: Transform::temperature([0.0, 0.7][index % 2]),
        seed: index as u64,
        ..SessionConfig::default()
    }
}

#[test]
fn a_batch_equals_its_sequences_alone() {
    for format in [
        WeightFormat::F32,
        WeightFormat::Bf16,
        WeightFormat::Int8,
        WeightFormat::Int4,
    ] {
        let (model, prompts) = (model(format), prompts());
        let mut target = CpuBatch::new(Arc::clone(&model), 300, 0);
        // Twice, because the second batch meets slots that were used.
        for _ in 0..2 {
            let mut requests: Vec<_> = prompts
                .iter()
                .enumerate()
                .map(|(i, prompt)| BatchRequest::new(PromptLookup::default(), prompt, settings(i)))
                .collect();
            let together =
                generate_batch(&mut requests, &mut target, |_, _| ControlFlow::Continue(()));
            let together = together.unwrap();
            for (i, prompt) in prompts.iter().enumerate() {
                let mut engine = CpuEngine::new(Arc::clone(&model), 300, 0);
                let mut draft = PromptLookup::default();
                let alone = generate(&mut draft, &mut engine, prompt, &settings(i), |_| {
                    ControlFlow::Continue(())
                });
                let (alone, together) = (alone.unwrap(), together[i].as_ref().unwrap());
                assert_eq!(together.tokens, alone.tokens, "{format:?} {i}");
                assert_eq!(together.metrics, alone.metrics, "{format:?} {i}");
            }
        }
    }
}

#[test]
fn a_refused_pass_loses_no_sequence() {
    let mut target = CpuBatch::new(model(WeightFormat::F32), 8, 0);
    let item = |slot, context| BatchItem {
        slot,
        context,
        proposal: &[],
    };
    let mut out = vec![LogitRows::default(); 2];
    let good: [BatchItem<'_>; 2] = [item(0, &[1, 2, 3]), item(1, &[4])];
    target.score(&good, &mut out).unwrap();
    let rows: Vec<Vec<f32>> = (out.iter().map(|rows| rows.row(0).unwrap().to_vec())).collect();
    let long = [1; 9];
    for (bad, message) in [
        ([item(0, &[1, 2, 3]), item(1, &long)], "9"),
        ([item(0, &[1, 2, 3]), item(0, &[1])], "slot 0 twice"),
        ([item(0, &[1, 2, 3]), item(1, &[VOCABULARY])], "40"),
        ([item(0, &[1, 2, 3]), item(1, &[])], "0 tokens"),
    ] {
        let error = target.score(&bad, &mut out).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        target.score(&good, &mut out).unwrap();
        for (row, rows) in rows.iter().zip(&out) {
            assert_eq!(row, rows.row(0).unwrap());
        }
    }
}
