//! Evaluation with the draft in `assets/` on its target.

use std::path::Path;

use fastdraft_data::source::{Prompt, read_prompts};
use fastdraft_model::engine::cpu::WeightFormat;
use fastdraft_tests::smollm2;
use fastdraft_train::{
    AnyDraft, TargetModel,
    evaluate::{DraftLength, EvaluateConfig, PlainSpeed, TaskReport, compare, evaluate},
    progress::Progress,
};

const TOKENS: usize = 24;

fn config(length: DraftLength) -> EvaluateConfig {
    EvaluateConfig {
        gamma: 4,
        length,
        temperature: 0.0,
        max_new_tokens: TOKENS,
        seed: 1,
        raw_tasks: vec!["code".into()],
        raw: false,
    }
}

fn counts(tasks: &[TaskReport]) -> Vec<(&str, u64, u64, u64)> {
    (tasks.iter())
        .map(|t| (t.task.as_str(), t.drafted, t.accepted, t.emitted))
        .collect()
}

#[test]
fn ways_that_take_turns_count_what_they_count_alone() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let target = TargetModel::load(&smollm2(), WeightFormat::Int8).unwrap();
    let draft = assets.join("smollm2-135m-draft");
    let draft = AnyDraft::load(&draft, WeightFormat::Int8, &target).unwrap();
    let mut prompts: Vec<Prompt> = Vec::new();
    for task in ["code", "instructions"] {
        let all = read_prompts(assets.join(format!("eval/{task}.jsonl"))).unwrap();
        prompts.extend(all.into_iter().take(2));
    }
    let quiet = &mut Progress::hidden();
    let configs = [
        config(DraftLength::Fixed),
        config(DraftLength::StopBelow(0.6)),
    ];
    let both = compare(&target, &draft, &prompts, &configs, quiet).unwrap();
    for (tasks, config) in both.iter().zip(&configs) {
        let plain = PlainSpeed::default();
        let alone = evaluate(&target, &draft, &prompts, &plain, config, quiet).unwrap();
        assert_eq!(counts(tasks), counts(&alone));
    }
    let [fixed, sure] = both.as_slice() else {
        panic!("{} ways", both.len())
    };
    for (fixed, sure) in fixed.iter().zip(sure) {
        // Greedy text is the target's, whatever is drafted.
        assert_eq!(fixed.emitted, sure.emitted, "{}", fixed.task);
        assert!(sure.drafted < fixed.drafted, "{}", fixed.task);
        assert!(
            sure.acceptance_rate > fixed.acceptance_rate,
            "{}",
            fixed.task
        );
        for task in [fixed, sure] {
            assert!(task.plain_tokens_per_s > 0.0 && task.decode.plain_tokens_per_s > 0.0);
            assert!(task.acceptance_interval.is_some() && task.prompts == 2);
        }
    }
    assert!(compare(&target, &draft, &prompts, &[], quiet).is_err());
    assert!(compare(&target, &draft, &[], &configs, quiet).is_err());
}
