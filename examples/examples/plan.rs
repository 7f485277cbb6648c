//! What training a draft costs and what it gains, before either: `plan (--recipe R.toml | --target T)
//! --device SPEC [--budget 24h] [--json]`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, duration, finish};
use fastdraft_hw::{
    DeviceSpec,
    measure::{self, cache_directory},
    plan::{Answers, Budget, Optimizer, PlanInput, StageInput},
    probe,
    profile::{Choice, Profile},
    report::{Question, Report},
    shape::DecoderShape,
};
use fastdraft_model::{
    DecoderConfig,
    draft::shape::{Machine, ShapeRule, candidates},
    import,
};
use fastdraft_train::recipe::{BudgetSpec, DraftSpec, Recipe, StageSpec};

/// Parameters of the target over those of a draft, where no recipe says: that of Phi-3-mini and the
/// paper's 50M draft.
const SMALLER: u64 = 76;

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
    /// Where the draft is trained; it need not be in this machine.
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// A device profile, instead of the one that --device leads to.
    #[arg(long)]
    profile: Option<String>,
    /// Where draft and target run afterwards; without it, the device of the training.
    #[arg(long)]
    run_on: Option<DeviceSpec>,
    /// Time there is, such as 24h.
    #[arg(long, value_parser = duration)]
    budget: Option<std::time::Duration>,
    /// Acceptance rate that the draft is taken to reach; the default is the mean of the paper's four
    /// tasks for Phi-3-mini.
    #[arg(long, default_value_t = 0.402)]
    acceptance_rate: f64,
    /// γ that the acceptance rate is for.
    #[arg(long, default_value_t = 3)]
    gamma: u32,
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
    let choose = |spec: &DeviceSpec| Profile::choose(spec, &devices, measured.as_ref());
    let mut train_on = choose(&args.device)?;
    if let Some(name) = &args.profile {
        train_on.profile = Profile::named(name)?;
        train_on.reason = format!("profile {name}, as asked");
    }
    let run_on: Choice = match &args.run_on {
        Some(spec) => choose(spec)?,
        None => train_on.clone(),
    };
    let input = match (&args.recipe, &args.target) {
        (Some(path), _) => from_recipe(&Recipe::load(path)?)?,
        (None, Some(name)) => from_target(name, args.parameters, &run_on.profile)?,
        (None, None) => return Err("give --recipe or --target".into()),
    };
    let shapes = alternatives(&input, &run_on.profile)?;
    let input = input.validate()?;
    let question = Question {
        train_on,
        run_on,
        acceptance_rate: args.acceptance_rate,
        gamma: args.gamma,
        max_gamma: 16,
        weight_bytes: match args.dtype {
            Dtype::F32 => 4.0,
            Dtype::Bf16 => 2.0,
            Dtype::Int8 => 1.0,
            // Four-bit blocks with a scale and a least value of 16 bits each.
            Dtype::Gguf => 0.625,
        },
        budget_hours: args.budget.map(|time| time.as_secs_f64() / 3600.0),
    };
    let report = Report::new(&input, &question, &shapes)?;
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
        budget,
        answers: tokens
            .zip(sequences)
            .map(|(tokens, batch)| Answers { tokens, batch }),
    }
}

/// The paper's stages (arXiv 2411.11055) for the fastest draft of `parameters` parameters a pass.
fn from_target(
    name: &str,
    parameters: Option<u64>,
    profile: &Profile,
) -> Result<PlanInput, Box<dyn std::error::Error>> {
    let target = target(name)?;
    let list = match parameters {
        Some(parameters) => drafts(parameters, &target, profile)?,
        // Where the vocabulary is large for the target, the head alone takes more than that.
        None => (1..=SMALLER)
            .rev()
            .find_map(|part| drafts(target.parameters() / part, &target, profile).ok())
            .ok_or("no draft is smaller than this target")?,
    };
    let draft = *list.first().ok_or("no draft is that small")?;
    let stage = |name: &str, tokens: u64, answers: Option<Answers>| StageInput {
        name: name.to_owned(),
        batch: 64,
        budget: Budget::Tokens(tokens),
        answers,
    };
    let answers = Answers {
        tokens: 100_000_000,
        batch: 32,
    };
    Ok(PlanInput {
        draft,
        frozen_embedding: false,
        target: Some(target),
        sequence_length: 2048,
        optimizer: Optimizer::AdamW,
        stages: vec![
            stage("PT", 5_000_000_000, None),
            stage("CP", 7_500_000_000, None),
            stage("FT", 100_000_000, Some(answers)),
        ],
    })
}

/// Depths and widths that spend as many parameters in a pass as the draft of `input`.
fn alternatives(
    input: &PlanInput,
    profile: &Profile,
) -> Result<Vec<DecoderShape>, Box<dyn std::error::Error>> {
    input.draft.check("draft")?;
    let Some(target) = &input.target else {
        return Ok(Vec::new());
    };
    let head = DecoderShape {
        head_size: input.draft.head_size,
        ..*target
    };
    // A draft too small for any candidate has none to compare with.
    Ok(drafts(input.draft.pass_parameters(), &head, profile).unwrap_or_default())
}

fn drafts(
    parameters: u64,
    target: &DecoderShape,
    profile: &Profile,
) -> Result<Vec<DecoderShape>, Box<dyn std::error::Error>> {
    let machine = Machine {
        bandwidth: profile.bandwidth.value,
        weight_bytes: 2.0,
        block_overhead: 0.0,
    };
    let rule = ShapeRule {
        // The paper's drafts have 6 blocks; fewer than 2 were never reported.
        layers: (2, 12),
        ..ShapeRule::new(usize::try_from(target.head_size)?)
    };
    let vocabulary = usize::try_from(target.vocabulary_size)?;
    let list = candidates(usize::try_from(parameters)?, vocabulary, &rule, &machine)?;
    Ok(list
        .iter()
        .map(|candidate| sizes(&candidate.config))
        .collect())
}
