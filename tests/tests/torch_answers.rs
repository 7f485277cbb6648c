//! A target in PyTorch says what it says on the CPU engine.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use fastdraft_data::tokenizer::{BpeVocabulary, Tokenizer};
use fastdraft_model::{
    DecoderConfig,
    draft::{init, sharpen::sharpen},
    engine::cpu::WeightFormat,
    export,
};
use fastdraft_train::{
    TargetModel,
    answers::AnswersFolder,
    generate::{GenerateConfig, Place, Question, TaughtAnswer, generate_answers},
    progress::Progress,
    stage::Precision,
    torch::TorchConfig,
};

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("FASTDRAFT_PYTHON").map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| "python3".into());
    let imports = "import torch, numpy, safetensors, torch.distributed.run";
    let found = Command::new(&path).args(["-c", imports]).output();
    if named.is_some() || found.is_ok_and(|output| output.status.success()) {
        return Some(path);
    }
    println!("python3 has no torch: left out; FASTDRAFT_PYTHON names another interpreter");
    None
}

fn target(dir: &std::path::Path) -> TargetModel {
    let letters = ('a'..='z').chain('A'..='M').map(String::from);
    let tokens: Vec<String> = letters.chain(["<end>".to_owned()]).collect();
    let tokenizer = Tokenizer::from_bpe(&BpeVocabulary {
        token_types: [vec![1; tokens.len() - 1], vec![3]].concat(),
        eos_id: Some(39),
        pre: "gpt-2".into(),
        tokens,
        ..BpeVocabulary::default()
    })
    .unwrap();
    let mut config = DecoderConfig::llama(40, 64, 3);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    config.eos_ids = vec![39];
    // Sharp enough that no two logits are nearly equal.
    let mut checkpoint = init::random(config, None, 7).unwrap();
    sharpen(&mut checkpoint, 6.0).unwrap();
    export::hf::save(dir, &checkpoint).unwrap();
    tokenizer.save(dir.join("tokenizer.json")).unwrap();
    TargetModel::load(dir, WeightFormat::F32).unwrap()
}

fn questions(temperature: f64) -> Vec<Question> {
    (0..9u32)
        .map(|i| Question {
            id: format!("q{i}"),
            prompt: String::new(),
            ids: (0..2 + 5 * i).map(|t| (t * 7 + i) % 39).collect(),
            temperature,
        })
        .collect()
}

fn config(place: Place, batch: usize) -> GenerateConfig {
    GenerateConfig {
        max_new_tokens: 20,
        batch,
        limit: None,
        seed: 3,
        top_k: 5,
        place,
        precision: Precision::default(),
    }
}

fn sorted(mut answers: Vec<TaughtAnswer>) -> Vec<TaughtAnswer> {
    answers.sort_by(|a, b| a.answer.id.cmp(&b.answer.id));
    answers
}

#[test]
fn answers_in_torch() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let target = target(&dir.path().join("target"));
    let torch = |ranks| {
        Place::Torch(TorchConfig {
            python: python.clone(),
            ranks,
            ..TorchConfig::default()
        })
    };
    let ask = |temperature, config: &GenerateConfig| {
        let questions = questions(temperature);
        let mut progress = Progress::hidden();
        sorted(generate_answers(&target, &questions, config, &mut progress).unwrap())
    };
    let ours = ask(0.0, &config(Place::Cpu, 4));
    let theirs = ask(0.0, &config(torch(1), 4));
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        assert_eq!(a.answer, b.answer);
        assert_eq!(a.teacher.positions(), b.teacher.positions());
        for position in 0..a.teacher.positions() {
            let (_, p) = a.teacher.at(position).unwrap();
            let (_, q) = b.teacher.at(position).unwrap();
            for (p, q) in p.iter().zip(q) {
                assert!((p - q).abs() < 1e-4, "{p} {q}");
            }
        }
    }
    // Neither the batch nor the ranks decide what is drawn.
    let ids = |answers: Vec<TaughtAnswer>| -> Vec<Vec<u32>> {
        answers.into_iter().map(|a| a.answer.answer_ids).collect()
    };
    let alone = ids(ask(0.9, &config(torch(1), 1)));
    assert_eq!(alone, ids(ask(0.9, &config(torch(2), 9))));
    assert_ne!(alone, ids(ours));

    let folder = AnswersFolder::new(dir.path().join("answers"));
    let (questions, config) = (questions(0.9), config(torch(1), 4));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut progress = Progress::hidden();
    assert!(
        folder
            .complete(&target, &questions, &config, &mut progress, &stop)
            .unwrap()
    );
    assert_eq!(ids(folder.read().unwrap()), alone);
    // Parts share their ranks.
    let many: Vec<Question> = (0..300)
        .map(|i| Question {
            id: format!("{i}"),
            ids: vec![i % 39, i / 39],
            ..questions[0].clone()
        })
        .collect();
    let short = GenerateConfig {
        max_new_tokens: 3,
        ..config.clone()
    };
    let parts = AnswersFolder::new(dir.path().join("parts"));
    let done = parts.complete(&target, &many, &short, &mut progress, &stop);
    assert!(done.unwrap());
    let whole = generate_answers(&target, &many[250..], &short, &mut progress).unwrap();
    let by_name: BTreeMap<_, _> = (whole.into_iter())
        .map(|taught| (taught.answer.id.clone(), taught.answer))
        .collect();
    let read = parts.read().unwrap();
    assert_eq!(read.len(), 300);
    for taught in &read[250..] {
        assert_eq!(taught.answer, by_name[&taught.answer.id]);
    }

    let half = GenerateConfig {
        precision: Precision::Bfloat16,
        ..config.clone()
    };
    let refused = folder.complete(&target, &questions, &half, &mut progress, &stop);
    assert!(refused.unwrap_err().to_string().contains("Bfloat16"));
    let half = GenerateConfig {
        place: Place::Cpu,
        ..half
    };
    let refused = generate_answers(&target, &questions, &half, &mut progress);
    assert!(refused.unwrap_err().to_string().contains("torch engine"));
    let elsewhere = GenerateConfig {
        place: Place::Cpu,
        ..config
    };
    let refused = folder.complete(&target, &questions, &elsewhere, &mut progress, &stop);
    assert!(refused.unwrap_err().to_string().contains("PyTorch"));
}
