//! The draft in `assets/`, on its target, in int8 and with the blocks of the file.

use std::{ops::ControlFlow, path::Path};

use fastdraft_model::{engine::cpu::WeightFormat, import};
use fastdraft_specdec::{SessionConfig, Stop, Transform, generate, generate_plain};
use fastdraft_tests::smollm2;
use fastdraft_train::{AnyDraft, DraftSource, TargetModel, target::load_draft};

const PROMPT: &str = "Write a Python function that adds two numbers.";
const TOKENS: usize = 40;

#[test]
fn it_is_accepted_and_changes_no_token() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/smollm2-135m-draft");
    let path = folder.join("draft.safetensors");
    for format in [WeightFormat::Int8, WeightFormat::Gguf] {
        let target = TargetModel::load(&smollm2(), format).unwrap();
        let ids = target.encode(PROMPT, false).unwrap();
        let session = SessionConfig {
            gamma: 3,
            max_new_tokens: TOKENS,
            transform: Transform::greedy(),
            stop: Stop {
                tokens: target.config().eos_ids.clone(),
                ..Stop::default()
            },
            ..SessionConfig::default()
        };
        let capacity = ids.len() + TOKENS + 4;
        let next = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
        let plain = generate_plain(&mut target.engine(capacity), &ids, &session, next).unwrap();
        let lookup_first = format!("suffix-lookup+{}", path.display());
        for spec in [folder.as_path(), &path, Path::new(&lookup_first)] {
            let draft = AnyDraft::load(spec, format, &target).unwrap();
            let (mut draft, mut engine) = (draft.draft(capacity), target.engine(capacity));
            let out = generate(&mut draft, &mut engine, &ids, &session, next).unwrap();
            assert_eq!(out.tokens, plain.tokens, "{}", spec.display());
            // Untrained blocks get a few of a hundred.
            let rate = out.metrics.acceptance_rate().unwrap();
            assert!(rate > 0.2, "{}: {rate}", spec.display());
        }
    }
}

#[test]
fn its_gguf_file_has_the_same_blocks_and_the_whole_vocabulary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/smollm2-135m-draft");
    let target = TargetModel::load(&smollm2(), WeightFormat::Int8).unwrap();
    let draft = load_draft(&folder, &target).unwrap();
    let whole = import::load(&folder.join("draft.Q4_0.gguf")).unwrap();
    assert!(whole.config.tied && whole.draft_vocabulary.is_none());
    assert_eq!(whole.config.layers, draft.config.layers);
    let name = "model.layers.3.mlp.down_proj.weight";
    let shape = [576, 1536];
    let (a, b) = (
        &draft.weights.get(name, &shape).unwrap().data,
        &whole.weights.get(name, &shape).unwrap().data,
    );
    for (a, b) in a.chunks(32).zip(b.chunks(32)) {
        let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= largest * 0.14, "{a} {b}");
        }
    }
}
