use super::*;
use crate::shape::DecoderShape;

fn stage(name: &str, batch: u64, budget: Budget) -> StageInput {
    StageInput {
        name: name.to_owned(),
        batch,
        accumulation: 1,
        budget,
        answers: None,
        live_teacher: false,
    }
}

/// The 50M draft of arXiv 2411.11055 with its sizes inferred from the released file.
fn paper() -> PlanInput {
    PlanInput {
        draft: DecoderShape::new(32_064, 512, 6, 1408, 8),
        frozen_embedding: false,
        target: DecoderShape::known("microsoft/Phi-3-mini-4k-instruct"),
        sequence_length: 2048,
        optimizer: Optimizer::AdamW,
        stages: vec![
            stage("PT", 64, Budget::Tokens(5_000_000_000)),
            stage("CP", 64, Budget::Tokens(7_500_000_000)),
        ],
    }
}

fn run(input: PlanInput, profile: &str, count: u64) -> Result<Plan, HwError> {
    plan(&input.validate()?, &Profile::named(profile)?, count)
}

#[test]
fn the_papers_run_is_within_a_day_on_eight_gaudi_2() {
    let plan = run(paper(), "gaudi-2", 8).unwrap();
    assert!((0.5..24.0).contains(&plan.hours), "{} hours", plan.hours);
    // 12.5·10⁹ tokens of 2.9·10⁸ operations over a day of 8 × 432·10¹².
    let implied = plan.utilization_for(24.0);
    assert!((0.010..0.015).contains(&implied), "{implied}");
    // Even a tenth of the assumed efficiency keeps the run within a day.
    let mut slow = Profile::named("gaudi-2").unwrap();
    slow.efficiency.value = 0.03;
    let slow = super::plan(&paper().validate().unwrap(), &slow, 8).unwrap();
    assert!((6.0..24.0).contains(&slow.hours), "{} hours", slow.hours);
    for stage in &plan.stages {
        assert!(stage.utilization > implied && stage.utilization < 0.3);
    }
    let at = plan.utilization_for(plan.hours);
    assert!((at / plan.stages[0].utilization - 1.0).abs() < 1e-9);
}

#[test]
fn the_same_run_takes_years_on_two_cores() {
    let mut input = paper();
    for stage in &mut input.stages {
        stage.batch = 2;
    }
    let plan = run(input, "cpu-avx2-2", 1).unwrap();
    assert!(plan.hours > 24.0 * 365.0, "{} hours", plan.hours);
}

#[test]
fn more_devices_are_faster_but_not_more_than_in_proportion() {
    let one = run(paper(), "gaudi-2", 1).unwrap();
    let eight = run(paper(), "gaudi-2", 8).unwrap();
    let gain = one.hours / eight.hours;
    assert!(gain > 4.0 && gain < 8.0, "{gain}");
}

#[test]
fn budgets_in_tokens_steps_and_seconds_agree() {
    let with = |budget| {
        let mut input = paper();
        input.stages = vec![stage("PT", 64, budget)];
        run(input, "gaudi-3", 8).unwrap().stages.remove(0)
    };
    let tokens = with(Budget::Tokens(64 * 2048 * 1000));
    assert_eq!(tokens.steps, 1000.0);
    assert_eq!(with(Budget::Steps(1000)), tokens);
    let hour = with(Budget::Seconds(3600));
    assert!((hour.hours - 1.0).abs() < 1e-9);
    assert!((hour.tokens / (tokens.tokens_per_second * 3600.0) - 1.0).abs() < 1e-9);
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let mut input = paper();
    input.stages = vec![stage("PT", 4096, Budget::Steps(1))];
    let HwError::DoesNotFit { fits, .. } = run(input.clone(), "arc-b580", 1).unwrap_err() else {
        panic!("it fits");
    };
    let rows: u64 = fits
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    assert!((1..4096).contains(&rows), "{fits}");
    input.stages[0].batch = rows;
    run(input.clone(), "arc-b580", 1).unwrap();
    input.stages[0].batch = rows + 1;
    run(input.clone(), "arc-b580", 1).unwrap_err();

    input.stages[0].batch = 1;
    input.sequence_length = 1 << 22;
    let error = run(input.clone(), "arc-b580", 1).unwrap_err().to_string();
    assert!(error.contains("one row of"), "{error}");

    input.draft = DecoderShape::known("llama-3.1-8b").unwrap();
    let error = run(input, "arc-b580", 1).unwrap_err().to_string();
    assert!(error.contains("million parameters"), "{error}");
}

#[test]
fn answers_of_the_target_cost_time_and_memory() {
    let mut input = paper();
    input.stages[1].answers = Some(Answers {
        tokens: 100_000_000,
        batch: 32,
    });
    let plain = run(paper(), "gaudi-2", 8).unwrap();
    let taught = run(input.clone(), "gaudi-2", 8).unwrap();
    let answering = taught.stages[1].answer_hours;
    assert!(answering > 0.0);
    assert!((taught.hours - plain.hours - answering).abs() < 1e-9);
    // 32 tokens a pass over 3.7·10⁹ parameters of 2 bytes at 2.46 TB/s and 12 launches of 5 µs in each of
    // 32 blocks, 8 devices, efficiency 0.3.
    let target = input.target.unwrap().pass_parameters() as f64;
    let pass = (target * 2.0 / 2.46e12 + 32.0 * 12.0 * 5e-6) / 0.3;
    assert!((answering * 3600.0 / (1e8 / 256.0 * pass) - 1.0).abs() < 1e-9);

    input.stages[0].batch = 1;
    input.stages[1].batch = 1;
    input.target = DecoderShape::known("llama-3.1-8b");
    let error = run(input, "arc-b580", 1).unwrap_err().to_string();
    assert!(error.contains("another device"), "{error}");
}

#[test]
fn a_live_teacher_costs_its_pass_and_its_weights() {
    let alone = run(paper(), "gaudi-2", 8).unwrap();
    let mut input = paper();
    input.stages[1].live_teacher = true;
    let taught = run(input.clone(), "gaudi-2", 8).unwrap();
    assert_eq!(taught.stages[0], alone.stages[0]);
    let target = input.target.unwrap();
    let more = taught.memory_bytes - alone.memory_bytes;
    assert_eq!(more, 2.0 * target.parameters() as f64);
    // 2·N operations a token, as a lower bound.
    let profile = Profile::named("gaudi-2").unwrap();
    let rate = 8.0 * profile.matmul.value * profile.efficiency.value;
    let least = 2.0 * target.pass_parameters() as f64 * 7.5e9 / rate / HOUR;
    let hours = taught.stages[1].hours - alone.stages[1].hours;
    assert!((least..2.0 * least).contains(&hours), "{hours} {least}");
    input.target = Some(DecoderShape::new(32_064, 16_384, 96, 53_248, 128));
    let refused = run(input.clone(), "gaudi-2", 8).unwrap_err().to_string();
    assert!(refused.contains("recorded teacher logits"), "{refused}");
    input.target = None;
    let refused = run(input, "gaudi-2", 8).unwrap_err().to_string();
    assert!(refused.contains("stage[1].live_teacher"), "{refused}");
}

#[test]
fn a_frozen_embedding_keeps_no_state() {
    let input = paper();
    let frozen = PlanInput {
        frozen_embedding: true,
        ..input.clone()
    };
    let profile = Profile::named("gaudi-2").unwrap();
    let of = |input: &PlanInput| memory_use(input, 1, 2048, &profile);
    let embedding = 32_064.0 * 512.0;
    assert_eq!(of(&input).state - of(&frozen).state, embedding * 14.0);
    assert_eq!(of(&input).activations, of(&frozen).activations);
}

#[test]
fn assumptions_are_listed_with_what_they_change() {
    let text = run(paper(), "gaudi-2", 8).unwrap().assumptions.join("\n");
    assert!(text.contains("efficiency 0.30 is assumed"), "{text}");
    assert!(
        text.contains("launch_overhead 5.00e-6 is assumed"),
        "{text}"
    );
    let at = |efficiency: f64| {
        let mut profile = Profile::named("gaudi-2").unwrap();
        profile.efficiency.value = efficiency;
        profile.launch_overhead = None;
        plan(&paper().validate().unwrap(), &profile, 8).unwrap()
    };
    assert_eq!(at(0.2).efficiency, 0.2);
    let (half, whole) = (at(0.15), at(0.3));
    assert!(half.hours > 1.5 * whole.hours && half.hours < 2.0 * whole.hours);
    let text = whole.assumptions.join("\n");
    assert!(
        text.contains(&format!(
            "efficiency of 0.15 the run takes {:.3} h",
            half.hours
        )),
        "{text}"
    );
    assert!(text.contains("counted as 0"), "{text}");
}

#[test]
fn numbers_out_of_range_are_named() {
    type Change = fn(&mut PlanInput);
    let cases: [(Change, &str); 6] = [
        (|input| input.stages.clear(), "stage: "),
        (|input| input.stages[1].batch = 0, "stage[1].batch"),
        (
            |input| input.stages[0].budget = Budget::Tokens(0),
            "stage[0].budget",
        ),
        (|input| input.sequence_length = u64::MAX, "sequence_length"),
        (|input| input.draft.heads = 0, "draft.heads"),
        (
            |input| {
                input.target = None;
                input.stages[0].answers = Some(Answers {
                    tokens: 1,
                    batch: 1,
                });
            },
            "stage[0].answers",
        ),
    ];
    for (change, path) in cases {
        let mut input = paper();
        change(&mut input);
        let error = input.validate().unwrap_err().to_string();
        assert!(error.contains(path), "{error}");
    }
    let mut few = paper();
    few.stages[0].batch = 4;
    let error = run(few, "gaudi-2", 8).unwrap_err().to_string();
    assert!(error.contains("8 devices"), "{error}");
    assert!(run(paper(), "gaudi-2", 0).is_err());
    let error = run(paper(), "arc-b580", 2).unwrap_err().to_string();
    assert!(error.contains("interconnect"), "{error}");
}

#[test]
fn micro_batches_share_the_memory_of_one() {
    let memory = |batch, accumulation| {
        let mut input = paper();
        input.stages[0].batch = batch;
        input.stages[0].accumulation = accumulation;
        run(input, "gaudi-2", 8).unwrap().stages[0].memory_bytes
    };
    assert_eq!(memory(64, 4), memory(16, 1));
    assert!(memory(64, 4) < memory(64, 1));
}

/// Peaks of `pretrain_speed` in `docs/src/training_speed.md`.
#[test]
fn memory_on_a_processor_is_what_was_measured() {
    let profile = Profile::named("cpu-avx2-2").unwrap();
    for (vocabulary, measured) in [(8192, 297e6), (49_152, 562e6)] {
        let mut draft = DecoderShape::new(vocabulary, 256, 4, 704, 4);
        draft.tied = true;
        let input = PlanInput { draft, ..paper() };
        let found = memory_use(&input, 8, 256, &profile).total();
        assert!((found / measured - 1.0).abs() < 0.15, "{found} {measured}");
    }
}
