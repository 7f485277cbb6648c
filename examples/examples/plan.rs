//! What training a draft costs and what it gains, before either: `plan (--recipe R.toml | --target T)
//! --device SPEC [--profile P] [--budget 24h] [--json]`.
//!
//! Nothing is opened: a device that is absent is planned from its profile.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, duration, finish};
use fastdraft_hw::{
    DeviceSpec, HwError,
    measure::{self, cache_directory},
    plan::{Answers, Budget, Optimizer, PlanInput, StageInput},
    predict::SizeLaw,
    probe,
    profile::Profile,
    report::{Question, Report, rank},
    shape::DecoderShape,
};
use fastdraft_model::{
    DecoderConfig,
    draft::shape::{Machine, ShapeRule, candidates},
    import,
};
use fastdraft_train::{
    recipe::{BudgetSpec, DraftSpec, Recipe, StageSpec},
    stage::TeacherLogits,
};

/// How often the target's parameters are halved for the smallest draft that is looked at.
const SMALLEST: u32 = 9;

/// Forecasts cost and gain of a draft.
#[derive(Parser)]
struct Args {
    /// A recipe.
    #[arg(long, required_unless_present = "target", conflicts_with = "target")]
    recipe: Option<PathBuf>,
    /// A target by name or path, trained for as many tokens as in the paper.
    #[arg(long)]
    target: Option<String>,
    /// Parameters of a draft pass, with --target.
    #[arg(long)]
    parameters: Option<u64>,
    /// Where the draft is trained, the processor by default; it need not be in this machine.
    #[arg(long)]
    device: Option<DeviceSpec>,
    /// A device profile by name or path, instead of the one that --device leads to, or alone.
    #[arg(long)]
    profile: Option<String>,
    /// Devices of the profile, without --device.
    #[arg(
        long,
        default_value_t = 1,
        requires = "profile",
        conflicts_with = "device"
    )]
    count: u64,
    /// Where draft and target run afterwards; without it, the device of the training.
    #[arg(long)]
    run_on: Option<DeviceSpec>,
    /// A profile for --run-on, or alone.
    #[arg(long)]
    run_profile: Option<String>,
    /// Time there is, such as 24h.
    #[arg(long, value_parser = duration)]
    budget: Option<std::time::Duration>,
    /// Acceptance rate that the recipe's draft is taken to reach, or, with --target, one as large as the
    /// paper's; the default is the mean of the paper's four tasks for Phi-3-mini.
    #[arg(long, default_value_t = 0.402)]
    acceptance_rate: f64,
    /// γ that the acceptance rate is for.
    #[arg(long, default_value_t = 3)]
    gamma: u32,
    /// What a draft with twice the parameters in its blocks gains in the chance that a token is accepted.
    #[arg(long, default_value_t = SizeLaw::PER_DOUBLING)]
    per_doubling: f64,
    /// Weight format of draft and target when they run.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let devices = probe(Path::new("/"));
    let measured = match cache_directory() {
        Some(directory) => measure::load(&directory)?,
        None => None,
    };
    let choose = |spec: Option<DeviceSpec>, profile: Option<&str>, count: u64| match (
        spec,
        profile.map(Profile::find).transpose()?,
    ) {
        (Some(spec), Some(profile)) => profile.for_devices(&spec, &devices),
        (None, Some(profile)) => Ok(profile.for_count(count)),
        (spec, None) => Profile::choose(&spec.unwrap_or_default(), &devices, measured.as_ref()),
    };
    let train_on = choose(args.device, args.profile.as_deref(), args.count)?;
    let run_on = if args.run_on.is_some() || args.run_profile.is_some() {
        choose(args.run_on, args.run_profile.as_deref(), 1)?
    } else {
        train_on.clone()
    };
    let mut question = Question {
        train_on,
        run_on,
        acceptance_rate: args.acceptance_rate,
        gamma: args.gamma,
        // The paper's draft of Phi-3-mini, sizes inferred from the released file.
        reference: DecoderShape::new(32_064, 512, 6, 1408, 8),
        per_doubling: args.per_doubling,
        max_gamma: 16,
        weight_bytes: match args.dtype {
            Dtype::F32 => 4.0,
            Dtype::Bf16 => 2.0,
            Dtype::Int8 => 1.0,
            // Four-bit blocks with a scale and a least value of 16 bits each.
            Dtype::Gguf | Dtype::Int4 => 0.625,
        },
        budget_hours: args.budget.map(|time| time.as_secs_f64() / 3600.0),
    };
    let (input, shapes) = match (&args.recipe, &args.target) {
        (Some(path), _) => {
            let input = from_recipe(&Recipe::load(path)?)?;
            question.reference = input.draft;
            let shapes = alternatives(&input, &question)?;
            (input, shapes)
        }
        (None, Some(name)) => from_target(name, args.parameters, &question)?,
        (None, None) => return Err("give --recipe or --target".into()),
    };
    let report = if args.recipe.is_some() {
        Report::new(&input.validate()?, &question, &shapes)?
    } else {
        fitting(input, &question, &shapes)?
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!("This machine");
    for device in &devices {
        println!("  {device}");
    }
    print!("\n{report}");
    Ok(())
}

/// Sizes of a target by its name, or of the model at a path.
fn target(name: &str) -> Result<DecoderShape, Box<dyn std::error::Error>> {
    if let Some(shape) = DecoderShape::known(name) {
        return Ok(shape);
    }
    let path = Path::new(name);
    if path.exists() {
        return Ok(sizes(&import::load(path)?.config));
    }
    Err(format!("the sizes of `{name}` are not known here; give a path to the model").into())
}

fn sizes(config: &DecoderConfig) -> DecoderShape {
    DecoderShape {
        layers: config.layers as u64,
        hidden_size: config.hidden_size as u64,
        intermediate_size: config.intermediate_size as u64,
        heads: config.heads as u64,
        kv_heads: config.kv_heads as u64,
        head_dim: config.head_dim as u64,
        vocabulary_size: config.vocabulary_size as u64,
        head_size: config.head_size as u64,
        tied: config.tied,
    }
}

fn from_recipe(recipe: &Recipe) -> Result<PlanInput, Box<dyn std::error::Error>> {
    let recipe = recipe.clone().validate()?;
    let target = target(&recipe.target)?;
    let length = recipe.sequence_length as u64;
    Ok(PlanInput {
        draft: draft(&recipe.draft, &target),
        frozen_embedding: recipe.draft.freeze_embedding,
        target: Some(target),
        sequence_length: length,
        optimizer: Optimizer::AdamW,
        stages: recipe
            .stages
            .iter()
            .map(|stage| stage_input(stage, length))
            .collect(),
    })
}

fn draft(spec: &DraftSpec, target: &DecoderShape) -> DecoderShape {
    let head_size = match spec.vocabulary as u64 {
        0 => target.vocabulary_size,
        kept => kept.min(target.vocabulary_size),
    };
    if spec.blocks.is_empty() {
        return DecoderShape {
            head_size,
            ..DecoderShape::new(
                target.vocabulary_size,
                spec.hidden_size as u64,
                spec.layers as u64,
                spec.intermediate_size as u64,
                spec.heads as u64,
            )
        };
    }
    // A draft made of blocks has a head apart from its embedding.
    DecoderShape {
        layers: spec.blocks.len() as u64,
        head_size,
        tied: false,
        ..*target
    }
}

fn stage_input(stage: &StageSpec, length: u64) -> StageInput {
    let batch = stage.batch.saturating_mul(stage.accumulation) as u64;
    let (budget, tokens) = match stage.budget {
        BudgetSpec::Steps(steps) => {
            let steps = steps as u64;
            let tokens = steps.saturating_mul(batch).saturating_mul(length);
            (Budget::Steps(steps), Some(tokens))
        }
        BudgetSpec::Tokens(tokens) => (Budget::Tokens(tokens), Some(tokens)),
        BudgetSpec::Seconds(seconds) => (Budget::Seconds(seconds), None),
    };
    let weights: u64 = stage.sources.iter().map(|s| u64::from(s.weight)).sum();
    let taught = stage.sources.iter().filter(|s| s.answers.is_some());
    let share: u64 = taught.clone().map(|s| u64::from(s.weight)).sum();
    // At most: each token of an answer is trained on once.
    let tokens = tokens.map(|tokens| tokens / weights.max(1) * share);
    let sequences = taught
        .filter_map(|source| Some(source.answers.as_ref()?.batch as u64))
        .min();
    StageInput {
        name: stage.name.clone(),
        batch,
        accumulation: stage.accumulation as u64,
        budget,
        answers: tokens
            .zip(sequences)
            .map(|(tokens, batch)| Answers { tokens, batch }),
        live_teacher: stage.loss.needs_teacher() && stage.teacher_logits == TeacherLogits::Live,
    }
}

/// The paper's stages (arXiv 2411.11055) for the draft with the highest speed-up, and other drafts.
///
/// Without `parameters` drafts of a 512th to a half of the target are looked at.
fn from_target(
    name: &str,
    parameters: Option<u64>,
    question: &Question,
) -> Result<(PlanInput, Vec<DecoderShape>), Box<dyn std::error::Error>> {
    let target = target(name)?;
    let mut shapes = match parameters {
        Some(parameters) => shapes(parameters, &target, question, usize::MAX)?,
        None => (1..=SMALLEST)
            // Where the vocabulary is large for the target, the head alone takes more than some have.
            .filter_map(|halved| shapes(target.parameters() >> halved, &target, question, 1).ok())
            .flatten()
            .collect(),
    };
    // Budgets next to each other may lead to one shape.
    shapes.dedup();
    let ranked = rank(&shapes, &target, question)?;
    let draft = ranked
        .first()
        .ok_or("no draft is smaller than this target")?;
    let stage = |name: &str, tokens: u64, answers: Option<Answers>| StageInput {
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
    let input = PlanInput {
        draft: draft.shape,
        frozen_embedding: false,
        target: Some(target),
        sequence_length: 2048,
        optimizer: Optimizer::AdamW,
        stages: vec![
            stage("PT", 5_000_000_000, None),
            stage("CP", 7_500_000_000, None),
            stage("FT", 100_000_000, Some(answers)),
        ],
    };
    Ok((input, shapes))
}

/// The report with the batch halved until it fits the device.
fn fitting(
    mut input: PlanInput,
    question: &Question,
    shapes: &[DecoderShape],
) -> Result<Report, HwError> {
    loop {
        let report = Report::new(&input.clone().validate()?, question, shapes);
        let least = question.train_on.count.max(1);
        let halves = input.stages.iter().all(|stage| stage.batch / 2 >= least);
        if !(halves && matches!(report, Err(HwError::DoesNotFit { .. }))) {
            return report;
        }
        for stage in &mut input.stages {
            stage.batch /= 2;
        }
    }
}

/// Drafts with half, as many and twice the parameters in a pass as that of `input`.
fn alternatives(
    input: &PlanInput,
    question: &Question,
) -> Result<Vec<DecoderShape>, Box<dyn std::error::Error>> {
    input.draft.check("draft")?;
    let Some(target) = &input.target else {
        return Ok(Vec::new());
    };
    let head = DecoderShape {
        head_size: input.draft.head_size,
        ..*target
    };
    let parameters = input.draft.pass_parameters();
    // A budget too small for any candidate has none to compare with.
    Ok([parameters / 2, parameters, parameters * 2]
        .into_iter()
        .filter_map(|parameters| shapes(parameters, &head, question, 2).ok())
        .flatten()
        .collect())
}

/// The best depths and widths that spend `parameters` in a pass.
fn shapes(
    parameters: u64,
    target: &DecoderShape,
    question: &Question,
    best: usize,
) -> Result<Vec<DecoderShape>, Box<dyn std::error::Error>> {
    let machine = Machine {
        bandwidth: question.run_on.profile.bandwidth.value,
        weight_bytes: question.weight_bytes,
        block_overhead: 0.0,
    };
    let rule = ShapeRule {
        // The paper's drafts have 6 blocks; fewer than 2 were never reported.
        layers: (2, 12),
        ..ShapeRule::new(usize::try_from(target.head_size)?)
    };
    let vocabulary = usize::try_from(target.vocabulary_size)?;
    let list: Vec<DecoderShape> =
        candidates(usize::try_from(parameters)?, vocabulary, &rule, &machine)?
            .iter()
            .map(|candidate| sizes(&candidate.config))
            .collect();
    let ranked = rank(&list, target, question)?;
    Ok(ranked.iter().take(best).map(|one| one.shape).collect())
}
