//! The engine on a Burn device: transformers' assisted generation, the CPU engine, its own passes.

#![cfg(all(feature = "burn", feature = "specdec"))]
#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use burn::tensor::Device;
use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary, ModelError,
    decoder::Decoder,
    draft::init,
    engine::{
        burn::{BurnBatch, BurnEngine, KvCache, Segment},
        cpu::{CpuEngine, CpuModel, WeightFormat},
    },
    import,
};
use fastdraft_specdec::{
    LogitRows, PromptLookup, SessionConfig, Target, Transform,
    batch::{BatchRequest, generate_batch},
    generate, generate_plain,
};
use serde_json::Value;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/specdec")
        .join(name)
}

fn checkpoint(name: &str) -> Checkpoint {
    import::load(&fixture(name)).unwrap()
}

fn engine(checkpoint: &Checkpoint) -> BurnEngine {
    BurnEngine::from_checkpoint(checkpoint, &Device::flex(), 640, 0).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap();
    list.iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn greedy(gamma: usize) -> SessionConfig {
    SessionConfig {
        gamma,
        max_new_tokens: 32,
        transform: Transform::greedy(),
        ..SessionConfig::default()
    }
}

#[test]
fn ids_and_counts_equal_transformers() {
    let text = std::fs::read(fixture("transformers_assisted.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let mut draft = engine(&checkpoint(case["draft"].as_str().unwrap()));
        let mut target = engine(&checkpoint("target"));
        let prompt = numbers(&case["prompt_ids"]);
        let mut accepted = Vec::new();
        let out = generate(&mut draft, &mut target, &prompt, &greedy(5), |emitted| {
            accepted.push(emitted.accepted as u32);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(out.tokens, numbers(&case["output_ids"]));
        assert_eq!(accepted, numbers(&case["accepted_per_round"]));
        let drafted: u32 = numbers(&case["drafted_per_round"]).iter().sum();
        assert_eq!(out.metrics.drafted, u64::from(drafted));

        let model = CpuModel::new(&checkpoint("target"), WeightFormat::F32).unwrap();
        let mut cpu = CpuEngine::new(Arc::new(model), 128, 0);
        let plain = generate_plain(&mut cpu, &prompt, &greedy(5), |_| ControlFlow::Continue(()));
        assert_eq!(plain.unwrap().tokens, out.tokens);
    }
}

#[test]
fn one_pass_over_a_proposal_scores_like_one_token_at_a_time() {
    let target = checkpoint("target");
    let (mut whole, mut single) = (engine(&target), engine(&target));
    let context: Vec<u32> = (0..600).map(|i| (i * 37 + 5) % 512).collect();
    let proposal = [7, 300, 11, 12];
    let (mut rows, mut row) = (LogitRows::new(), LogitRows::new());
    // 600 tokens take three passes, 604 after a rollback only those that changed.
    whole.score(&context, &[9, 9], &mut rows).unwrap();
    whole.score(&context, &proposal, &mut rows).unwrap();
    assert_eq!(rows.rows(), proposal.len() + 1);
    for i in 0..=proposal.len() {
        let history = [&context[..], &proposal[..i]].concat();
        single.score(&history, &[], &mut row).unwrap();
        let pairs = rows.row(i).unwrap().iter().zip(row.row(0).unwrap());
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 2e-5, "{i}: {difference}");
    }
}

#[test]
fn a_trimmed_draft_proposes_only_its_tokens() {
    let target = checkpoint("target");
    let kept = DraftVocabulary::new((0..512).step_by(3).collect(), 512).unwrap();
    let draft = init::from_target(&target, &[0, 1, 2], Some(kept)).unwrap();
    let prompt = [5, 6, 7];
    let mut target = engine(&target);
    let plain = generate_plain(&mut target, &prompt, &greedy(3), |_| {
        ControlFlow::Continue(())
    });
    let out = generate(
        &mut engine(&draft),
        &mut target,
        &prompt,
        &greedy(3),
        |_| ControlFlow::Continue(()),
    );
    let out = out.unwrap();
    assert_eq!(out.tokens, plain.unwrap().tokens);
    assert!(out.metrics.drafted > 0);
}

#[test]
fn wrong_passes_leave_the_cache_untouched() {
    let device = Device::flex();
    let small = init::random(DecoderConfig::llama(20, 32, 2), None, 1).unwrap();
    let decoder = Decoder::from_checkpoint(&small, &device).unwrap();
    let mut cache = KvCache::new(decoder.config(), 4, &device);
    drop(decoder.forward_cached(&[1, 2], 2, &mut cache).unwrap());
    for (tokens, outputs) in [(&[][..], 1), (&[1], 2), (&[1], 0)] {
        let error = decoder.forward_cached(tokens, outputs, &mut cache);
        assert!(matches!(error.unwrap_err(), ModelError::InvalidPass { .. }));
    }
    let error = decoder.forward_cached(&[20], 1, &mut cache).unwrap_err();
    assert!(error.to_string().contains("20"), "{error}");
    let error = decoder
        .forward_cached(&[1, 2, 3], 1, &mut cache)
        .unwrap_err();
    let overflow = matches!(
        error,
        ModelError::ContextOverflow {
            tokens: 5,
            capacity: 4
        }
    );
    assert!(overflow, "{error}");
    assert_eq!((cache.len(), cache.capacity()), (2, 4));

    let trimmed = BurnEngine::new(
        decoder,
        Some(DraftVocabulary::new(vec![1], 20).unwrap()),
        4,
        0,
    );
    assert!(matches!(
        trimmed.unwrap_err(),
        ModelError::InvalidConfig { .. }
    ));
}

#[test]
fn sequences_of_any_lengths_share_passes_and_get_what_they_get_alone() {
    let mut config = DecoderConfig::llama(40, 64, 3);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    let checkpoint = init::random(config, None, 7).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint, &Device::flex()).unwrap();
    let prompts: Vec<Vec<u32>> = [1, 3, 300, 64, 5]
        .into_iter()
        .map(|len| (0..len).map(|i| (i * i + len) % 40).collect())
        .collect();
    let settings = |index: usize| SessionConfig {
        gamma: 3,
        max_new_tokens: 4 + 5 * index,
        seed: index as u64,
        ..SessionConfig::default()
    };
    let mut target = BurnBatch::new(decoder.clone(), 340, 0);
    // Twice, because the second batch meets slots that were used.
    for _ in 0..2 {
        let mut requests: Vec<_> = (prompts.iter().enumerate())
            .map(|(i, prompt)| BatchRequest::new(PromptLookup::default(), prompt, settings(i)))
            .collect();
        let together =
            generate_batch(&mut requests, &mut target, |_, _| ControlFlow::Continue(())).unwrap();
        for (i, (prompt, batched)) in prompts.iter().zip(together).enumerate() {
            let mut engine = BurnEngine::new(decoder.clone(), None, 340, 0).unwrap();
            let alone = generate(
                &mut PromptLookup::default(),
                &mut engine,
                prompt,
                &settings(i),
                |_| ControlFlow::Continue(()),
            );
            assert_eq!(batched.unwrap().tokens, alone.unwrap().tokens, "{i}");
        }
    }
}

#[test]
fn segments_of_a_pass_have_the_logits_of_passes_alone() {
    let mut config = DecoderConfig::llama(40, 64, 3);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    (config.sliding_window, config.full_attention_layers) = (Some(5), vec![1]);
    let checkpoint = init::random(config.clone(), None, 7).unwrap();
    let device = Device::flex();
    let decoder = Decoder::from_checkpoint(&checkpoint, &device).unwrap();
    let fresh = || KvCache::new(&config, 64, &device);
    let first: [&[u32]; 3] = [&[1, 2, 3, 4, 5, 6, 7], &[9], &[3, 1]];
    let then: [&[u32]; 3] = [&[8, 30], &[1, 2, 3, 4, 5, 6], &[2]];
    let outputs = [2, 3, 1];
    let mut apart = Vec::new();
    for i in 0..3 {
        let mut cache = fresh();
        drop(decoder.forward_cached(first[i], 1, &mut cache).unwrap());
        let logits = decoder
            .forward_cached(then[i], outputs[i], &mut cache)
            .unwrap();
        apart.extend(
            logits
                .into_data()
                .convert::<f32>()
                .try_to_vec::<f32>()
                .unwrap(),
        );
    }
    let mut caches = [fresh(), fresh(), fresh()];
    for (tokens, outputs, last) in [(first, [1, 0, 0], false), (then, outputs, true)] {
        let mut segments: Vec<Segment<'_>> = (caches.iter_mut().zip(tokens).zip(outputs))
            .map(|((cache, tokens), outputs)| Segment {
                cache,
                tokens,
                outputs,
            })
            .collect();
        let logits = decoder.forward_segments(&mut segments).unwrap();
        if last {
            let together = logits
                .into_data()
                .convert::<f32>()
                .try_to_vec::<f32>()
                .unwrap();
            assert_eq!(together.len(), apart.len());
            for (a, b) in together.iter().zip(&apart) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }
}
