//! SmolLM2-135M-Instruct from its GGUF, against transformers in float32 on the same weights.

use std::{ops::ControlFlow, sync::LazyLock};

use fastdraft_data::Message;
use fastdraft_model::{
    draft::init,
    engine::cpu::{Segment, WeightFormat, Workspace},
};
use fastdraft_specdec::{SessionConfig, Transform, generate, generate_plain};
use fastdraft_tests::{fixture, smollm2};
use fastdraft_train::{DraftModel, TargetModel};
use serde_json::Value;

static TARGET: LazyLock<TargetModel> =
    LazyLock::new(|| TargetModel::load(&smollm2(), WeightFormat::F32).unwrap());

fn read(name: &str) -> Value {
    let bytes = std::fs::read(fixture("smollm2").join(name)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn token_ids_equal_the_reference() {
    let file = read("tokens.json");
    for case in file["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(
            TARGET.tokenizer.encode(text, true).unwrap(),
            ids(&case["ids"]),
            "{text:?}"
        );
    }
}

#[test]
fn chat_text_and_ids_equal_the_reference() {
    let file = read("chat.json");
    let chat = TARGET.chat.as_ref().unwrap();
    assert_eq!(chat.source(), file["template"].as_str().unwrap());
    for case in file["cases"].as_array().unwrap() {
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| Message::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap()))
            .collect();
        let prompt = case["add_generation_prompt"].as_bool().unwrap();
        assert_eq!(
            chat.render(&messages, prompt).unwrap(),
            case["text"].as_str().unwrap()
        );
        let encoded = chat.encode(&TARGET.tokenizer, &messages, prompt).unwrap();
        assert_eq!(encoded, ids(&case["ids"]));
    }
}

#[test]
fn a_saved_tokenizer_is_the_same_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    TARGET.tokenizer.save(&path).unwrap();
    let again = fastdraft_data::Tokenizer::from_file(&path).unwrap();
    assert_eq!(again.fingerprint(), TARGET.tokenizer.fingerprint());
    for case in read("tokens.json")["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(
            again.encode(text, true).unwrap(),
            ids(&case["ids"]),
            "{text:?}"
        );
    }
}

#[test]
fn log_probabilities_equal_float32_transformers() {
    for case in read("logits.json")["cases"].as_array().unwrap() {
        let prompt = ids(&case["prompt_ids"]);
        let mut cache = TARGET.model.cache(prompt.len());
        let mut logits = Vec::new();
        let segment = Segment {
            cache: &mut cache,
            tokens: &prompt,
            outputs: 1,
        };
        TARGET
            .model
            .forward(&mut [segment], &mut Workspace::new(), &mut logits)
            .unwrap();
        let sum: f64 = logits.iter().map(|v| f64::from(*v).exp()).sum();
        let top = ids(&case["hf_f32_top_ids"]);
        let mut worst = 0.0f64;
        for (id, wanted) in top
            .iter()
            .zip(case["hf_f32_top_logprobs"].as_array().unwrap())
        {
            let got = f64::from(logits[*id as usize]) - sum.ln();
            worst = worst.max((got - wanted.as_f64().unwrap()).abs());
        }
        println!("{}: {worst:e}", case["prompt"]);
        assert!(worst < 1e-3, "{}: {worst}", case["prompt"]);
        let best = (0..logits.len())
            .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
            .unwrap();
        assert_eq!(best as u32, top[0]);
    }
}

fn session(gamma: usize, max_new_tokens: usize) -> SessionConfig {
    SessionConfig {
        gamma,
        max_new_tokens,
        transform: Transform::greedy(),
        ..SessionConfig::default()
    }
}

#[test]
fn greedy_text_equals_float32_transformers_with_and_without_a_draft() {
    let draft = init::from_target(&TARGET.checkpoint().unwrap(), &[0, 29], None).unwrap();
    let draft = DraftModel::from_checkpoint(&draft, WeightFormat::Bf16, &TARGET).unwrap();
    for (i, case) in read("greedy.json")["cases"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let (prompt, wanted) = (ids(&case["prompt_ids"]), ids(&case["hf_f32_ids"]));
        let gamma = 1 + i;
        let mut engine = TARGET.engine(160);
        let plain = generate_plain(&mut engine, &prompt, &session(gamma, wanted.len()), |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(plain.tokens, wanted, "{}", case["prompt"]);
        let (mut proposer, mut engine) = (draft.engine(160), TARGET.engine(160));
        let config = session(gamma, wanted.len());
        let speculative = generate(&mut proposer, &mut engine, &prompt, &config, |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(
            speculative.tokens, wanted,
            "gamma {gamma}: {}",
            case["prompt"]
        );
        assert!(speculative.metrics.drafted > 0);
    }
}

#[test]
fn logits_do_not_depend_on_the_tokens_that_share_a_pass() {
    let tokens = TARGET
        .encode("Name three rivers of Europe and one of Asia.", false)
        .unwrap();
    let run = |chunk: usize| {
        let mut cache = TARGET.model.cache(tokens.len());
        let (mut work, mut logits, mut all) = (Workspace::new(), Vec::new(), Vec::new());
        for part in tokens.chunks(chunk) {
            let segment = Segment {
                cache: &mut cache,
                tokens: part,
                outputs: part.len(),
            };
            TARGET
                .model
                .forward(&mut [segment], &mut work, &mut logits)
                .unwrap();
            all.extend(logits.iter().map(|v| v.to_bits()));
        }
        all
    };
    let alone = run(1);
    for chunk in [2, 4, 5, 8, tokens.len()] {
        assert!(run(chunk) == alone, "passes of {chunk} tokens");
    }
}
