use super::*;
use crate::plan::{Answers, Budget, Optimizer, PlanInput, StageInput};

fn input() -> ValidPlan {
    let stage = |name: &str, tokens, answers| StageInput {
        name: name.to_owned(),
        batch: 64,
        accumulation: 1,
        budget: Budget::Tokens(tokens),
        answers,
        live_teacher: false,
    };
    let answers = Answers {
        tokens: 100_000_000,
        batch: 32,
    };
    PlanInput {
        draft: DecoderShape::new(32_064, 512, 6, 1408, 8),
        frozen_embedding: false,
        target: DecoderShape::known("Phi-3-mini-4k-instruct"),
        sequence_length: 2048,
        optimizer: Optimizer::AdamW,
        stages: vec![
            stage("PT", 5_000_000_000, None),
            stage("CP", 7_500_000_000, None),
            stage("FT", 100_000_000, Some(answers)),
        ],
    }
    .validate()
    .unwrap()
}

fn question() -> Question {
    let choose = |spec: &str| Profile::choose(&spec.parse().unwrap(), &[], None).unwrap();
    Question {
        train_on: choose("gaudi:0-7"),
        run_on: choose("intel-gpu"),
        acceptance_rate: 0.402,
        gamma: 3,
        reference: DecoderShape::new(32_064, 512, 6, 1408, 8),
        per_doubling: SizeLaw::PER_DOUBLING,
        max_gamma: 8,
        weight_bytes: 2.0,
        budget_hours: Some(24.0),
    }
}

#[test]
fn json_is_one_object_with_the_promised_keys() {
    let report = Report::new(&input(), &question(), &[]).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    for key in ["hours", "memory_bytes", "speedup"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert!(json["best_gamma"].as_u64().unwrap() > 0);
    let stages = json["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3);
    assert_eq!(stages[2]["name"], "FT");
    assert!(stages[2]["answer_hours"].as_f64().unwrap() > 0.0);
    assert_eq!(json["within_budget"], true);
    assert_eq!(json["present"], false);
}

#[test]
fn the_text_is_one_screen_and_says_what_is_not_proven() {
    let shapes = [2, 4, 12].map(|layers| DecoderShape::new(32_064, 512, layers, 1408, 8));
    let text = Report::new(&input(), &question(), &shapes)
        .unwrap()
        .to_string();
    assert!(text.lines().count() <= 44, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 200),
        "{text}"
    );
    for part in [
        "8 × Intel Gaudi 2",
        "PT",
        "within the budget of 24.0 h",
        "falls below 1",
        "unverified",
        "efficiency 0.30 is assumed",
        "best",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn beyond_its_limits_drafting_loses() {
    let report = Report::new(&input(), &question(), &[]).unwrap();
    let limits = report.limits.unwrap();
    let row = report
        .forecast
        .by_gamma
        .iter()
        .find(|row| row.gamma == report.best_gamma)
        .unwrap();
    let gamma = f64::from(row.gamma);
    let verify = limits.verify_cost;
    let tau = row.block_efficiency;
    assert!((tau / (report.cost * gamma + verify) - 1.0).abs() < 1e-9);
    assert!((1.0 + gamma * limits.acceptance_rate) < tau);
    assert!(limits.draft_cost > report.cost);
    let true_verify = tau / row.speedup - report.cost * gamma;
    assert!((tau / (limits.draft_cost * gamma + true_verify) - 1.0).abs() < 1e-9);
}

#[test]
fn a_draft_as_slow_as_its_target_is_told_no() {
    let mut input = (*input()).clone();
    input.draft = DecoderShape::known("Phi-3-mini-4k-instruct").unwrap();
    for stage in &mut input.stages {
        stage.batch = 8;
    }
    let input = input.validate().unwrap();
    let report = Report::new(&input, &question(), &[]).unwrap();
    assert_eq!((report.best_gamma, report.speedup), (0, 1.0));
    assert!(report.to_string().contains("does NOT pay"), "{report}");
}

#[test]
fn shape_choice_weighs_acceptance_against_cost() {
    let target = DecoderShape::known("Phi-3-mini-4k-instruct").unwrap();
    let depths = [2, 4, 6, 8, 12, 24, 48];
    let shapes = depths.map(|layers| DecoderShape::new(32_064, 512, layers, 1408, 8));
    let order = |per_doubling: f64| -> Vec<u64> {
        let question = Question {
            per_doubling,
            ..question()
        };
        let ranked = rank(&shapes, &target, &question).unwrap();
        ranked.iter().map(|ranked| ranked.shape.layers).collect()
    };
    // If size brings nothing, the cheapest wins.
    assert_eq!(order(0.0), depths);
    // If it brings much, the largest does.
    assert_eq!(order(0.15)[0], 48);
    // In between neither end does.
    let best = order(SizeLaw::PER_DOUBLING)[0];
    assert!((4..=24).contains(&best), "{best} blocks");
}

#[test]
fn the_rate_is_that_of_the_drafts_own_size() {
    let mut larger = (*input()).clone();
    larger.draft.layers = 12;
    let larger = Report::new(&larger.validate().unwrap(), &question(), &[]).unwrap();
    let same = Report::new(&input(), &question(), &[]).unwrap();
    assert!((same.acceptance_rate - 0.402).abs() < 1e-9);
    assert!(larger.acceptance_rate > 0.41, "{}", larger.acceptance_rate);
    let text = larger.plan.assumptions.join("\n");
    assert!(text.contains("AR of 0.402 at γ = 3"), "{text}");
    assert!(text.contains("Intel Arc 140V"), "{text}");
}

#[test]
fn a_run_without_target_has_no_forecast() {
    let mut plain = (*input()).clone();
    plain.target = None;
    plain.stages.truncate(2);
    let error = Report::new(&plain.validate().unwrap(), &question(), &[]).unwrap_err();
    assert!(error.to_string().contains("target"), "{error}");
}
