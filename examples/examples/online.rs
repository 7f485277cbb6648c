//! An app that keeps its draft up to date: it serves, logs what was accepted, aligns the draft on
//! what the target wrote, and swaps it without stopping.
//!
//! `online --draft D --prompts P --out DIR [--rounds 3] [--per-round 16]`

use std::{
    fs::File,
    io::Write,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, RwLock},
};

use clap::Parser;
use fastdraft_data::{MaskedTokens, Packer, source::read_prompts};
use fastdraft_examples::{Dtype, Outcome, finish, target, writable};
use fastdraft_hw::{DeviceSpec, open};
use fastdraft_model::Checkpoint;
use fastdraft_specdec::{Metrics, SessionConfig, Stop, Transform, generate};
use fastdraft_train::{
    DraftModel, TargetModel,
    optim::schedule::Schedule,
    progress::Progress,
    stage::{Budget, Freeze, StageConfig, Trainer},
    target::{load_draft, save_draft},
};
use serde::Serialize;

/// Serves prompts in rounds; after each, the draft learns from what was served.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// The draft to begin with.
    #[arg(long)]
    draft: PathBuf,
    /// The traffic: one JSON object a line with `id`, `task` and `prompt`.
    #[arg(long)]
    prompts: PathBuf,
    /// Where the log and the drafts go.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Rounds of serving and aligning.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Prompts of a round, none of them seen before.
    #[arg(long, default_value_t = 16)]
    per_round: usize,
    /// Passes over what was served, for each alignment.
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Draft tokens a step.
    #[arg(long, default_value_t = 3)]
    gamma: usize,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Prompts go without the chat template.
    #[arg(long)]
    raw: bool,
}

/// The draft in use. Answers under way keep the one they began with.
type Live = RwLock<Arc<DraftModel>>;

/// A line of the log.
#[derive(Serialize)]
struct Served<'a> {
    round: usize,
    id: &'a str,
    drafted: u64,
    accepted: u64,
    prompt_ids: &'a [u32],
    answer_ids: &'a [u32],
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    writable(&args.out)?;
    let target = target(&args.target, Dtype::Int8)?;
    let mut weights = load_draft(&args.draft, &target)?;
    let live: Live = RwLock::new(Arc::new(serving(&weights, &target)?));
    let prompts = read_prompts(&args.prompts)?;
    let mut log = File::create(args.out.join("served.jsonl"))?;
    let mut seen: Vec<MaskedTokens> = Vec::new();
    for (round, prompts) in (prompts.chunks(args.per_round.max(1)).take(args.rounds)).enumerate() {
        let mut metrics = Metrics::default();
        for (i, prompt) in prompts.iter().enumerate() {
            let draft = Arc::clone(&*live.read().map_err(|_| "a thread with the draft failed")?);
            let ids = target.encode(&prompt.prompt, args.raw)?;
            let capacity = ids.len() + args.max_new_tokens + args.gamma + 1;
            let out = generate(
                &mut draft.engine(capacity),
                &mut target.engine(capacity),
                &ids,
                &SessionConfig {
                    gamma: args.gamma,
                    max_new_tokens: args.max_new_tokens,
                    transform: Transform::temperature(0.6),
                    stop: Stop {
                        tokens: target.config().eos_ids.clone(),
                        ..Stop::default()
                    },
                    seed: (round * prompts.len() + i) as u64,
                },
                |_| ControlFlow::Continue(()),
            )?;
            let line = Served {
                round,
                id: &prompt.id,
                drafted: out.metrics.drafted,
                accepted: out.metrics.accepted,
                prompt_ids: &ids,
                answer_ids: &out.tokens,
            };
            writeln!(log, "{}", serde_json::to_string(&line)?)?;
            metrics.merge(&out.metrics);
            if !out.tokens.is_empty() {
                seen.push(MaskedTokens::from_answer(&ids, &out.tokens)?);
            }
        }
        println!(
            "round {round}: {} prompts, acceptance rate {:.3}, {:.2} tokens a target pass",
            prompts.len(),
            metrics.acceptance_rate().unwrap_or(0.0),
            metrics.block_efficiency().unwrap_or(0.0)
        );
        weights = align(args, &weights, &seen, &target)?;
        let folder = args.out.join(format!("draft-{round}"));
        save_draft(&folder, &weights, &target.tokenizer)?;
        let fresh = Arc::new(serving(&weights, &target)?);
        *live.write().map_err(|_| "a thread with the draft failed")? = fresh;
    }
    Ok(())
}

fn serving(
    weights: &Checkpoint,
    target: &TargetModel,
) -> Result<DraftModel, fastdraft_train::TrainError> {
    DraftModel::from_checkpoint(weights, Dtype::Int8.into(), target)
}

/// Trains on all that was served. An app would do this on a thread of its own.
fn align(
    args: &Args,
    weights: &Checkpoint,
    seen: &[MaskedTokens],
    target: &TargetModel,
) -> Result<Checkpoint, Box<dyn std::error::Error>> {
    let end = target.config().eos_ids.first().copied().unwrap_or(0);
    let mut packer = Packer::new(128, end);
    for answer in seen {
        packer.push_masked(answer);
    }
    let rows = packer.finish()?;
    let stage = StageConfig {
        name: "align".into(),
        budget: Budget::Steps((rows.rows() * args.epochs).div_ceil(2)),
        schedule: Schedule::cosine(3e-4),
        batch: 2,
        ..StageConfig::default()
    };
    let device = open(&DeviceSpec::default())?;
    let mut trainer = Trainer::new(weights, &device, Freeze::VOCABULARY)?;
    let mut progress = Progress::start("align");
    let done = trainer.run(&stage, &[(&rows, 1)], &mut progress)?;
    progress.finish(&format!(
        "loss {:.3} → {:.3}",
        done.first_loss, done.last_loss
    ));
    Ok(trainer.checkpoint()?)
}
