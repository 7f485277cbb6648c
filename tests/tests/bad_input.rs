//! Bad input ends with a clear error and leaves nothing half-written.

use std::fs;

use burn::tensor::Device;
use fastdraft_data::{DataError, Packer};
use fastdraft_model::{
    DecoderConfig, DraftVocabulary, ModelError, draft::init, engine::cpu::WeightFormat, import,
};
use fastdraft_tests::smollm2;
use fastdraft_train::{
    DraftModel, TargetModel, TrainError,
    optim::schedule::Schedule,
    progress::Progress,
    report,
    stage::{Budget, Freeze, StageConfig, Trainer},
    target::save_draft,
};

#[test]
fn a_truncated_gguf_is_an_error() {
    let bytes = fs::read(smollm2()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    for length in [0, 3, 20, 5_000, 2_000_000, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let Err(error) = TargetModel::load(&path, WeightFormat::Bf16) else {
            panic!("{length} bytes were accepted");
        };
        assert!(error.to_string().contains("cut.gguf"), "{length}: {error}");
    }
}

#[test]
fn another_models_draft_is_refused() {
    let target = TargetModel::load(&smollm2(), WeightFormat::Bf16).unwrap();
    let dir = tempfile::tempdir().unwrap();

    let small = init::random(DecoderConfig::llama(300, 32, 1), None, 1).unwrap();
    let Err(error) = DraftModel::from_checkpoint(&small, WeightFormat::F32, &target) else {
        panic!("a draft of 300 tokens was accepted");
    };
    assert!(matches!(error, TrainError::Vocabulary { .. }));
    assert!(error.to_string().contains("300"), "{error}");

    let draft = init::random(DecoderConfig::llama(49_152, 32, 1), None, 1).unwrap();
    let path = dir.path().join("draft");
    save_draft(&path, &draft, &target.tokenizer).unwrap();
    assert!(DraftModel::load(&path, WeightFormat::F32, &target).is_ok());
    let text = fs::read_to_string(path.join("tokenizer.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let words = json["model"]["vocab"].as_object_mut().unwrap();
    let (a, b) = (words["the"].clone(), words["and"].clone());
    words["the"] = b;
    words["and"] = a;
    fs::write(path.join("tokenizer.json"), json.to_string()).unwrap();
    let Err(error) = DraftModel::load(&path, WeightFormat::F32, &target) else {
        panic!("a draft with two tokens exchanged was accepted");
    };
    assert!(error.to_string().contains("fingerprint"), "{error}");
}

#[test]
fn an_empty_corpus_is_an_error() {
    let error = Packer::new(16, 0).finish().unwrap_err();
    assert!(error.to_string().contains("0 documents"), "{error}");
    let _: DataError = error;
}

#[test]
fn an_unwritable_report_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("report.json");
    let error = report::write_json(&path, &1).unwrap_err();
    assert!(error.to_string().contains("report.json"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_file_is_named() {
    let error = import::load("no-such-model.gguf".as_ref()).unwrap_err();
    assert!(matches!(error, ModelError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("no-such-model.gguf"), "{error}");
}

#[test]
fn a_learning_rate_that_diverges_names_the_step() {
    let kept = DraftVocabulary::new((0..64).collect(), 64).unwrap();
    let draft = init::random(DecoderConfig::llama(64, 32, 1), Some(kept), 1).unwrap();
    let mut trainer = Trainer::new(&draft, &Device::flex(), Freeze::NONE).unwrap();
    let mut packer = Packer::new(16, 0);
    packer.push_document(&(0..640).map(|i| i * 7 % 64).collect::<Vec<u32>>());
    let packed = packer.finish().unwrap();
    let config = StageConfig {
        name: "PT".into(),
        budget: Budget::Steps(50),
        schedule: Schedule {
            peak: 1e30,
            warmup: 0.0,
            floor: 1.0,
        },
        batch: 4,
        clip: f32::INFINITY,
        seed: 1,
        ..StageConfig::default()
    };
    let error = trainer
        .run(&config, &[(&packed, 1)], &mut Progress::hidden())
        .unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn a_precision_that_the_engine_lacks_is_refused() {
    let draft = init::random(DecoderConfig::llama(64, 32, 1), None, 1).unwrap();
    let mut trainer = Trainer::new(&draft, &Device::flex(), Freeze::NONE).unwrap();
    let mut packer = Packer::new(16, 0);
    packer.push_document(&[1; 40]);
    let packed = packer.finish().unwrap();
    let config = StageConfig {
        precision: fastdraft_train::stage::Precision::Bfloat16,
        ..StageConfig::default()
    };
    let error = trainer
        .run(&config, &[(&packed, 1)], &mut Progress::hidden())
        .unwrap_err();
    assert!(matches!(error, TrainError::Engine { .. }), "{error}");
    assert!(error.to_string().contains("torch engine"), "{error}");
}
