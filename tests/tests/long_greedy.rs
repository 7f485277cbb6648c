//! Greedy speculative text equals greedy plain text over more than 10,000 tokens.

use std::{ops::ControlFlow, path::Path};

use fastdraft_data::source::read_prompts;
use fastdraft_model::{draft::init, engine::cpu::WeightFormat};
use fastdraft_specdec::{SessionConfig, Transform, generate, generate_plain};
use fastdraft_tests::smollm2;
use fastdraft_train::{DraftModel, TargetModel};

fn equal_over_all_prompts(
    format: WeightFormat,
    prompts_per_task: usize,
    tokens: usize,
) -> (usize, u64) {
    let target = TargetModel::load(&smollm2(), format).unwrap();
    // Without two of its blocks the target is a draft that is sometimes right.
    let blocks: Vec<usize> = (0..30).filter(|b| *b != 12 && *b != 20).collect();
    let draft = init::from_target(&target.checkpoint().unwrap(), &blocks, None).unwrap();
    let draft = DraftModel::from_checkpoint(&draft, format, &target).unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/eval");
    let (mut compared, mut accepted) = (0, 0);
    for task in ["code", "instructions", "stories", "summarization"] {
        let prompts = read_prompts(assets.join(format!("{task}.jsonl"))).unwrap();
        for (i, prompt) in prompts.iter().take(prompts_per_task).enumerate() {
            let ids = target
                .encode(&prompt.prompt, task == "code" || task == "stories")
                .unwrap();
            // No stop token: every prompt runs its full length.
            let session = SessionConfig {
                gamma: 1 + i % 7,
                max_new_tokens: tokens,
                transform: Transform::greedy(),
                ..SessionConfig::default()
            };
            let capacity = ids.len() + tokens + 8;
            let keep_going = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
            let plain =
                generate_plain(&mut target.engine(capacity), &ids, &session, keep_going).unwrap();
            let (mut draft, mut engine) = (draft.engine(capacity), target.engine(capacity));
            let speculative =
                generate(&mut draft, &mut engine, &ids, &session, keep_going).unwrap();
            assert_eq!(speculative.tokens, plain.tokens, "{format:?} {}", prompt.id);
            compared += plain.tokens.len();
            accepted += speculative.metrics.accepted;
        }
    }
    (compared, accepted)
}

#[test]
fn one_prompt_of_each_task_in_each_format() {
    for format in [
        WeightFormat::F32,
        WeightFormat::Bf16,
        WeightFormat::Int8,
        WeightFormat::Gguf,
    ] {
        let (compared, accepted) = equal_over_all_prompts(format, 1, 48);
        assert_eq!(compared, 4 * 48, "{format:?}");
        assert!(accepted > 0, "{format:?}");
    }
}

#[test]
#[ignore = "minutes: cargo nextest run --release -p fastdraft-tests --run-ignored only long"]
fn long_run_over_every_prompt() {
    let (compared, accepted) = equal_over_all_prompts(WeightFormat::Int8, 12, 220);
    println!("{compared} tokens equal, {accepted} of them accepted from the draft");
    assert!(compared > 10_000, "{compared}");
    assert!(accepted > 1_000, "{accepted}");
}
