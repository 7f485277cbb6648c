//! Acceptance and speed of a draft on prompts.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, draft, finish, prompts, reading, target};
use fastdraft_train::{
    evaluate::{DraftLength, EvaluateConfig, TaskReport, compare},
    progress::Progress,
    report,
};
use serde::Serialize;

/// Decodes prompts with and without a draft and reports every task.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Draft directory, file of blocks or GGUF file; prompt-lookup or suffix-lookup, which need no
    /// model; or suffix-lookup+PATH, which interpolates the model with the lookup.
    #[arg(long)]
    draft: String,
    /// JSONL rows {"id", "task", "prompt"}; one file or several.
    #[arg(long, required = true, num_args = 1..)]
    prompts: Vec<PathBuf>,
    /// Prompts of each file; 0 takes all.
    #[arg(long, default_value_t = 0)]
    limit: usize,
    /// Draft tokens a step; several, such as 1,2,3, take turns prompt by prompt.
    #[arg(long, value_delimiter = ',', default_value = "3")]
    gamma: Vec<usize>,
    /// What decides how many tokens up to γ are drafted: fixed, cost-aware, or a probability of a
    /// drafted token below which drafting ends; several take turns with every γ.
    #[arg(long, value_delimiter = ',', default_value = "fixed")]
    draft_length: Vec<DraftLength>,
    /// 0 is greedy.
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    /// Longest continuation, in tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Of the sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send prompts without chat template.
    #[arg(long)]
    raw: bool,
    /// Send the prompts of these tasks without chat template.
    #[arg(long, value_delimiter = ',')]
    raw_tasks: Vec<String>,
    /// Weight format of the target, and of the draft if --draft-dtype is not given.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Weight format of the draft.
    #[arg(long, value_enum)]
    draft_dtype: Option<Dtype>,
    /// The draft reads the whole context (0), or only the last so many tokens of one twice as long.
    #[arg(long, default_value_t = 0)]
    draft_context: usize,
    /// Where to write the report.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    target: String,
    draft: String,
    dtype: String,
    draft_dtype: String,
    /// 0 for all of it.
    draft_context: usize,
    gamma: usize,
    draft_length: String,
    temperature: f64,
    tasks: Vec<TaskReport>,
    by_gamma: Vec<Sweep>,
}

#[derive(Serialize)]
struct Sweep {
    gamma: usize,
    draft_length: String,
    tasks: Vec<TaskReport>,
}

fn main() -> ExitCode {
    finish(run(Args::parse()))
}

fn run(args: Args) -> Outcome {
    let prompts = prompts(&args.prompts, args.limit)?;
    if args.gamma.contains(&0) {
        return Err("--gamma must be above 0".into());
    }
    let target_model = target(&args.target, args.dtype)?;
    let draft_dtype = args.draft_dtype.unwrap_or(args.dtype);
    let draft_model = draft(&args.draft, draft_dtype, &target_model)?;
    let draft_model = reading(draft_model, args.draft_context);
    let config = |gamma, length| EvaluateConfig {
        gamma,
        length,
        temperature: args.temperature,
        max_new_tokens: args.max_new_tokens,
        seed: args.seed,
        raw_tasks: args.raw_tasks.clone(),
        raw: args.raw,
    };
    let ways: Vec<(usize, DraftLength)> = (args.gamma.iter())
        .flat_map(|&gamma| args.draft_length.iter().map(move |&length| (gamma, length)))
        .collect();
    let configs: Vec<_> = (ways.iter())
        .map(|&(gamma, length)| config(gamma, length))
        .collect();
    let mut progress = Progress::start("plain and speculative");
    let all = compare(
        &target_model,
        &draft_model,
        &prompts,
        &configs,
        &mut progress,
    )?;
    progress.finish("done");
    let mut by_gamma = Vec::new();
    for (&(gamma, length), tasks) in ways.iter().zip(all) {
        if ways.len() > 1 {
            println!("γ = {gamma}, {length}");
        }
        print!("{}", report::table(&tasks));
        by_gamma.push(Sweep {
            gamma,
            draft_length: length.to_string(),
            tasks,
        });
    }
    if let Some(path) = &args.json
        && let Some(first) = by_gamma.first()
    {
        let report = Report {
            target: args.target,
            draft: args.draft,
            dtype: args.dtype.to_string(),
            draft_dtype: draft_dtype.to_string(),
            draft_context: args.draft_context,
            gamma: first.gamma,
            draft_length: first.draft_length.clone(),
            temperature: args.temperature,
            tasks: first.tasks.clone(),
            by_gamma,
        };
        report::write_json(path, &report)?;
    }
    Ok(())
}
