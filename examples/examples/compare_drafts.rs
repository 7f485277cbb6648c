//! Drafts compared on the same text of the target.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, draft, finish, prompts, reading, target};
use fastdraft_train::{
    evaluate::{DraftLength, EvaluateConfig, expected_acceptance},
    progress::Progress,
    report,
};
use serde::Serialize;

/// Continues prompts with the target alone and works out how likely a token of each draft would have been
/// accepted at every position, Σ min(p, q); differences are from the first draft.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Draft directories, files of blocks or GGUF files; prompt-lookup, suffix-lookup or
    /// suffix-lookup+PATH, which interpolates the model with the lookup.
    #[arg(long, required = true, num_args = 1..)]
    drafts: Vec<String>,
    /// JSONL rows {"id", "task", "prompt"}; one file or several.
    #[arg(long, required = true, num_args = 1..)]
    prompts: Vec<PathBuf>,
    /// Prompts of each file; 0 takes all.
    #[arg(long, default_value_t = 0)]
    limit: usize,
    /// 0 is greedy.
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    /// Longest continuation, in tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Of the sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send the prompts of these tasks without chat template.
    #[arg(long, value_delimiter = ',')]
    raw_tasks: Vec<String>,
    /// Weight format of the target.
    #[arg(long, value_enum, default_value = "int8")]
    dtype: Dtype,
    /// Weight formats of the drafts; each draft in every one of them.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "int8")]
    draft_dtypes: Vec<Dtype>,
    /// Each draft reads the whole context (0), or only the last so many tokens of one twice as long.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    draft_contexts: Vec<usize>,
    /// Where to write the report.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<T> {
    drafts: Vec<String>,
    tasks: T,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let prompts = prompts(&args.prompts, args.limit)?;
    let target = target(&args.target, args.dtype)?;
    let (mut names, mut drafts) = (Vec::new(), Vec::new());
    for spec in &args.drafts {
        for dtype in &args.draft_dtypes {
            for &context in &args.draft_contexts {
                let draft = draft(spec, *dtype, &target)?;
                drafts.push(reading(draft, context));
                let mut name = format!("{spec}, {dtype}");
                if context > 0 {
                    name.push_str(&format!(", last {context} tokens"));
                }
                names.push(name);
            }
        }
    }
    let config = EvaluateConfig {
        gamma: 1,
        length: DraftLength::Fixed,
        temperature: args.temperature,
        max_new_tokens: args.max_new_tokens,
        seed: args.seed,
        raw_tasks: args.raw_tasks.clone(),
        raw: false,
    };
    let mut progress = Progress::start("the target's text");
    let tasks = expected_acceptance(&target, &drafts, &prompts, &config, &mut progress)?;
    progress.finish("done");
    for task in &tasks {
        println!(
            "{}: {} prompts, {} tokens",
            task.task, task.prompts, task.positions
        );
        for (name, draft) in names.iter().zip(&task.drafts) {
            let between = |text: &str, pair: Option<(f64, f64)>, signed: bool| match pair {
                Some((low, high)) if signed => format!("  {text}{low:+.3} to {high:+.3}"),
                Some((low, high)) => format!("  {text}{low:.3} to {high:.3}"),
                None => String::new(),
            };
            println!(
                "  {:.3}{}{}  {name}",
                draft.mean,
                between("", draft.interval, false),
                between("difference ", draft.difference, true),
            );
        }
    }
    if let Some(path) = &args.json {
        let drafts = names;
        report::write_json(path, &Report { drafts, tasks })?;
    }
    Ok(())
}
