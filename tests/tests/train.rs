//! The recipe on a model small enough for a test.

use std::fs;

use burn::tensor::Device;
use fastdraft_data::{MaskedTokens, PackedTokens, Packer};
use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary, decoder::Decoder, draft::init, export, import,
};
use fastdraft_train::{
    optim::schedule::Schedule,
    progress::Progress,
    stage::{Budget, Freeze, StageConfig, Trainer},
};

const VOCABULARY: u32 = 97;

/// A language in which each token decides the next.
fn corpus(multiplier: u32) -> PackedTokens {
    let mut packer = Packer::new(24, 0);
    for start in 1..VOCABULARY {
        let mut token = start;
        let document: Vec<u32> = (0..40)
            .map(|_| {
                token = (token * multiplier + 1) % VOCABULARY;
                token
            })
            .collect();
        packer.push_document(&document);
    }
    packer.finish().unwrap()
}

fn answers() -> PackedTokens {
    let mut packer = Packer::new(24, 0);
    for start in 1..40u32 {
        let answer: Vec<u32> = (0..10).map(|i| (start + 3 * i) % VOCABULARY).collect();
        packer.push_masked(&MaskedTokens::from_answer(&[start, 5, 6], &answer).unwrap());
    }
    packer.finish().unwrap()
}

fn stage(name: &str, steps: usize) -> StageConfig {
    StageConfig {
        name: name.into(),
        budget: Budget::Steps(steps),
        schedule: Schedule::cosine(3e-3),
        batch: 8,
        clip: 1.0,
        seed: 5,
        ..StageConfig::default()
    }
}

fn draft() -> Checkpoint {
    let kept = DraftVocabulary::new((0..90).collect(), VOCABULARY as usize).unwrap();
    init::random(
        DecoderConfig::llama(VOCABULARY as usize, 64, 2),
        Some(kept),
        11,
    )
    .unwrap()
}

fn recipe() -> (Checkpoint, Vec<f32>) {
    let mut trainer = Trainer::new(&draft(), &Device::flex(), Freeze::NONE).unwrap();
    let (text, code, answers) = (corpus(5), corpus(7), answers());
    let mut losses = Vec::new();
    let stages: [(&str, Vec<(&PackedTokens, u32)>); 3] = [
        ("PT", vec![(&text, 1)]),
        ("CP", vec![(&code, 2), (&text, 1)]),
        ("FT", vec![(&answers, 1)]),
    ];
    for (name, sources) in stages {
        let report = trainer
            .run(&stage(name, 60), &sources, &mut Progress::hidden())
            .unwrap();
        assert_eq!((report.steps, report.tokens), (60, 60 * 8 * 24));
        assert!(
            report.last_loss < report.first_loss * 0.8,
            "{name}: {} → {}",
            report.first_loss,
            report.last_loss
        );
        losses.extend([report.first_loss, report.last_loss]);
    }
    (trainer.checkpoint().unwrap(), losses)
}

#[test]
fn every_stage_learns_and_equal_seeds_give_equal_drafts() {
    let (first, losses) = recipe();
    let (second, again) = recipe();
    assert_eq!(losses, again);
    assert_eq!(first, second);
    // A uniform guess over 90 tokens costs ln 90 ≈ 4.5 nats.
    assert!((losses[0] - 90f32.ln()).abs() < 0.5, "{losses:?}");
}

#[test]
fn a_frozen_embedding_keeps_every_bit() {
    let before = draft();
    let mut trainer = Trainer::new(&before, &Device::flex(), Freeze::EMBEDDING).unwrap();
    let text = corpus(5);
    trainer
        .run(&stage("PT", 5), &[(&text, 1)], &mut Progress::hidden())
        .unwrap();
    let after = trainer.checkpoint().unwrap();
    let shape = [VOCABULARY as usize, 64];
    let embedding = |c: &Checkpoint| c.weights.get("model.embed_tokens.weight", &shape).cloned();
    assert_eq!(embedding(&before).unwrap(), embedding(&after).unwrap());
    let shape = [90, 64];
    let head = |c: &Checkpoint| c.weights.get("lm_head.weight", &shape).cloned();
    assert_ne!(head(&before).unwrap(), head(&after).unwrap());
}

#[test]
fn a_trained_draft_survives_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = Decoder::from_checkpoint(&draft(), &Device::flex()).unwrap();
    let checkpoint = decoder.to_checkpoint(draft().draft_vocabulary).unwrap();
    assert_eq!(checkpoint, draft());
    export::hf::save(dir.path(), &checkpoint).unwrap();
    assert_eq!(import::load(dir.path()).unwrap(), checkpoint);
    let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
    assert!(text.contains("\"draft_vocab_size\": 90"), "{text}");
}
